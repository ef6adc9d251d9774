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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from dtaidistance import dtw as dtaidistance_dtw
from dtaidistance import dtw_ndim

from parallel import parallel_map
from poses import layout
from poses.files import fill_gaps

MAX_LAG = 10  # frames
NULL_SHUFFLES = 20  # of a clip's face in time, for what sync figures give by chance
TOP = 5  # of the recognition's wider figure
WATCHED_SHARE = 0.5  # a keypoint's motion is compared where the reference saw it in this share of its frames or more
# One task of the recognition: fixed sizes, so that workers change no figure, and few enough cells for the caches.
CHUNK_PREDICTIONS, CHUNK_REFERENCES, CHUNK_CELLS = 64, 32, 2**20

# Where a hand's motion is read: its 21 keypoints, or the body's wrist while they are unseen.
HAND_AND_WRIST = ((layout.LEFT_HAND_KEYPOINTS, layout.LEFT_WRIST), (layout.RIGHT_HAND_KEYPOINTS, layout.RIGHT_WRIST))
_KEYPOINTS = np.arange(layout.NUM_KEYPOINTS)
WRISTS_AND_HANDS = np.concatenate([np.append(_KEYPOINTS[hand], wrist) for hand, wrist in HAND_AND_WRIST])
FACE_GROUPS = (layout.FACIAL_AUS, layout.HEAD_POSE, layout.EYE_GAZE, layout.MOUTH_SHAPE)

Array = np.ndarray
ClipAndWeight = tuple[Array, Array | None]  # None: everything was seen


@dataclass(frozen=True)
class Reference:
    """A real clip: pose [T,214] denormalised, gaps filled; weight [T,214] in {0,1}, 0 = not seen."""

    id: str
    text: str
    pose: Array
    weight: Array


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


def observe(pose: Array, weight: Array | None) -> tuple[Array, Array]:
    """Pose [T,214] float64, unseen numbers rebuilt from the seen ones alone (zeros if never seen), and seen [T,214]."""
    pose = np.asarray(pose, np.float64)
    if weight is None:
        return pose, np.ones(pose.shape, bool)
    seen = np.asarray(weight) > 0
    return fill_gaps(pose, seen)[0], seen


def keypoints_seen(seen: Array) -> Array:
    """Which keypoints were seen, [T,75] bool, from numbers seen [T,214]: a keypoint needs both x and y."""
    return layout.frame_to_keypoints(seen).all(-1)


def watched_keypoints(weight: Array) -> Array:
    """The keypoints whose motion is compared, [75] bool: those a clip saw in at least half of its frames."""
    return keypoints_seen(np.asarray(weight) > 0).mean(0) >= WATCHED_SHARE


def shoulder_frame(pose: Array, seen: Array) -> Array | None:
    """Keypoints [T,75,2] from the shoulders' centre (each frame's), in shoulder widths (the clip's median).

    None where a clip never saw a shoulder, or its shoulders coincide.
    """
    shoulders = [layout.LEFT_SHOULDER, layout.RIGHT_SHOULDER]
    points = layout.frame_to_keypoints(pose)
    left, right = points[:, shoulders[0]], points[:, shoulders[1]]
    width = np.median(np.linalg.norm(left - right, axis=-1))
    if not keypoints_seen(seen)[:, shoulders].any(0).all() or width == 0:
        return None
    return (points - (left + right)[:, None] / 2) / width


def _mean(values: Array, where: Array, axis: int | None = None) -> Array:
    """Mean of `values` where `where` holds, along `axis`; NaN where it holds nowhere. Values elsewhere may be NaN."""
    count = np.asarray(where.sum(axis), np.float64)
    total = np.where(where, values, 0.0).sum(axis)
    return np.divide(total, count, out=np.full_like(count, np.nan), where=count > 0)


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
    squares = _mean(difference**2, both, axis=1) * in_reference.sum(1)  # [P]
    return float(_mean(np.sqrt(squares), both.any(1))), path


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
    errors = [_mean(distance[:, part], seen[:, part], axis=1) for part in parts]  # [P] each
    return JointErrors(*(float(_mean(error, np.isfinite(error))) for error in errors))


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
        float(_mean(squares[:, dims], both[:, dims])) for dims in (slice(None), layout.MANUAL, layout.NMM)
    )
    return SquaredErrors(full, manual, nmm, aligned)


# ---------------------------------------------------------------- motion


