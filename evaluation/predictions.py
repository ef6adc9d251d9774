"""Files of generated clips, by any system: ID.npy ([T,214], data units) or ID.pose (MediaPipe Holistic)."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.clips import Clip, Reference
from poses.files import Reading, absurd_numbers
from poses.presence import shown_span
from poses.rates import same_rate
from poses.single_clips import read_single_clip
from poses.writing import CLIP_FORMATS, write_clip
from runtime.errors import UserError
from runtime.files import composed, write_whole_folder


def read_predictions(
    folder: Path, references: list[Reference], fps: float | None = None, reading: Reading | None = None
) -> list[Clip]:
    """The clip of every reference, from ID.npy or ID.pose.

    fps: the references' frames per second, if they state them. reading: how the references' files were read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; --predictions_dir holds ID.npy or ID.pose for every clip")
    clips, trimmed, first = [], 0, None
    for reference in references:
        path = prediction_path(folder, reference.id)
        clip, rate, cut = _read(path, fps, reading)
        first = first or (rate and (path.name, rate))
        if rate and not same_rate(rate, first[1]):
            raise UserError(
                f"{path}: {rate:g} frames per second, but {first[0]} has {first[1]:g}; bring all clips to the rate of "
                "the data set"
            )
        clips.append(clip)
        trimmed += cut
    if trimmed:
        print(f"{folder}: frames at the ends of {trimmed} of {len(clips)} clips show nothing, and do not count")
    return clips


def name_key(name: str) -> str:
    """The key under which names of files count as one: composed Unicode, lower case."""
    return composed(name).lower()


def prediction_path(folder: Path, clip_id: str) -> Path:
    """ID.npy or ID.pose, the ID in any Unicode form: files of texts and of poses may differ in it, and so may systems.

    UserError where there is none, or both: one of them is of an earlier run.
    """
    forms = dict.fromkeys([clip_id, *(unicodedata.normalize(form, clip_id) for form in ("NFC", "NFD"))])
    of_forms = [[folder / f"{form}{suffix}" for suffix in CLIP_FORMATS] for form in forms]
    paths = next((paths for paths in of_forms if any(path.is_file() for path in paths)), of_forms[0])
    found = [path for path in paths if path.is_file()]
    if len(found) > 1:
        raise UserError(f"{paths[0]}: stands beside {paths[1].name}; remove the one of an earlier run")
    if not found:
        others = (path for path in folder.iterdir() if path.suffix != ".json")  # a .json records how a clip was made
        alike = (path.name for path in others if name_key(path.stem) == name_key(clip_id))
        hint = next((f"; {name!a} is another name or format" for name in sorted(alike)), "")
        raise UserError(f"{paths[0]}: no such file, nor .pose; every clip of the split needs its prediction{hint}")
    return found[0]


def read_prediction(path: Path, fps: float | None = None, reading: Reading | None = None) -> Clip:
    """The clip of an `.npy` file, every number of which must be there, or of a `.pose` file, as it is scored.

    reading: of the data set, which says from which confidence on a keypoint of a `.pose` file counts as seen.
    Raises UserError if its rate is not its reference's: at twice the frames per second, motion looks half as fast.
    """
    return _read(path, fps, reading)[0]


def _read(path: Path, fps: float | None, reading: Reading | None) -> tuple[Clip, float | None, bool]:
    """`read_prediction`, the frames per second that the clip states, if it does, and whether ends were cut off."""
    read = read_single_clip(path, reading)
    if fps and read.fps and not same_rate(fps, read.fps):
        raise UserError(f"{path}: {read.fps:g} frames per second, but its reference has {fps:g}; bring it to that rate")
    measured = read.seen
    if path.suffix == ".npy":
        if not np.isfinite(read.pose).all():
            raise UserError(f"{path}: holds NaN or infinity, or more than float32 can; write 0 for what is absent")
        if not read.pose.any():
            raise UserError(f"{path}: holds nothing but zeros, which is a clip that shows nothing; generate it again")
        measured = np.ones(read.pose.shape, bool)
    _refuse_absurd(path, read.pose, measured)
    # Ends are cut first, as in a data set's files: before padding, a hand that comes last would seem a short mistake.
    shown = shown_span(read.seen)
    pose, seen = read.pose[shown], read.seen[shown]
    clip = (Clip.generated(pose) if path.suffix == ".npy" else Clip.real(pose, seen)).trimmed()
    return clip, read.fps, len(clip.pose) < len(read.pose)


def _refuse_absurd(path: Path, pose: np.ndarray, seen: np.ndarray) -> None:
    """Refuse what a data set's own files may not hold, such as pixels."""
    absurd = absurd_numbers(pose) & seen
    if absurd.any():
        frame, number = np.argwhere(absurd)[0].tolist()
        raise UserError(
            f"{path}: holds {pose[frame, number]:g} in frame {frame}, number {number}; predictions are in data "
            "units, keypoints 0 to 1 within the picture"
        )


def require_only_clips(folder: Path) -> None:
    """Raises UserError if `write_predictions` would remove what is no clip."""
    if folder.exists() and not folder.is_dir():
        raise UserError(
            f"{folder}: is a file, where a folder of clips is to be; move it, or choose another --output_dir"
        )
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    other = next((p for p in found if p.is_dir() or not (p.suffix in CLIP_FORMATS or p.name.startswith("."))), None)
    if other is not None:
        raise UserError(
            f"{other}: is no clip, and --save_predictions replaces its whole folder; move it, or choose another "
            "--output_dir"
        )


def write_predictions(
    folder: Path,
    references: list[Reference],
    clips: list[Clip],
    suffix: str = ".npy",
    fps: float | None = None,
    image_size: Sequence[int] | None = None,
) -> None:
    """Write ID.npy or ID.pose for every clip: a whole folder, or nothing, in place of one by an earlier run."""
    with write_whole_folder(folder) as new:
        for reference, clip in zip(references, clips, strict=True):
            write_clip(new / f"{reference.id}{suffix}", clip.in_file(), fps, image_size)
