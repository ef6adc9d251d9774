"""MediaPipe's landmarks as numpy arrays: a file a clip, or a folder of files, one a frame."""

from pathlib import Path

import numpy as np

from importers.skeletons import NUM_WHOLE_BODY, from_whole_body
from poses import layout
from poses.face import NUM_FACE, NUM_FACE_WITH_IRIS, nmm_from_face_mesh
from poses.presence import collapsed
from runtime.errors import UserError

BODY, HAND = layout.NUM_BODY, layout.NUM_HAND
# The orders in which arrays hold the parts: MediaPipe's solutions and pose-format; the Kaggle competitions' tables; and
# keypoints first.
ORDERS = (("body", "face", "left", "right"), ("face", "left", "body", "right"), ("body", "left", "right", "face"))
NEAR = 0.5  # shoulder widths: face and hands this near to the body's nose and wrists belong to it
FACE_NOSE = 1  # of the mesh
SHAPES = (
    "[T,543,3] or [T,553,3] (body, face, hands), [T,1662] or [T,1692] (the same, flat, body with visibility), "
    "[T,258] (without a face), [T,75,2|3|4] or [T,133,2|3]"
)


def read_array(path: Path) -> np.ndarray:
    """The one array of numbers of a .npy or .npz file, never a pickle."""
    try:
        content = np.load(path, allow_pickle=False, mmap_mode="r" if path.suffix == ".npy" else None)
        if isinstance(content, np.ndarray):
            found = {path.name: content}
        else:
            with content:
                found = {key: content[key] for key in content.files}
    except Exception as error:  # a damaged file raises almost anything: of zip, of zlib, of numpy
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise UserError("it holds Python objects, which are not executed; export numbers, or JSON") from None
        raise UserError("not a readable .npy or .npz of numbers (truncated?); write it again") from None
    found = {key: value for key, value in found.items() if value.dtype.kind in "fiu" and value.ndim}
    if len(found) > 1:
        found = {key: value for key, value in found.items() if key in ("keypoints", "landmarks", "data", "pose")}
    if len(found) != 1:
        raise UserError("it does not hold one array of numbers, or one that is called keypoints, landmarks or data")
    return np.array(next(iter(found.values())), dtype=np.float64)


def read_frames(paths: list[Path]) -> np.ndarray:
    """The arrays of single frames as one [T,...]."""
    frames = []
    for path in paths:
        try:
            frames.append(np.squeeze(read_array(path)))
        except UserError as error:
            raise UserError(f"{path.name}: {error}") from None
        if frames[-1].shape != frames[0].shape:
            raise UserError(f"{path.name} is {list(frames[-1].shape)}, but {paths[0].name} {list(frames[0].shape)}")
    return np.stack(frames)


