"""OpenPose's, DWPose's and MMPose's JSON: one file per frame (or one for all), each with the people that were found."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from importers.people import follow_keypoints, note_on_people, notes_on_hands_alone, shows_trunk, through_time
from importers.recording import MAX_BODY_SCORE, naming, sound_scores
from importers.skeletons import BODY_25, NUM_WHOLE_BODY, OPENPOSE_18, from_whole_body, map_points
from poses import layout
from poses.presence import MISSING
from runtime.errors import UserError
from runtime.untrusted import read_json

MAX_VIDEO_BYTES = 2**29  # of a file for all frames; MMPose writes 13 KB for a person in a frame
MAX_SIDE = 100_000  # pixels of a picture's width or height
FRAME_NUMBER = re.compile(r"(?:_fn(\d+)-\d+|(\d+))(?:_keypoints)?$")  # PHOENIX-2014 writes _fn000012-0


def frame_number(path: Path) -> int | None:
    """The number of the frame in a file's name, such as 12 in `clip_000000000012_keypoints.json`."""
    found = FRAME_NUMBER.search(path.stem)
    return int(found[1] or found[2]) if found else None


def are_seconds(paths: list[Path]) -> bool:
    """Whether the files of one clip's frames are named by seconds, as 0.042 and 0.083: each second would be a clip, and
    each thousandth a frame. Names such as clip 12's 12.000001 and 12.000002 count frames."""
    if not all(re.fullmatch(r"\d+\.\d+", path.stem) for path in paths):
        return False
    return bool((np.diff(sorted(frame_number(path) for path in paths)) > 1).any())


def is_video(path: Path) -> bool:
    """Whether a .json holds all frames of a clip, as MMPose writes it; judged by its first bytes, as it may be long."""
    with open(path, "rb") as file:
        start = file.read(4096)
    return b'"instance_info"' in start or b'"meta_info"' in start or (start.lstrip().startswith(b"[") and b"{" in start)


def holds_frame(path: Path) -> bool:
    """Whether a .json looks like a frame of OpenPose or DWPose, by the key that each has near its start."""
    with open(path, "rb") as file:
        start = file.read(4096)
    return b'"people"' in start or b'"num_persons"' in start


def clip_prefix(path: Path) -> str:
    """The part of a frame's file name before its number."""
    return re.sub(r"[_\-.]$", "", FRAME_NUMBER.sub("", path.stem))  # one mark between: an ID may end in another


def read_frames(
    paths: list[Path], person: str
) -> tuple[np.ndarray, np.ndarray, tuple[int, int] | None, tuple[str, ...]]:
    """Points [T,75,2], scores [T,75], the picture's size if told, and notes of a clip from its frames' files, following
    one person."""
    frames, notes = places_of([frame_number(path) for path in paths])
    people, sizes = [], set()
    for path in paths:
        with naming(path):
            content = read_json(path)
            people.append(people_of(content))
            sizes.add(canvas_of(content))
    sizes.discard(None)
    if len(sizes) > 1:
        listed = ", ".join(f"{width} x {height}" for width, height in sorted(sizes))
        raise UserError(f"its frames state canvases of several sizes, {listed}; one clip is of one picture")
    points, visibility, more = _follow(people, frames, person)
    return points, visibility, next(iter(sizes), None), (*notes, *more)


