"""Writing generated clips: `.npy`, the pose itself, or `.pose`, for other viewers.

A `.pose` file has the components of MediaPipe Holistic. Its face mesh holds the few points that the 64 face numbers
place: brows, eyes, lips and chin. The numbers themselves are in a separate component, so that nothing is lost.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from poses import layout
from poses.face import (
    CHIN,
    LEFT_BROW_GAP,
    LEFT_BROW_INNER,
    LEFT_BROW_OUTER,
    LEFT_EYE_INNER,
    LEFT_EYE_OUTER,
    LEFT_LID_LOWER,
    LEFT_LID_UPPER,
    LIP_LOWER_INNER,
    LIP_LOWER_OUTER,
    LIP_UPPER_INNER,
    LIP_UPPER_OUTER,
    NUM_FACE,
    OUTER_LIP,
    RIGHT_BROW_GAP,
    RIGHT_BROW_INNER,
    RIGHT_BROW_OUTER,
    RIGHT_EYE_INNER,
    RIGHT_EYE_OUTER,
    RIGHT_LID_LOWER,
    RIGHT_LID_UPPER,
)
from poses.layout import ActionUnit
from poses.presence import shown_numbers
from runtime.files import write_whole

CLIP_FORMATS = (".npy", ".pose")
DEFAULT_FPS = 25.0  # where the data do not say
IMAGE_SIZE = (1000, 1000)  # pixels of the picture that a .pose file speaks of, where the user does not say

# The component with the face numbers: X is the number, Y is 1 where it is known. Its confidence is 0, so that viewers
# do not draw it.
FACE_NUMBERS = "NON_MANUAL_MARKERS"

BODY_NAMES = (
    "NOSE",
    *("LEFT_EYE_INNER", "LEFT_EYE", "LEFT_EYE_OUTER", "RIGHT_EYE_INNER", "RIGHT_EYE", "RIGHT_EYE_OUTER"),
    *("LEFT_EAR", "RIGHT_EAR", "MOUTH_LEFT", "MOUTH_RIGHT"),
    *(
        f"{side}_{part}"
        for part in ("SHOULDER", "ELBOW", "WRIST", "PINKY", "INDEX", "THUMB", "HIP", "KNEE", "ANKLE", "HEEL")
        for side in ("LEFT", "RIGHT")
    ),
    *("LEFT_FOOT_INDEX", "RIGHT_FOOT_INDEX"),
)
HAND_NAMES = (
    "WRIST",
    *(f"THUMB_{joint}" for joint in ("CMC", "MCP", "IP", "TIP")),
    *(
        f"{finger}_{joint}"
        for finger in ("INDEX_FINGER", "MIDDLE_FINGER", "RING_FINGER", "PINKY")
        for joint in ("MCP", "PIP", "DIP", "TIP")
    ),
)

# What MediaPipe joins with lines, as (first, second) point of the component.
BODY_LIMBS = [
    *[(0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8), (9, 10)],
    *[(11, 12), (11, 13), (13, 15), (15, 17), (15, 19), (15, 21), (17, 19)],
    *[(12, 14), (14, 16), (16, 18), (16, 20), (16, 22), (18, 20), (11, 23), (12, 24), (23, 24)],
    *[(23, 25), (25, 27), (27, 29), (27, 31), (29, 31), (24, 26), (26, 28), (28, 30), (28, 32), (30, 32)],
]
HAND_LIMBS = [(a - layout.NUM_BODY, b - layout.NUM_BODY) for a, b in layout.BONES.left_hand]


def _ring(*points: int) -> list[tuple[int, int]]:
    return list(zip(points, (*points[1:], points[0]), strict=True))


FACE_LIMBS = [
    *_ring(*OUTER_LIP),
    *_ring(LEFT_EYE_OUTER, LEFT_LID_UPPER, LEFT_EYE_INNER, LEFT_LID_LOWER),
    *_ring(RIGHT_EYE_OUTER, RIGHT_LID_UPPER, RIGHT_EYE_INNER, RIGHT_LID_LOWER),
    *[(LEFT_BROW_GAP, LEFT_BROW_INNER), (LEFT_BROW_INNER, LEFT_BROW_OUTER)],
    *[(RIGHT_BROW_GAP, RIGHT_BROW_INNER), (RIGHT_BROW_INNER, RIGHT_BROW_OUTER)],
]

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


def write_clip(path: Path, pose: np.ndarray, fps: float | None = None, image_size: Sequence[int] | None = None) -> None:
    """Write a pose [T,214] in data units to a `.npy` or a `.pose` file.

    Only a `.pose` file holds the frames per second and the width and height of its picture, in pixels.
    """
    with write_whole(path) as file:
        if path.suffix == ".pose":
            _make_pose_file(pose, fps or DEFAULT_FPS, image_size or IMAGE_SIZE).write(file)
        else:
            np.save(file, pose)


def face_mesh(pose: np.ndarray, image_size: Sequence[int]) -> np.ndarray:
    """The points of the face mesh that the face numbers place, [T,468,2] in pixels; NaN for all others.

    The body's eyes give place and size, as in the pictures; `nmm_from_face_mesh` of the points that it reads gives the
    numbers of lips, brows, lids and roll back.
    """
    aus, mouth = pose[:, layout.FACIAL_AUS], pose[:, layout.MOUTH_SHAPE].reshape(len(pose), -1, 2)
    roll = pose[:, layout.HEAD_POSE][:, 2]
    lip = {point: mouth[:, OUTER_LIP.index(point), 1] for point in (LIP_UPPER_OUTER, LIP_LOWER_OUTER)}
    mouth_y = aus[:, ActionUnit.EYES_TO_LIP] - lip[LIP_UPPER_OUTER]
    mesh = np.full((len(pose), NUM_FACE, 2), np.nan)
    for side, (gap, inner, outer), corners, lids, features in _EYES_AND_BROWS:
        inner_height, outer_height, opening = aus[:, features].T
        for corner, x in zip(corners, (0.16, 0.5), strict=True):
            mesh[:, corner] = [side * x, 0.0]
        for lid, way in zip(lids, (-0.5, 0.5), strict=True):
            mesh[:, lid] = np.stack([np.full(len(pose), side * 0.33), way * opening], axis=1)
        mesh[:, gap] = np.stack([side * aus[:, ActionUnit.BROW_GAP] / 2, 0.05 - inner_height], axis=1)
        mesh[:, inner] = np.stack([np.full(len(pose), side * 0.28), -inner_height], axis=1)
        mesh[:, outer] = np.stack([np.full(len(pose), side * 0.56), -outer_height], axis=1)
    shift = np.stack([np.zeros(len(pose)), mouth_y], axis=1)
    mesh[:, OUTER_LIP] = mouth + shift[:, None]
    for point, way in ((LIP_UPPER_INNER, -0.5), (LIP_LOWER_INNER, 0.5)):
        mesh[:, point] = shift + np.stack([np.zeros(len(pose)), way * aus[:, ActionUnit.LIP_GAP]], axis=1)
    mesh[:, CHIN] = shift + np.stack(
        [np.zeros(len(pose)), lip[LIP_LOWER_OUTER] + aus[:, ActionUnit.LIP_TO_CHIN]], axis=1
    )

    eyes = layout.frame_to_keypoints(pose)[:, [layout.LEFT_EYE_OUTER, layout.RIGHT_EYE_OUTER]] * image_size
    unit, origin = np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=-1), eyes.mean(1)
    cos, sin = np.cos(roll)[:, None], np.sin(roll)[:, None]
    x, y = mesh[..., 0], mesh[..., 1]
    level = np.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)
    no_face = ~np.isfinite(pose[:, layout.NMM]).all(1) | (np.ptp(mouth[..., 0], axis=1) < 0.05) | (unit == 0)
    return np.where(no_face[:, None, None], np.nan, origin[:, None] + unit[:, None, None] * level)


def _make_pose_file(pose: np.ndarray, fps: float, image_size: Sequence[int]) -> object:
    """The `pose_format.Pose` of a clip [T,214]."""
    from pose_format import Pose  # here, so that scripts that write no .pose start faster
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions
    from pose_format.utils.openpose import hand_colors

    pose = np.asarray(pose, np.float64)
    points = layout.frame_to_keypoints(pose)
    shown, mesh, numbers = shown_numbers(pose), face_mesh(pose, image_size), pose[:, layout.NMM]
    there, known = layout.frame_to_keypoints(shown)[..., 0], shown[:, layout.NMM]
    points = points * image_size
    names = [f"{key}_{index}" for key, shape in layout.NMM_FEATURES.items() for index in range(int(np.prod(shape)))]
    hands = {"names": HAND_NAMES, "limbs": HAND_LIMBS, "colours": hand_colors}
    parts = {  # by component: how it is drawn, its points [T,N,2], and which of them are there [T,N]
        "POSE_LANDMARKS": (
            {"names": BODY_NAMES, "limbs": BODY_LIMBS, "colours": [(255, 0, 0)]},
            points[:, layout.BODY_KEYPOINTS],
            there[:, layout.BODY_KEYPOINTS],
        ),
        "FACE_LANDMARKS": (
            {"names": [str(n) for n in range(NUM_FACE)], "limbs": FACE_LIMBS, "colours": [(128, 0, 0)]},
            mesh,
            np.isfinite(mesh).all(-1),
        ),
        "LEFT_HAND_LANDMARKS": (hands, points[:, layout.LEFT_HAND_KEYPOINTS], there[:, layout.LEFT_HAND_KEYPOINTS]),
        "RIGHT_HAND_LANDMARKS": (hands, points[:, layout.RIGHT_HAND_KEYPOINTS], there[:, layout.RIGHT_HAND_KEYPOINTS]),
        FACE_NUMBERS: (
            {"names": names, "limbs": [], "colours": [(128, 0, 0)]},
            np.stack([numbers, known], axis=-1),
            np.zeros(numbers.shape, bool),
        ),
    }
    components = [
        PoseHeaderComponent(name, list(drawn["names"]), drawn["limbs"], drawn["colours"], "XYZC")
        for name, (drawn, _, _) in parts.items()
    ]
    confidence = np.concatenate([seen for _, _, seen in parts.values()], axis=1)
    data = np.concatenate([at for _, at, _ in parts.values()], axis=1)
    data[:, : -len(names)][~confidence[:, : -len(names)]] = 0.0
    data = np.concatenate([np.nan_to_num(data), np.zeros((*data.shape[:2], 1))], axis=-1)  # z: 0
    header = PoseHeader(0.2, PoseHeaderDimensions(*image_size), components)
    body = NumPyPoseBody(fps, data[:, None].astype(np.float32), confidence[:, None].astype(np.float32))
    return Pose(header, body)
