"""Scores any clips of a split; what all rows of the report need (references, train clips, latents) is computed once."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from evaluation.back_translation import BackTranslator
from evaluation.clips import Array, Clip, Reference, Scores, stack_values
from evaluation.distribution import latent_scores, spread
from evaluation.dtwp import dtwp
from evaluation.metrics import closeness_scores, motion_scores, presence_scores
from evaluation.naturalness import TrainFrames, hand_limits, naturalness_scores
from evaluation.recognition import recognition_scores
from evaluation.sync import nmm_scale, sync_scores
from evaluation.sync_classifier import SyncJudge
from evaluation.text_metrics import text_scores
from generation import finished
from models.autoencoder import PoseAutoencoder
from poses.interpolation import resample, resample_seen
from poses.pack import Pack
from poses.statistics import Statistics
from poses.texts import text_key
from runtime.console import progress_bar
from runtime.errors import UserError
from runtime.processes import shared_map


class Evaluator:
    """Scores clips of a split, one for each of its references, in their order.

    Without an autoencoder there is no Fréchet distance, without a translator nothing is read back, and without a judge
    there is no confidence of synchrony. on_train: the split is train itself; every frame is then a train frame, so
    copies are not counted.
    """

    def __init__(
        self,
        references: list[Reference],
        train: Pack,
        autoencoder: PoseAutoencoder | None,
        statistics: Statistics,
        translator: BackTranslator | None = None,
        num_workers: int = 0,
        judge: SyncJudge | None = None,
        *,
        on_train: bool = False,
    ) -> None:
        self.references, self.autoencoder, self.statistics = references, autoencoder, statistics
        self.translator, self.num_workers, self.judge = translator, num_workers, judge
        self.texts = [reference.text for reference in references]
        self.limits = hand_limits(train, num_workers)
        self.train_frames = None if on_train else TrainFrames(train, references, num_workers)
        self.reference_spread = spread(references, self.texts, num_workers)
        self.text_numbers = np.unique([*map(text_key, self.texts)], return_inverse=True)[1].astype(float)
        self._latents: dict[bytes, Array] = {}  # by what was encoded: many clips occur in several rows
        self.reference_latents = self.encode(references)
        self.reference_sync = None if judge is None else judge.score(references)

    @property
    def thresholds(self) -> dict[str, float]:
        """The limits by which hands and copies were counted, in shoulder widths, for the report."""
        gap, size = self.limits.tolist()
        copies = {} if self.train_frames is None else {"copy_distance": self.train_frames.copy_distance}
        return {"hand_gap_limit": gap, "hand_size_limit": size, **copies}

    def score(self, clips: Sequence[Clip], *, from_train: bool = False) -> Scores:
        """The values of every clip, from which `summary.summarise` makes a row.

        from_train: the clips are train clips. The judge of synchrony has learnt from them, so it does not score them.
        If the split is train, too, they are among the references.
        """
        train_frames, are_references = self.train_frames, clips is self.references
        from_references = from_train and train_frames is None
        scores = score_clips(clips, self.references, self.num_workers, self.limits, from_references=from_references)
        if train_frames is not None:
            distances = train_frames.real_distances if are_references else train_frames.nearest_distances(clips)
            scores |= train_frames.scores(distances)
        spreads = [spread(clips, self.texts, self.num_workers), self.reference_spread, self.text_numbers]
        scores["text_spreads"] = np.stack(spreads, axis=1)
        if self.autoencoder is not None:
            latents = [z if clip.seen.any() else z[:0] for z, clip in zip(self.encode(clips), clips, strict=True)]
            scores |= latent_scores(latents, self.reference_latents)
        if self.translator is not None:
            scores |= text_scores(self.translator.read(clips), self.texts)
            scores["text_likelihoods"] = self.translator.likelihoods(clips, self.texts)
        if self.judge is not None and not from_train:
            ours = self.reference_sync if are_references else self.judge.score(clips)
            both = np.stack([ours, self.reference_sync], axis=2)  # [N,2,2]
            both[np.isnan(both).any((1, 2))] = np.nan  # all metrics use the same clips
            scores |= {"sync_confidence": both[:, 0], "sync_offset": both[:, 1]}
        return scores

    @torch.no_grad()
    def encode(self, clips: Sequence[Clip]) -> list[Array]:
        """The latents [N,D] of each clip, computed once for equal clips; an empty list without an autoencoder."""
        if self.autoencoder is None:
            return []
        prepared = [self._prepared(clip) for clip in clips]
        keys = [hashlib.sha256(pose.tobytes() + present.tobytes()).digest() for pose, present in prepared]
        new = {key: clip for key, clip in zip(keys, prepared, strict=True) if key not in self._latents}
        self._latents |= zip(new, shared_map(self._encode, new.values(), 0), strict=True)
        return [self._latents[key] for key in keys]

    def _prepared(self, clip: Clip) -> tuple[Array, Array]:
        """A clip's normalised pose and its presence, squeezed to the frames that the autoencoder knows."""
        pose, present = self.statistics.normalize(clip.filled(), clip.seen), clip.present
        limit = self.autoencoder.config.max_frames
        if limit is None or len(pose) <= limit:
            return pose, present
        return resample(pose, limit), resample_seen(present, limit)

    def _encode(self, clip: tuple[Array, Array]) -> Array:
        """The latents of a normalised pose and its presence."""
        device = next(self.autoencoder.parameters()).device
        pose, present = (torch.from_numpy(part)[None].to(device) for part in clip)
        z = self.autoencoder.encode(pose, present, torch.ones(pose.shape[:2], dtype=torch.bool, device=device))[0]
        z = z.float().cpu().numpy()
        if not np.isfinite(z).all():
            raise UserError("--autoencoder_checkpoint: its latents are not finite; train it again")
        return z

    @torch.no_grad()
    def reconstruct(self) -> list[Clip]:
        """Every reference, encoded and decoded, in the form of generated clips: the ceiling of all models on these
        latents.

        A reference longer than any clip that the autoencoder knows is squeezed, and its reconstruction stretched.
        """
        pairs = zip(self.references, self.reference_latents, strict=True)
        made, count = shared_map(self._reconstruct, pairs, 0), len(self.references)
        return list(progress_bar(made, "reconstructing", "clip", total=count))

    def _reconstruct(self, pair: tuple[Reference, Array]) -> Clip:
        reference, z = pair
        device = next(self.autoencoder.parameters()).device
        length = len(reference.pose)
        frames = min(length, self.autoencoder.config.max_frames or length)
        mask = torch.ones(1, frames, dtype=torch.bool, device=device)
        decoded = self.autoencoder.decode(torch.from_numpy(z)[None].to(device), mask)
        pose, presence = (part[0].cpu().numpy() for part in decoded)
        return Clip.generated(finished(pose, presence, self.statistics, length))