def _steps(values: Array, seen: Array, order: int = 1) -> tuple[Array, Array]:
    """Difference of `order` from frame to frame [T-order,...] and where all the frames that it takes were seen."""
    length = max(0, len(seen) - order)
    return np.diff(values, order, axis=0), np.all([seen[k : k + length] for k in range(order + 1)], axis=0)


def motion(
    prediction: Array,
    reference: Array,
    weight: Array,
    prediction_weight: Array | None = None,
    keypoints: Array = WRISTS_AND_HANDS,
    order: int = 1,
) -> tuple[float, float] | None:
    """Mean speed (order 1) or jerk (order 3) of keypoints in the prediction and in the reference, shoulder widths a
    frame (to the power of order).

    Both over the same keypoints: of `keypoints` those that the reference saw in at least half of its frames (and that
    moved in sight in both clips), from the shoulders' centre. None where there is no such keypoint.
    """
    watched = keypoints[watched_keypoints(weight)[keypoints]]
    speeds = []
    for pose, clip_weight in ((prediction, prediction_weight), (reference, weight)):
        pose, seen = observe(pose, clip_weight)
        points = shoulder_frame(pose, seen)
        if points is None:
            return None
        change, both = _steps(points[:, watched], keypoints_seen(seen)[:, watched], order)
        speeds.append(_mean(np.linalg.norm(change, axis=-1), both, axis=0))  # [watched]
    common = np.isfinite(speeds).all(0)
    if not common.any():
        return None
    return float(speeds[0][common].mean()), float(speeds[1][common].mean())


def hand_energy(pose: Array, seen: Array) -> Array:
    """Motion energy of the hands [T-1], image units a frame: mean speed of the two hands.

    A hand's speed is the mean over its keypoints seen in both frames; with none, that of the body's wrist. NaN where
    there is neither.
    """
    change, both = _steps(layout.frame_to_keypoints(pose), keypoints_seen(seen))
    speed = np.linalg.norm(change, axis=-1)  # [T-1,75]
    hands = []
    for hand, wrist in HAND_AND_WRIST:
        own = _mean(speed[:, hand], both[:, hand], axis=1)
        hands.append(np.where(np.isnan(own), np.where(both[:, wrist], speed[:, wrist], np.nan), own))
    energy = np.stack(hands)
    return _mean(energy, np.isfinite(energy), axis=0)


def face_energy(pose: Array, seen: Array, scale: Array) -> Array:
    """Motion energy of the face [T-1]: mean absolute change of the NMM numbers, each over its `scale` [64].

    The mean is taken within each of the four features and then over them, so that neither the 40 numbers of the mouth
    nor the radians of the head decide alone. Numbers of scale 0 (they never move) are left out.
    """
    change, both = _steps(pose[:, layout.NMM], seen[:, layout.NMM])
    both = both & (scale > 0)
    change = np.abs(change) / np.where(scale > 0, scale, 1.0)
    groups = [slice(group.start - layout.NMM.start, group.stop - layout.NMM.start) for group in FACE_GROUPS]
    energy = np.stack([_mean(change[:, group], both[:, group], axis=1) for group in groups])
    return _mean(energy, np.isfinite(energy), axis=0)


def nmm_scale(references: Sequence[Reference]) -> Array:
    """Standard deviation of each NMM number over the references' seen frames, [64]: the unit of `face_energy`."""
    numbers = np.concatenate([reference.pose[:, layout.NMM] for reference in references]).astype(np.float64)
    seen = np.concatenate([reference.weight[:, layout.NMM] for reference in references]) > 0
    deviation = numbers - _mean(numbers, seen, axis=0)
    scale = np.sqrt(np.nan_to_num(_mean(deviation**2, seen, axis=0)))
    constant = scale <= 1e-6 * np.nan_to_num(np.abs(_mean(numbers, seen, axis=0)))  # rounding is no motion
    return np.where(constant, 0.0, scale)


def _centred(hands: Array, face: Array) -> tuple[Array, Array] | None:
    """Both signals minus their means, 0 where either is unknown; None where one is constant or too short to tell."""
    known = np.isfinite(hands) & np.isfinite(face)
    if known.sum() < 3:
        return None
    centred = []
    for signal in (hands, face):
        if signal[known].std() <= 1e-6 * np.abs(signal[known]).max():
            return None
        centred.append(np.where(known, signal - signal[known].mean(), 0.0))
    return centred[0], centred[1]


