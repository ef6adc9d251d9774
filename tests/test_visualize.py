"""Clips from files of every kind that visualize.py draws, and what it and data_preparation.py need to start."""

import json
import subprocess
import sys
from pathlib import Path

import commands
import imageio_ffmpeg
import numpy as np
import pytest
from commands import refusal
from made_up import write_clip, write_data

import visualize
from poses import layout, single_clips
from poses.captions import each_frame, read_captions
from poses.files import SPLITS, Reading, read_clip
from poses.single_clips import read_single_clip
from poses.writing import write_clip as write_pose
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
    clip = read_single_clip(tmp_path / "clip.npy")
    assert clip.id == "clip"
    assert clip.pose.dtype == np.float32
    assert np.array_equal(clip.pose, pose.astype(np.float32), equal_nan=True)
    expected = np.ones(pose.shape, bool)
    expected[2, 4:6] = False  # a keypoint is seen as a whole
    assert np.array_equal(clip.seen, expected)

    write_clip(tmp_path, "dev", "real", 9, np.random.default_rng(1))
    clip, expected = read_single_clip(tmp_path / "dev/poses/real.npz"), read_clip(tmp_path, "dev", "real")
    assert clip.id == "real"
    assert np.array_equal(clip.pose, expected.pose)
    assert np.array_equal(clip.seen, expected.seen)


def test_a_clip_of_a_data_set_is_read_as_it_was_prepared(tmp_path: Path):
    write_data(tmp_path / "data", {split: [9] for split in SPLITS})
    path = tmp_path / "data" / "train" / "poses" / "train0.npz"
    with np.load(path) as archive:
        visibility = np.full((9, layout.NUM_KEYPOINTS), 0.9)
        visibility[:, layout.LEFT_HAND_KEYPOINTS] = 0.2
        np.savez(path, **{**archive, "visibility": visibility})
    assert read_single_clip(path, single_clips.reading_of(path, None)).seen[:, layout.LEFT_HAND].all()
    commands.call("data_preparation", "--num_workers 0 --visibility_threshold 0.5", D=tmp_path / "data")
    assert not read_single_clip(path, single_clips.reading_of(path, None)).seen[:, layout.LEFT_HAND].any()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", None, "no such file"),
        ("a.npy", b"", "not a readable .npy"),
        ("a.npy", np.zeros((3, 213)), r"float64 \[3,213\]; expected float \[T,214\]"),
        ("a.npy", np.zeros((0, 214)), "T at least 1"),
        ("a.npy", np.zeros((3, 214), np.int8), "expected float"),
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
        read_single_clip(tmp_path / name)


@pytest.mark.parametrize(
    ("reading", "shown"),
    [
        (Reading(), ["first"] * 15 + ["last"] * 15),
        (Reading(fps=15), ["first"] * 8 + ["last"] * 7),
        (Reading(fps=60), ["first"] * 30 + ["last"] * 30),
    ],
)
def test_captions_count_the_frames_of_the_file(tmp_path: Path, reading: Reading, shown: list[str]):
    """Ten unseen frames in front, which are left out, and other frames per second than the file's 30."""
    arrays = {"keypoints": np.full((40, layout.NUM_KEYPOINTS, 2), 0.5, np.float32)}
    arrays |= {key: np.full((40, *shape), 0.5, np.float32) for key, shape in layout.NMM_FEATURES.items()}
    for values in arrays.values():
        values[:10] = np.nan
    write_clip(tmp_path, "dev", "a", 40, np.random.default_rng(0), **arrays, fps=np.float32(30))
    clip = read_clip(tmp_path, "dev", "a", reading=reading)
    captions = visualize.captions_of(clip, {"a": [("rest", 0, 10), ("first", 10, 25), ("last", 25, 40)]})
    assert each_frame(captions, len(clip.pose)) == shown
    assert visualize.captions_of(clip, {}) is None


def test_captions_beyond_all_frames_are_refused(tmp_path: Path):
    (tmp_path / "captions.json").write_text(json.dumps({"a": [["text", 0, 10**400]]}))
    with pytest.raises(UserError, match=r"captions\.json: not JSON of the form"):
        read_captions(tmp_path / "captions.json")


