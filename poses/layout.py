"""The 214 numbers of one frame, named once. No other file holds a bare index of the layout.

Keypoints follow MediaPipe Holistic: 33 body, 21 left hand, 21 right hand, each (x, y) in image units
(0..1 across the width and the height, y downwards). Non-manual markers (NMM) follow: see `poses/face.py`.
"""

from dataclasses import dataclass
from enum import IntEnum, auto
from itertools import pairwise

import numpy as np

NUM_BODY, NUM_HAND = 33, 21
NUM_KEYPOINTS = NUM_BODY + 2 * NUM_HAND

# Slices of keypoints, for arrays [..., 75, 2].
BODY_KEYPOINTS = slice(0, NUM_BODY)
LEFT_HAND_KEYPOINTS = slice(NUM_BODY, NUM_BODY + NUM_HAND)
RIGHT_HAND_KEYPOINTS = slice(NUM_BODY + NUM_HAND, NUM_KEYPOINTS)
HAND_KEYPOINTS = {"left": LEFT_HAND_KEYPOINTS, "right": RIGHT_HAND_KEYPOINTS}

# Slices of a frame, for arrays [..., 214].
BODY = slice(0, 66)
LEFT_HAND = slice(66, 108)
RIGHT_HAND = slice(108, 150)
HANDS = slice(66, 150)
MANUAL = slice(0, 150)
NMM = slice(150, 214)
FACIAL_AUS = slice(150, 167)
HEAD_POSE = slice(167, 170)
EYE_GAZE = slice(170, 174)
MOUTH_SHAPE = slice(174, 214)

POSE_DIM = 214
BODY_DIM = BODY.stop - BODY.start
HANDS_DIM = HANDS.stop - HANDS.start
MANUAL_DIM = MANUAL.stop - MANUAL.start
NMM_DIM = NMM.stop - NMM.start


class ActionUnit(IntEnum):
    """The numbers of FACIAL_AUS in their order: distances, as `poses/face.py` measures them, no FACS intensities."""

    LEFT_INNER_BROW = 0  # heights above the eye
    RIGHT_INNER_BROW = auto()
    LEFT_OUTER_BROW = auto()
    RIGHT_OUTER_BROW = auto()
    BROW_GAP = auto()
    LEFT_EYE_OPENING = auto()
    RIGHT_EYE_OPENING = auto()
    LEFT_CHEEK = auto()  # from the lower lid to the corner of the lips
    RIGHT_CHEEK = auto()
    BROWS_TO_EYES = auto()
    LEFT_LIP_CORNER = auto()  # pull of the corner, upwards positive
    RIGHT_LIP_CORNER = auto()
    LIP_GAP = auto()  # between the inner lips
    MOUTH_WIDTH = auto()
    LIP_HEIGHT = auto()  # mean of upper and lower lip
    LIP_TO_CHIN = auto()
    EYES_TO_LIP = auto()  # from the line of the eyes to the upper lip


# What places an eye and its brow: heights of the brow's inner and outer end, opening of the eye.
LEFT_EYE_UNITS = [ActionUnit.LEFT_INNER_BROW, ActionUnit.LEFT_OUTER_BROW, ActionUnit.LEFT_EYE_OPENING]
RIGHT_EYE_UNITS = [ActionUnit.RIGHT_INNER_BROW, ActionUnit.RIGHT_OUTER_BROW, ActionUnit.RIGHT_EYE_OPENING]


# The keys of an NMM pickle, with the shape of one frame, in the order in which they fill `NMM`.
NMM_FEATURES: dict[str, tuple[int, ...]] = {
    "facial_aus": (17,),
    "head_pose": (3,),
    "eye_gaze": (4,),
    "mouth_shape": (20, 2),
}
NMM_SLICES = {"facial_aus": FACIAL_AUS, "head_pose": HEAD_POSE, "eye_gaze": EYE_GAZE, "mouth_shape": MOUTH_SHAPE}
FACE_SLICES = tuple(slice(part.start - NMM.start, part.stop - NMM.start) for part in NMM_SLICES.values())  # of `NMM`

