"""Points of other skeletons as MediaPipe Holistic's 75. A point that the other skeleton lacks is unseen."""

import numpy as np

from poses import layout

# MediaPipe's number of a body point: the number in OpenPose's BODY_25, in its older 18 points (DWPose writes them), and
# in COCO's 17 with feet.
BODY_25 = {
    0: 0,
    2: 16,
    5: 15,
    7: 18,
    8: 17,
    11: 5,
    12: 2,
    13: 6,
    14: 3,
    15: 7,
    16: 4,
    23: 12,
    24: 9,
    25: 13,
    26: 10,
    27: 14,
    28: 11,
    29: 21,
    30: 24,
    31: 19,
    32: 22,
}
OPENPOSE_18 = {
    0: 0,
    2: 15,
    5: 14,
    7: 17,
    8: 16,
    11: 5,
    12: 2,
    13: 6,
    14: 3,
    15: 7,
    16: 4,
    23: 11,
    24: 8,
    25: 12,
    26: 9,
    27: 13,
    28: 10,
}
COCO_WHOLE_BODY = {
    0: 0,
    2: 1,
    5: 2,
    7: 3,
    8: 4,
    11: 5,
    12: 6,
    13: 7,
    14: 8,
    15: 9,
    16: 10,
    23: 11,
    24: 12,
    25: 13,
    26: 14,
    27: 15,
    28: 16,
    29: 19,
    30: 22,
    31: 17,
    32: 20,
}
# Corners of the eyes and of the mouth, among the 68 points of a face.
FACE_68 = {1: 42, 3: 45, 4: 39, 6: 36, 9: 54, 10: 48}
# Progressive Transformers: 8 points of OpenPose's body, whose arm 2-3-4 is the signer's left (it lies at the right of
# the picture, and the hand 29-49 hangs on it), and the hands 8-28 (right) and 29-49 (left).
SKELS = {0: 0, 11: 2, 12: 5, 13: 3, 14: 6, 15: 4, 16: 7}
SKELS_RIGHT_HAND, SKELS_LEFT_HAND, NUM_SKELS = slice(8, 29), slice(29, 50), 50

WHOLE_BODY_FACE, WHOLE_BODY_LEFT, WHOLE_BODY_RIGHT = slice(23, 91), slice(91, 112), slice(112, 133)
NUM_WHOLE_BODY = 133


def map_points(
    body: np.ndarray,
    table: dict[int, int],
    left_hand: np.ndarray,
    right_hand: np.ndarray,
    face: np.ndarray | None = None,
) -> np.ndarray:
    """Points [...,75,C] from body [...,N,C], hands [...,21,C] and face [...,68 or more,C]; zeros where it has none."""
    points = np.zeros((*body.shape[:-2], layout.NUM_KEYPOINTS, body.shape[-1]))
    points[..., list(table), :] = body[..., list(table.values()), :]
    if face is not None:
        points[..., list(FACE_68), :] = face[..., list(FACE_68.values()), :]
    points[..., layout.LEFT_HAND_KEYPOINTS, :] = left_hand
    points[..., layout.RIGHT_HAND_KEYPOINTS, :] = right_hand
    return points


def from_whole_body(points: np.ndarray) -> np.ndarray:
    """Points [...,75,C] from COCO's whole body [...,133,C]."""
    return map_points(
        points,
        COCO_WHOLE_BODY,
        points[..., WHOLE_BODY_LEFT, :],
        points[..., WHOLE_BODY_RIGHT, :],
        points[..., WHOLE_BODY_FACE, :],
    )
