"""What an importer makes of one recording, and the files of a data set that hold it."""

import hashlib
import json
import math
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from importers.geometry import require_person
from poses import layout
from poses.face import split_nmm
from poses.files import MAX_KEYPOINT, MAX_NMM, MAX_VISIBILITY
from poses.interpolation import MAX_INTERPOLATED_GAP
from poses.pack import digest
from poses.presence import HALF, MISSING, shown_keypoints
from poses.rates import FASTEST, SLOWEST, same_rate
from runtime.errors import UserError
from runtime.files import write_whole
from runtime.untrusted import read_kept

PARTS = ("body", "face", "left hand", "right hand")  # whose frames the report counts
MAX_BODY_SCORE = 20.0  # scores of whole bodies by RTMPose and DWPose reach 10
WHOLE = 2**28  # bytes: the largest file whose digest is of all of it
PROBE = 2**16  # bytes that the digest of a larger file reads at each place
FAR_APART = 3  # times the usual distance in time: between frames so far apart others are missing


@dataclass(frozen=True)
class Recording:
    """One clip: keypoints [T,75,2] in image units, visibility [T,75], nmm [T,64], fps, notes for the report, and
    `aspect`, the picture's width over its height where it is known.

    What was not seen is zeros with visibility 0 among the keypoints, and NaN in the nmm.
    """

    keypoints: np.ndarray
    visibility: np.ndarray
    nmm: np.ndarray
    fps: float
    notes: tuple[str, ...] = ()
    aspect: float | None = None

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def seen(self) -> np.ndarray:
        """[T,75] bool."""
        return self.visibility > 0

    def counts(self) -> dict[str, int]:
        """In how many frames the body, the face and each hand was seen; a hand, if half of it was."""
        shown = (
            self.seen[:, layout.SHOULDERS].all(1),
            np.isfinite(self.nmm).any(1),
            self.seen[:, layout.LEFT_HAND_KEYPOINTS].mean(1) >= HALF,
            self.seen[:, layout.RIGHT_HAND_KEYPOINTS].mean(1) >= HALF,
        )
        return {part: int(frames.sum()) for part, frames in zip(PARTS, shown, strict=True)}


def make_recording(
    keypoints: np.ndarray,
    visibility: np.ndarray,
    nmm: np.ndarray | None,
    fps: float,
    notes: tuple[str, ...] = (),
    aspect: float | None = None,
) -> Recording:
    """A recording from arrays in which what was not seen may also be NaN, (0, 0), or a hand that is shrunk to a point.

    nmm: None where the recording has no face. Raises UserError if no keypoint was seen in any frame.
    """
    if not SLOWEST <= fps <= FASTEST:
        raise UserError(f"its rate is {fps:.3g} frames per second; a clip's is {SLOWEST:g} to {FASTEST:g}")
    seen = shown_keypoints(keypoints) & np.isfinite(visibility) & (visibility > 0)
    require_person(seen)
    if np.abs(keypoints[seen]).max() > MAX_KEYPOINT:
        raise UserError(f"a coordinate of {np.abs(keypoints[seen]).max():.3g} pictures lies nowhere near the picture")
    if nmm is None:
        nmm = np.full((len(keypoints), layout.NMM_DIM), np.nan)
    measured = np.abs(nmm) < MAX_NMM
    whole = (measured | ~measured.any(0)).all(1, keepdims=True)  # every number that any frame has
    return Recording(
        np.where(seen[..., None], keypoints, 0).astype(np.float32),
        np.where(seen, visibility, 0).clip(0, 1).astype(np.float32),
        np.where(measured & whole, nmm, np.nan).astype(np.float32),
        float(fps),
        notes,
        aspect,
    )


def sound_scores(scores: np.ndarray, most: float = MAX_VISIBILITY, or_else: str = "") -> np.ndarray:
    """The scores, which must go from 0 for unseen to 1 for seen, or a little more, up to `most`; -1 is unseen, too.

    UserError for percent, logits and other numbers; or_else: further advice for its message.
    """
    odd = scores[(scores > most) | (scores < MISSING)]
    if len(odd):
        raise UserError(
            f"a point's score is {odd[0]:g}: no score from 0 for unseen to 1 for seen; divide percent by 100{or_else}"
        )
    return scores


def at_even_rate(recording: Recording, stamps: np.ndarray, fps: float) -> Recording:
    """The recording, whose frames were taken at `stamps` [T] seconds (rising), at an even rate of `fps`.

    Numbers between two frames are interpolated where both saw them; elsewhere the nearer frame is taken. Between frames
    that lie far apart, as where pictures are missing, nothing was seen.
    """
    frames = int((stamps[-1] - stamps[0]) * fps + 1e-6) + 1
    moments = (stamps[0] + np.arange(frames) / fps).clip(max=stamps[-1])
    after = np.searchsorted(stamps, moments).clip(1, len(stamps) - 1) if len(stamps) > 1 else np.zeros(frames, int)
    before = (after - 1).clip(min=0)
    weight = (moments - stamps[before]) / np.maximum(stamps[after] - stamps[before], 1e-9)
    weight = weight.clip(0, 1).astype(np.float32)

    usual = np.median(np.diff(stamps)) if len(stamps) > 1 else 0.0
    near = stamps[after] - stamps[before] <= max((MAX_INTERPOLATED_GAP + 1) / fps, FAR_APART * usual)
    near |= np.minimum(moments - stamps[before], stamps[after] - moments) <= 0.5 * usual  # beside a frame that is there

    def between(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
        shape = (-1, *[1] * (values.ndim - 1))
        both = (seen[before] & seen[after]).reshape(len(weight), -1, *[1] * (values.ndim - 2))
        mixed = values[before] + weight.reshape(shape) * (values[after] - values[before])
        return np.where(both, mixed, np.where(weight.reshape(shape) < 0.5, values[before], values[after]))

    nmm = between(recording.nmm, np.isfinite(recording.nmm))
    return replace(
        recording,
        keypoints=between(recording.keypoints, recording.seen),
        visibility=between(recording.visibility, recording.seen) * near[:, None],
        nmm=np.where(near[:, None], nmm, np.float32(np.nan)),
        fps=float(fps),
    )


def at_rate(recording: Recording, fps: float | None) -> Recording:
    """The recording at `fps` frames per second; as it is for None, and where the two rates count as one."""
    if fps is None or same_rate(recording.fps, fps):
        return recording
    return at_even_rate(recording, np.arange(len(recording)) / recording.fps, fps)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Within the block, a UserError begins with the name of this file, one of many that make a recording."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path.name}: {str(error).removeprefix(f'{path}: ')}") from None


