"""Reading a data set's files. docs/data.md describes the data layout.

DATA_DIR/{train,dev,test}/poses/ID.npz   keypoints [T,75,2], optional visibility or confidence [T,75], optional fps
DATA_DIR/{train,dev,test}/nmms/ID.pkl    dict: facial_aus [T,17], head_pose [T,3], eye_gaze [T,4], mouth_shape [T,20,2],
                                         optional fps
DATA_DIR/{split}.txt                     one ID|text per line, UTF-8
DATA_DIR/{split}.signers.txt             one ID|signer per line, optional
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from poses import layout
from poses.interpolation import at_moments, fill_gaps, seen_at_moments
from poses.odd_frames import odd_frames, still_parts
from poses.presence import MISSING, placed, shown_keypoints, shown_span, unmeasured
from poses.rates import FASTEST, SLOWEST, same_rate
from poses.texts import texts_by_id
from runtime.errors import UserError
from runtime.files import composed, read_lines
from runtime.pickles import read_pickle
from runtime.untrusted import NpzArchive, escaped

SPLITS = ("train", "dev", "test")
VISIBILITY_THRESHOLD = 0.01  # MediaPipe gives legs outside the picture .0002 and hidden arms within it .02 or more
MAX_KEYPOINT = 10.0  # image units; MediaPipe places legs outside the picture at up to 3
MAX_NMM = 1e4  # no unit in which a face is measured makes larger numbers
MAX_VISIBILITY = 1.5  # some programs' confidences exceed 1 a little; percent and logits by far
LENGTH_TOLERANCE = 2  # frames by which a clip's two files may differ in length
UNSTATED, RESAMPLED = "frames have no fps and are taken to be at", "fps were resampled to"  # parts of notes
HIDDEN_HANDS = (
    "hand keypoints, all of visibility 0 or below --visibility_threshold, so no hand is seen; MediaPipe gives hands no "
    "visibility: write 1 where a hand was found"
)
HIDDEN_TRUNK = (
    "nose and shoulders, all of visibility 0 or below --visibility_threshold; it is 1 for seen and 0 for unseen, and "
    "not the other way round"
)
SIMPLE_RATES = (1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 2, 2.0, 3.0, 4.0)  # of NMMs to poses, read off their lengths


@dataclass(frozen=True)
class Reading:
    """How a data set's files are read; the statistics keep it, so that every later stage reads them in the same way.

    visibility_threshold: keypoints of lower visibility count as unseen. fps: the rate to which clips are resampled,
    or None.
    """

    visibility_threshold: float = VISIBILITY_THRESHOLD
    fps: float | None = None


@dataclass
class StoredClip:
    """One clip: pose [T,214] float32 with its gaps filled, seen [T,214] bool (False has weight 0 everywhere).

    fps: frames per second, None where the files do not say. notes: what a user should know of how the files were read,
    each with the number of frames it concerns. nmm_rate: NMM frames per frame of the pose. doubt: what is wrong with
    the files unless other clips have this rate, too, if it was guessed from the files' lengths; else "". Frame t of the
    clip is frame start + t * step of its file.
    """

    id: str
    text: str
    pose: np.ndarray
    seen: np.ndarray
    fps: float | None = None
    notes: dict[str, int] = field(default_factory=dict)
    nmm_rate: float = 1.0
    doubt: str = ""
    start: int = 0
    step: float = 1.0


class KeypointFile(NamedTuple):
    """What a pose file holds: keypoints [T,75,2] float32, seen [T,75] bool, fps or None, the keys that are not read.

    collapsed: frames that have a hand whose points all lie in one place, which does not count as seen. hidden: frames
    that have a hand, if not one of the clip's hand points has a visibility that counts as seen; else 0. hidden_trunk:
    the same of nose and shoulders.
    """

    keypoints: np.ndarray
    seen: np.ndarray
    fps: float | None
    unread: list[str]
    collapsed: int
    hidden: int
    hidden_trunk: int


class NmmFile(NamedTuple):
    """What an NMM file holds: values [T,64] float32, NaN where unseen, fps or None, the keys that are not read."""

    values: np.ndarray
    fps: float | None
    unread: list[str]


def absurd_numbers(pose: np.ndarray) -> np.ndarray:
    """Where a clip [T,214] holds NaN, infinity, or more than a data set's own files may hold, [T,214] bool."""
    limits = np.full(layout.POSE_DIM, MAX_NMM)
    limits[layout.MANUAL] = MAX_KEYPOINT
    return ~(np.abs(pose) <= limits)


