"""Made-up clips in the data layout, for tests that need files of a known size or with a known fault."""

import pickle
from pathlib import Path

import numpy as np

from poses import layout
from runtime.files import write_whole


def write_clip(folder: Path, split: str, clip_id: str, frames: int, rng: np.random.Generator, **changes) -> None:
    """A made-up clip in the data layout; `changes` replace arrays of either file by name, None leaves one out."""
    pose = {"keypoints": rng.uniform(0.1, 0.9, (frames, layout.NUM_KEYPOINTS, 2)).astype(np.float32)}
    nmm = {key: rng.normal(size=(frames, *shape)).astype(np.float32) for key, shape in layout.NMM_FEATURES.items()}
    for name, value in changes.items():
        (nmm if name in layout.NMM_FEATURES else pose)[name] = value
    arrays = {name: value for name, value in pose.items() if value is not None}
    with write_whole(folder / split / "poses" / f"{clip_id}.npz") as file:
        np.savez(file, **arrays)
    with write_whole(folder / split / "nmms" / f"{clip_id}.pkl") as file:
        pickle.dump({name: value for name, value in nmm.items() if value is not None}, file)


def write_data(folder: Path, lengths: dict[str, list[int]], seed: int = 0) -> Path:
    """A made-up data set with clips of these lengths in each split, their texts 'text 0', 'text 1', ..."""
    rng = np.random.default_rng(seed)
    for split, frames in lengths.items():
        for number, length in enumerate(frames):
            write_clip(folder, split, f"{split}{number}", length, rng)
        lines = [f"{split}{number}|text {number}\n" for number in range(len(frames))]
        (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    return folder
