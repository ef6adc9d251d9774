"""`.pose` files of MediaPipe Holistic, full or reduced to fewer points of body and face."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from importers.geometry import image_units
from importers.people import follow_keypoints, note_on_people, notes_on_hands_alone, shows_trunk
from importers.recording import Recording, make_recording, sound_scores
from poses import face, layout
from poses.face import has_depth
from poses.holistic import PosePoints, depth_scale, full_recording, lacking, read_pose_points
from poses.rates import FASTEST, SLOWEST
from poses.writing import BODY_NAMES, FACE_NUMBERS
from runtime.errors import UserError

# What each number of the face is measured from: a reduced file that keeps all of these still has its numbers.
NEEDED = sorted(
    {value for name, value in vars(face).items() if name.isupper() and isinstance(value, int) and name[:4] != "NUM_"}
    - {face.LEFT_IRIS, face.RIGHT_IRIS}
    | set(face.OUTER_LIP)
)
NO_DEPTH = "it has no depth, without which a head's turn cannot be told: the face counts as unseen"
SIGNED_DEPTH = "depth is taken to be in -1..1 as x and y are; where it is in pictures, head turns come out halved"
SQUARE = 1000  # pixels of the picture that a body without a picture is put into


def read_pose_recording(
    path: Path, units: str | None, size: tuple[int, int] | None, person: str, rate: Callable[[], float]
) -> Recording:
    """The recording of a `.pose` file. Raises UserError if it has no body.

    units: what --units says, where it is not pixels. size: what --width and --height say, where it is not what the
    file's header does. person: whom --person follows, where there are several.
    rate: gives the frames per second where the file tells none that a clip can have.
    """
    file = read_pose_points(path, size)
    sound_scores(file.confidence)
    notes = []
    if size not in (None, file.header_size):
        width, height = file.header_size
        notes.append(f"its header says {width} x {height}, in place of which --width and --height are taken")
    if file.fps != file.header_fps:
        notes.append(f"its header says {file.header_fps:g} frames per second, as version 0.1 writes {file.fps:.5g}")
    targets, body_notes = _targets(file)
    if file.num_people > 1:
        file, several = _follow(file, targets, person)
        notes += several
    depth = depth_scale(file)  # by the file's own picture, even if the body is put into a square
    file, square = _in_pixels(file, targets, units)
    if depth != 1:
        notes.append("depth of the face in pictures, as most converters write it; brought to pixels")
    elif units == "signed" and "FACE_LANDMARKS" in file.names:
        notes.append(SIGNED_DEPTH)
    points, confidence = file.points[:, 0], file.confidence[:, 0]  # [T,N,C], [T,N]
    if not lacking({name: len(names) for name, names in file.names.items()}):
        nmm = full_recording(path, file, depth).nmm
        if FACE_NUMBERS not in file.names and not has_depth(points[:, file.places["FACE_LANDMARKS"]]):
            notes.append(NO_DEPTH)
    else:
        notes += body_notes
        nmm, note = _reduced_face(file, depth)
        notes += [note] if note else []
    keypoints, visibility = _keypoints(points, confidence, targets)
    aspect = None if square else file.size[0] / file.size[1]
    fps = file.fps if SLOWEST <= file.fps <= FASTEST else rate()
    return make_recording(keypoints / file.size, visibility, nmm, fps, tuple(notes), aspect)


def _in_pixels(file: PosePoints, targets: dict[int, int], units: str | None) -> tuple[PosePoints, bool]:
    """The file with its points in pixels, and whether they were put into a square picture that is not the file's own.

    Raises UserError if the points are not in `units` (None: pixels).
    """
    keypoints, visibility = _keypoints(file.points[:, 0], file.confidence[:, 0], targets)
    seen = (visibility > 0) & (keypoints != 0).any(2)
    scale, offset = image_units(keypoints, seen, units, "pixels", tuple(file.size))
    if units in (None, "pixels"):
        return file, False
    square = units == "shoulders"
    size = np.array([SQUARE, SQUARE]) if square else file.size
    points, confidence = file.points.copy(), file.confidence.copy()
    for name, place in file.places.items():
        if name != FACE_NUMBERS:  # those are numbers, not points
            missing = (points[..., place, :2] == 0).all(-1)
            confidence[..., place] *= ~missing
            points[..., place, :2] = (points[..., place, :2] * scale + offset) * size
            points[..., place, 2:] *= scale[0] * size[0]
    return replace(file, points=points, confidence=confidence, size=size), square


def _targets(file: PosePoints) -> tuple[dict[int, int], list[str]]:
    """Which of our 75 keypoints each point of the file is, and notes on what it lacks."""
    body = file.names.get("POSE_LANDMARKS", [])
    if not {"LEFT_SHOULDER", "RIGHT_SHOULDER"} <= set(body):
        raise UserError(f"has no MediaPipe body with shoulders; its components are {', '.join(file.names)}")
    start = file.places["POSE_LANDMARKS"].start
    targets = {start + place: BODY_NAMES.index(name) for place, name in enumerate(body) if name in BODY_NAMES}
    notes = []
    hands = {"LEFT_HAND_LANDMARKS": layout.LEFT_HAND_KEYPOINTS, "RIGHT_HAND_LANDMARKS": layout.RIGHT_HAND_KEYPOINTS}
    for name, hand in hands.items():
        count = len(file.names.get(name, ()))
        if count == layout.NUM_HAND:
            targets |= {file.places[name].start + number: hand.start + number for number in range(count)}
        else:
            notes.append(f"{name} has {count} points instead of 21, and counts as unseen")
    missing = layout.NUM_BODY - len(set(body) & set(BODY_NAMES))
    if missing:
        notes.append(f"reduced body: {missing} of 33 points are not in the file, and count as unseen")
    return targets, notes


def _keypoints(points: np.ndarray, confidence: np.ndarray, targets: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Our keypoints [...,75,2] and their visibility [...,75] from a file's points [...,N,C], confidence [...,N]."""
    keypoints = np.zeros((*points.shape[:-2], layout.NUM_KEYPOINTS, 2))
    visibility = np.zeros(keypoints.shape[:-1])
    theirs, ours = list(targets), list(targets.values())
    keypoints[..., ours, :] = points[..., theirs, :2]
    visibility[..., ours] = confidence[..., theirs].clip(0, 1)
    return keypoints, visibility


