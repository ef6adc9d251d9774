"""Non-manual markers (NMM) from a MediaPipe face mesh, and where a picture places a face that has these numbers.

Lengths are measured in the plane of the image after the head's roll is taken out (rotated so that the outer eye corners
lie level), and are divided by the distance of the outer eye corners; gaze is divided by the width of its eye. So
neither the size of the picture nor the distance to the camera matters. Head pose is in radians: yaw > 0 where the
signer's left eye is farther from the camera than the right one, pitch > 0 where the chin is farther than the forehead,
roll > 0 clockwise in the picture.
"""

from collections.abc import Sequence

import numpy as np

from poses import layout
from poses.layout import ActionUnit

# Points of the face mesh; "left" and "right" are the signer's.
LEFT_EYE_OUTER, LEFT_EYE_INNER, LEFT_LID_UPPER, LEFT_LID_LOWER, LEFT_IRIS = 263, 362, 386, 374, 473
RIGHT_EYE_OUTER, RIGHT_EYE_INNER, RIGHT_LID_UPPER, RIGHT_LID_LOWER, RIGHT_IRIS = 33, 133, 159, 145, 468
LEFT_BROW_GAP, LEFT_BROW_INNER, LEFT_BROW_OUTER = 285, 336, 300
RIGHT_BROW_GAP, RIGHT_BROW_INNER, RIGHT_BROW_OUTER = 55, 107, 70
FOREHEAD, CHIN = 10, 152
LIP_UPPER_OUTER, LIP_UPPER_INNER, LIP_LOWER_INNER, LIP_LOWER_OUTER = 0, 13, 14, 17
RIGHT_LIP_CORNER, LEFT_LIP_CORNER = 61, 291
OUTER_LIP = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185]

FLAT = 0.05  # of its width: a mesh of less depth has z in widths of the picture, but x and y in pixels
NUM_FACE, NUM_FACE_WITH_IRIS = 468, 478