def load_array_pickle(path: Path) -> object:
    """Load a pickle that may hold arrays, numbers, strings and containers of them; anything else is a UserError."""
    try:
        return read_pickle(path)
    except FileNotFoundError:
        form = composed(path.name)
        twins = (twin.name for twin in path.parent.glob("*.pkl") if twin.name != path.name)
        if any(composed(twin) == form for twin in twins):
            raise UserError(f"{path}: its name is there in another Unicode form; name both files alike") from None
        raise UserError(f"{path}: no such file; every pose file needs its NMM file of the same name") from None


def read_nmm(path: Path) -> NmmFile:
    """The NMM numbers of a clip, from its pickle.

    A frame whose features are all zeros, all NaN or all -1 saw no face. A feature that has no other values in any frame
    with a face was not measured.
    """
    content = load_array_pickle(path)
    if not isinstance(content, dict):
        raise UserError(
            f"{path}: holds a {type(content).__name__}; expected a dict with {', '.join(layout.NMM_FEATURES)}"
        )
    parts = []
    for key, shape in layout.NMM_FEATURES.items():
        if key not in content:
            raise UserError(f"{path}: has no '{key}'; expected {', '.join(layout.NMM_FEATURES)}")
        try:
            value = np.asarray(content[key])
        except (TypeError, ValueError):  # lists of different lengths
            value = np.asarray(None)
        if value.dtype.kind not in "fiub":
            raise UserError(f"{path}: '{key}' is not numbers; expected an array [T,{_shape(shape)}]")
        if value.shape[1:] != shape or value.ndim != len(shape) + 1:
            raise UserError(f"{path}: '{key}' is [{_shape(value.shape)}]; expected [T,{_shape(shape)}]")
        parts.append(value.reshape(len(value), math.prod(shape)))
    if len({len(part) for part in parts}) > 1:
        raise UserError(f"{path}: its features differ in length, {', '.join(str(len(part)) for part in parts)} frames")
    values = np.concatenate(parts, axis=1)
    if len(values) == 0:
        raise UserError(f"{path}: zero frames; remove the clip or record it again")
    if not (values.max() <= MAX_NMM and values.min() >= -MAX_NMM):
        for key, part in zip(layout.NMM_FEATURES, parts, strict=True):
            _refuse_absurd(path, key, part, True, MAX_NMM, "more than any measure of a face; write NaN for missing")
    values = values.astype(np.float32, copy=False)
    features = np.split(values, np.cumsum([part.shape[1] for part in parts])[:-1], axis=1)  # views
    empty = [*map(unmeasured, features)]  # [T] bool each
    without_face = np.all(empty, axis=0)
    values[without_face] = np.nan
    for part, nothing in zip(features, empty, strict=True):
        if (nothing | without_face).all():
            part[:] = np.nan
    unread = [escaped(str(key)) for key in content if key not in layout.NMM_FEATURES and key != "fps"]
    return NmmFile(values, stated_fps(path, content.get("fps")), unread)


