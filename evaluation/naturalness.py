"""Metrics that ask whether a clip could be of a person, and whether it is a new one: bones, hands, copies of train."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.clips import Array, Clip, clip_of
from evaluation.recognition import arms_and_hands
from poses import layout
from poses.motion import HAND_AND_WRIST, keypoints_seen, mostly_seen, shoulder_frame
from poses.pack import Pack
from runtime.parallel import parallel_map

REACH_QUANTILE = 0.99  # of train's hands lie within the plausible range, by each of its two measures
COPY_QUANTILE = 0.05  # of the split's real frames count as copies of train frames: what chance resemblance gives
COPY_FRAMES = 8  # frames of each clip that are looked up, evenly spaced
MAX_TRAIN_FRAMES = 100_000  # beyond that the train frames are thinned out evenly
ENOUGH = 0.5  # two frames are compared where both saw this part of arms and hands or more

BONES = np.array([*layout.BONES.body, *layout.BONES.left_hand, *layout.BONES.right_hand])


def bone_length_variation(prediction: Clip, reference: Clip) -> float:
    """How much bones change their length in a clip: standard deviation over mean, the mean over bones; NaN if none.

    Over bones whose ends the reference mostly saw, in frames of the prediction that saw them. Real signing has some:
    limbs turn towards the camera, and a picture shows their projection.
    """
    clip = prediction.rebuilt()
    points, seen = layout.frame_to_keypoints(clip.pose), keypoints_seen(clip.seen)
    a, b = BONES[mostly_seen(reference.seen)[BONES].all(1)].T
    both = seen[:, a] & seen[:, b]  # [T,bones]
    length = np.linalg.norm(points[:, a] - points[:, b], axis=-1)
    count = np.maximum(both.sum(0), 1)
    mean = np.where(both, length, 0.0).sum(0) / count
    deviation = np.sqrt(np.where(both, (length - mean) ** 2, 0.0).sum(0) / count)
    known = (both.sum(0) > 1) & (mean > 0)
    return float((deviation[known] / mean[known]).mean()) if known.any() else np.nan


def _hand_measures(clip: Clip) -> tuple[Array, Array]:
    """Of both hands, in shoulder widths: root to the body's wrist, and root to the farthest keypoint; [T,2,2].

    And where the hand and the wrist were seen, [T,2].
    """
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
    found = np.concatenate(list(parallel_map(seen_hands, range(len(train)), num_workers, train)))
    return np.quantile(found, REACH_QUANTILE, axis=0) if len(found) else np.full(2, np.inf)


def implausible_hands(prediction: Clip, reference: Clip, limits: Array) -> float:
    """Part of the frames with a hand that left its arm or is too large: beyond `hand_limits`. NaN where no hand counts.

    Only hands that the reference mostly saw count: what it never saw asks nothing of the prediction.
    """
    measures, known = _hand_measures(prediction)
    compared = mostly_seen(reference.seen)
    known &= np.array([compared[hand].all() for hand, _ in HAND_AND_WRIST])
    frames = known.any(1)
    wrong = ((measures > limits).any(2) & known).any(1)
    return float(wrong[frames].mean()) if frames.any() else np.nan


def _frames(clip: Clip) -> tuple[Array, Array]:
    """`arms_and_hands`, unseen points 0, and seen as 0 or 1: float32, as there are many."""
    points, seen = arms_and_hands(clip)
    seen = seen.astype(np.float32)
    return (points * seen[..., None]).astype(np.float32), seen


def nearest_distances(clip: Clip, gallery: Array, gallery_seen: Array) -> Array:
    """Root mean square distance of the nearest train frame, over keypoints seen in both, of COPY_FRAMES of a clip.

    Frames that saw too few keypoints have none. gallery [4K,M] and gallery_seen [K,M]: of `TrainFrames`.
    """
    points, seen = _frames(clip)
    chosen = np.unique(np.linspace(0, len(points) - 1, COPY_FRAMES).round().astype(int)) if len(points) else []
    points, seen = points[chosen], seen[chosen]
    enough = seen.mean(1) >= ENOUGH
    points, seen = points[enough], seen[enough]
    # As in `sign_distances`, the sum over points seen in both of |p - r|² is one matrix product.
    left = np.concatenate([(points**2).sum(-1), -2 * points[..., 0], -2 * points[..., 1], seen], axis=1)
    squares, count = left @ gallery, seen @ gallery_seen  # [t,M]
    squares[count < ENOUGH * seen.shape[1]] = np.inf
    return np.sqrt(np.maximum((squares / np.maximum(count, 1)).min(1, initial=np.inf), 0.0))


@dataclass(frozen=True)
class TrainFrames:
    """Every frame of train, and how near one must be for a copy.

    near: the distance within which COPY_QUANTILE of the split's real frames have a train frame. A real clip of the
    split was made without train, so its part is what resemblance by chance gives; a copied clip's part is 1.
    """

    gallery: Array  # [4K,M]: seen, x, y and |r|² of K keypoints in M frames
    seen: Array  # [K,M]
    near: float
    real: Array  # mean distance of each reference's frames to their nearest train frame, [N]

    @classmethod
    def build(cls, train: Pack, references: Sequence[Clip], num_workers: int = 0) -> "TrainFrames":
        step = max(1, -(-int(train.lengths("pose").sum()) // MAX_TRAIN_FRAMES))
        parts = parallel_map(_frames, (clip_of(train, index)[::step] for index in range(len(train))), num_workers)
        points, seen = (np.concatenate(part) for part in zip(*parts, strict=True))
        keep = seen.mean(1) >= ENOUGH
        points, seen = points[keep], seen[keep].T
        gallery = np.concatenate([seen, points[..., 0].T, points[..., 1].T, (points**2).sum(-1).T])
        real = list(parallel_map(nearest_distances, references, num_workers, gallery, seen))
        every = np.concatenate(real)
        every = every[np.isfinite(every)]
        near = float(np.quantile(every, COPY_QUANTILE)) if len(every) else np.nan
        return cls(gallery, seen, near, np.array([_mean_or_nan(distances) for distances in real]))

    def copied(self, clip: Clip) -> tuple[float, float]:
        """Part of a clip's frames (COPY_FRAMES of them) at most `near` from a train frame, and their mean distance.

        A train clip that went through a decoder is no copy to the letter: it lies within the decoder's error, which
        may exceed `near`, and shows in the mean distance being well below that of real clips. NaN where unknown.
        """
        distances = nearest_distances(clip, self.gallery, self.seen)
        if not np.isfinite(self.near) or not len(distances):
            return np.nan, np.nan
        return float((distances <= self.near).mean()), _mean_or_nan(distances)


def _mean_or_nan(distances: Array) -> float:
    return float(distances.mean()) if len(distances) and np.isfinite(distances).all() else np.nan


def naturalness_scores(prediction: Clip, reference: Clip, limits: Array, train_frames: TrainFrames) -> dict[str, float]:
    """Bones, hands and copies of a clip."""
    copied, distance = train_frames.copied(prediction)
    return {
        "bone_length_variation": bone_length_variation(prediction, reference),
        "implausible_hands": implausible_hands(prediction, reference, limits),
        "copied_frames": copied,
        "train_distances": distance,  # stands beside the references' before it is reported
    }