def sync_correlation(hands: Array, face: Array) -> float | None:
    """Pearson correlation of two energies [T-1]; None where one of them is constant."""
    signals = _centred(hands, face)
    if signals is None:
        return None
    hands, face = signals
    return float(hands @ face / math.sqrt((hands @ hands) * (face @ face)))


def sync_lag(hands: Array, face: Array, max_lag: int = MAX_LAG) -> int | None:
    """|lag|, frames, within ±max_lag, that maximises the cross-correlation of two energies; None if one is constant."""
    signals = _centred(hands, face)
    if signals is None:
        return None
    hands, face = signals
    centre = len(hands) - 1
    correlation = np.correlate(face, hands, mode="full")  # of lags -centre..centre
    lags = sorted(range(-min(max_lag, centre), min(max_lag, centre) + 1), key=abs)
    return abs(max(lags, key=lambda lag: correlation[centre + lag]))  # of equal ones the least


def sync_null(hands: Array, face: Array, max_lag: int = MAX_LAG) -> tuple[float, float]:
    """Mean correlation and lag of the hands with the face shuffled in time: what no synchrony at all would score."""
    rng = np.random.default_rng(0)
    shuffled = [(hands, rng.permutation(face)) for _ in range(NULL_SHUFFLES)]
    correlations = np.array([sync_correlation(*pair) for pair in shuffled], np.float64)
    lags = np.array([sync_lag(*pair, max_lag) for pair in shuffled], np.float64)
    return tuple(float(_mean(values, np.isfinite(values))) for values in (correlations, lags))


# ---------------------------------------------------------------- recognition


def _arms_and_hands(clip: ClipAndWeight) -> tuple[Array, Array]:
    """Arms and hands in the `shoulder_frame` [T,K,2], and seen [T,K], without the frames that saw none of them."""
    pose, seen = observe(*clip)
    points = shoulder_frame(pose, seen)
    if points is None:
        return np.zeros((0, len(layout.ARMS_AND_HANDS), 2)), np.zeros((0, len(layout.ARMS_AND_HANDS)), bool)
    visible = keypoints_seen(seen)[:, layout.ARMS_AND_HANDS]
    some = visible.any(1)
    return points[some][:, layout.ARMS_AND_HANDS], visible[some]


def _warped_means(costs: Array, lengths: Array) -> Array:
    """Mean cost along the cheapest path, [N], of N problems at once: costs [T,T',N], the first `lengths` [N] of T'.

    Diagonal by diagonal: what stands on one depends on the two before it only. Then back along each path, to count it.
    """
    rows, columns, count = costs.shape
    flat = costs.reshape(rows * columns, count)
    total = np.empty((rows + columns + 1, rows + 1, count))  # diagonal + 2, row + 1; what is read outside is infinite
    total[0, 0], total[1, :2] = 0.0, np.inf  # the corner before the first cell, and the cells beside it
    for diagonal in range(rows + columns - 1):
        first, last = max(0, diagonal - columns + 1), min(rows - 1, diagonal)
        older, old, new = total[diagonal : diagonal + 3]
        here, above = slice(first + 1, last + 2), slice(first, last + 1)
        new[first], new[last + 2 : last + 3] = np.inf, np.inf
        best = np.minimum(older[above], old[above], out=new[here])
        np.minimum(best, old[here], out=best)
        step = max(1, columns - 1)  # from a cell to its neighbour down to the left
        best += flat[diagonal + first * step : diagonal + last * step + 1 : step]
    n, row, column = np.arange(count), np.full(count, rows - 1), lengths - 1
    steps, further = np.ones(count), row + column > 0
    while further.any():
        diagonal = row + column
        both, up, left = total[diagonal, row, n], total[diagonal + 1, row, n], total[diagonal + 1, row + 1, n]
        go_left = left < np.minimum(both, up)  # of equal ways the straight one, then the one up
        row, column = row - (further & ~go_left), column - (further & (go_left | (both <= up)))
        steps += further
        further = row + column > 0
    return total[rows + lengths, rows, n] / steps


