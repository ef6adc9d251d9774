"""How close a clip is to its reference: distances after time warping, errors, the face, and how much it moves.

    T    frames of the reference, T' of the prediction         pose    [T,214]; seen [T,214] bool
    P    steps of an alignment path                            path    [P,2], frame of the prediction, of the reference

Clips of all sources are treated alike (`clips.Clip`). Unseen numbers never enter a metric: they are rebuilt from the
seen ones to find an alignment, and left out of every average. If only one of two clips has a hand, the other is given
one at its wrist (`clips.RebuiltClip`), and it counts. If both lack it, nothing counts. An absent hand does not move.

Every metric has a value per clip, NaN where it is undefined. `registry.py` says how the values are summarised.
"""

import math

import numpy as np
from dtaidistance import dtw as dtaidistance_dtw
from dtaidistance import dtw_ndim

from evaluation.clips import Array, Clip
from poses import layout
from poses.motion import WRISTS_AND_HANDS, mean_speeds, mean_sway, mean_where, mostly_seen, smoothed

STILL = 1e-6  # of the face's scales, over all frames: less is rounding, not motion


def align(a: Array, b: Array) -> Array:
    """The path [P,2] of full dynamic time warping between a [T',D] and b [T,D], Euclidean local cost, no window."""
    # Not dtaidistance's warping_path: the C version of that one ignores inner_dist and aligns by squared distances.
    _, costs = dtw_ndim.warping_paths_fast(np.ascontiguousarray(a), np.ascontiguousarray(b), inner_dist="euclidean")
    return np.array(dtaidistance_dtw.best_path(costs))


def _along_path(prediction: Clip, reference: Clip, dims: slice) -> tuple[Array, Array, Array, Array] | None:
    """Align on `dims` of rebuilt poses: path [P,2]; [P,dims] differences, and the two masks of `RebuiltClip.compared`.

    None where nothing is compared.
    """
    x, y = prediction.rebuilt(), reference.rebuilt()
    ever = x.known.any(0) & y.known.any(0) & (x.seen.any(0) | y.seen.any(0))
    ever[layout.NMM] &= y.seen[:, layout.NMM].any(0)
    ever = ever[dims]
    if not ever.any():
        return None
    a, b = x.pose[:, dims], y.pose[:, dims]
    path = align(a[:, ever], b[:, ever])
    i, j = path.T
    both, required = x.compared(y, i, j)
    return path, a[i] - b[j], both[:, dims], required[:, dims]


def dtw(prediction: Clip, reference: Clip) -> tuple[float, Array | None]:
    """DTW distance over [T,214] and its path: mean Euclidean distance of the frames that the path [P,2] pairs.

    Numbers never seen in the clip are dropped, the path is found on rebuilt poses, and then the unseen numbers of each
    pair of frames are left out. With everything seen it is the DTW distance divided by the path's length. A number that
    the reference shows and the prediction lacks (other than of a hand or of the face, see `clips.RebuiltClip`) is
    charged the mean error of the rest of its frame, so omitting numbers cannot lower the distance. (NaN, None) if
    nothing was seen.
    """
    aligned = _along_path(prediction, reference, slice(None))
    if aligned is None:
        return math.nan, None
    path, difference, both, required = aligned
    squares = mean_where(difference**2, both, axis=1) * required.sum(1)  # [P]
    return float(mean_where(np.sqrt(squares), both.any(1))), path


def dtw_mje(prediction: Clip, reference: Clip) -> tuple[dict[str, float], Array | None]:
    """DTW mean joint error (DTW-MJE, Huang et al. 2021), image units: all keypoints, the body's, and each hand's.

    NaN if none is compared. The path [P,2] is that of DTW over the 75 keypoints as vectors [T,150], as in `dtw`. At
    each of its steps the error is the mean, over keypoints compared in that frame, of the distance in the plane; the
    metric is the mean over the steps. All parts share this path: hands are compared as the whole signer was aligned.
    """
    parts = {
        "dtw_mje": slice(None),
        "dtw_mje_body": layout.BODY_KEYPOINTS,
        "dtw_mje_left_hand": layout.LEFT_HAND_KEYPOINTS,
        "dtw_mje_right_hand": layout.RIGHT_HAND_KEYPOINTS,
    }
    aligned = _along_path(prediction, reference, layout.MANUAL)
    if aligned is None:
        return dict.fromkeys(parts, math.nan), None
    path, difference, both, _ = aligned
    shape = (len(difference), layout.NUM_KEYPOINTS, 2)
    seen = both.reshape(shape).all(-1)
    distance = np.linalg.norm(difference.reshape(shape), axis=-1)  # [P,75]
    errors = {name: mean_where(distance[:, part], seen[:, part], axis=1) for name, part in parts.items()}  # [P] each
    return {name: float(mean_where(error, np.isfinite(error))) for name, error in errors.items()}, path


def mean_squared_errors(prediction: Clip, reference: Clip, path: Array | None) -> dict[str, float]:
    """MSE over all compared numbers, the manual ones and the NMM: frame by frame at equal length, else along the `path`
    of `dtw`; `mse_aligned` says which. NaN where nothing is compared."""
    parts = {"mse": slice(None), "mse_manual": layout.MANUAL, "mse_nmm": layout.NMM}
    x, y = prediction.rebuilt(), reference.rebuilt()
    aligned = len(x.pose) != len(y.pose)
    if aligned and path is None:
        return {**dict.fromkeys(parts, math.nan), "mse_aligned": aligned}
    i, j = path.T if aligned else (np.arange(len(x.pose)), np.arange(len(x.pose)))
    squares, (both, _) = (x.pose[i] - y.pose[j]) ** 2, x.compared(y, i, j)
    errors = {name: float(mean_where(squares[:, dims], both[:, dims])) for name, dims in parts.items()}
    return {**errors, "mse_aligned": aligned}


