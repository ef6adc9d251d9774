"""Everything that one row of the report needs, computed once for all rows: references, train clips, latents."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from tqdm import tqdm

from evaluation.clips import ClipAndWeight, Reference
from evaluation.distribution import latent_scores, spread
from evaluation.intervals import Scores, summarise
from evaluation.metrics import dtw, dtw_mje, mean_squared_errors
from evaluation.naturalness import TrainFrames, bone_length_variation, hand_limits, implausible_hands
from evaluation.recognition import recognition
from evaluation.sync import MAX_LAG, nmm_scale, sync_correlation, sync_lag, sync_null
from models.autoencoder import PoseAutoencoder
from poses import layout
from poses.motion import face_energy, hand_energy, mean_where, motion, observe, watched_keypoints
from poses.pack import Pack
from poses.statistics import Statistics
from runtime.parallel import parallel_map

Array = np.ndarray


class Judge:
    """Scores any clips of a split, one for each of its references, in their order."""

    def __init__(
        self, references: list[Reference], train: Pack, autoencoder: PoseAutoencoder | None, statistics: Statistics,
        num_workers: int = 0,
    ) -> None:  # fmt: skip
        self.references, self.autoencoder, self.statistics = references, autoencoder, statistics
        self.num_workers = num_workers
        self.texts = [reference.text for reference in references]
        self.limits = hand_limits(train, num_workers)
        self.train_frames = TrainFrames.build(train, references, num_workers)
        self.watched = [watched_keypoints(reference.weight) for reference in references]
        poses, weights = ([getattr(r, name) for r in references] for name in ("pose", "weight"))
        self.reference_spread = spread(list(zip(poses, weights, strict=True)), self.texts, num_workers)
        self._known: dict[bytes, Array] = {}  # latents of the references, which occur in several rows
        self.reference_latents = self.encode(poses, weights, keep=True)

    @property
    def thresholds(self) -> dict[str, float]:
        """What the figures were counted with, in shoulder widths, for the report."""
        gap, size = self.limits.tolist()
        return {"hand_gap_limit": gap, "hand_size_limit": size, "copy_distance": self.train_frames.near}

    def score(self, predictions: Sequence[Array], weights: Sequence[Array] | None = None) -> Scores:
        """The values of every clip, from which `figures.summarise` makes a row."""
        scores = score_clips(predictions, self.references, weights, num_workers=self.num_workers)
        clips = list(zip(predictions, weights or [None] * len(predictions), strict=True))
        tasks = zip(clips, self.watched, strict=True)
        natural = parallel_map(_naturalness, tasks, self.num_workers, self.limits, self.train_frames)
        bones, hands, copied, distance = np.array(list(natural)).T
        scores |= {"bone_length_variation": bones, "implausible_hands": hands, "copied_frames": copied}
        scores["train_distances"] = np.stack([distance, self.train_frames.real], axis=1)
        spreads = spread(clips, self.texts, self.num_workers)
        scores["spreads"] = np.stack([spreads, self.reference_spread], axis=1)
        if self.autoencoder is not None:
            scores |= latent_scores(self.encode(predictions, self._asked(predictions, weights)), self.reference_latents)
        return scores

    def _asked(self, predictions: Sequence[Array], weights: Sequence[Array] | None) -> list[Array]:
        """The weights without what each clip's reference never saw: the encoder knows a hand that is absent from a clip
        only as absent, so one that a model draws there, as it must draw something, would count as far from all."""
        weights = weights or [np.ones(pose.shape) for pose in predictions]
        seen = [(reference.weight > 0).any(0) for reference in self.references]
        return [weight * asked for weight, asked in zip(weights, seen, strict=True)]

    @torch.no_grad()
    def encode(self, poses: Sequence[Array], weights: Sequence[Array] | None, keep: bool = False) -> list[Array]:
        """The latents [N,D] of each clip, of equal clips once; none without an autoencoder."""
        if self.autoencoder is None:
            return []
        device = next(self.autoencoder.parameters()).device
        latents, known = [], dict(self._known)
        for pose, weight in zip(poses, weights or [None] * len(poses), strict=True):
            normalized = self.statistics.normalize(pose, None if weight is None else np.asarray(weight) > 0)
            key = normalized.tobytes()
            if key not in known:
                x = torch.from_numpy(normalized)[None].to(device)
                mask = torch.ones(x.shape[:2], dtype=torch.bool, device=device)
                known[key] = self.autoencoder.encode(x, mask)[0].float().cpu().numpy()
            latents.append(known[key])
        if keep:
            self._known = known
        return latents

    @torch.no_grad()
    def reconstruct(self) -> list[Array]:
        """Every reference through the autoencoder: the ceiling of any generator over its latents."""
        device = next(self.autoencoder.parameters()).device
        clips = []
        latents = tqdm(self.reference_latents, desc="reconstructing", unit="clip", disable=None)
        for reference, z in zip(self.references, latents, strict=True):
            mask = torch.ones(1, len(reference.pose), dtype=torch.bool, device=device)
            pose = self.autoencoder.decode(torch.from_numpy(z)[None].to(device), mask)[0]
            clips.append(self.statistics.denormalize(pose.cpu().numpy()))
        return clips


def _naturalness(
    task: tuple[ClipAndWeight, Array], limits: Array, train_frames: TrainFrames
) -> tuple[float, float, float, float]:
    """Bone length variation, implausible hands, copied frames and the mean distance to train frames of a clip."""
    (pose, weight), watched = task
    hands = implausible_hands(pose, weight, watched, limits)
    return bone_length_variation(pose, weight, watched), hands, *train_frames.copied(pose, weight)


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
        speeds.append(float(mean_where(energies[1], np.isfinite(energies[1]))))
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


def evaluate_row(*args: object, **kwargs: object) -> dict[str, float | int | None]:
    """`summarise` of `score_clips`, whose arguments it takes: what needs neither train clips nor an autoencoder."""
    return summarise(score_clips(*args, **kwargs))