def _distances(task: tuple[list[tuple[Array, Array]], list[tuple[Array, Array]]], groups: Array) -> Array:
    """Distances of predictions to references, [N,M], both as `_arms_and_hands` gives them; inf if incomparable.

    groups [K]: keypoints of one number are seen together or not at all, in every frame of these clips.
    """
    predictions, references = task
    distances = np.full((len(predictions), len(references)), np.inf)
    usable = [n for n, (points, _) in enumerate(predictions) if len(points)]
    if not usable:
        return distances
    sizes = np.bincount(groups).astype(np.float64)  # [G]
    _, one_of = np.unique(groups, return_index=True)
    in_group = np.eye(len(sizes))[groups]  # [K,G]
    lengths = np.array([len(predictions[n][0]) for n in usable])
    K, G, longest = len(groups), len(sizes), lengths.max()
    # Sum over points seen in both of |p - r|² = |p|² s_r − 2 p·r + s_p |r|², r and p being 0 if unseen: one product.
    left = np.zeros((2 * K + 2 * G, longest, len(usable)))
    for n, k in enumerate(usable):
        points, visible = predictions[k]
        points = points * visible[..., None]
        parts = (-2 * points[..., 0], -2 * points[..., 1], (points**2).sum(-1) @ in_group, visible[:, one_of])
        left[:, : lengths[n], n] = np.concatenate(parts, axis=1).T
    left = left.reshape(len(left), -1)  # [2K+2G,T'N]
    for m, (points, visible) in enumerate(references):
        if len(points) == 0:
            continue
        points, seen = points * visible[..., None], visible[:, one_of].astype(np.float64)
        right = np.concatenate([points[..., 0], points[..., 1], seen, (points**2).sum(-1) @ in_group], axis=1)
        means, count = right @ left, (seen * sizes) @ left[-G:]  # [T,T'N]
        np.maximum(means, 0.0, out=means)  # rounding
        if count.all():
            np.divide(means, count, out=means)
        else:
            np.divide(means, count, out=means, where=count > 0)
            means[count == 0] = np.inf
        costs = np.sqrt(means, out=means).reshape(len(points), longest, len(usable))
        distances[usable, m] = _warped_means(costs, lengths)
    return distances


def _alike(columns: Iterable[Array]) -> Array:
    """A number for each array, the same for equal ones, 0, 1, 2, … as they come."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(column.tobytes(), len(numbers)) for column in columns])


def sign_distances(
    predictions: Sequence[ClipAndWeight], references: Sequence[ClipAndWeight], num_workers: int = 0
) -> Array:
    """DTW distances of arms and hands between clips, [N,M], in shoulder widths.

    Poses are taken from the shoulders' centre in units of the shoulders' width. Two frames differ by the root mean
    square distance of their keypoints of arms and hands, over those that *both* clips saw there: a hand that the
    reference did not see asks nothing of the prediction, and references with few and with many seen keypoints have the
    same unit. The distance is the mean of that along the DTW path; inf where nothing can be compared.
    """
    left, right = (list(parallel_map(_arms_and_hands, clips, num_workers)) for clips in (predictions, references))
    groups = _alike(np.concatenate([visible for _, visible in left + right]).T)
    # Clips that occur several times (a train clip drawn twice, the mean pose) are compared once.
    number = _alike(np.concatenate([points.ravel(), visible.ravel()]) for points, visible in left + right)
    number, other_number = number[: len(left)], number[len(left) :]
    _, distinct = np.unique(number, return_index=True)
    order = distinct[np.argsort([len(left[n][0]) for n in distinct], kind="stable")]  # alike in length: less padding
    longest = max(len(points) for points, _ in left), max(len(points) for points, _ in right)
    size = min(CHUNK_PREDICTIONS, max(1, CHUNK_CELLS // max(1, longest[0] * longest[1])))
    rows = [order[start : start + size] for start in range(0, len(order), size)]
    columns = [slice(start, start + CHUNK_REFERENCES) for start in range(0, len(right), CHUNK_REFERENCES)]
    blocks = [(row, column) for row in rows for column in columns]
    distances = np.full((len(left), len(right)), np.inf)
    tasks = (([left[n] for n in row], right[column]) for row, column in blocks)
    for (row, column), block in zip(blocks, parallel_map(_distances, tasks, num_workers, groups), strict=True):
        distances[row, column] = block
    distances = distances[distinct[number]]
    distances[(number[:, None] == other_number) & np.isfinite(distances)] = 0.0  # and not what rounding leaves
    return distances


def recognition(
    generated: Sequence[Array],
    generated_texts: Sequence[str],
    references: Sequence[Reference],
    generated_weights: Sequence[Array] | None = None,
    num_workers: int = 0,
) -> tuple[Array, Array]:
    """Whether each clip's nearest reference has its text, and whether one of its TOP nearest has: two [N] bool."""
    weights = generated_weights or [None] * len(generated)
    clips = [(reference.pose, reference.weight) for reference in references]
    distances = sign_distances(list(zip(generated, weights, strict=True)), clips, num_workers)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :TOP]
    same = np.array([reference.text for reference in references])[nearest] == np.array(generated_texts)[:, None]
    same &= np.isfinite(np.take_along_axis(distances, nearest, axis=1))
    return same[:, 0], same.any(1)


