"""Recognition: whose sign is a clip nearest to? DTW of arms and hands between all clips of two sets."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from evaluation.clips import Array, Clip, Reference, Scores
from poses import layout
from poses.motion import keypoints_seen, shoulder_frame
from poses.texts import says_something, text_key
from runtime.processes import shared_map

TOP = 5  # references among which `recognition_top5` looks for the text

# Which of ARMS_AND_HANDS belong to the left and to the right hand, [2,48] bool.
OF_HAND = np.stack(
    [np.isin(layout.ARMS_AND_HANDS, np.r_[hand.start : hand.stop]) for hand in layout.HAND_KEYPOINTS.values()]
)

# One task of the recognition: fixed sizes, so that workers change no distance, and few enough cells for the caches.
CHUNK_PREDICTIONS, CHUNK_REFERENCES, CHUNK_CELLS = 64, 32, 2**20


class Frames(NamedTuple):
    """Arms and hands of T frames in the shoulder frame, K keypoints: points [T,K,2]; seen [T,K] bool; known [T,K] bool,
    seen or of an absent hand, which is at its wrist; absent [T,2] bool, of the left and the right hand."""

    points: Array
    seen: Array
    known: Array
    absent: Array

    def chosen(self, frames: Array | slice, keypoints: Array | slice = slice(None)) -> "Frames":
        return Frames(*(values[frames, keypoints] for values in self[:3]), self.absent[frames])


def arms_and_hands(clip: Clip) -> Frames:
    """A clip's arms and hands; no frame where it has no shoulders."""
    clip = clip.rebuilt()
    points = shoulder_frame(clip.pose, clip.seen)
    seen, known = (keypoints_seen(numbers)[:, layout.ARMS_AND_HANDS] for numbers in (clip.seen, clip.known))
    absent = keypoints_seen(clip.placed)[:, [hand.start for hand in layout.HAND_KEYPOINTS.values()]]
    if points is None:
        return Frames(np.zeros((0, len(layout.ARMS_AND_HANDS), 2)), seen[:0], known[:0], absent[:0])
    return Frames(points[:, layout.ARMS_AND_HANDS], seen, known, absent)


def _signing(clip: Clip) -> Frames:
    """`arms_and_hands` without the frames that saw no keypoint of arms and hands."""
    frames = arms_and_hands(clip)
    return frames.chosen(frames.seen.any(1))


@dataclass(frozen=True)
class Products:
    """Squared distances between frames of two clips, summed over the keypoints compared, as one matrix product.

    With `right, counts = self.right(b)` the sums are `left(a) @ right.T`. The numbers of keypoints are the product of
    the last columns of `left(a)`, as many as `counts` has, with `counts.T`. Frames are compared in every keypoint that
    both know, except in a hand that both lack. The sum over keypoints that both know is |p|² k_r − 2 p·r + k_p |r|²,
    with p and r 0 where unknown. The sum over hands that both lack is subtracted from it; all keypoints of such a hand
    are at one wrist.

    groups [K]: keypoints of one number are known together or not at all. hands [H,K] bool: the keypoints of the hands,
    `columns` [H] of `Frames.absent`, that clips of both sides may lack.
    """

    groups: Array
    hands: Array
    columns: Array

    @classmethod
    def of(cls, left: Sequence[Frames], right: Sequence[Frames], keypoints: Array) -> "Products":
        """The products for clips that were cut down to `keypoints` [K], indices of ARMS_AND_HANDS."""
        lacked = np.all([np.any([frames.absent.any(0) for frames in side], axis=0) for side in (left, right)], axis=0)
        hands = OF_HAND[:, keypoints]
        columns = np.flatnonzero(lacked & hands.any(1))
        known = np.concatenate([frames.known for frames in (*left, *right)])
        return cls(_numbered(known.T), hands[columns], columns)

    def _parts(self, frames: Frames) -> tuple[Array, ...]:
        """x, y [T,K], 0 where unknown; what is known and the squares, [T,G] each; which hands are absent, and x, y and
        the squares of their wrists, [T,H] each."""
        groups, one_of = np.unique(self.groups, return_index=True)
        points, known = frames.points * frames.known[..., None], frames.known[:, one_of]
        squares = (points**2).sum(-1) @ np.eye(len(groups), dtype=points.dtype)[self.groups]
        absent = frames.absent[:, self.columns]
        wrist = frames.points[:, self.hands.argmax(1)] * absent[..., None]
        return *np.moveaxis(points, -1, 0), known, squares, absent, *np.moveaxis(wrist, -1, 0), (wrist**2).sum(-1)

    def left(self, frames: Frames) -> Array:
        x, y, known, squares, absent, wrist_x, wrist_y, wrist_squares = self._parts(frames)
        return np.concatenate([-2 * x, -2 * y, squares, wrist_squares, wrist_x, wrist_y, known, absent], axis=1)

    def right(self, frames: Frames) -> tuple[Array, Array]:
        x, y, known, squares, absent, wrist_x, wrist_y, wrist_squares = self._parts(frames)
        n = self.hands.sum(1, dtype=x.dtype)
        lacked = -n * absent, 2 * n * wrist_x, 2 * n * wrist_y
        right = np.concatenate([x, y, known, *lacked, squares, -n * wrist_squares], axis=1)
        return right, np.concatenate([known * np.bincount(self.groups).astype(x.dtype), -n * absent], axis=1)


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