def score_clips(
    clips: Sequence[Clip],
    references: Sequence[Reference],
    num_workers: int = 0,
    limits: Array | None = None,
    *,
    from_references: bool = False,
) -> Scores:
    """The metrics that compare each clip with its reference: clips[n] with references[n]; NaN where undefined.

    Values that a metric divides, or shows side by side, have K columns: prediction, reference, and for the sync metrics
    the prediction with its face shuffled in time. num_workers: processes, which change no value; 0 and 1 start none.

    limits [2]: of `hand_limits`; without them bones and hands are left out. from_references: of `recognition_scores`.
    """
    if len(clips) != len(references) or not references:
        raise ValueError(f"{len(clips)} clips for {len(references)} references")
    pairs = zip(clips, references, strict=True)
    scores = stack_values(shared_map(pair_values, pairs, num_workers, nmm_scale(references), limits))
    texts = [reference.text for reference in references]
    return scores | recognition_scores(clips, texts, references, num_workers, from_references=from_references)


def pair_values(pair: tuple[Clip, Clip], scale: Array, limits: Array | None) -> dict[str, object]:
    """The values of one clip beside its reference; scale [64]: of `nmm_scale`; limits: as in `score_clips`."""
    prediction, reference = (clip.rebuilt() for clip in pair)  # once for all metrics
    values = closeness_scores(prediction, reference, scale) | {"dtwp": dtwp(prediction, reference)}
    values |= presence_scores(prediction, reference) | motion_scores(prediction, reference)
    values |= sync_scores(prediction, reference, scale)
    return values | ({} if limits is None else naturalness_scores(prediction, reference, limits))