def read_keypoints(path: Path, visibility_threshold: float = VISIBILITY_THRESHOLD) -> KeypointFile:
    """The keypoints of a clip, from its .npz.

    A keypoint was not seen where its visibility (or confidence) is 0 or below the threshold, where it is NaN, where it
    is exactly (0, 0) or (-1, -1), and where it belongs to a hand whose points all lie in one place.
    """
    try:
        with NpzArchive(path) as archive:
            if "keypoints" not in archive:
                raise UserError(f"{path}: has no 'keypoints' (it has {escaped(', '.join(archive)) or 'nothing'})")
            key = next((key for key in ("visibility", "confidence") if key in archive), None)
            keypoints, visibility, fps = archive["keypoints"], archive[key] if key else None, archive.get("fps")
            unread = [escaped(name) for name in archive if name not in ("keypoints", key, "fps")]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    if keypoints.ndim != 3 or keypoints.shape[1:] != (layout.NUM_KEYPOINTS, 2) or keypoints.dtype.kind != "f":
        raise UserError(
            f"{path}: 'keypoints' is {keypoints.dtype} [{_shape(keypoints.shape)}]; expected float [T,75,2]"
        )
    seen = placed(keypoints)
    if visibility is not None:
        if visibility.dtype.kind not in "fiub":
            raise UserError(f"{path}: '{key}' is {visibility.dtype}; expected numbers from 0 to 1")
        if visibility.shape != keypoints.shape[:2]:
            raise UserError(f"{path}: '{key}' is [{_shape(visibility.shape)}]; expected [{len(keypoints)},75]")
        visible = (visibility >= visibility_threshold) & (visibility > 0)
        seen &= visible
    if len(keypoints) == 0:
        raise UserError(f"{path}: zero frames; remove the clip or record it again")
    odd = [] if visibility is None else visibility[(visibility > MAX_VISIBILITY) | (visibility < MISSING)]
    if len(odd):
        raise UserError(f"{path}: '{key}' holds {odd[0]:g}; write 0 for unseen up to 1 for seen, not percent or logits")
    why = "far outside the picture, 0 to 1; divide pixels by its width and height, and write NaN for missing"
    _refuse_absurd(path, "keypoints", keypoints, seen[..., None], MAX_KEYPOINT, why)
    shown = shown_keypoints(keypoints)
    whole = seen & shown
    hidden, hidden_trunk = (
        int(shown[:, part].any(1).sum()) if visibility is not None and not visible[:, part].any() else 0
        for part in (slice(layout.NUM_BODY, None), [layout.NOSE, *layout.SHOULDERS])
    )
    with np.errstate(over="ignore"):  # of what was not seen
        keypoints = keypoints.astype(np.float32)
    collapsed = int((seen & ~whole).any(1).sum())
    return KeypointFile(keypoints, whole, stated_fps(path, fps), unread, collapsed, hidden, hidden_trunk)


def _refuse_absurd(path: Path, key: str, values: np.ndarray, seen: np.ndarray | bool, limit: float, why: str) -> None:
    """Refuse values [T,...] beyond the limit; what was not seen may hold anything."""
    absurd = ((values > limit) | (values < -limit)) & seen
    if absurd.any():
        index = tuple(np.argwhere(absurd)[0].tolist())
        raise UserError(f"{path}: '{key}' holds {values[index]:g} in frame {index[0]}, {why}")


def stated_fps(path: Path, fps: object) -> float | None:
    """The frames per second that a file states, if it does."""
    if fps is None:
        return None
    value = np.asarray(fps if isinstance(fps, np.ndarray | np.generic | int | float) else "")
    if value.size != 1 or value.dtype.kind not in "fiu" or not SLOWEST <= value.item() <= FASTEST:
        raise UserError(
            f"{path}: 'fps' is not a positive number of frames per second, {SLOWEST:g} to {FASTEST:g}; correct it or "
            "leave it out"
        )
    return float(value.item())


