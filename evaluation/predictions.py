"""Clips that were generated before, by any system, as evaluate.py takes them."""

from pathlib import Path

import numpy as np

from evaluation.clips import Reference
from poses.files import read_pose_file
from poses.interpolation import fill_gaps
from poses.layout import POSE_DIM, keypoints_to_frame
from runtime.errors import UserError


def read_predictions(folder: Path, references: list[Reference]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """ID.npy or ID.pose for every clip of the split: poses [T,214], denormalised, and their weights (1 = seen)."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; --predictions_dir holds ID.npy or ID.pose for every clip")
    clips, weights = [], []
    for reference in references:
        path = folder / f"{reference.id}.npy"
        if path.with_suffix(".pose").is_file() and not path.is_file():
            clip, seen = read_pose_prediction(path.with_suffix(".pose"))
        else:
            clip = read_array_prediction(path)
            seen = np.ones(clip.shape, bool)
        clips.append(clip)
        weights.append(seen.astype(np.float32))
    return clips, weights


def read_pose_prediction(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pose [T,214] of a `.pose` file and what it holds [T,214]: a peer's clip that lacks a hand lacks its weight."""
    recording = read_pose_file(path)
    keypoints, seen = fill_gaps(recording.keypoints, recording.visibility > 0)
    if not seen.any():
        raise UserError(f"{path}: no keypoint has a confidence above 0; export it again")
    nmm_seen = np.repeat(recording.face_seen[:, None], recording.nmm.shape[1], axis=1)
    seen = np.concatenate([np.repeat(seen, 2, axis=1), nmm_seen], axis=1)
    return keypoints_to_frame(keypoints, recording.nmm), seen


def read_array_prediction(path: Path) -> np.ndarray:
    try:
        clip = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file, nor .pose; every clip of the split needs its prediction") from None
    except (ValueError, EOFError, OSError):
        raise UserError(f"{path}: not a readable .npy of numbers; write it again with numpy.save") from None
    if clip.ndim != 2 or clip.shape[1] != POSE_DIM or not len(clip) or clip.dtype.kind not in "fiu":
        raise UserError(f"{path}: {clip.dtype} {list(clip.shape)}; expected float [T,{POSE_DIM}], T at least 1")
    if not np.isfinite(clip).all():
        raise UserError(f"{path}: holds NaN or infinity; a prediction has every number")
    return clip.astype(np.float32)