def read_video_file(path: Path, person: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Points [T,75,2], scores [T,75] and notes of a clip from one file for all frames, as MMPose writes it."""
    content = read_json(path, MAX_VIDEO_BYTES)
    frames = content.get("instance_info") if isinstance(content, dict) else content
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise UserError("is neither a frame of OpenPose or DWPose nor a video of MMPose ('instance_info')")
    if any("keypoint_scores" in frame for frame in frames):
        raise UserError(
            "holds the people of one picture, as MMPose writes for pictures; give it the video, for which it writes "
            "one file with all frames"
        )
    if not any("instances" in frame for frame in frames):
        raise UserError("is a list without 'instances', so no video of MMPose; OpenPose writes one file per frame")
    places, notes = np.arange(len(frames)), ()
    if all(type(frame.get("frame_id")) is int for frame in frames):
        frames.sort(key=lambda frame: frame["frame_id"])
        places, notes = places_of([frame["frame_id"] for frame in frames])
    points, visibility, more = _follow([_mmpose(frame) for frame in frames], places, person)
    return points, visibility, (*notes, *more)


def people_of(content: object) -> np.ndarray:
    """The people of one frame, [P,75,3]: x, y, score; 0 where a point was not found."""
    if isinstance(content, dict) and isinstance(content.get("people"), list):
        people = [_openpose(person) for person in content["people"]]
    elif isinstance(content, dict) and "num_persons" in content:
        people = [_dwpose(person) for key, person in content.items() if re.fullmatch(r"person_\d+", key)]
    else:
        raise UserError("is not a frame of OpenPose ('people') or DWPose ('num_persons', 'person_0', ...)")
    return np.stack(people) if people else np.zeros((0, layout.NUM_KEYPOINTS, 3))


def canvas_of(content: dict) -> tuple[int, int] | None:
    """Width and height of the picture, in pixels, where a frame states them as ControlNet and ComfyUI do."""
    width, height = content.get("canvas_width"), content.get("canvas_height")
    if width is None and height is None:
        return None
    if not all(type(side) in (int, float) and 1 <= side <= MAX_SIDE for side in (width, height)):
        raise UserError("its 'canvas_width' and 'canvas_height' are no size of a picture in pixels")
    return round(width), round(height)


def _openpose(person: object) -> np.ndarray:
    body = _numbers(person, "pose_keypoints_2d", width=3)
    hands = [_numbers(person, f"hand_{side}_keypoints_2d", 3, absent=21) for side in ("left", "right")]
    face = _numbers(person, "face_keypoints_2d", 3, absent=70)
    tables = {25: BODY_25, 18: OPENPOSE_18}
    if len(body) not in tables or len(face) < 68 or len(hands[0]) != 21 or len(hands[1]) != 21:
        raise UserError(
            f"has {len(body)} body, {len(face)} face and {len(hands[0])} + {len(hands[1])} hand points; "
            "expected 25 or 18, 70, and 21 + 21 of each person"
        )
    for part in (body, *hands, face):
        sound_scores(part[:, 2])
    return map_points(body, tables[len(body)], *hands, face)


def _dwpose(person: object) -> np.ndarray:
    parts = []
    for part in ("body", "left_hand", "right_hand", "face"):
        points = _numbers(person, f"{part}_keypoints", width=2)
        scores = _numbers(person, f"{part}_scores", width=1)[:, 0]
        if len(scores) != len(points):
            raise UserError(f"has {len(scores)} '{part}_scores' for {len(points)} '{part}_keypoints'")
        if part == "body" and _are_indices(scores):
            scores = (scores >= 0).astype(float)
        scores = sound_scores(scores, MAX_BODY_SCORE)
        parts.append(np.concatenate([points, scores[:, None]], axis=1) * (scores > 0)[:, None])
    body, left, right, face = parts
    if (len(body), len(left), len(right)) != (18, 21, 21) or len(face) < 68:
        raise UserError("expected 18 body, 68 face and 21 + 21 hand points of each person")
    return map_points(body, OPENPOSE_18, left, right, face)


def _are_indices(scores: np.ndarray) -> bool:
    """Whether a body's scores [18] are not scores but the indices of its points among those of all people, or -1, as
    DWPose writes them."""
    found = scores != MISSING
    first = (scores - np.arange(len(scores)))[found]  # the index of the person's first point
    return bool((first == first[:1]).all() and (first >= 0).all() and (first % 18 == 0).all())


def _mmpose(frame: dict) -> np.ndarray:
    people = []
    instances = frame.get("instances") or []
    if not isinstance(instances, list):
        raise UserError("its 'instances' are no list of people")
    for person in instances:
        points = _numbers(person, "keypoints", width=2)
        scores = _numbers(person, "keypoint_scores", width=1)
        if len(points) != NUM_WHOLE_BODY or len(scores) != NUM_WHOLE_BODY:
            raise UserError(f"has people of {len(points)} points; expected COCO's whole body, {NUM_WHOLE_BODY}")
        people.append(from_whole_body(np.concatenate([points, sound_scores(scores, MAX_BODY_SCORE)], axis=1)))
    return np.stack(people) if people else np.zeros((0, layout.NUM_KEYPOINTS, 3))


def _numbers(person: object, key: str, width: int, absent: int | None = None) -> np.ndarray:
    """The numbers under a key as [N,width]; zeros [absent,width] where it may be missing and is."""
    value = person.get(key) if isinstance(person, dict) else None
    if not value and absent is not None:
        return np.zeros((absent, width))
    try:
        return np.asarray(value, dtype=np.float64).reshape(-1, width)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"'{key}' is missing or not numbers") from None


def places_of(numbers: Sequence[int | None]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Each file's frame, by the files' rising numbers, and notes; a missing number leaves an unseen frame.

    Where all numbers are some frames apart, most frames would be missing, or two files have one number, the files are
    taken one after the other.
    """
    in_order = np.arange(len(numbers))
    if None in numbers:
        return in_order, ()
    if len(set(numbers)) < len(numbers):
        twice = next(number for number, count in Counter(numbers).items() if count > 1)
        return in_order, (f"several of its frames have the number {twice}; all are taken to follow one another",)
    frames = np.array(numbers) - min(numbers)
    apart = int(np.gcd.reduce(np.diff(frames))) if len(frames) > 1 else 1
    notes = (f"its frames are {apart} numbers apart; --source_fps is taken to be theirs",) if apart > 1 else ()
    frames = frames // apart
    missing = int(frames[-1]) + 1 - len(numbers)
    if missing > len(numbers):
        return in_order, ("fewer than half of the frames are there; they are taken to follow one another",)
    return frames.astype(np.int64), (*notes, f"missing frames: {missing}") if missing else notes


def _follow(
    people: list[np.ndarray], frames: np.ndarray, person: str
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """One person through all frames. people: the people [N,75,3] of each file; frames: each file's frame."""
    people = [np.where(np.isfinite(found).all(2, keepdims=True), found, 0) for found in people]  # NaN: not found
    hands_alone = notes_on_hands_alone(people)
    people = [found[shows_trunk(found)] for found in people]
    track, count = follow_keypoints(people, frames, person)
    points = through_time(people, frames, track)
    notes = [note_on_people(count, person)] if count > 1 else []
    return points[..., :2], points[..., 2], (*notes, *hands_alone)
