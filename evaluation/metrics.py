"""The metrics: pure functions of denormalised poses.

    T    frames of the reference          pose    [T,214], gaps filled in time
    T'   frames of the prediction         weight  [T,214], 1 where a number was seen, 0 where it was not
    P    steps of an alignment path       path    [P,2], frame of the prediction, frame of the reference

Unseen numbers never enter a figure: they are interpolated from the seen ones to find an alignment, and left out of
every average. A generated clip has every number; a real clip that stands in for one (a random or retrieved training
clip, the reference itself, its reconstruction) brings its own weights, and then only what both clips saw counts.

Every metric has a value a clip, None or NaN where it is undefined. `score_clips` gives them as arrays, and
`figures.py` makes a row with intervals of them.
"""

import math
from dataclasses import dataclass

import numpy as np
from dtaidistance import dtw as dtaidistance_dtw
from dtaidistance import dtw_ndim

from evaluation.clips import Array
from poses import layout
from poses.motion import mean_where, observe


@dataclass(frozen=True)
class JointErrors:
    """Mean distance of keypoints from the reference's, image units, NaN where none was seen."""

    full: float
    body: float
    left_hand: float
    right_hand: float


@dataclass(frozen=True)
class SquaredErrors:
    """Mean squared errors over seen numbers, NaN where none was seen; aligned: along the path, as lengths differ."""

    full: float
    manual: float
    nmm: float
    aligned: bool


# ---------------------------------------------------------------- what was seen


# ---------------------------------------------------------------- alignment


def align(a: Array, b: Array) -> Array:
    """The path [P,2] of full dynamic time warping between a [T',D] and b [T,D], Euclidean local cost, no window."""
    # Not dtaidistance's warping_path: the C version of that one ignores inner_dist and aligns by squared distances.
    _, costs = dtw_ndim.warping_paths_fast(np.ascontiguousarray(a), np.ascontiguousarray(b), inner_dist="euclidean")
    return np.array(dtaidistance_dtw.best_path(costs))


def _along_path(
    prediction: Array, reference: Array, weight: Array, prediction_weight: Array | None, dims: slice
) -> tuple[Array, Array, Array, Array] | None:
    """Align on `dims` of gap-filled poses: path [P,2]; [P,dims] differences, seen by both, seen by the reference."""
    (x, x_seen), (y, y_seen) = observe(prediction, prediction_weight), observe(reference, weight)
    x, x_seen, y, y_seen = x[:, dims], x_seen[:, dims], y[:, dims], y_seen[:, dims]
    ever = x_seen.any(0) & y_seen.any(0)
    if not ever.any():
        return None
    path = align(x[:, ever], y[:, ever])
    i, j = path.T
    return path, x[i] - y[j], x_seen[i] & y_seen[j], y_seen[j]


def dtw(
    prediction: Array, reference: Array, weight: Array, prediction_weight: Array | None = None
) -> tuple[float, Array | None]:
    """DTW distance over [T,214] and its path: mean Euclidean distance of the frames that the path [P,2] pairs.

    Numbers never seen in the clip are dropped, the path is found on gap-filled poses, and then the unseen numbers of
    each pair of frames are left out. With everything seen it is the DTW distance divided by the path's length. What
    the prediction alone did not see counts as if it erred like the rest of its frame: leaving out earns nothing.
    (NaN, None) where nothing was seen.
    """
    aligned = _along_path(prediction, reference, weight, prediction_weight, slice(None))
    if aligned is None:
        return math.nan, None
    path, difference, both, in_reference = aligned
    squares = mean_where(difference**2, both, axis=1) * in_reference.sum(1)  # [P]
    return float(mean_where(np.sqrt(squares), both.any(1))), path


def dtw_mje(prediction: Array, reference: Array, weight: Array, prediction_weight: Array | None = None) -> JointErrors:
    """DTW mean joint error, image units: keypoints only, all of them, the body's, and each hand's.

    The path is that of DTW over the 75 keypoints as vectors [T,150] (found as in `dtw`). On each of its steps the
    error is the mean, over keypoints seen in that frame, of the distance in the plane; the figure is the mean over
    the steps. The parts share the one path: hands are judged where the whole signer was aligned.
    """
    aligned = _along_path(prediction, reference, weight, prediction_weight, layout.MANUAL)
    if aligned is None:
        return JointErrors(math.nan, math.nan, math.nan, math.nan)
    _, difference, both, _ = aligned
    shape = (len(difference), layout.NUM_KEYPOINTS, 2)
    seen = both.reshape(shape).all(-1)
    distance = np.linalg.norm(difference.reshape(shape), axis=-1)  # [P,75]
    parts = (slice(None), layout.BODY_KEYPOINTS, layout.LEFT_HAND_KEYPOINTS, layout.RIGHT_HAND_KEYPOINTS)
    errors = [mean_where(distance[:, part], seen[:, part], axis=1) for part in parts]  # [P] each
    return JointErrors(*(float(mean_where(error, np.isfinite(error))) for error in errors))


def mean_squared_errors(
    prediction: Array, reference: Array, weight: Array, path: Array | None, prediction_weight: Array | None = None
) -> SquaredErrors:
    """MSE over all numbers, the manual ones and the NMM: frame by frame at equal length, else along `path` of `dtw`."""
    (x, x_seen), (y, y_seen) = observe(prediction, prediction_weight), observe(reference, weight)
    aligned = len(x) != len(y)
    if aligned and path is None:
        return SquaredErrors(math.nan, math.nan, math.nan, aligned)
    i, j = path.T if aligned else (np.arange(len(x)), np.arange(len(x)))
    squares, both = (x[i] - y[j]) ** 2, x_seen[i] & y_seen[j]
    full, manual, nmm = (
        float(mean_where(squares[:, dims], both[:, dims])) for dims in (slice(None), layout.MANUAL, layout.NMM)
    )
    return SquaredErrors(full, manual, nmm, aligned)


# ---------------------------------------------------------------- motion


# ---------------------------------------------------------------- recognition


# ---------------------------------------------------------------- rows


