"""What moves in a clip and how fast: the shoulder frame, speeds, motion energies of hands and face.

A clip is pose [T,214], denormalised, its gaps filled, and seen [T,214] bool, False where a number was not seen.
"""

import numpy as np

from poses import layout

MOSTLY = 0.5  # a keypoint's motion is compared where the reference saw it in this part of its frames or more

# Where a hand's motion is read: its 21 keypoints, or the body's wrist while they are unseen.
HAND_AND_WRIST = ((layout.LEFT_HAND_KEYPOINTS, layout.LEFT_WRIST), (layout.RIGHT_HAND_KEYPOINTS, layout.RIGHT_WRIST))
_KEYPOINTS = np.arange(layout.NUM_KEYPOINTS)
WRISTS_AND_HANDS = np.concatenate([np.append(_KEYPOINTS[hand], wrist) for hand, wrist in HAND_AND_WRIST])


def keypoints_seen(seen: np.ndarray) -> np.ndarray:
    """Which keypoints were seen, [T,75] bool, from numbers seen [T,214]: a keypoint needs both x and y."""
    return layout.frame_to_keypoints(seen).all(-1)


def mostly_seen(seen: np.ndarray) -> np.ndarray:
    """The keypoints whose motion is compared, [75] bool: those that a clip saw in at least half of its frames."""
    return keypoints_seen(seen).mean(0) >= MOSTLY


def _shoulders(pose: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, float] | None:
    """The middle of the shoulders [T,2] and their width (the clip's median).

    None where a clip never saw a shoulder, or its shoulders coincide.
    """
    left, right = np.moveaxis(layout.frame_to_keypoints(pose)[:, layout.SHOULDERS], 1, 0)
    width = np.median(np.linalg.norm(left - right, axis=-1))
    if not keypoints_seen(seen)[:, layout.SHOULDERS].any(0).all() or width == 0:
        return None
    return (left + right) / 2, width


def shoulder_frame(pose: np.ndarray, seen: np.ndarray) -> np.ndarray | None:
    """Keypoints [T,75,2] from the shoulders' centre (each frame's), in shoulder widths (the clip's median).

    None where a clip never saw a shoulder, or its shoulders coincide.
    """
    shoulders = _shoulders(pose, seen)
    if shoulders is None:
        return None
    middle, width = shoulders
    return (layout.frame_to_keypoints(pose) - middle[:, None]) / width


def mean_where(values: np.ndarray, where: np.ndarray, axis: int | tuple[int, ...] | None = None) -> np.ndarray:
    """Mean of `values` where `where` holds, along `axis`; NaN where it holds nowhere. Values elsewhere may be NaN."""
    count = np.asarray(where.sum(axis), np.float64)
    total = np.where(where, values, 0.0).sum(axis)
    return np.divide(total, count, out=np.full_like(count, np.nan), where=count > 0)


def _steps(values: np.ndarray, seen: np.ndarray, order: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Difference of `order` from frame to frame [T-order,...], and where all the frames that it takes were seen."""
    return np.diff(values, order, axis=0), _throughout(seen, order)


def _throughout(seen: np.ndarray, order: int) -> np.ndarray:
    """Where `seen` [T,...] holds in a frame and in the `order` next ones, [T-order,...]."""
    length = max(0, len(seen) - order)
    return np.all([seen[k : k + length] for k in range(order + 1)], axis=0)


def mean_speeds(
    pose: np.ndarray, seen: np.ndarray, keypoints: np.ndarray, order: int = 1, absent: np.ndarray | None = None
) -> np.ndarray | None:
    """Mean speed (order 1) or jerk (order 3) of each of `keypoints` [K], in the shoulder frame: [K], shoulder widths
    per frame (to the power of `order`), NaN where a keypoint was never seen to move.

    absent [T,214] bool: numbers of absent parts, such as a hand. They do not move, and appearing or disappearing is no
    motion. Returns None if there is no shoulder frame.
    """
    points = shoulder_frame(pose, seen)
    if points is None:
        return None
    change, both = _steps(points[:, keypoints], keypoints_seen(seen)[:, keypoints], order)
    counted = both
    if absent is not None and absent.any():
        counted = _throughout(keypoints_seen(seen | absent)[:, keypoints], order)
    return mean_where(np.where(both, np.linalg.norm(change, axis=-1), 0.0), counted, axis=0)


def mean_sway(pose: np.ndarray, seen: np.ndarray) -> float | None:
    """Mean speed of the shoulders' middle in the picture, shoulder widths per frame; `shoulder_frame` takes it away.

    NaN where no two frames in a row saw both shoulders. None if there is no shoulder frame.
    """
    shoulders = _shoulders(pose, seen)
    if shoulders is None:
        return None
    middle, width = shoulders
    change, both = _steps(middle / width, keypoints_seen(seen)[:, layout.SHOULDERS].all(1))
    return float(mean_where(np.linalg.norm(change, axis=-1), both))


SMOOTHING = 2.0  # frames, the standard deviation of the Gaussian of `smoothed`
ENERGY_VERSION = 2  # raised when `smoothed`, `hand_energy` or `face_energy` gives other values


def smoothed(pose: np.ndarray) -> np.ndarray:
    """A pose [T,214] without most of a detector's noise, for the energies of hands and face.

    This noise is most of the motion from frame to frame of a real face, and has nothing to do with that of the hands.
    """
    from scipy.ndimage import gaussian_filter1d  # here: visualize.py reads the list of metrics, and starts faster

    return gaussian_filter1d(pose.astype(np.float64), SMOOTHING, axis=0, mode="nearest")


def hand_energy(pose: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Motion energy of the hands [T-1], image units per frame: mean speed of the two hands.

    A hand's speed is the mean over its keypoints seen in both frames; with none, that of the body's wrist. NaN where
    there is neither.
    """
    change, both = _steps(layout.frame_to_keypoints(pose), keypoints_seen(seen))
    speed = np.linalg.norm(change, axis=-1)  # [T-1,75]
    hands = []
    for hand, wrist in HAND_AND_WRIST:
        own = mean_where(speed[:, hand], both[:, hand], axis=1)
        hands.append(np.where(np.isnan(own), np.where(both[:, wrist], speed[:, wrist], np.nan), own))
    energy = np.stack(hands)
    return mean_where(energy, np.isfinite(energy), axis=0)


def face_energy(pose: np.ndarray, seen: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Motion energy of the face [T-1]: mean absolute change of the NMM numbers, each over its `scale` [64].

    The mean is taken within each of the four features and then over them, so that neither the 40 numbers of the mouth
    nor the radians of the head decide alone. Numbers of scale 0 (they never move) are left out.
    """
    change, both = _steps(pose[:, layout.NMM], seen[:, layout.NMM])
    both = both & (scale > 0)
    change = np.abs(change) / np.where(scale > 0, scale, 1.0)
    energy = np.stack([mean_where(change[:, part], both[:, part], axis=1) for part in layout.FACE_SLICES])
    return mean_where(energy, np.isfinite(energy), axis=0)