def test_captions_of_other_clips_or_of_another_unit_are_told(tmp_path: Path, capsys):
    """By IDs in any Unicode form: file systems and JSON may hold different ones."""
    clip = write_npy(tmp_path / "e\u0301.npy")
    captions = tmp_path / "captions.json"

    def told(content: dict) -> str:
        captions.write_text(json.dumps(content))
        words = ("--clips", clip, "--sheet", tmp_path / "sheet.png", "--captions", captions)
        commands.call_script("visualize.py", *words)
        return capsys.readouterr().out.replace(f"wrote {tmp_path / 'sheet.png'}\n", "")

    assert told({"\u00e9": [["hello", 0, 6]]}) == ""
    assert told({"other": [["hello", 0, 6]]}).startswith(f"{captions}: holds no caption of these clips, such as ")
    late = told({"\u00e9": [["hello", 0, 400], ["you", 400, 900]]})
    assert late.startswith(f"{captions}: 1 clips, such as ")
    assert "end before a caption begins; it counts in frames" in late


def write_npy(path: Path, fps: float | None = None) -> Path:
    np.save(path, np.full((6, layout.POSE_DIM), 0.5, np.float32))
    if fps is not None:
        path.with_suffix(".json").write_text(json.dumps({"text": "hello", "fps": fps}))
    return path


def test_a_path_may_hold_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "lambda=0.1"
    folder.mkdir()
    path = write_npy(folder / "steps=4.npy")
    assert single_clips.label_and_path(str(path)) == ("steps=4", path)
    assert single_clips.label_and_path(f"flow, scale=2={path}") == ("flow, scale=2", path)
    long = 260 * "a"
    assert single_clips.label_and_path(f"{long}={path}") == (long, path)
    assert single_clips.label_and_path("real=missing.npy") == ("real", Path("missing.npy"))
    assert single_clips.label_and_path("missing.npy") == ("missing", Path("missing.npy"))


def draw(monkeypatch: pytest.MonkeyPatch, output: Path, *words: str) -> float:
    """The frames per second of the video that visualize.py writes."""
    monkeypatch.setattr(sys, "argv", ["visualize.py", "--output", str(output), "--clips", *words])
    visualize.main()
    frames = imageio_ffmpeg.read_frames(str(output))
    fps = next(frames)["fps"]
    frames.close()
    return fps


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        ("--output OUT.mp4 --split dev", "--evaluation or --data_dir"),
        ("--output OUT.html --sort dtw", "--evaluation or --data_dir"),
        ("--output OUT.html --num_clips 2", "--evaluation or --data_dir"),
        ("--output OUT.mp4 --num_frames 3", "--sheet"),
        ("--sheet OUT.png --fps 50", "--output"),
    ],
)
def test_a_flag_that_would_do_nothing_is_refused(words: str, needed: str, tmp_path: Path, monkeypatch):
    """A video of clips has no split, and a sheet plays at no rate."""
    words = words.replace("OUT", str(tmp_path / "clips")).split()
    monkeypatch.setattr(sys, "argv", ["visualize.py", "--clips", str(write_npy(tmp_path / "a.npy")), *words])
    with pytest.raises(UserError, match=f"{words[-2]} needs {needed}; add it, or leave"):
        visualize.main()


@pytest.mark.parametrize("fps", ["1e9", "1e-9", "nan"])
def test_a_rate_at_which_nobody_can_watch_is_refused(fps: str, tmp_path: Path, monkeypatch, capsys):
    said = refusal(
        capsys, lambda: draw(monkeypatch, tmp_path / "a.mp4", str(write_npy(tmp_path / "a.npy")), "--fps", fps)
    )
    assert f"--fps: {fps} is not between 0.1 and 1000 frames per second" in said


