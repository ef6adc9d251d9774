"""Recognition: whose sign is a clip nearest to? DTW of arms and hands between all clips of two sets."""

from collections.abc import Iterable, Sequence

import numpy as np

from evaluation.clips import Array, Clip, Reference, Scores, says_something
from poses import layout
from poses.motion import keypoints_seen, shoulder_frame
from runtime.parallel import parallel_map

TOP = 5  # references among which `recognition_top5` looks for the text

# One task of the recognition: fixed sizes, so that workers change no distance, and few enough cells for the caches.
CHUNK_PREDICTIONS, CHUNK_REFERENCES, CHUNK_CELLS = 64, 32, 2**20


def arms_and_hands(clip: Clip) -> tuple[Array, Array]:
    """Arms and hands in the shoulder frame [T,K,2], and where they were seen [T,K]; of no frame without shoulders."""
    clip = clip.rebuilt()
    points = shoulder_frame(clip.pose, clip.seen)
    if points is None:
        return np.zeros((0, len(layout.ARMS_AND_HANDS), 2)), np.zeros((0, len(layout.ARMS_AND_HANDS)), bool)
    return points[:, layout.ARMS_AND_HANDS], keypoints_seen(clip.seen)[:, layout.ARMS_AND_HANDS]


def _signing(clip: Clip) -> tuple[Array, Array]:
    """`arms_and_hands` without the frames that saw none of them."""
    points, seen = arms_and_hands(clip)
    some = seen.any(1)
    return points[some], seen[some]


def _warped_means(costs: Array, lengths: Array) -> Array:
    """Mean cost along the cheapest path, [N], of N problems at once: costs [T,T',N], the first `lengths` [N] of T'.

    A cell depends only on the two diagonals before its own. A second pass walks each path back and counts its steps.
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
        step = columns - 1  # from a cell to its neighbour down to the left
        best += flat[diagonal + first * step : diagonal + last * step + 1 : max(1, step)]
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
    """Distances of predictions to references, [N,M], both as `_signing` gives them; inf if incomparable.

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
        points, seen = predictions[k]
        points = points * seen[..., None]
        parts = (-2 * points[..., 0], -2 * points[..., 1], (points**2).sum(-1) @ in_group, seen[:, one_of])
        left[:, : lengths[n], n] = np.concatenate(parts, axis=1).T
    left = left.reshape(len(left), -1)  # [2K+2G,T'N]
    for m, (points, seen) in enumerate(references):
        if len(points) == 0:
            continue
        points, seen = points * seen[..., None], seen[:, one_of].astype(np.float64)
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


def sign_distances(predictions: Sequence[Clip], references: Sequence[Clip], num_workers: int = 0) -> Array:
    """DTW distances of arms and hands between clips, [N,M], in shoulder widths.

    Poses are taken from the shoulders' centre in units of the shoulders' width. Two frames differ by the root mean
    square distance of their keypoints of arms and hands, over those that *both* clips saw there: a hand that the
    reference did not see asks nothing of the prediction, and references with few and with many seen keypoints have the
    same unit. The distance is the mean of that along the DTW path; inf where nothing can be compared.
    """
    left, right = (list(parallel_map(_signing, clips, num_workers)) for clips in (predictions, references))
    groups = _alike(np.concatenate([seen for _, seen in left + right]).T)
    # Clips that occur several times (a train clip drawn twice, the mean pose) are compared once.
    number = _alike(np.concatenate([points.ravel(), seen.ravel()]) for points, seen in left + right)
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


def recognition_scores(
    clips: Sequence[Clip], texts: Sequence[str], references: Sequence[Reference], num_workers: int = 0
) -> Scores:
    """1 where the nearest reference has the clip's text, and where one of its TOP nearest has; else 0.

    NaN where the clip has no text. References without a text are not asked, and where all the others have one text,
    which any clip would find, every value is NaN.
    """
    scores = {"recognition": np.full(len(clips), np.nan), "recognition_top5": np.full(len(clips), np.nan)}
    references = [reference for reference in references if says_something(reference.text)]
    asked = [n for n, text in enumerate(texts) if says_something(text)]
    if not asked or len({reference.text for reference in references}) < 2:
        return scores
    distances = sign_distances([clips[n] for n in asked], references, num_workers)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :TOP]
    same = np.array([r.text for r in references])[nearest] == np.array([texts[n] for n in asked])[:, None]
    same &= np.isfinite(np.take_along_axis(distances, nearest, axis=1))
    scores["recognition"][asked], scores["recognition_top5"][asked] = same[:, 0], same.any(1)
    return scores
