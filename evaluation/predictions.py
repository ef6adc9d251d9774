"""Files of generated clips, by any system: ID.npy ([T,214], data units) or ID.pose (MediaPipe Holistic)."""

from pathlib import Path

import numpy as np

from evaluation.clips import Clip, Reference
from poses.files import read_pose_file
from poses.interpolation import fill_gaps
from poses.layout import POSE_DIM, keypoints_to_frame
from runtime.errors import UserError
from runtime.files import write_whole
from runtime.untrusted import read_npy


def read_predictions(folder: Path, references: list[Reference]) -> list[Clip]:
    """The clip of every reference, from ID.npy or ID.pose."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; --predictions_dir holds ID.npy or ID.pose for every clip")
    clips = []
    for reference in references:
        path = folder / f"{reference.id}.npy"
        if path.with_suffix(".pose").is_file() and not path.is_file():
            clips.append(read_pose_prediction(path.with_suffix(".pose")))
        else:
            clips.append(Clip.generated(read_array_prediction(path)))
    return clips


def write_predictions(folder: Path, references: list[Reference], clips: list[Clip]) -> None:
    """Write ID.npy for every clip."""
    for reference, clip in zip(references, clips, strict=True):
        with write_whole(folder / f"{reference.id}.npy") as file:
            np.save(file, clip.pose)


def read_pose_prediction(path: Path) -> Clip:
    """The clip of a `.pose` file; what the file lacks, say a hand, counts as not seen."""
    recording = read_pose_file(path)
    keypoints, seen = fill_gaps(recording.keypoints, recording.visibility > 0)
    if not seen.any():
        raise UserError(f"{path}: no keypoint has a confidence above 0; export it again")
    nmm_seen = np.repeat(recording.face_seen[:, None], recording.nmm.shape[1], axis=1)
    seen = np.concatenate([np.repeat(seen, 2, axis=1), nmm_seen], axis=1)
    return Clip(keypoints_to_frame(keypoints, recording.nmm), seen)


def read_array_prediction(path: Path) -> np.ndarray:
    """The pose [T,214] float32 of an `.npy` file."""
    try:
        clip = read_npy(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file, nor .pose; every clip of the split needs its prediction") from None
    if clip.ndim != 2 or clip.shape[1] != POSE_DIM or not len(clip) or clip.dtype.kind not in "fiu":
        raise UserError(f"{path}: {clip.dtype} {list(clip.shape)}; expected float [T,{POSE_DIM}], T at least 1")
    if not np.isfinite(clip).all():
        raise UserError(f"{path}: holds NaN or infinity; a prediction has every number")
    return clip.astype(np.float32)