def read_clip(data_dir: Path, split: str, clip_id: str, text: str = "", reading: Reading | None = None) -> StoredClip:
    """Read one clip, its gaps filled. Raises UserError naming the file that is damaged.

    NMMs of another rate are brought to the frames of the pose. Frames at the ends that saw nothing are left out.
    """
    reading = reading or Reading()
    folder = data_dir / split
    pose_path, nmm_path = folder / "poses" / f"{clip_id}.npz", folder / "nmms" / f"{clip_id}.pkl"
    pose_file, nmm_file = read_keypoints(pose_path, reading.visibility_threshold), read_nmm(nmm_path)
    notes = _notes_on_files(pose_file, nmm_file)
    length, rate, doubt = _match_files(pose_path, nmm_path, pose_file, nmm_file)
    keypoints, seen = pose_file.keypoints, pose_file.seen
    nmm, nmm_seen = nmm_file.values, np.isfinite(nmm_file.values)
    if rate != 1:
        moments = np.arange(length) * rate
        nmm, nmm_seen = at_moments(fill_gaps(nmm, nmm_seen)[0], moments), seen_at_moments(nmm_seen, moments)
        notes[f"frames whose NMMs were resampled in time ({rate:g} NMM frames per pose frame)"] = length
    fps = pose_file.fps or (nmm_file.fps and nmm_file.fps / rate)
    length = min(length, len(nmm))
    frames = shown_span(np.concatenate([seen[:length], nmm_seen[:length]], axis=1))
    trimmed = frames.start + int((~seen[frames.stop :].any(1)).sum())
    if trimmed:
        notes["frames at the ends saw nothing and were left out"] = trimmed
    notes |= odd_frames(keypoints[frames], seen[frames])
    keypoints, seen = fill_gaps(keypoints[frames], seen[frames])
    nmm, nmm_seen = fill_gaps(nmm[frames], nmm_seen[frames])
    if not seen.any():
        raise UserError(
            f"{pose_path}: no keypoint is seen in any frame (all NaN, zero, or of visibility 0 or below "
            f"{reading.visibility_threshold:g})"
        )
    pose = layout.keypoints_to_frame(keypoints, nmm)
    seen = np.concatenate([np.repeat(seen, 2, axis=1), nmm_seen], axis=1)
    notes |= still_parts(pose, seen)
    clip = StoredClip(clip_id, text, pose, seen, fps, notes, rate, doubt, frames.start)
    if reading.fps is not None:
        _resample(clip, reading.fps)
    return clip


def _match_files(pose_path: Path, nmm_path: Path, pose: KeypointFile, nmm: NmmFile) -> tuple[int, float, str]:
    """How a clip's two files go together: the frames of the pose without padding, the NMM frames for each of them, and
    the doubt about these (`StoredClip.doubt`). Raises UserError if the files are not one clip."""
    length = _without_padding(pose.seen, len(nmm.values))
    nmm_length = _without_padding(np.isfinite(nmm.values), len(pose.seen))
    rate = _relative_rate(length, nmm_length, pose.fps, nmm.fps)
    why = "they are not one clip (if both are whole, write 'fps' into each)"
    if pose.fps and nmm.fps:
        why = (
            f"at the rates that they state, {nmm.fps:g} and {pose.fps:g} fps, they are not one clip; correct one 'fps'"
        )
    mismatch = f"{nmm_path}: {nmm_length} frames against {length} of {pose_path.name}; {why}"
    if rate is None:
        raise UserError(mismatch)
    return length, rate, "" if rate == 1 or (pose.fps and nmm.fps) else mismatch


def _notes_on_files(pose: KeypointFile, nmm: NmmFile) -> dict[str, int]:
    """Notes for the user on the content of a clip's two files, each with the number of frames it concerns."""
    notes = {f"'{key}' of .npz files is not read": 0 for key in pose.unread}
    notes |= {f"'{key}' of NMM files is not read": 0 for key in nmm.unread}
    if pose.collapsed:
        notes["frames have a hand whose points all lie in one place; it does not count as seen"] = pose.collapsed
    if pose.hidden > len(pose.seen) / 2:
        notes[f"frames have {HIDDEN_HANDS}"] = pose.hidden
    if pose.hidden_trunk > len(pose.seen) / 2:
        notes[f"frames have {HIDDEN_TRUNK}"] = pose.hidden_trunk
    return notes


