"""Files of generated clips, by any system: ID.npy ([T,214], data units) or ID.pose (MediaPipe Holistic)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.clips import Clip, Reference
from poses.files import read_pose
from poses.writing import CLIP_FORMATS, write_clip
from runtime.errors import UserError


def read_predictions(folder: Path, references: list[Reference]) -> list[Clip]:
    """The clip of every reference, from ID.npy or ID.pose."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; --predictions_dir holds ID.npy or ID.pose for every clip")
    clips = []
    for reference in references:
        path = folder / f"{reference.id}.npy"
        if path.with_suffix(".pose").is_file() and not path.is_file():
            clip = read_pose(path.with_suffix(".pose"))
            clips.append(Clip(clip.pose, clip.seen))
        elif not path.is_file():
            raise UserError(f"{path}: no such file, nor .pose; every clip of the split needs its prediction")
        else:
            clips.append(Clip.generated(read_generated(path)))
    return clips


def read_generated(path: Path) -> np.ndarray:
    """The pose [T,214] float32 of an `.npy` file, every number of which must be there."""
    pose = read_pose(path).pose
    if not np.isfinite(pose).all():
        raise UserError(f"{path}: holds NaN or infinity; a prediction has every number")
    return pose


def write_predictions(
    folder: Path,
    references: list[Reference],
    clips: list[Clip],
    suffix: str = ".npy",
    fps: float | None = None,
    image_size: Sequence[int] | None = None,
) -> None:
    """Write ID.npy or ID.pose for every clip; one of the other format, by an earlier run, is removed."""
    for reference, clip in zip(references, clips, strict=True):
        write_clip(folder / f"{reference.id}{suffix}", clip.pose, fps, image_size)
        for other in set(CLIP_FORMATS) - {suffix}:
            (folder / f"{reference.id}{other}").unlink(missing_ok=True)