# Body keypoints by name; "left" and "right" are the signer's.
NOSE = 0
HEAD_KEYPOINTS = slice(1, 11)  # eyes, ears and mouth
LEFT_EYE_OUTER, RIGHT_EYE_OUTER = 3, 6
LEFT_EYES, RIGHT_EYES = [1, 2, 3], [4, 5, 6]  # inner corner, middle, outer corner
LEFT_EAR, RIGHT_EAR = 7, 8
LEFT_MOUTH, RIGHT_MOUTH = 9, 10
LEFT_SHOULDER, RIGHT_SHOULDER = 11, 12
SHOULDERS = [LEFT_SHOULDER, RIGHT_SHOULDER]
LEFT_ELBOW, RIGHT_ELBOW = 13, 14
LEFT_WRIST, RIGHT_WRIST = 15, 16
LEFT_HIP, RIGHT_HIP = 23, 24
BODY_OF_HAND = {"left": [15, 17, 19, 21], "right": [16, 18, 20, 22]}  # what the body model itself sees of a hand

# The 21 keypoints of a hand by name.
HAND_ROOT = 0  # at the wrist
FINGERS = {
    "thumb": [1, 2, 3, 4],
    "index": [5, 6, 7, 8],
    "middle": [9, 10, 11, 12],
    "ring": [13, 14, 15, 16],
    "little": [17, 18, 19, 20],
}
PALM = [0, 1, 5, 9, 13, 17]

# What carries a sign: both arms and both hands, as indices of keypoints.
ARMS_AND_HANDS = np.concatenate([np.arange(LEFT_SHOULDER, RIGHT_WRIST + 1), np.arange(NUM_BODY, NUM_KEYPOINTS)])


def _chain(*points: int) -> list[tuple[int, int]]:
    return list(pairwise(points))


_HAND_BONES = [
    *_chain(0, 1, 2, 3, 4),
    *_chain(0, 5, 6, 7, 8),
    *_chain(5, 9, 10, 11, 12),
    *_chain(9, 13, 14, 15, 16),
    *_chain(13, 17),
    *_chain(0, 17, 18, 19, 20),
]
_UPPER_BODY_BONES = [
    *_chain(11, 12),
    *_chain(11, 13, 15),
    *_chain(12, 14, 16),
    *_chain(11, 23),
    *_chain(12, 24),
    *_chain(23, 24),
    *_chain(8, 6, 5, 4, 0, 1, 2, 3, 7),
    *_chain(9, 10),
]


@dataclass(frozen=True)
class Bones:
    """Pairs of keypoints that a picture joins with a line, one articulator each."""

    body: list[tuple[int, int]]
    left_hand: list[tuple[int, int]]
    right_hand: list[tuple[int, int]]


BONES = Bones(
    body=_UPPER_BODY_BONES,
    left_hand=[(a + NUM_BODY, b + NUM_BODY) for a, b in _HAND_BONES],
    right_hand=[(a + NUM_BODY + NUM_HAND, b + NUM_BODY + NUM_HAND) for a, b in _HAND_BONES],
)


def keypoints_to_frame(keypoints: np.ndarray, nmm: np.ndarray) -> np.ndarray:
    """Join keypoints [T,75,2] and NMM [T,64] into a pose [T,214]."""
    return np.concatenate([keypoints.reshape(len(keypoints), MANUAL_DIM), nmm], axis=1)


def frame_to_keypoints(pose: np.ndarray) -> np.ndarray:
    """The keypoints [...,75,2] of a pose [...,214]."""
    return pose[..., MANUAL].reshape(*pose.shape[:-1], NUM_KEYPOINTS, 2)


def keypoint_dims(keypoints: np.ndarray | slice) -> np.ndarray:
    """Where the x and y of `keypoints` (indices or a slice, 0..74) stand in a frame, in order."""
    index = np.arange(NUM_KEYPOINTS)[keypoints]
    return np.stack([2 * index, 2 * index + 1], axis=1).reshape(-1)


# For each number of `HANDS`, where the same coordinate of the body's wrist on that side stands in a frame, [84].
WRIST_DIMS = np.concatenate(
    [np.tile(keypoint_dims(np.array([wrist])), NUM_HAND) for wrist in (LEFT_WRIST, RIGHT_WRIST)]
)
