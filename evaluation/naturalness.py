"""Metrics that ask whether a clip could be of a person, and whether it is a new one: bones, hands, copies of train.

Poses, weights and their shapes are those of `evaluation/metrics.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.clips import ClipAndWeight, Reference
from poses import layout
from poses.motion import HAND_AND_WRIST, keypoints_seen, observe, shoulder_frame
from poses.pack import Pack
from runtime.parallel import parallel_map

Array = np.ndarray

REACH_QUANTILE = 0.99  # of train's hands lie within the plausible range, by each of its two measures
COPY_QUANTILE = 0.05  # of the split's real frames count as copies of train frames: what chance resemblance gives
COPY_FRAMES = 8  # frames of each clip that are looked up, evenly spaced
MAX_TRAIN_FRAMES = 100_000  # beyond that the train frames are thinned out evenly
_SEEN_SHARE = 0.5  # two frames are compared where both saw this share of arms and hands or more

BONES = np.array([*layout.BONES.body, *layout.BONES.left_hand, *layout.BONES.right_hand])


def bone_length_variation(pose: Array, weight: Array | None, watched: Array) -> float:
    """How much bones change their length in a clip: standard deviation over mean, the mean over bones; NaN if none.

    Over bones with both ends `watched` [75], in frames that saw them. Real signing has some: limbs turn towards the
    camera, and a picture shows their projection.
    """
    pose, seen = observe(pose, weight)
    points, visible = layout.frame_to_keypoints(pose), keypoints_seen(seen)
    a, b = BONES[watched[BONES].all(1)].T
    both = visible[:, a] & visible[:, b]  # [T,bones]
    length = np.linalg.norm(points[:, a] - points[:, b], axis=-1)
    count = np.maximum(both.sum(0), 1)
    mean = np.where(both, length, 0.0).sum(0) / count
    deviation = np.sqrt(np.where(both, (length - mean) ** 2, 0.0).sum(0) / count)
    known = (both.sum(0) > 1) & (mean > 0)
    return float((deviation[known] / mean[known]).mean()) if known.any() else np.nan


# ---------------------------------------------------------------- hands


def _hand_measures(pose: Array, weight: Array | None) -> tuple[Array, Array]:
    """Of both hands, in shoulder widths: root to the body's wrist, and root to the farthest keypoint; [T,2,2].

    And where the hand and the wrist were seen, [T,2].
    """
    pose, seen = observe(pose, weight)
    points, visible = shoulder_frame(pose, seen), keypoints_seen(seen)
    known = np.stack([visible[:, hand].all(1) & visible[:, wrist] for hand, wrist in HAND_AND_WRIST], axis=1)
    if points is None:
        return np.zeros((len(pose), 2, 2)), np.zeros_like(known)
    measures = []
    for hand, wrist in HAND_AND_WRIST:
        keypoints = points[:, hand]
        root = keypoints[:, layout.HAND_ROOT]
        gap = np.linalg.norm(root - points[:, wrist], axis=-1)
        size = np.linalg.norm(keypoints - root[:, None], axis=-1).max(1)
        measures.append(np.stack([gap, size], axis=1))
    return np.stack(measures, axis=1), known


def hand_limits(train: Pack, num_workers: int = 0) -> Array:
    """The plausible range [2]: what REACH_QUANTILE of the hands in train stay within, by gap and by size."""
    found = np.concatenate(list(parallel_map(_known_hands, range(len(train)), num_workers, train)))
    return np.quantile(found, REACH_QUANTILE, axis=0) if len(found) else np.full(2, np.inf)


def _known_hands(index: int, train: Pack) -> Array:
    """Gap and size of every hand that a train clip saw, [n,2]."""
    measures, known = _hand_measures(train.field("pose", index), train.field("seen", index))
    return measures[known]


def implausible_hands(pose: Array, weight: Array | None, watched: Array, limits: Array) -> float:
    """Share of frames with a hand that left its arm or is too large: beyond `hand_limits`. NaN where no hand counts.

    Only hands that the reference `watched` count: what it never saw asks nothing of the prediction.
    """
    measures, known = _hand_measures(pose, weight)
    known &= np.array([watched[hand].all() for hand, _ in HAND_AND_WRIST])
    frames = known.any(1)
    wrong = ((measures > limits).any(2) & known).any(1)
    return float(wrong[frames].mean()) if frames.any() else np.nan


# ---------------------------------------------------------------- copies


def _frames(clip: ClipAndWeight) -> tuple[Array, Array]:
    """Arms and hands from the shoulders, in shoulder widths [T,K,2] and seen [T,K]; float32."""
    pose, seen = observe(*clip)
    points = shoulder_frame(pose, seen)
    count = len(layout.ARMS_AND_HANDS)
    if points is None:
        return np.zeros((0, count, 2), np.float32), np.zeros((0, count), np.float32)
    visible = keypoints_seen(seen)[:, layout.ARMS_AND_HANDS].astype(np.float32)
    return (points[:, layout.ARMS_AND_HANDS] * visible[..., None]).astype(np.float32), visible


@dataclass(frozen=True)
class TrainFrames:
    """Every frame of train, and how near one must be for a copy.

    near: the distance within which COPY_QUANTILE of the split's real frames have a train frame. A real clip of the
    split was made without train, so its share is what resemblance by chance gives; a copied clip's share is 1.
    """

    right: Array  # [4K,M], see `_nearest`
    visible: Array  # [K,M]
    near: float
    real: Array  # mean distance of each reference's frames to their nearest train frame, [N]

    @classmethod
    def build(cls, train: Pack, references: Sequence[Reference], num_workers: int = 0) -> "TrainFrames":
        step = max(1, -(-int(train.lengths("pose").sum()) // MAX_TRAIN_FRAMES))
        parts = ((train.field("pose", i)[::step], train.field("seen", i)[::step]) for i in range(len(train)))
        parts = parallel_map(_frames, parts, num_workers)
        points, visible = (np.concatenate(part) for part in zip(*parts, strict=True))
        keep = visible.mean(1) >= _SEEN_SHARE
        points, visible = points[keep], visible[keep].T
        right = np.concatenate([visible, points[..., 0].T, points[..., 1].T, (points**2).sum(-1).T])
        clips = ((reference.pose, reference.weight) for reference in references)
        real = list(parallel_map(_nearest, clips, num_workers, right, visible))
        every = np.concatenate(real)
        every = every[np.isfinite(every)]
        near = float(np.quantile(every, COPY_QUANTILE)) if len(every) else np.nan
        return cls(right, visible, near, np.array([_mean_or_nan(distances) for distances in real]))

    def copied(self, pose: Array, weight: Array | None) -> tuple[float, float]:
        """Share of a clip's frames (COPY_FRAMES of them) at most `near` from a train frame, and their mean distance.

        A train clip that went through a decoder is no copy to the letter: it lies within the decoder's error, which
        may exceed `near`, and shows in the mean distance being well below that of real clips. NaN where unknown.
        """
        distances = _nearest((pose, weight), self.right, self.visible)
        if not np.isfinite(self.near) or not len(distances):
            return np.nan, np.nan
        return float((distances <= self.near).mean()), _mean_or_nan(distances)


def _mean_or_nan(distances: Array) -> float:
    return float(distances.mean()) if len(distances) and np.isfinite(distances).all() else np.nan


def _nearest(clip: ClipAndWeight, right: Array, right_visible: Array) -> Array:
    """Root mean square distance of the nearest train frame, over keypoints seen in both, of some frames of a clip."""
    points, visible = _frames(clip)
    chosen = np.unique(np.linspace(0, len(points) - 1, COPY_FRAMES).round().astype(int)) if len(points) else []
    points, visible = points[chosen], visible[chosen]
    enough = visible.mean(1) >= _SEEN_SHARE
    points, visible = points[enough], visible[enough]
    # As in `recognition._distances`: the sum of squares over points seen in both is one matrix product.
    left = np.concatenate([(points**2).sum(-1), -2 * points[..., 0], -2 * points[..., 1], visible], axis=1)
    squares, count = left @ right, visible @ right_visible  # [t,M]
    squares[count < _SEEN_SHARE * visible.shape[1]] = np.inf
    return np.sqrt(np.maximum((squares / np.maximum(count, 1)).min(1, initial=np.inf), 0.0))
