"""MediaPipe's landmarks as numpy arrays: one file per clip, or a folder with one file per frame."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from importers.geometry import require_person
from importers.recording import MAX_BODY_SCORE, naming, sound_scores
from importers.skeletons import NUM_WHOLE_BODY, from_whole_body
from poses import layout
from poses.face import NUM_FACE, NUM_FACE_WITH_IRIS, nmm_from_face_mesh
from poses.files import MAX_VISIBILITY
from poses.presence import collapsed, placed
from poses.rates import FASTEST, SLOWEST
from runtime.errors import UserError
from runtime.untrusted import NpzArchive, read_npy

BODY, HAND = layout.NUM_BODY, layout.NUM_HAND
# The orders in which arrays hold the parts: MediaPipe's solutions and pose-format; the Kaggle competitions' tables;
# keypoints first; and hands first.
ORDERS = (
    ("body", "face", "left", "right"),
    ("face", "left", "body", "right"),
    ("body", "left", "right", "face"),
    ("left", "right", "body", "face"),
)
NEAR = 0.5  # units of `_distance_from_body`: face and hands this near to the body's nose and wrists belong to it
FACE_NOSE = 1  # of the mesh
SHAPES = (
    "[T,543,3] or [T,553,3] (body, face, hands), [T,1662] or [T,1692] (the same, flat, body with visibility), "
    "[T,258] (without a face), [T,75,2|3|4] or [T,133,2|3]"
)

HUGE = 1e9  # of no unit of coordinates
FEW_NEGATIVE, LEAST_SCORE = 0.01, -0.05  # share of scores below 0, and how far below, that no depth shows
DEPTH = "the third number of a point is taken for its depth"
BODY_SCORED = (
    "the body's third number lies between 0 and 1, so it is taken for its visibility; that of others for depth"
)
NO_SCORE = "{} visibility 0 throughout, as MediaPipe writes it; what has coordinates counts as seen"

POINTS = ("keypoints", "landmarks", "data", "pose")  # what an archive of several arrays calls the points
SCORES = ("visibility", "confidence", "scores", "keypoint_scores")  # what it calls the points' scores


@dataclass(frozen=True)
class Arrays:
    """What a file, or a folder of frames, holds: the points' array, scores [T,N] and fps where they stand beside it."""

    values: np.ndarray
    scores: np.ndarray | None = None
    fps: float | None = None
    notes: tuple[str, ...] = ()


def read_arrays(path: Path) -> Arrays:
    """The numbers of a .npy or .npz file, never a pickle; of an archive whose points have a known name no others."""
    if path.suffix.lower() == ".npy":
        found, names = {path.name: read_npy(path)}, {path.name}
    else:
        with NpzArchive(path) as archive:
            names = set(archive)
            wanted = names & {*POINTS, *SCORES, "fps"} if names & {*POINTS} else names
            found = {name: archive[name] for name in archive if name in wanted}
    numbers = {key: value for key, value in found.items() if value.dtype.kind in "fiub"}
    scored = next((key for key in SCORES if key in numbers and len(numbers) > 1), None)
    scores, fps = numbers.pop(scored, None), found.get("fps")
    numbers.pop("fps", None)
    if fps is not None and (fps.size != 1 or fps.dtype.kind not in "fiu" or not SLOWEST <= fps.item() <= FASTEST):
        raise UserError("its 'fps' is not a number of frames per second; correct it, or leave it out")
    points = {key: value for key, value in numbers.items() if value.ndim and value.dtype.kind != "b"}
    if len(points) > 1:
        points = {key: value for key, value in points.items() if key in POINTS}
    if len(points) != 1:
        raise UserError("it does not hold one array of numbers, or one that is called keypoints, landmarks or data")
    (key, values), *_ = points.items()
    values = np.array(values, dtype=np.float64)
    if scores is not None:
        scores = np.array(scores, dtype=np.float64)
        scores = scores[..., 0] if scores.ndim == values.ndim and scores.shape[-1] == 1 else scores
        if scores.shape != values.shape[:-1]:
            raise UserError(f"its '{scored}' is {list(scores.shape)}, where its points are {list(values.shape)}")
    unread = sorted(names - {key, "fps", scored})
    notes = (f"{', '.join(unread)} beside the points: not read",) if unread else ()
    return Arrays(values, scores, None if fps is None else float(fps.item()), notes)


def read_frames(paths: list[Path], frames: np.ndarray) -> Arrays:
    """The arrays of single frames as one [T,...]; frames: the number of each file's frame. A frame without a file is
    NaN."""
    found = []
    for path in paths:
        with naming(path):
            found.append(np.squeeze(read_arrays(path).values))
        if found[-1].shape != found[0].shape:
            raise UserError(f"{path.name} is {list(found[-1].shape)}, but {paths[0].name} {list(found[0].shape)}")
    whole = np.full((int(frames[-1]) + 1, *found[0].shape), np.nan)
    whole[frames] = np.stack(found)
    return Arrays(whole)


