"""Metrics that ask whether a clip could be of a person, and whether it is a new one: bones, hands, copies of train."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.clips import Array, Clip, clip_of
from evaluation.recognition import OF_HAND, Frames, Products, arms_and_hands
from poses import layout
from poses.motion import HAND_AND_WRIST, keypoints_seen, mean_where, mostly_seen, shoulder_frame
from poses.pack import Pack
from runtime.processes import shared_map

REACH_QUANTILE = 0.99  # of train's hands lie within the plausible range, by each of its two measures
COPY_QUANTILE = 0.05  # share of the split's real frames that lie this near to a train frame by chance
COPY_FRAMES = 8  # frames of each clip that are looked up, evenly spaced
MAX_TRAIN_FRAMES = 100_000  # beyond that the train frames are thinned out evenly
ENOUGH = 0.5  # two frames are compared where both saw this part of arms and hands or more

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
    found = np.concatenate(list(shared_map(seen_hands, range(len(train)), num_workers, train)))
    return np.quantile(found, REACH_QUANTILE, axis=0) if len(found) else np.full(2, np.inf)


def implausible_hands(prediction: Clip, limits: Array) -> float:
    """Part of the frames with a hand in which one left its arm or is too large: beyond `hand_limits`. NaN if no frame
    has a hand."""
    measures, known = _hand_measures(prediction)
    frames = known.any(1)
    wrong = ((measures > limits).any(2) & known).any(1)
    return float(wrong[frames].mean()) if frames.any() else np.nan


def _frames(clip: Clip) -> Frames:
    """`arms_and_hands` in float32, as there are many."""
    frames = arms_and_hands(clip)
    return frames._replace(points=frames.points.astype(np.float32))


def _enough(frames: Frames) -> Frames:
    return frames.chosen(frames.seen.mean(1) >= ENOUGH)


def nearest_distances(clip: Clip, gallery: Array, gallery_counts: Array) -> Array:
    """Distance of the nearest train frame, as `recognition.sign_distances` compares frames, of COPY_FRAMES of a clip.

    Frames that saw too few keypoints have none. gallery [R,M] and gallery_counts [R',M]: of `TrainFrames`.
    """
    frames = _frames(clip)
    last, K = len(frames.points) - 1, len(layout.ARMS_AND_HANDS)
    frames = frames.chosen(np.unique(np.linspace(0, last, COPY_FRAMES).round().astype(int)) if last >= 0 else slice(0))
    frames = _enough(frames)
    left = EVERY.left(frames)
    squares, count = left @ gallery, left[:, -len(gallery_counts) :] @ gallery_counts  # [t,M]
    squares[count < ENOUGH * K] = np.inf
    squares /= np.maximum(count, 1)
    if not squares.size:
        return np.full(len(squares), np.inf)
    # The product has found the nearest frame, but rounded; a copy's distance is 0.
    nearest = squares.argmin(1)
    x, y, known = gallery[: 3 * K, nearest].reshape(3, K, -1).transpose(0, 2, 1)  # [t,K]
    lacked = frames.absent & (gallery_counts[K:, nearest] < 0).T  # by both, [t,2]
    compared = frames.known & (known > 0) & ~(lacked @ OF_HAND)
    exact = mean_where((frames.points[..., 0] - x) ** 2 + (frames.points[..., 1] - y) ** 2, compared, axis=1)
    return np.where(np.isfinite(squares.min(1)), np.sqrt(exact), np.inf)


@dataclass(frozen=True)
class TrainFrames:
    """Every frame of train, and how near one must be for a copy.

    near: the distance within which COPY_QUANTILE of the split's real frames have a train frame. A real clip of the
    split was made without train, so its part is what resemblance by chance gives; a copied clip's part is 1.
    """

    gallery: Array  # [R,M] and
    counts: Array  # [R',M]: `Products.right` of M frames
    near: float
    real: Array  # mean distance of each reference's frames to their nearest train frame, [N]

    @classmethod
    def build(cls, train: Pack, references: Sequence[Clip], num_workers: int = 0) -> "TrainFrames":
        step = max(1, -(-int(train.lengths("pose").sum()) // MAX_TRAIN_FRAMES))
        parts = shared_map(_frames, (clip_of(train, index)[::step] for index in range(len(train))), num_workers)
        frames = _enough(Frames(*(np.concatenate(part) for part in zip(*parts, strict=True))))
        gallery, counts = (values.T for values in EVERY.right(frames))
        real = list(shared_map(nearest_distances, references, num_workers, gallery, counts))
        every = np.concatenate(real)
        every = every[np.isfinite(every)]
        near = float(np.quantile(every, COPY_QUANTILE)) if len(every) else np.nan
        return cls(gallery, counts, near, np.array([_mean_or_nan(distances) for distances in real]))

    def copied(self, clip: Clip) -> tuple[float, float]:
        """Part of a clip's frames (COPY_FRAMES of them) at most `near` from a train frame, and their mean distance.

        A train clip that went through a decoder is no copy to the letter: it lies within the decoder's error, which
        may exceed `near`, and shows in the mean distance being well below that of real clips. NaN where unknown.
        """
        distances = nearest_distances(clip, self.gallery, self.counts)
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
        "implausible_hands": implausible_hands(prediction, limits),
        "copied_frames": copied,
        "train_distances": distance,  # stands beside the references' before it is reported
    }
