"""Clips from files of every kind that visualize.py draws, and what it and data_preparation.py need to start."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_up import write_clip

from poses import layout
from poses.files import read_clip, read_pose
from runtime.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "accelerate", "tokenizers", "tensorboard", "transformers", "scipy"}


@pytest.mark.parametrize("script", ["visualize", "data_preparation"])
def test_a_script_without_networks_starts_without_their_libraries(script: str):
    code = f"import sys, {script}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not HEAVY & {name.partition(".")[0] for name in done.stdout.split()}


def test_a_generated_clip_and_one_of_a_data_set_are_read_alike(tmp_path: Path):
    pose = np.random.default_rng(0).normal(size=(7, layout.POSE_DIM))
    pose[2, 5] = np.nan
    np.save(tmp_path / "clip.npy", pose)
    clip = read_pose(tmp_path / "clip.npy")
    assert clip.id == "clip"
    assert clip.pose.dtype == np.float32
    assert np.array_equal(clip.pose, pose.astype(np.float32), equal_nan=True)
    assert np.array_equal(clip.seen, np.isfinite(pose))

    write_clip(tmp_path, "dev", "real", 9, np.random.default_rng(1))
    clip, expected = read_pose(tmp_path / "dev/poses/real.npz"), read_clip(tmp_path, "dev", "real")
    assert clip.id == "real"
    assert np.array_equal(clip.pose, expected.pose)
    assert np.array_equal(clip.seen, expected.seen)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", None, "no such file"),
        ("a.npy", b"", "not a readable .npy"),
        ("a.npy", np.zeros((3, 213)), r"float64 \[3,213\]; expected float \[T,214\]"),
        ("a.npy", np.zeros((0, 214)), "T at least 1"),
        ("a.npz", b"", "lies at DATA_DIR/SPLIT/poses/ID.npz"),
        ("a.mp4", b"", "none of .npy, .npz and .pose"),
    ],
)
def test_what_is_no_clip_is_named(tmp_path: Path, name: str, content: bytes | np.ndarray | None, message: str):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        np.save(tmp_path / name, content)
    with pytest.raises(UserError, match=f"{name}: .*{message}"):
        read_pose(tmp_path / name)
