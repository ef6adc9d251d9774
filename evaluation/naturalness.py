"""Metrics that ask whether a clip could be of a person, and whether it is a new one: bones, hands, copies of train."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from evaluation.clips import Array, Clip, Scores, clip_of
from evaluation.recognition import OF_HAND, Frames, Products, arms_and_hands
from poses import layout
from poses.motion import HAND_AND_WRIST, keypoints_seen, mean_where, mostly_seen, shoulder_frame
from poses.pack import Pack
from runtime.processes import shared_map

REACH_QUANTILE = 0.99  # of train's hands lie within the plausible range, by each of its two measures
COPY_QUANTILE = 0.05  # share of the split's real frames that lie as near to a train frame as a copy, by chance
COPY_FRAMES = 8  # frames of each clip that are looked up, evenly spaced
PART_FRAMES = 10_000  # of train, about, that are looked through at a time
KEPT_FRAMES = 50_000  # of train, at most, that stay in memory
ASKED_AT_A_TIME = 256  # frames whose nearest is looked for at a time
CANDIDATES = 8  # train frames that are the nearest but for rounding
ENOUGH = 0.5  # share of the keypoints of arms and hands that two frames must both know to be compared

EVERY = Products(np.arange(len(layout.ARMS_AND_HANDS)), OF_HAND, np.arange(len(OF_HAND)))  # of arms and hands

BONES = np.array([*layout.BONES.body, *layout.BONES.left_hand, *layout.BONES.right_hand])


def bone_length_variation(prediction: Clip, reference: Clip) -> float:
    """How much bones change their length in a clip: standard deviation over mean, the mean over bones; NaN if none.

    Over the bones of a hand in the frames that have it, whatever the reference has, and over those of the body whose
    ends the reference mostly saw. A bone weighs as much as the frames that show it. Real signing has some variation:
    limbs turn towards the camera, and a picture shows their projection.
    """
    clip = prediction.rebuilt()
    points, seen = layout.frame_to_keypoints(clip.pose), keypoints_seen(clip.seen)
    asked = mostly_seen(reference.seen)
    asked[layout.NUM_BODY :] = True
    a, b = BONES[asked[BONES].all(1)].T
    both = seen[:, a] & seen[:, b]  # [T,bones]
    length = np.linalg.norm(points[:, a] - points[:, b], axis=-1)
    count = both.sum(0)
    mean = np.where(both, length, 0.0).sum(0) / np.maximum(count, 1)
    deviation = np.sqrt(np.where(both, (length - mean) ** 2, 0.0).sum(0) / np.maximum(count, 1))
    known = (count > 1) & (mean > 0)
    return float(np.average(deviation[known] / mean[known], weights=count[known])) if known.any() else np.nan


def _hand_measures(clip: Clip) -> tuple[Array, Array]:
    """For each hand, in shoulder widths: the distance from its root to the body's wrist, and to its farthest keypoint,
    [T,2,2]; and whether hand and wrist were seen, [T,2]."""
    clip = clip.rebuilt()
    points, seen = shoulder_frame(clip.pose, clip.seen), keypoints_seen(clip.seen)
    known = np.stack([seen[:, hand].all(1) & seen[:, wrist] for hand, wrist in HAND_AND_WRIST], axis=1)
    if points is None:
        return np.zeros((len(clip.pose), 2, 2)), np.zeros_like(known)
    measures = []
    for hand, wrist in HAND_AND_WRIST:
        keypoints = points[:, hand]
        root = keypoints[:, layout.HAND_ROOT]
        gap = np.linalg.norm(root - points[:, wrist], axis=-1)
        size = np.linalg.norm(keypoints - root[:, None], axis=-1).max(1)
        measures.append(np.stack([gap, size], axis=1))
    return np.stack(measures, axis=1), known


def seen_hands(index: int, train: Pack) -> Array:
    """Gap and size of every hand that a train clip saw, [n,2], in shoulder widths."""
    measures, known = _hand_measures(clip_of(train, index))
    return measures[known]


def hand_limits(train: Pack, num_workers: int = 0) -> Array:
    """The plausible range [2]: what REACH_QUANTILE of the hands in train stay within, by gap and by size."""
    found = np.concatenate(list(shared_map(seen_hands, range(len(train)), num_workers, train)))
    return np.quantile(found, REACH_QUANTILE, axis=0) if len(found) else np.full(2, np.inf)


def implausible_hands(prediction: Clip, limits: Array) -> float:
    """Share of the frames with a hand in which a hand is beyond `hand_limits`: too far from its arm, or too large. NaN
    if no frame has a hand, or no hand of train gives limits."""
    measures, known = _hand_measures(prediction)
    frames = known.any(1)
    wrong = ((measures > limits).any(2) & known).any(1)
    return float(wrong[frames].mean()) if frames.any() and np.isfinite(limits).all() else np.nan


def _frames(clip: Clip) -> Frames:
    """`arms_and_hands` in float32, as there are many."""
    frames = arms_and_hands(clip)
    return frames._replace(points=frames.points.astype(np.float32))


def _enough(frames: Frames) -> Frames:
    return frames.chosen(frames.seen.mean(1) >= ENOUGH)


class Gallery(NamedTuple):
    """M frames of train, among which the nearest one is looked for, and their `Products.right`."""

    frames: Frames
    right: Array  # [R,M]
    counts: Array  # [R',M]


def _gallery(clips: range, train: Pack) -> Gallery:
    """All frames of these clips of train that saw enough."""
    parts = [_frames(clip_of(train, index)) for index in clips]
    frames = _enough(Frames(*map(np.concatenate, zip(*parts, strict=True))))
    return Gallery(frames, *(values.T for values in EVERY.right(frames)))


def _asked(clip: Clip) -> Frames:
    """COPY_FRAMES of a clip, without those that saw too few keypoints."""
    frames = _frames(clip)
    last = len(frames.points) - 1
    return _enough(frames.chosen(np.unique(np.linspace(0, last, COPY_FRAMES).round().astype(int))[: last + 1]))


def _nearest(where: Gallery | range, train: Pack, asked: Frames) -> Array:
    """Distance [t] from each asked frame to the nearest frame of a gallery, or of clips of train, compared as in
    `sign_distances`; inf if no frame knows enough of the keypoints that the asked frame knows."""
    gallery = where if isinstance(where, Gallery) else _gallery(where, train)
    nearest = np.full(len(asked.points), np.inf)
    left, least = EVERY.left(asked), ENOUGH * len(layout.ARMS_AND_HANDS)
    for start in range(0, len(left) if gallery.right.size else 0, ASKED_AT_A_TIME):
        rows = slice(start, start + ASKED_AT_A_TIME)
        squares, count = left[rows] @ gallery.right, left[rows, -len(gallery.counts) :] @ gallery.counts  # [t,M]
        squares[count < least] = np.inf
        squares /= np.maximum(count, 1)
        # Rounding exceeds the differences between near frames, so the nearest one is found exactly among a few.
        last = min(CANDIDATES, squares.shape[1]) - 1
        few = np.argpartition(squares, last, axis=1)[:, : last + 1]
        one, other = asked.chosen(np.arange(len(left))[rows, None]), gallery.frames.chosen(few)  # [t,1], [t,CANDIDATES]
        compared = one.known & other.known & ~((one.absent & other.absent) @ OF_HAND)
        exact = mean_where(((one.points - other.points) ** 2).sum(-1), compared, axis=-1)
        nearest[rows] = np.where(compared.sum(-1) >= least, np.sqrt(exact), np.inf).min(1)
    return nearest


class TrainFrames:
    """Every frame of train, and how near a train frame must be for a copy.

    copy_distance: the distance within which COPY_QUANTILE of the split's real frames have a train frame. Real clips of
    the split were not made from train, so this share is chance; that of a copied clip is 1. real_distances: the
    references' distances, as `nearest_distances` gives them. Large data sets are read anew for each row, part by part.
    """

    def __init__(self, train: Pack, references: Sequence[Clip], num_workers: int = 0) -> None:
        self.train, self.num_workers = train, num_workers
        ends = train.lengths("pose").cumsum()
        parts = [len(part) for part in np.split(ends, np.flatnonzero(np.diff(ends // PART_FRAMES)) + 1)]
        firsts = np.cumsum([0, *parts]).tolist()
        self.places: list[Gallery | range] = [range(*pair) for pair in pairwise(firsts)]
        if ends[-1] <= KEPT_FRAMES:
            self.places = list(shared_map(_gallery, self.places, num_workers, train))
        self.real_distances = self.nearest_distances(references)
        every = np.concatenate(self.real_distances)
        every = every[np.isfinite(every)]
        self.copy_distance = float(np.quantile(every, COPY_QUANTILE)) if len(every) else np.nan

    def nearest_distances(self, clips: Sequence[Clip]) -> list[Array]:
        """For each clip, the distances from COPY_FRAMES of its frames to their nearest train frames."""
        asked = list(shared_map(_asked, clips, self.num_workers))
        frames = Frames(*map(np.concatenate, zip(*asked, strict=True)))
        nearest = np.full(len(frames.points), np.inf)
        for found in shared_map(_nearest, self.places, self.num_workers, self.train, frames):
            np.minimum(nearest, found, out=nearest)
        return np.split(nearest, np.cumsum([len(frames.points) for frames in asked])[:-1])

    def scores(self, distances: Sequence[Array]) -> Scores:
        """From the clips' `nearest_distances`: the share of a clip's frames within `copy_distance` of a train frame,
        [N]; and the mean distance of the clip and of its reference, [N,2]. NaN where unknown.

        A train clip that went through a decoder is no exact copy: its distance, the decoder's error, may exceed
        `copy_distance`. It shows by a mean distance that is well below that of real clips.
        """
        limit = self.copy_distance
        copied = [float((own <= limit).mean()) if np.isfinite(limit) and len(own) else np.nan for own in distances]
        pairs = zip(distances, self.real_distances, strict=True)
        means = [[_mean_or_nan(own), _mean_or_nan(real)] for own, real in pairs]
        return {"copied_frames": np.array(copied), "train_distances": np.array(means)}


def _mean_or_nan(distances: Array) -> float:
    return float(distances.mean()) if len(distances) and np.isfinite(distances).all() else np.nan


def naturalness_scores(prediction: Clip, reference: Clip, limits: Array) -> dict[str, float]:
    """Bones and hands of a clip."""
    return {
        "bone_length_variation": bone_length_variation(prediction, reference),
        "implausible_hands": implausible_hands(prediction, limits),
    }
