"""Writing generated clips: `.npy`, the pose itself, or `.pose`, for other viewers.

A `.pose` file has the components of MediaPipe Holistic. Its face mesh holds the few points that the 64 face numbers
place: brows, eyes, lips and chin. The numbers themselves are in a separate component, so that nothing is lost.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from poses import layout
from poses.face import FACE_LIMBS, NUM_FACE, face_mesh_from_pose
from poses.presence import shown_numbers
from runtime.files import write_whole

CLIP_FORMATS = (".npy", ".pose")
DEFAULT_FPS = 25.0  # where the data do not say
IMAGE_SIZE = (1000, 1000)  # the default width and height, in pixels, of the picture that a .pose file states

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


def write_clip(path: Path, pose: np.ndarray, fps: float | None = None, image_size: Sequence[int] | None = None) -> None:
    """Write a pose [T,214] in data units to a `.npy` or a `.pose` file.

    Only a `.pose` file holds the frames per second and the width and height of its picture, in pixels.
    """
    with write_whole(path) as file:
        if path.suffix == ".pose":
            _make_pose_file(pose, fps or DEFAULT_FPS, image_size or IMAGE_SIZE).write(file)
        else:
            np.save(file, pose)


def _make_pose_file(pose: np.ndarray, fps: float, image_size: Sequence[int]) -> object:
    """The `pose_format.Pose` of a clip [T,214]."""
    from pose_format import Pose  # here, so that scripts that write no .pose start faster
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions
    from pose_format.utils.openpose import hand_colors

    pose = np.asarray(pose, np.float64)
    points = layout.frame_to_keypoints(pose)
    number_shown, mesh, numbers = shown_numbers(pose), face_mesh_from_pose(pose, image_size), pose[:, layout.NMM]
    shown, face_shown = layout.frame_to_keypoints(number_shown)[..., 0], number_shown[:, layout.NMM]
    points = points * image_size
    names = [f"{key}_{index}" for key, shape in layout.NMM_FEATURES.items() for index in range(int(np.prod(shape)))]
    hands = {"names": HAND_NAMES, "limbs": HAND_LIMBS, "colours": hand_colors}
    parts = {  # by component: how it is drawn, its points [T,N,2], and which of them are shown [T,N]
        "POSE_LANDMARKS": (
            {"names": BODY_NAMES, "limbs": BODY_LIMBS, "colours": [(255, 0, 0)]},
            points[:, layout.BODY_KEYPOINTS],
            shown[:, layout.BODY_KEYPOINTS],
        ),
        "FACE_LANDMARKS": (
            {"names": [str(n) for n in range(NUM_FACE)], "limbs": FACE_LIMBS, "colours": [(128, 0, 0)]},
            mesh,
            np.isfinite(mesh).all(-1),
        ),
        "LEFT_HAND_LANDMARKS": (hands, points[:, layout.LEFT_HAND_KEYPOINTS], shown[:, layout.LEFT_HAND_KEYPOINTS]),
        "RIGHT_HAND_LANDMARKS": (hands, points[:, layout.RIGHT_HAND_KEYPOINTS], shown[:, layout.RIGHT_HAND_KEYPOINTS]),
        FACE_NUMBERS: (
            {"names": names, "limbs": [], "colours": [(128, 0, 0)]},
            np.stack([numbers, face_shown], axis=-1),
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
