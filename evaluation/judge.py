"""Everything that one row of the report needs, computed once for all rows: references, train clips, latents."""

from collections.abc import Sequence

import numpy as np
import torch
from tqdm import tqdm

from evaluation.distribution import latent_scores, spread
from evaluation.figures import Scores
from evaluation.metrics import ClipAndWeight, Reference, score_clips, watched_keypoints
from evaluation.naturalness import TrainFrames, bone_length_variation, hand_limits, implausible_hands
from models.autoencoder import PoseAutoencoder
from parallel import parallel_map
from poses.packed import Pack
from poses.statistics import Statistics

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