def turned(points: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Points [...,2] turned by the angle `roll` [...], clockwise in the picture."""
    x, y = points[..., 0], points[..., 1]
    cos, sin = np.cos(roll), np.sin(roll)
    return np.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)


def nmm_from_face_mesh(face: np.ndarray) -> np.ndarray:
    """NMM [T,64] float32 of face meshes [T,468,3] (or [T,478,3], with irises).

    x and y share one unit (pixels, not image units, unless the image is square), y downwards; z is in that unit too
    or yaw and pitch come out too small. A frame whose eye corners coincide (no face) gives NaN.
    """
    if face.ndim != 3 or face.shape[1] not in (NUM_FACE, NUM_FACE_WITH_IRIS) or face.shape[2] != 3:
        raise ValueError(f"a face mesh is [T,468,3] or [T,478,3], not {list(face.shape)}")
    eye_line = face[:, LEFT_EYE_OUTER, :2].astype(np.float64) - face[:, RIGHT_EYE_OUTER, :2]
    roll = np.arctan2(eye_line[:, 1], eye_line[:, 0])
    scale = np.linalg.norm(eye_line, axis=1)
    scale[scale == 0] = np.nan
    origin = (face[:, LEFT_EYE_OUTER] + face[:, RIGHT_EYE_OUTER]).astype(np.float64) / 2
    points = (face - origin[:, None]) / scale[:, None, None]
    plane, z = turned(points[..., :2], -roll[:, None]), points[..., 2]  # [T,N,2], [T,N]
    y = plane[..., 1]

    def distance(a: int, b: int) -> np.ndarray:
        return np.linalg.norm(plane[:, a] - plane[:, b], axis=1)

    lip_line = (y[:, LIP_UPPER_OUTER] + y[:, LIP_LOWER_OUTER]) / 2
    brows_to_eyes = (distance(LEFT_BROW_GAP, LEFT_EYE_INNER) + distance(RIGHT_BROW_GAP, RIGHT_EYE_INNER)) / 2
    lip_height = (distance(LIP_UPPER_OUTER, LIP_UPPER_INNER) + distance(LIP_LOWER_INNER, LIP_LOWER_OUTER)) / 2
    units = {
        ActionUnit.LEFT_INNER_BROW: y[:, LEFT_EYE_INNER] - y[:, LEFT_BROW_INNER],
        ActionUnit.RIGHT_INNER_BROW: y[:, RIGHT_EYE_INNER] - y[:, RIGHT_BROW_INNER],
        ActionUnit.LEFT_OUTER_BROW: y[:, LEFT_EYE_OUTER] - y[:, LEFT_BROW_OUTER],
        ActionUnit.RIGHT_OUTER_BROW: y[:, RIGHT_EYE_OUTER] - y[:, RIGHT_BROW_OUTER],
        ActionUnit.BROW_GAP: distance(LEFT_BROW_GAP, RIGHT_BROW_GAP),
        ActionUnit.LEFT_EYE_OPENING: distance(LEFT_LID_UPPER, LEFT_LID_LOWER),
        ActionUnit.RIGHT_EYE_OPENING: distance(RIGHT_LID_UPPER, RIGHT_LID_LOWER),
        ActionUnit.LEFT_CHEEK: distance(LEFT_LID_LOWER, LEFT_LIP_CORNER),
        ActionUnit.RIGHT_CHEEK: distance(RIGHT_LID_LOWER, RIGHT_LIP_CORNER),
        ActionUnit.BROWS_TO_EYES: brows_to_eyes,
        ActionUnit.LEFT_LIP_CORNER: lip_line - y[:, LEFT_LIP_CORNER],
        ActionUnit.RIGHT_LIP_CORNER: lip_line - y[:, RIGHT_LIP_CORNER],
        ActionUnit.LIP_GAP: distance(LIP_UPPER_INNER, LIP_LOWER_INNER),
        ActionUnit.MOUTH_WIDTH: distance(LEFT_LIP_CORNER, RIGHT_LIP_CORNER),
        ActionUnit.LIP_HEIGHT: lip_height,
        ActionUnit.LIP_TO_CHIN: distance(LIP_LOWER_OUTER, CHIN),
        ActionUnit.EYES_TO_LIP: y[:, LIP_UPPER_OUTER],
    }
    yaw = np.arctan(z[:, LEFT_EYE_OUTER] - z[:, RIGHT_EYE_OUTER])  # the eye line has length 1
    pitch = np.arctan2(z[:, CHIN] - z[:, FOREHEAD], y[:, CHIN] - y[:, FOREHEAD])

    def gaze(outer: int, inner: int, upper: int, lower: int, iris: int) -> np.ndarray:  # [T,2], eye widths
        looking_at = plane[:, iris] if face.shape[1] == NUM_FACE_WITH_IRIS else (plane[:, upper] + plane[:, lower]) / 2
        return (looking_at - (plane[:, outer] + plane[:, inner]) / 2) / distance(outer, inner)[:, None]

    features = {
        "facial_aus": np.stack([units[unit] for unit in ActionUnit], axis=1),
        "head_pose": np.stack([yaw, pitch, roll], axis=1),
        "eye_gaze": np.concatenate(
            [
                gaze(RIGHT_EYE_OUTER, RIGHT_EYE_INNER, RIGHT_LID_UPPER, RIGHT_LID_LOWER, RIGHT_IRIS),
                gaze(LEFT_EYE_OUTER, LEFT_EYE_INNER, LEFT_LID_UPPER, LEFT_LID_LOWER, LEFT_IRIS),
            ],
            axis=1,
        ),
        "mouth_shape": plane[:, OUTER_LIP] - plane[:, OUTER_LIP].mean(axis=1, keepdims=True),
    }
    ordered = [features[key].reshape(len(face), -1) for key in layout.NMM_FEATURES]
    return np.concatenate(ordered, axis=1).astype(np.float32)


def has_depth(mesh: np.ndarray) -> bool:
    """Whether face meshes [T,N,C] have depth: a head's yaw and pitch cannot be told without it."""
    return mesh.shape[-1] > 2 and mesh.size > 0 and bool(np.ptp(mesh[..., 2]) > 0)


def is_flat(mesh: np.ndarray) -> bool:
    """Whether face meshes [T,N,3] have z in widths of the picture, but x and y in pixels: no face is so flat."""
    across, deep = np.ptp(mesh[..., 0], axis=1).mean(), np.ptp(mesh[..., 2], axis=1).mean()
    return bool(deep < FLAT * across)


def split_nmm(nmm: np.ndarray) -> dict[str, np.ndarray]:
    """The features of nmm [T,64] by name, as an NMM pickle holds them."""
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in layout.NMM_FEATURES.values()])[:-1]
    parts = np.split(nmm, ends, axis=1)
    items = zip(layout.NMM_FEATURES.items(), parts, strict=True)
    return {key: part.reshape(len(nmm), *shape) for (key, shape), part in items}


# ---- from the numbers to a picture -----------------------------------------------------------------------------------

# What the numbers do not say, and a picture needs; in distances of the outer eye corners, from the middle between them.
EYE_MIDDLE, EYE_CORNERS, BROW_END = 0.33, (0.16, 0.5), 0.56  # to the side
LEAST_MOUTH = 0.05  # a mouth that is narrower was not measured