# ---------------------------------------------------------------- rows


def score_clips(
    predictions: Sequence[Array],
    references: Sequence[Reference],
    prediction_weights: Sequence[Array] | None = None,
    gallery: Sequence[Reference] | None = None,
    max_lag: int = MAX_LAG,
    num_workers: int = 0,
) -> dict[str, Array]:
    """The metrics that compare each clip with its reference, {name: [N] or [N,K]}, NaN where undefined.

    predictions[n] belongs to references[n]. Values that the figure divides, or shows side by side, have K columns:
    prediction, reference, and for the sync figures the prediction with its face shuffled in time.

    prediction_weights: for predictions that are real clips or follow one frame by frame (reference, reconstruction).
    gallery: the clips among which recognition looks for the nearest, `references` by default.
    num_workers: processes; 0 and 1 stay in this one, and no figure depends on it.
    """
    if len(predictions) != len(references) or not references:
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
    gallery = references if gallery is None else gallery
    weights = prediction_weights or [None] * len(predictions)
    scale = nmm_scale(gallery)
    tasks = ((*pair, scale, max_lag) for pair in zip(predictions, weights, references, strict=True))
    clips = list(parallel_map(_score_clip, tasks, num_workers))
    scores = {name: np.array([clip[name] for clip in clips], np.float64) for name in clips[0]}
    texts = [reference.text for reference in references]
    first, among = recognition(predictions, texts, gallery, prediction_weights, num_workers)
    return scores | {"recognition": first.astype(np.float64), "recognition_top5": among.astype(np.float64)}


def _score_clip(task: tuple[Array, Array | None, Reference, Array, int]) -> dict[str, object]:
    prediction, prediction_weight, reference, scale, max_lag = task
    pose, weight = reference.pose, reference.weight
    distance, path = dtw(prediction, pose, weight, prediction_weight)
    errors = mean_squared_errors(prediction, pose, weight, path, prediction_weight)
    # A hand that the reference hardly saw is its wrist in both clips, or their energies would not be of the same thing.
    watched = np.ones(layout.POSE_DIM, bool)
    watched[layout.MANUAL] = np.repeat(watched_keypoints(weight), 2)
    sync, speeds = [], []
    for clip, clip_weight in ((prediction, prediction_weight), (pose, weight)):
        numbers, seen = observe(clip, clip_weight)
        energies = hand_energy(numbers, seen & watched), face_energy(numbers, seen, scale)
        sync.append((sync_correlation(*energies), sync_lag(*energies, max_lag)))
        speeds.append(float(_mean(energies[1], np.isfinite(energies[1]))))
        if not sync[1:]:
            null = sync_null(*energies, max_lag)
    joints = dtw_mje(prediction, pose, weight, prediction_weight)
    frames = len(pose)  # a long clip counts more in ratios of motion
    arms = (prediction, pose, weight, prediction_weight, layout.ARMS_AND_HANDS)
    unknown = (math.nan, math.nan)
    return {
        "dtw": distance,
        "dtw_mje": joints.full,
        "dtw_mje_body": joints.body,
        "dtw_mje_left_hand": joints.left_hand,
        "dtw_mje_right_hand": joints.right_hand,
        "mse": errors.full,
        "mse_manual": errors.manual,
        "mse_nmm": errors.nmm,
        "mse_aligned": errors.aligned,
        "frames": frames,
        "hand_speeds": frames * np.array(motion(prediction, pose, weight, prediction_weight) or unknown),
        "speeds": frames * np.array(motion(*arms) or unknown),
        "jerks": frames * np.array(motion(*arms, order=3) or unknown),
        "face_speeds": frames * np.array(speeds),
        "sync_correlation": [*(correlation for correlation, _ in sync), null[0]],
        "sync_lag": [*(lag for _, lag in sync), null[1]],
    }