def _resample(clip: StoredClip, fps: float) -> None:
    """Bring a clip to the rate `fps`. A clip that states no rate is taken to have this one."""
    if clip.fps is None:
        clip.notes[f"{UNSTATED} {fps:g}"] = len(clip.pose)
    elif not same_rate(clip.fps, fps):
        clip.notes[f"frames at {clip.fps:g} {RESAMPLED} {fps:g}"] = len(clip.pose)
        clip.step = clip.fps / fps
        moments = np.arange(max(1, round(len(clip.pose) / clip.step))) * clip.step
        pose, seen = at_moments(clip.pose, moments), seen_at_moments(clip.seen, moments)
        shown = slice(0, shown_span(seen).stop)  # the resampled frames after it see nothing
        clip.pose, clip.seen = pose[shown], seen[shown]
    clip.fps = fps


def _without_padding(seen: np.ndarray, other_length: int) -> int:
    """The length of a file's seen [T,N], less the unseen frames at its end by which it exceeds the other file."""
    if len(seen) <= other_length:
        return len(seen)
    return max(other_length, int(np.flatnonzero(seen.any(1))[-1:].sum()) + 1)


def _relative_rate(length: int, nmm_length: int, fps: float | None, nmm_fps: float | None) -> float | None:
    """NMM frames for one frame of the pose: by both files' fps, or 1, or a simple ratio; None where none fits."""
    if fps and nmm_fps:
        rate = 1.0 if same_rate(fps, nmm_fps) else nmm_fps / fps
        fits = abs(nmm_length - rate * length) <= LENGTH_TOLERANCE * max(1.0, rate)
        return rate if fits else None
    if abs(nmm_length - length) <= LENGTH_TOLERANCE:
        return 1.0
    rate = min(SIMPLE_RATES, key=lambda rate: abs(np.log(nmm_length / (rate * length))))
    return rate if abs(nmm_length - rate * length) <= max(1.0, rate) else None


def list_clips(data_dir: Path, split: str) -> dict[str, str]:
    """The texts of a split's clips by ID, sorted by ID; an absent text file gives empty texts, with a warning."""
    folder = data_dir / split / "poses"
    if not data_dir.is_dir():
        raise UserError(f"{data_dir}: no such folder; pass the data set's folder with --data_dir")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; a data set holds train, dev and test, each with poses/ and nmms/")
    names = sorted(path.stem for path in folder.glob("*.npz"))
    ids = [name for name in names if not name.startswith("._")]
    if len(ids) < len(names):
        print(f"{folder}: left out {len(names) - len(ids)} files '._*', which macOS writes beside others")
    if not ids:
        raise UserError(f"{folder}: no .npz file; the {split} split is empty")
    by_form: dict[str, str] = {}  # IDs by their composed Unicode form: 'é' may also be written 'e' and an accent
    for clip_id in ids:
        twin = by_form.setdefault(composed(clip_id), clip_id)
        if twin != clip_id:
            raise UserError(f"{folder}: {twin!a} and {clip_id!a} are one name in two Unicode forms; remove one")
    text_path = data_dir / f"{split}.txt"
    if not text_path.is_file():
        print(f"warning: {text_path} is missing, so the texts of {split} are empty")
        return dict.fromkeys(ids, "")
    listed = texts_by_id(text_path, read_lines(text_path))
    texts = {by_form.get(composed(clip_id), clip_id): text for clip_id, text in listed.items()}
    unknown = sorted(texts.keys() - set(ids))
    if unknown:
        raise UserError(
            f"{text_path}: text for {len(unknown)} unknown clips, such as '{unknown[0]}', absent from {folder}; remove "
            "their lines"
        )
    without = sorted(set(ids) - texts.keys())
    if without:
        raise UserError(
            f"{text_path}: no line for {len(without)} clips of {folder}, such as '{without[0]}'; a clip without a text "
            f"has the line {without[0]}|"
        )
    return {clip_id: texts[clip_id] for clip_id in ids}


def _shape(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))