def landmarks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Points [T,75,2], visibility [T,75] and face mesh [T,468 or 478,3] (None: none) of an array of SHAPES."""
    if values.ndim == 4 and values.shape[1] == 1:  # one person
        values = values[:, 0]
    if values.ndim == 2:
        return _from_flat(values)
    if values.ndim != 3 or values.shape[2] not in (2, 3, 4):
        raise UserError(f"is {list(values.shape)}; expected {SHAPES}")
    sizes = {BODY + 2 * HAND + face: face for face in (0, NUM_FACE, NUM_FACE_WITH_IRIS)}
    if values.shape[1] == NUM_WHOLE_BODY:
        points = from_whole_body(values)
        return points[..., :2], _visibility(points), None
    if values.shape[1] not in sizes:
        raise UserError(f"has {values.shape[1]} points a frame; expected {SHAPES}")
    num_face = sizes[values.shape[1]]
    if not num_face:
        return values[..., :2], _visibility(values), None
    parts = _in_order(values, num_face)
    points = np.concatenate([parts["body"], parts["left"], parts["right"]], axis=1)
    face = parts["face"][..., :3] if values.shape[2] > 2 else None
    return points[..., :2], _visibility(points), face


def nmm_of_mesh(face: np.ndarray | None, size: tuple[float, float]) -> np.ndarray | None:
    """NMM numbers [T,64] of meshes in image units, NaN where there is none; size: (width, height) of the picture."""
    if face is None:
        return None
    there = np.isfinite(face).all((1, 2)) & ~collapsed(face, 0.0)
    scaled = np.nan_to_num(face) * np.array([size[0], size[1], size[0]])
    return np.where(there[:, None], nmm_from_face_mesh(scaled), np.nan)


def _from_flat(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Body [33,4] with visibility, face [468 or 478,3] or none, hands [21,3] + [21,3], all in one row a frame."""
    sizes = {4 * BODY + 3 * (2 * HAND + face): face for face in (0, NUM_FACE, NUM_FACE_WITH_IRIS)}
    if values.shape[1] not in sizes:
        raise UserError(f"has {values.shape[1]} numbers a frame; expected {SHAPES}")
    num_face, frames = sizes[values.shape[1]], len(values)
    body, face, hands = np.split(values, [4 * BODY, 4 * BODY + 3 * num_face], axis=1)
    body, hands = body.reshape(frames, BODY, 4), hands.reshape(frames, 2 * HAND, 3)
    points = np.concatenate([body[..., :2], hands[..., :2]], axis=1)
    visibility = np.concatenate([body[..., 3], (hands != 0).any(2).astype(float)], axis=1)
    return points, visibility, face.reshape(frames, num_face, 3) if num_face else None


def _visibility(points: np.ndarray) -> np.ndarray:
    """[T,75]: the fourth number of a point, or a third one that is a confidence (in 0..1; a depth is negative too)."""
    if points.shape[2] == 4:
        return points[..., 3]
    known = points[..., -1][np.isfinite(points[..., -1])]
    if points.shape[2] == 3 and known.size and known.min() >= 0 and 0 < known.max() <= 1:
        return points[..., 2]
    return np.ones(points.shape[:2])


def _in_order(values: np.ndarray, num_face: int) -> dict[str, np.ndarray]:
    """The parts of [T,N,C], in the one of ORDERS in which face and hands lie on the body."""
    sizes = {"body": BODY, "face": num_face, "left": HAND, "right": HAND}
    orders = []
    for order in ORDERS:
        ends = np.cumsum([sizes[part] for part in order])[:-1]
        parts = dict(zip(order, np.split(values, ends, axis=1), strict=True))
        orders.append((_distance_from_body(parts), parts))
    orders.sort(key=lambda found: found[0])
    if not orders[0][0] < NEAR or orders[1][0] < 2 * orders[0][0]:
        raise UserError(
            f"the order of its {values.shape[1]} points is not plain: it should be one of "
            f"{'; '.join(', '.join(order) for order in ORDERS)}, with the face and the hands on the body"
        )
    return orders[0][1]


def _distance_from_body(parts: dict[str, np.ndarray]) -> float:
    """How far the face's nose and the hands' roots lie from the body's nose and wrists, in shoulder widths; the median
    over the frames, the worst of the three. A part that is never there has no say, but the face must be there."""
    body = parts["body"][..., :2]
    width = np.linalg.norm(body[:, layout.LEFT_SHOULDER] - body[:, layout.RIGHT_SHOULDER], axis=1)
    worst = 0.0
    for part, own, place in (
        ("face", FACE_NOSE, layout.NOSE),
        ("left", layout.HAND_ROOT, layout.LEFT_WRIST),
        ("right", layout.HAND_ROOT, layout.RIGHT_WRIST),
    ):
        point = parts[part][:, own, :2]
        there = np.isfinite(point).all(1) & ~collapsed(parts[part][..., :2], 0.0) & (width > 0)
        if there.any():
            distances = np.linalg.norm(point[there] - body[there, place], axis=1) / width[there]
            worst = max(worst, float(np.median(distances)))
        elif part == "face":
            return np.inf
    return worst
