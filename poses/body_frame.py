"""A clip's body frame: where its body stands and how large it is, told apart from what it signs.

The frame's origin is the middle of the shoulders and its unit their distance, both means over the clip: a body that
sways still sways in its frame. A place is three numbers: the origin's x and y, and the logarithm of the unit.
"""

import numpy as np

from poses import layout

FRAME_VERSION = 1  # raised when `place_of` or `into_frame` gives other values
PLACE_DIM = 3
SHOULDER_DIMS = layout.keypoint_dims(np.array(layout.SHOULDERS))  # x, y, x, y
AXIS = np.arange(layout.MANUAL_DIM) % 2  # of each number of the keypoints: 0 for x, 1 for y
LEAST_UNIT = 1e-3  # image units: shoulders nearer to each other are none


def place_of(pose: np.ndarray) -> np.ndarray:
    """The place [3] of a clip [T,214] in data units, its gaps filled."""
    left, right = np.split(pose[:, SHOULDER_DIMS], 2, axis=1)
    unit = max(np.linalg.norm(left - right, axis=1).mean(), LEAST_UNIT)
    return np.append((left + right).mean(0) / 2, np.log(unit))


def into_frame(pose: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Pose [T,214] in data units -> in the body frame; the face's own numbers stay."""
    framed = pose.copy()
    framed[:, layout.MANUAL] = (pose[:, layout.MANUAL] - place[AXIS]) / np.exp(place[2])
    return framed