def _follow(file: PosePoints, targets: dict[int, int], person: str) -> tuple[PosePoints, list[str]]:
    """The file of one of its people alone, and a note where a frame shows several."""
    keypoints, visibility = _keypoints(file.points, file.confidence, targets)  # [T,P,75,2], [T,P,75]
    people = np.concatenate([keypoints, visibility[..., None]], axis=-1)
    shown = [np.flatnonzero(shows_trunk(of_frame)) for of_frame in people]
    with_trunk = [of_frame[who] for of_frame, who in zip(people, shown, strict=True)]
    track, count = follow_keypoints(with_trunk, np.arange(len(people)), person)
    who, followed = np.zeros(len(people), int), np.zeros(len(people), bool)
    for frame, number in track:
        who[frame], followed[frame] = shown[frame][number], True
    file = file.of_one(who)
    file = replace(file, confidence=file.confidence * followed[:, None, None])
    notes = [note_on_people(count, person)] if count > 1 else []
    return file, [*notes, *notes_on_hands_alone(people)]


def _reduced_face(file: PosePoints, depth: float) -> tuple[np.ndarray | None, str | None]:
    """NMM numbers [T,64] of a face of which only some points are there, None for too few, and a note, None for all."""
    names = file.names.get("FACE_LANDMARKS", [])
    if not {str(number) for number in NEEDED} <= set(names):
        return None, f"FACE_LANDMARKS has {len(names)} points, too few: the face counts as unseen"
    place = file.places["FACE_LANDMARKS"]
    mesh, confidence = file.points[:, 0, place], file.confidence[:, 0, place]
    if not has_depth(mesh):
        return None, NO_DEPTH
    irises = {str(face.LEFT_IRIS), str(face.RIGHT_IRIS)} <= set(names)
    full = np.zeros((len(mesh), face.NUM_FACE_WITH_IRIS if irises else face.NUM_FACE, 3))
    kept = [number for number, name in enumerate(names) if name.isdigit() and int(name) < full.shape[1]]
    full[:, [int(names[number]) for number in kept]] = mesh[:, kept, :3] * np.array([1.0, 1.0, depth])
    seen = (confidence[:, kept] > 0).all(1)
    nmm = np.where(seen[:, None], face.nmm_from_face_mesh(full), np.nan)
    if len(kept) == full.shape[1]:
        return nmm, None
    return nmm, f"reduced face: {len(kept)} of {full.shape[1]} points, all that the face's numbers need"
