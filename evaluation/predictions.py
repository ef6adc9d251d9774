"""Files of generated clips, by any system: ID.npy ([T,214], data units) or ID.pose (MediaPipe Holistic)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.clips import Clip, Reference
from poses import layout
from poses.files import MAX_KEYPOINT, MAX_NMM, read_pose
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
            path = path.with_suffix(".pose")
            clip = read_pose(path)
            clips.append(Clip.real(clip.pose, clip.seen))
            _refuse_absurd(path, clips[-1])
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
    if not pose.any():
        raise UserError(f"{path}: holds nothing but zeros, which is a clip that shows nothing; generate it again")
    _refuse_absurd(path, Clip(pose, np.ones(pose.shape, bool)))
    return pose


def _refuse_absurd(path: Path, clip: Clip) -> None:
    """Refuse what a data set's own files may not hold, such as pixels."""
    limits = np.full(layout.POSE_DIM, MAX_NMM)
    limits[layout.MANUAL] = MAX_KEYPOINT
    absurd = ~(np.abs(clip.pose) <= limits) & clip.seen
    if absurd.any():
        frame, number = np.argwhere(absurd)[0].tolist()
        raise UserError(
            f"{path}: holds {clip.pose[frame, number]:g} in frame {frame}, number {number}; predictions are in data "
            "units, keypoints 0 to 1 within the picture"
        )


def require_finite(clips: Sequence[Clip], references: Sequence[Reference], maker: str) -> None:
    """UserError where a model made a clip that is no numbers, or so large that none can be computed with them."""
    for clip, reference in zip(clips, references, strict=True):
        if not (np.abs(clip.pose) <= MAX_NMM).all():  # NaN is not either
            raise UserError(
                f"{maker} made a clip of NaN, infinity or numbers beyond {MAX_NMM:g} for '{reference.id}'; "
                "its training diverged: train it again with a lower --learning_rate"
            )


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
        write_clip(folder / f"{reference.id}{suffix}", clip.in_file(), fps, image_size)
        for other in set(CLIP_FORMATS) - {suffix}:
            (folder / f"{reference.id}{other}").unlink(missing_ok=True)
