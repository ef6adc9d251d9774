"""Everything that one row of the report needs, computed once for all rows: references, train clips, latents."""

from collections.abc import Sequence

import numpy as np
import torch

from evaluation.distribution import latent_scores, spreads
from evaluation.figures import Scores
from evaluation.metrics import Reference, score_clips, watched_keypoints
from evaluation.naturalness import TrainFrames, bone_length_variation, hand_limits, implausible_hands
from models.autoencoder import PoseAutoencoder
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
        self.limits, self.train_frames = hand_limits(train), TrainFrames.build(train, references)
        self.watched = [watched_keypoints(reference.weight) for reference in references]
        poses, weights = ([getattr(r, name) for r in references] for name in ("pose", "weight"))
        self.reference_latents = self.encode(poses, weights)

    @property
    def thresholds(self) -> dict[str, float]:
        """What the figures were counted with, in shoulder widths, for the report."""
        gap, size = self.limits.tolist()
        return {"hand_gap_limit": gap, "hand_size_limit": size, "copy_distance": self.train_frames.near}

    def score(self, predictions: Sequence[Array], weights: Sequence[Array] | None = None) -> Scores:
        """The values of every clip, from which `figures.summarise` makes a row."""
        scores = score_clips(predictions, self.references, weights, num_workers=self.num_workers)
        clips = list(zip(predictions, weights or [None] * len(predictions), self.watched, strict=True))
        scores["bone_length_variation"] = np.array([bone_length_variation(*clip) for clip in clips])
        scores["implausible_hands"] = np.array([implausible_hands(*clip, self.limits) for clip in clips])
        copied = np.array([self.train_frames.copied(pose, weight) for pose, weight, _ in clips])
        scores["copied_frames"] = copied[:, 0]
        scores["train_distances"] = np.stack([copied[:, 1], self.train_frames.real], axis=1)
        scores["spreads"] = spreads(predictions, self.references, weights, self.num_workers)
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
    def encode(self, poses: Sequence[Array], weights: Sequence[Array] | None) -> list[Array]:
        """The latents [N,D] of each clip; none without an autoencoder."""
        if self.autoencoder is None:
            return []
        device = next(self.autoencoder.parameters()).device
        latents = []
        for pose, weight in zip(poses, weights or [None] * len(poses), strict=True):
            seen = None if weight is None else np.asarray(weight) > 0
            x = torch.from_numpy(self.statistics.normalize(pose, seen))[None].to(device)
            mask = torch.ones(x.shape[:2], dtype=torch.bool, device=device)
            latents.append(self.autoencoder.encode(x, mask)[0].float().cpu().numpy())
        return latents