def landmarks(given: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Points [T,75,2], visibility [T,75], face mesh [T,468 or 478,3] (None: none) and notes, of an array of SHAPES.

    Scores that stand beside the points are taken in place of what a third or fourth number of a point says.
    """
    values, scores = given.values, given.scores
    largest = np.abs(values[np.isfinite(values)]).max(initial=0)
    if largest > HUGE:
        raise UserError(f"holds the number {largest:.3g}, which is no coordinate")
    if values.ndim == 4 and values.shape[1] == 1:  # one person
        values, scores = values[:, 0], None if scores is None else scores[:, 0]
    if values.ndim == 2:
        return _from_flat(values)
    if values.ndim != 3 or values.shape[2] not in (2, 3, 4):
        raise UserError(f"is {list(values.shape)}; expected {SHAPES}")
    sizes = {BODY + 2 * HAND + face: face for face in (0, NUM_FACE, NUM_FACE_WITH_IRIS)}
    if values.shape[1] not in (NUM_WHOLE_BODY, *sizes):
        raise UserError(f"has {values.shape[1]} points per frame; expected {SHAPES}")
    require_person(np.isfinite(values[..., :2]).all(2) & (values[..., :2] != 0).any(2))
    scored = _third_is_score(values) if values.shape[2] == 3 else values.shape[2] == 4
    notes = _notes_on_third(values, scored, scores)
    if scores is None:
        scores = values[..., -1] if scored else np.ones(values.shape[:2])
    depth = values.shape[2] == 4 or (values.shape[2] == 3 and not scored)
    most = MAX_BODY_SCORE if values.shape[1] == NUM_WHOLE_BODY else MAX_VISIBILITY
    scores = sound_scores(scores, most, ", and leave a depth that is never negative out")[..., None]
    table = np.concatenate([values[..., : 3 if depth else 2], scores], axis=2)  # the score is last
    if values.shape[1] == NUM_WHOLE_BODY:
        points = from_whole_body(table)
        return points[..., :2], points[..., -1], None, notes
    num_face, width = sizes[values.shape[1]], table.shape[2]
    points_of = {"body": BODY, "face": num_face, "left": HAND, "right": HAND}
    shapes = {part: (count, width) for part, count in points_of.items()}
    parts, order_notes = _in_order(table.reshape(len(table), -1), shapes, usual=0 if num_face else 2 * NEAR)
    notes += order_notes
    if depth and values.shape[2] == 3 and given.scores is None and _has_visibility(parts["body"]):
        parts["body"][..., -1] = sound_scores(parts["body"][..., 2])
        notes = tuple(BODY_SCORED if note == DEPTH else note for note in notes)
    table = np.concatenate([parts["body"], parts["left"], parts["right"]], axis=1)
    hands, found = _found_by_place(table[:, BODY:])
    if found:
        notes += (NO_SCORE.format("hands have"),)
    face = None
    if num_face and depth:
        mesh, found = _found_by_place(parts["face"])
        if found:
            notes += (NO_SCORE.format("the face has"),)
        face = np.where((np.nan_to_num(mesh[..., -1:]) > 0).any(1, keepdims=True), mesh[..., :3], np.nan)
    visibility = np.concatenate([table[:, :BODY, -1], hands[..., -1]], axis=1)
    return table[..., :2], visibility, face, notes


def _notes_on_third(values: np.ndarray, scored: bool, beside: np.ndarray | None) -> tuple[str, ...]:
    """Says what the third number of points [T,N,3] was taken for; beside: scores that stand beside the points."""
    if values.shape[2] != 3:
        return ()
    if not scored:
        return (DEPTH,)
    if beside is not None:
        return ("the third number of a point is not read, as scores stand beside it",)
    return ("the third number of a point is never far below 0, so it is taken for a score and not for depth",)


def nmm_of_mesh(face: np.ndarray, size: tuple[float, float]) -> np.ndarray:
    """NMM numbers [T,64] of face meshes [T,N,3] in image units; NaN for a frame without a face, whose mesh is zeros.

    size: (width, height) of the picture.
    """
    scaled = face * np.array([size[0], size[1], size[0]])
    return np.where(collapsed(face, 0.0)[:, None], np.nan, nmm_from_face_mesh(scaled))


def _from_flat(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Body [33,4] with visibility, face [468 or 478,3] or none, hands [21,3] + [21,3], all in one row per frame."""
    sizes = {4 * BODY + 3 * (2 * HAND + face): face for face in (0, NUM_FACE, NUM_FACE_WITH_IRIS)}
    if values.shape[1] not in sizes:
        raise UserError(f"has {values.shape[1]} numbers per frame; expected {SHAPES}")
    require_person(np.isfinite(values) & (values != 0))
    shapes = {"body": (BODY, 4), "face": (sizes[values.shape[1]], 3), "left": (HAND, 3), "right": (HAND, 3)}
    parts, notes = _in_order(values, shapes, usual=NEAR)
    hands = np.concatenate([parts["left"], parts["right"]], axis=1)
    points = np.concatenate([parts["body"][..., :2], hands[..., :2]], axis=1)
    visibility = np.concatenate([sound_scores(parts["body"][..., 3]), (hands != 0).any(2).astype(float)], axis=1)
    return points, visibility, parts.get("face"), notes


def _third_is_score(values: np.ndarray) -> bool:
    """Whether the third number of points [T,N,3] is a score and no depth, which is often negative.

    A network's score may be a little below 0. Points that were not found tell nothing: some programs write -1 as their
    third number, too.
    """
    third = values[..., 2][placed(values[..., :2])]
    negative = float((third < 0).mean()) if len(third) else 0.0
    few = negative < FEW_NEGATIVE and np.nanmin(third, initial=0) > LEAST_SCORE
    return bool(few and np.nanmax(third, initial=0) > 0)


def _has_visibility(body: np.ndarray) -> bool:
    """Whether the third number of a body's points [T,33,C] is a visibility: from 0 to 1, and never below, as a depth
    from the hips is."""
    third = body[..., 2][placed(body[..., :2])]
    return bool(np.nanmin(third, initial=0) >= 0 and 0 < np.nanmax(third, initial=0) <= 1)


def _found_by_place(points: np.ndarray) -> tuple[np.ndarray, bool]:
    """Points [T,N,C], their score last, and whether the score was made from their places.

    MediaPipe's hands and face have no visibility, but 0 in all of their points: then those with a place were found.
    """
    if (np.nan_to_num(points[..., -1]) > 0).any():
        return points, False
    found = placed(points[..., :2])
    return np.concatenate([points[..., :-1], found[..., None]], axis=-1), bool(found.any())


def _in_order(
    rows: np.ndarray, shapes: dict[str, tuple[int, int]], usual: float
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Split a row per frame [T,N] into its parts, by the one of ORDERS in which face and hands lie on the body; and a
    note on that order.

    shapes: how many points each part has, and how many numbers a point. usual: the first order is taken if face and
    hands are within this distance from the body, else the order that fits by far best.
    """
    shapes = {part: shape for part, shape in shapes.items() if shape[0]}
    found = []
    for order in dict.fromkeys(tuple(part for part in order if part in shapes) for order in ORDERS):
        pieces = np.split(rows, np.cumsum([math.prod(shapes[part]) for part in order])[:-1], axis=1)
        parts = {part: piece.reshape(len(rows), *shapes[part]) for part, piece in zip(order, pieces, strict=True)}
        found.append((_distance_from_body(parts), order, parts))
    best, second = sorted(found, key=lambda one: one[0])[:2]
    is_clear = best[0] < NEAR and second[0] >= 2 * best[0]
    if found[0][0] < usual or (np.isinf(found[0][0]) and not is_clear):  # a body without shoulders is refused as such
        best = found[0]
    elif not is_clear:
        raise UserError(
            f"the order of its {sum(count for count, _ in shapes.values())} points is not plain: it should be one of "
            f"{'; '.join(', '.join(order) for _, order, _ in found)}, with the face and the hands on the body"
        )
    _, order, parts = best
    return parts, () if order == found[0][1] else (f"its parts are in the order {', '.join(order)}",)


def _distance_from_body(parts: dict[str, np.ndarray]) -> float:
    """How far the face's nose and the hands' roots lie from the body's nose and wrists; the median over the frames, the
    worst of the three. Exchanged hands lie on the body, too.

    In shoulder widths, or in the spread of all points where that is less: in a wrong order the shoulders may be a hand
    and a foot, so far apart that any other distance is small. A part that no frame shows does not count; infinite if no
    frame shows the body.
    """
    body = np.where(placed(parts["body"][..., :2])[..., None], parts["body"][..., :2], np.nan)
    width = np.linalg.norm(body[:, layout.LEFT_SHOULDER] - body[:, layout.RIGHT_SHOULDER], axis=1)
    width = np.minimum(width, _spread(np.concatenate([points[..., :2] for points in parts.values()], axis=1)))
    if not (width > 0).any():
        return np.inf

    def apart(part: str, own: int, place: int) -> float:
        point = parts[part][:, own, :2]
        shown = np.isfinite(point + body[:, place]).all(1) & ~collapsed(parts[part][..., :2], 0.0) & (width > 0)
        distances = np.linalg.norm(point[shown] - body[shown, place], axis=1) / width[shown]
        return float(np.median(distances)) if shown.any() else 0.0

    wrists = (layout.LEFT_WRIST, layout.RIGHT_WRIST)
    hands = [
        max(apart(hand, layout.HAND_ROOT, wrist) for hand, wrist in zip(("left", "right"), places, strict=True))
        for places in (wrists, wrists[::-1])
    ]
    return max(min(hands), apart("face", FACE_NOSE, layout.NOSE) if "face" in parts else 0.0)


def _spread(points: np.ndarray) -> np.ndarray:
    """The root mean square distance, [T], of each frame's points [T,N,2] from their middle; points without a place do
    not count; 0 where no point has one."""
    has_place = placed(points)[..., None]
    count = np.maximum(has_place.sum(1), 1)  # [T,1]
    middle = np.where(has_place, points, 0).sum(1) / count
    return np.sqrt((np.where(has_place, points - middle[:, None], 0) ** 2).sum((1, 2)) / count[:, 0])