@pytest.mark.parametrize("fps", ["1e9", "1e-9"])
def test_clips_are_not_resampled_to_a_rate_that_none_has(fps: str, tmp_path: Path, capsys):
    said = refusal(capsys, lambda: commands.call("data_preparation", f"--fps {fps}", D=tmp_path))
    assert f"--fps: {fps} is not between 1 and 1000 frames per second" in said


def test_the_video_runs_at_the_rate_of_its_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    write_clip(tmp_path, "dev", "real", 6, np.random.default_rng(0), fps=np.float32(50))
    real, unknown = tmp_path / "dev/poses/real.npz", write_npy(tmp_path / "unknown.npy")
    half, whole = write_npy(tmp_path / "half.npy", 25), write_npy(tmp_path / "whole.npy", 50)
    output = tmp_path / "clips.mp4"
    assert draw(monkeypatch, output, f"a={real}", f"b={whole}", f"c={unknown}") == 50
    with pytest.raises(UserError, match=r"real\.npz 50, .*half\.npy 25 frames per second; choose one with --fps"):
        draw(monkeypatch, output, str(real), str(half))
    assert draw(monkeypatch, output, str(real), str(half), "--fps", "10") == 10
    capsys.readouterr()
    assert draw(monkeypatch, output, str(unknown)) == 25
    assert "no clip says its frames per second" in capsys.readouterr().out


def test_clips_are_drawn_at_the_proportions_that_pose_files_state(tmp_path: Path, capsys):
    wide, square, silent = tmp_path / "wide.pose", tmp_path / "square.pose", tmp_path / "clip.npy"
    for path, size in ((wide, (1280, 720)), (square, (1000, 1000)), (silent, None)):
        write_pose(path, np.full((6, layout.POSE_DIM), 0.5, np.float32), 25, size)
    assert single_clips.shared_aspect([silent, wide], None) == 1280 / 720
    assert "drawn at the width / height that .pose files state, 1.78" in capsys.readouterr().out
    assert [single_clips.shared_aspect([path], None) for path in (silent, square)] == [1, 1]
    assert single_clips.shared_aspect([silent, wide], 1.78) == 1.78
    assert capsys.readouterr().out == ""
    assert single_clips.shared_aspect([wide, square], 1.78) == 1.78
    assert "although .pose files state other pictures" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"wide\.pose 1280 x 720, .*square\.pose 1000 x 1000; choose one with --aspect"):
        single_clips.shared_aspect([wide, square], None)


def test_a_pose_file_is_not_squeezed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its page shows what --aspect of its proportions does."""
    write_pose(tmp_path / "a.pose", np.random.default_rng(0).uniform(0.2, 0.8, (4, layout.POSE_DIM)), 25, (1280, 720))
    pages = []
    for words in ([], ["--aspect", str(1280 / 720)], ["--aspect", "1"]):
        output = tmp_path / f"{len(pages)}.html"
        clip = str(tmp_path / "a.pose")
        monkeypatch.setattr(sys, "argv", ["visualize.py", "--output", str(output), "--clips", clip, *words])
        visualize.main()
        pages.append(output.read_text(encoding="utf-8"))
    assert pages[0] == pages[1] != pages[2]


@pytest.mark.parametrize(("output", "told"), [("a.png", True), ("a.gif", True), ("a.html", False)])
def test_letters_that_a_picture_cannot_show_are_told(output: str, told: bool, tmp_path: Path, capsys):
    clip = write_npy(tmp_path / "clip.npy", 25)
    flag = "--sheet" if output == "a.png" else "--output"
    commands.call_script("visualize.py", "--clips", f"hallo 你好={clip}", flag, tmp_path / output)
    said = "the pictures' font lacks 2 letters, such as '你'; a page, .html, shows them" in capsys.readouterr().out
    assert said == told


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_clip_in_which_nothing_is_seen_is_named(value: float, tmp_path: Path, capsys):
    np.save(tmp_path / "empty.npy", np.full((6, layout.POSE_DIM), value, np.float32))
    commands.call_script("visualize.py", "--clips", tmp_path / "empty.npy", "--sheet", tmp_path / "clip.png")
    assert "empty.npy: nothing is seen in any frame" in capsys.readouterr().out