def _distances(task: tuple[list[Frames], list[Frames]], products: Products) -> Array:
    """Distances of predictions to references, [N,M], both as `_signing` gives them; inf if incomparable."""
    predictions, references = task
    distances = np.full((len(predictions), len(references)), np.inf)
    usable = [n for n, frames in enumerate(predictions) if len(frames.points)]
    if not usable:
        return distances
    lengths = np.array([len(predictions[n].points) for n in usable])
    longest, rows = lengths.max(), [products.left(predictions[n]).T for n in usable]
    left = np.zeros((len(rows[0]), longest, len(usable)))
    for n, length in enumerate(lengths.tolist()):
        left[:, :length, n] = rows[n]
    left = left.reshape(len(left), -1)  # [R,T'N]
    for m, frames in enumerate(references):
        if len(frames.points) == 0:
            continue
        right, counts = products.right(frames)
        means, count = right @ left, counts @ left[-counts.shape[1] :]  # [T,T'N]
        np.maximum(means, 0.0, out=means)  # rounding
        if count.all():
            np.divide(means, count, out=means)
        else:
            np.divide(means, count, out=means, where=count > 0)
            means[count == 0] = np.inf
        costs = np.sqrt(means, out=means).reshape(len(frames.points), longest, len(usable))
        distances[usable, m] = _warped_means(costs, lengths)
    return distances


def _numbered(arrays: Iterable[Array]) -> Array:
    """A number for each array, 0, 1, 2, … in order; equal arrays have the same number."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(array.tobytes(), len(numbers)) for array in arrays])


def sign_distances(predictions: Sequence[Clip], references: Sequence[Clip], num_workers: int = 0) -> Array:
    """DTW distances of arms and hands between clips, [N,M], in shoulder widths.

    Poses are taken from the shoulders' centre in units of the shoulders' width. Two frames differ by the root mean
    square distance of their keypoints of arms and hands, over those that both clips saw, so that frames with few and
    with many have the same unit. A hand that one frame lacks is at its wrist there (`clips.RebuiltClip`): a hand too
    many or too few costs, and one that both lack counts nothing. The distance of two clips is the mean distance of
    frames along the DTW path; inf where nothing can be compared.
    """
    left, right = (list(shared_map(_signing, clips, num_workers)) for clips in (predictions, references))
    keypoints = np.flatnonzero(np.any([frames.seen.any(0) for frames in left + right], axis=0))
    left, right = ([frames.chosen(slice(None), keypoints) for frames in side] for side in (left, right))
    products = Products.of(left, right, keypoints)
    # Clips that occur several times (a train clip drawn twice, the mean pose) are compared once.
    number = _numbered(np.concatenate([values.ravel() for values in frames]) for frames in left + right)
    number, other_number = number[: len(left)], number[len(left) :]
    _, distinct = np.unique(number, return_index=True)
    lengths = [len(left[n].points) for n in distinct]
    order = distinct[np.argsort(lengths, kind="stable")]  # alike in length: less padding
    longest = (max(len(frames.points) for frames in side) for side in (left, right))
    size = min(CHUNK_PREDICTIONS, max(1, CHUNK_CELLS // max(1, math.prod(longest))))
    rows = [order[start : start + size] for start in range(0, len(order), size)]
    columns = [slice(start, start + CHUNK_REFERENCES) for start in range(0, len(right), CHUNK_REFERENCES)]
    blocks = [(row, column) for row in rows for column in columns]
    distances = np.full((len(left), len(right)), np.inf)
    tasks = (([left[n] for n in row], right[column]) for row, column in blocks)
    for (row, column), block in zip(blocks, shared_map(_distances, tasks, num_workers, products), strict=True):
        distances[row, column] = block
    distances = distances[distinct[number]]
    distances[(number[:, None] == other_number) & np.isfinite(distances)] = 0.0  # and not what rounding leaves
    return distances


def recognition_scores(
    clips: Sequence[Clip],
    texts: Sequence[str],
    references: Sequence[Reference],
    num_workers: int = 0,
    *,
    from_references: bool = False,
) -> Scores:
    """1 where the nearest reference has the clip's text, and where one of its TOP nearest has; else 0.

    from_references: the clips are references themselves, and no clip is compared with itself.
    NaN where the clip has no text. References without a text are left out. If all the others have one text, which any
    clip would find, every value is NaN. The second value is also NaN if fewer than TOP references have another text.
    """
    scores = {"recognition": np.full(len(clips), np.nan), "recognition_top5": np.full(len(clips), np.nan)}
    references = [reference for reference in references if says_something(reference.text)]
    asked = [n for n, text in enumerate(texts) if says_something(text)]
    if not asked or len({text_key(reference.text) for reference in references}) < 2:
        return scores
    distances = sign_distances([clips[n] for n in asked], references, num_workers)
    itself = (distances == 0) & from_references
    distances[itself] = np.inf
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :TOP]
    of_text = np.array([text_key(r.text) for r in references]) == [[text_key(texts[n])] for n in asked]  # [n,M]
    found = np.take_along_axis(of_text & np.isfinite(distances), nearest, axis=1)
    can_miss = (~of_text & ~itself).sum(1) >= TOP
    scores["recognition"][asked] = found[:, 0]
    scores["recognition_top5"][asked] = np.where(can_miss, found.any(1), np.nan)
    return scores