def content_of(path: Path, *, whole: bool = False) -> str:
    """A digest that tells whether a recording was replaced or changed: of a file's size, start, middle and end; of a
    folder's names and of each of its files. A link that leads nowhere has a digest that no file has.

    whole: digest all of a file of up to WHOLE bytes, since arrays, unlike videos, may change in the middle.
    """
    if not path.exists():
        return digest([])
    if path.is_dir():
        names = sorted(entry.name for entry in os.scandir(path))
        return digest([names, *(content_of(path / name, whole=whole) for name in names if (path / name).is_file())])
    parts, size = [], path.stat().st_size
    if whole and size <= WHOLE:
        with open(path, "rb") as file:
            return digest([size, hashlib.file_digest(file, "sha256").hexdigest()])
    with open(path, "rb") as file:
        for start in sorted({0, size // 2, max(0, size - PROBE)}):
            file.seek(start)
            parts.append(hashlib.sha256(file.read(PROBE)).hexdigest())
    return digest([size, *parts])


def _clip_files(output_dir: Path, split: str, clip_id: str) -> tuple[Path, Path]:
    return output_dir / split / "nmms" / f"{clip_id}.pkl", output_dir / split / "poses" / f"{clip_id}.npz"


def remove_recording(output_dir: Path, split: str, clip_id: str) -> None:
    """Remove a clip's files, its record first: what is left of a clip without a record is made again."""
    for path in (record_path(output_dir, split, clip_id), *_clip_files(output_dir, split, clip_id)):
        path.unlink(missing_ok=True)


def write_recording(
    output_dir: Path, split: str, clip_id: str, recording: Recording, source: str, path: Path, content: str
) -> None:
    """Write a clip's files; its record, for the report, comes last and says that the clip is complete.

    source, path: the name and the place of the recording that it was made from. content: as `content_of` gives it.
    """
    nmms, poses = _clip_files(output_dir, split, clip_id)
    with write_whole(nmms) as file:
        pickle.dump(split_nmm(recording.nmm), file)
    with write_whole(poses) as file:
        np.savez(file, keypoints=recording.keypoints, visibility=recording.visibility, fps=np.float64(recording.fps))
    record = {
        "sizes": _sizes(nmms, poses),
        "source": source,
        "path": os.path.realpath(path),
        "content": content,
        "frames": len(recording),
        "fps": recording.fps,
        "aspect": recording.aspect,
        "seen": recording.counts(),
        "notes": list(recording.notes),
    }
    with write_whole(record_path(output_dir, split, clip_id), "w") as file:
        json.dump(record, file, ensure_ascii=False)


def _sizes(*paths: Path) -> list[int]:
    """The files' bytes, -1 where there is none."""
    return [path.stat().st_size if path.is_file() else -1 for path in paths]


def is_complete(output_dir: Path, split: str, clip_id: str, record: dict) -> bool:
    """Whether a clip's files are as large as when its record was written. Earlier versions kept no sizes."""
    sizes = _sizes(*_clip_files(output_dir, split, clip_id))
    return -1 not in sizes and record.get("sizes", sizes) == sizes


def record_path(output_dir: Path, split: str, clip_id: str) -> Path:
    return output_dir / split / "records" / f"{clip_id}.json"


def read_record(output_dir: Path, split: str, clip_id: str) -> dict | None:
    """A clip's record, for the report; None if the clip is not complete yet. UserError for a damaged record."""
    damaged = "not the record of a clip; remove the file, and its clip is made again"
    return read_kept(record_path(output_dir, split, clip_id), _is_record, damaged)


def _is_record(record: object) -> bool:
    """Whether it has all that the report reads. Earlier versions kept no `content`."""
    if not isinstance(record, dict):
        return False
    frames, fps, aspect = record.get("frames"), record.get("fps"), record.get("aspect", "absent")
    seen, notes = record.get("seen"), record.get("notes")
    return (
        type(frames) is int
        and frames > 0
        and type(fps) in (int, float)
        and 0 < fps < math.inf
        and (aspect is None or (type(aspect) in (int, float) and 0 < aspect < math.inf))
        and isinstance(seen, dict)
        and all(type(seen.get(part)) is int for part in PARTS)
        and isinstance(notes, list)
        and all(isinstance(text, str) for text in [record.get("source"), *notes])
    )