# Side of the picture (the signer's left is at its right), then the mesh's points of brow, eye corners and lids, and the
# facial action units that place them: heights of the inner and the outer brow, opening of the eye.
_EYES_AND_BROWS = (
    (
        1,
        (LEFT_BROW_GAP, LEFT_BROW_INNER, LEFT_BROW_OUTER),
        (LEFT_EYE_INNER, LEFT_EYE_OUTER),
        (LEFT_LID_UPPER, LEFT_LID_LOWER),
        layout.LEFT_EYE_UNITS,
    ),
    (
        -1,
        (RIGHT_BROW_GAP, RIGHT_BROW_INNER, RIGHT_BROW_OUTER),
        (RIGHT_EYE_INNER, RIGHT_EYE_OUTER),
        (RIGHT_LID_UPPER, RIGHT_LID_LOWER),
        layout.RIGHT_EYE_UNITS,
    ),
)


def _ring(*points: int) -> list[tuple[int, int]]:
    return list(zip(points, (*points[1:], points[0]), strict=True))


FACE_LIMBS = [
    *_ring(*OUTER_LIP),
    *_ring(LEFT_EYE_OUTER, LEFT_LID_UPPER, LEFT_EYE_INNER, LEFT_LID_LOWER),
    *_ring(RIGHT_EYE_OUTER, RIGHT_LID_UPPER, RIGHT_EYE_INNER, RIGHT_LID_LOWER),
    *[(LEFT_BROW_GAP, LEFT_BROW_INNER), (LEFT_BROW_INNER, LEFT_BROW_OUTER)],
    *[(RIGHT_BROW_GAP, RIGHT_BROW_INNER), (RIGHT_BROW_INNER, RIGHT_BROW_OUTER)],
]


def mouth_below_eyes(aus: np.ndarray, mouth: np.ndarray) -> np.ndarray:
    """How far below the line of the eyes the mouth's middle lies, [...], of facial_aus [...,17], mouth [...,20,2]."""
    return aus[..., ActionUnit.EYES_TO_LIP] - mouth[..., OUTER_LIP.index(LIP_UPPER_OUTER), 1]


def chin_below_eyes(aus: np.ndarray, mouth: np.ndarray) -> np.ndarray:
    """How far below the line of the eyes the chin lies, [...]; arguments as of `mouth_below_eyes`."""
    below_mouth = mouth[..., OUTER_LIP.index(LIP_LOWER_OUTER), 1] + aus[..., ActionUnit.LIP_TO_CHIN]
    return mouth_below_eyes(aus, mouth) + below_mouth


def face_mesh_from_pose(pose: np.ndarray, image_size: Sequence[int]) -> np.ndarray:
    """The points of the face mesh that the face numbers place, [T,468,2] in pixels; NaN for all others.

    The body's eyes give place and size, as in the pictures; `nmm_from_face_mesh` of the points that it reads gives the
    numbers of lips, brows, lids and roll back.
    """
    aus, mouth = pose[:, layout.FACIAL_AUS], pose[:, layout.MOUTH_SHAPE].reshape(len(pose), -1, 2)
    roll = pose[:, layout.HEAD_POSE][:, 2]
    mesh = np.full((len(pose), NUM_FACE, 2), np.nan)
    for side, (gap, inner, outer), corners, lids, features in _EYES_AND_BROWS:
        inner_height, outer_height, opening = aus[:, features].T
        for corner, x in zip(corners, EYE_CORNERS, strict=True):
            mesh[:, corner] = [side * x, 0.0]
        for lid, way in zip(lids, (-0.5, 0.5), strict=True):
            mesh[:, lid] = np.stack([np.full(len(pose), side * EYE_MIDDLE), way * opening], axis=1)
        mesh[:, gap] = np.stack([side * aus[:, ActionUnit.BROW_GAP] / 2, 0.05 - inner_height], axis=1)
        mesh[:, inner] = np.stack([np.full(len(pose), side * 0.28), -inner_height], axis=1)
        mesh[:, outer] = np.stack([np.full(len(pose), side * BROW_END), -outer_height], axis=1)
    shift = np.stack([np.zeros(len(pose)), mouth_below_eyes(aus, mouth)], axis=1)
    mesh[:, OUTER_LIP] = mouth + shift[:, None]
    for point, way in ((LIP_UPPER_INNER, -0.5), (LIP_LOWER_INNER, 0.5)):
        mesh[:, point] = shift + np.stack([np.zeros(len(pose)), way * aus[:, ActionUnit.LIP_GAP]], axis=1)
    mesh[:, CHIN] = np.stack([np.zeros(len(pose)), chin_below_eyes(aus, mouth)], axis=1)

    eyes = layout.frame_to_keypoints(pose)[:, [layout.LEFT_EYE_OUTER, layout.RIGHT_EYE_OUTER]] * image_size
    unit, origin = np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=-1), eyes.mean(1)
    no_face = ~np.isfinite(pose[:, layout.NMM]).all(1) | (np.ptp(mouth[..., 0], axis=1) < LEAST_MOUTH) | (unit == 0)
    return np.where(no_face[:, None, None], np.nan, origin[:, None] + unit[:, None, None] * turned(mesh, roll[:, None]))