def face_correlation(prediction: Clip, reference: Clip, path: Array | None, scale: Array) -> float:
    """Correlation of the face's numbers, each around its mean in the clip, with the reference's along `dtw_mje`'s path.

    That path follows the keypoints alone: one that also followed the face would make any two faces alike. The value is
    the mean over the four features of their correlations. A feature that stands still in the prediction alone, or that
    it lacks, has 0; one that stands still in the reference is left out. NaN where none remains. scale [64]: of
    `sync.nmm_scale`.
    """
    if path is None:
        return math.nan
    x, y = prediction.rebuilt(), reference.rebuilt()
    i, j = path.T
    both = x.compared(y, i, j)[0][:, layout.NMM] & (scale > 0)
    faces = [pose[:, layout.NMM] / np.where(scale > 0, scale, 1.0) for pose in (x.pose[i], y.pose[j])]
    made, real = (np.where(both, face - mean_where(face, both, axis=0), 0.0) for face in faces)
    correlations = []
    for part in layout.FACE_SLICES:
        a, b = made[:, part], real[:, part]
        a_norm, b_norm = np.linalg.norm(a), np.linalg.norm(b)
        if b_norm > STILL:
            correlations.append((a * b).sum() / (a_norm * b_norm) if a_norm > STILL else 0.0)
    return float(np.mean(correlations)) if correlations else math.nan


def closeness_scores(prediction: Clip, reference: Clip, scale: Array) -> dict[str, float]:
    """The values of a clip by `dtw`, `dtw_mje`, `mean_squared_errors` and `face_correlation`, which needs the scale."""
    distance, path = dtw(prediction, reference)
    joints, keypoint_path = dtw_mje(prediction, reference)
    errors = joints | mean_squared_errors(prediction, reference, path)
    face = face_correlation(prediction, reference, keypoint_path, scale)
    return {"dtw": distance, **errors, "face_correlation": face, "frames": len(reference.pose)}


def compare_speeds(prediction: Clip, reference: Clip, keypoints: Array, order: int = 1) -> tuple[float, float]:
    """`mean_speeds` of the prediction and of the reference, each averaged over the same keypoints.

    These are the `keypoints` whose place or absence the reference knows in at least half of its frames, and whose speed
    both clips have. (NaN, NaN) if there is none. A prediction of a single frame, or without shoulders (such as one that
    has shrunk to a point), counts as standing still: left out, it would hide behind the motion of the other clips.
    """
    prediction, reference = prediction.rebuilt(), reference.rebuilt()
    keypoints = keypoints[mostly_seen(reference.known)[keypoints]]
    speeds = [mean_speeds(clip.pose, clip.seen, keypoints, order, clip.placed) for clip in (prediction, reference)]
    if speeds[1] is None or not prediction.seen.any():
        return math.nan, math.nan
    if speeds[0] is None or len(prediction.pose) == 1:
        speeds[0] = np.zeros(len(keypoints))
    common = np.isfinite(speeds).all(0)
    if not common.any():
        return math.nan, math.nan
    return float(speeds[0][common].mean()), float(speeds[1][common].mean())


def compare_sways(prediction: Clip, reference: Clip) -> tuple[float, float]:
    """`mean_sway` of the prediction and of the reference. `compare_speeds` says which clips stand still or are left
    out."""
    prediction, reference = prediction.rebuilt(), reference.rebuilt()
    own, real = (mean_sway(clip.pose, clip.seen) for clip in (prediction, reference))
    if real is None or not prediction.seen.any():
        return math.nan, math.nan
    return 0.0 if own is None or len(prediction.pose) == 1 else own, real


def presence_scores(prediction: Clip, reference: Clip) -> dict[str, Array]:
    """Hand-frames and face-frames, [2] each: those in which prediction and reference agree on presence, and all.

    `both_hands_presence` is the value of a clip that always shows both hands. Frames are the reference's; if the
    lengths differ, the prediction is stretched, and its nearest frame counts.
    """
    if not prediction.seen.any() or not reference.seen.any():
        return dict.fromkeys(("hand_presence", "both_hands_presence", "face_presence"), np.full(2, np.nan))
    wanted = reference.present
    frames = np.linspace(0, len(prediction.pose) - 1, len(wanted)).round().astype(int)
    agreed = prediction.present[frames] == wanted
    hands, face, both = agreed[:, :2], agreed[:, 2], wanted[:, :2]
    values = {"hand_presence": hands, "both_hands_presence": both, "face_presence": face}
    return {name: np.array([alike.sum(), alike.size], np.float64) for name, alike in values.items()}


def motion_scores(prediction: Clip, reference: Clip) -> dict[str, Array]:
    """Speeds, jerks and sways of a clip and of its reference, [2] each, times the reference's frames: the ratio of
    their sums over clips counts a long clip for more.

    `smooth_hand_speeds` are of smoothed clips, in which hands that tremble or circle where they are hardly move.
    """
    frames = len(reference.pose)
    arms = layout.ARMS_AND_HANDS
    measured = {"hand_speeds": (WRISTS_AND_HANDS, 1), "speeds": (arms, 1), "jerks": (arms, 3)}  # keypoints, order
    pairs = {name: compare_speeds(prediction, reference, *what) for name, what in measured.items()}
    calm = (Clip(smoothed(clip.filled()), clip.seen) for clip in (prediction, reference))
    pairs["smooth_hand_speeds"] = compare_speeds(*calm, WRISTS_AND_HANDS)
    pairs["sways"] = compare_sways(prediction, reference)
    return {name: frames * np.array(pair) for name, pair in pairs.items()}
