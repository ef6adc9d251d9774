"""Reads clips back as text with the frozen model of train_pose_to_text.py, in the same way for every system."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from evaluation.clips import Array, Clip
from models.layers import lengths_to_mask
from models.pose_to_text import PoseToText
from poses.interpolation import resample, resample_seen
from poses.statistics import Statistics
from poses.texts import normalize_text
from runtime.console import progress_bar
from runtime.processes import shared_map

BATCH_SIZE = 32


@dataclass(frozen=True)
class BackTranslator:
    """Poses in data units to texts; `statistics`: what the model was trained with, not the statistics of the clips."""

    model: PoseToText
    statistics: Statistics
    num_beams: int

    def read(self, clips: Sequence[Clip]) -> list[str]:
        """The text of each clip."""

        def translate(_: Array, pose: torch.Tensor, mask: torch.Tensor) -> list[str]:
            return self.model.translate(pose, mask, self.num_beams)

        texts = dict(self._by_batches(clips, range(len(clips)), "reading back", translate))
        return [texts[index] for index in range(len(clips))]

    def likelihoods(self, clips: Sequence[Clip], texts: Sequence[str]) -> Array:
        """The log-likelihood of each clip's text, given the clip, and the number of its subwords, [N,2].

        NaN for a clip that shows nothing, and for a text that is empty or longer than the model reads.
        """
        meant, values = [normalize_text(text) for text in texts], np.full((len(clips), 2), np.nan)
        too_long = self.model.too_long(meant)
        readable = [n for n, clip in enumerate(clips) if meant[n] and not too_long[n] and clip.seen.any()]

        def weigh(chosen: Array, pose: torch.Tensor, mask: torch.Tensor) -> Array:
            sums, counts = self.model.log_likelihoods(pose, mask, [meant[index] for index in chosen])
            return np.stack([sums.cpu().numpy(), counts.cpu().numpy()], axis=1)

        for index, value in self._by_batches(clips, readable, "weighing texts", weigh):
            values[index] = value
        return values

    def _by_batches(
        self,
        clips: Sequence[Clip],
        indices: Sequence[int],
        what: str,
        make: Callable[[Array, torch.Tensor, torch.Tensor], Sequence],
    ) -> Iterator[tuple[int, object]]:
        """Each of `indices` with the value that `make` gives for its clip; make(indices, poses [B,T,214], mask [B,T])
        gives the values of a batch.

        Clips of like length share a batch, for less padding; processes share the batches.
        """
        device = next(self.model.parameters()).device
        order = np.array(indices, int)[np.argsort([len(clips[index].pose) for index in indices], kind="stable")]
        starts = range(0, len(order), BATCH_SIZE)

        def values_of_batch(start: int) -> Sequence:
            chosen = order[start : start + BATCH_SIZE]
            poses = [self._prepare(clips[index]) for index in chosen]
            mask = lengths_to_mask(torch.tensor([len(pose) for pose in poses]))
            padded = torch.nn.utils.rnn.pad_sequence(poses, batch_first=True)
            return make(chosen, padded.to(device), mask.to(device))

        made = shared_map(values_of_batch, starts, 0, at_a_time=1)
        for start, values in zip(progress_bar(starts, what, "batch", leave=False), made, strict=True):
            yield from zip(order[start : start + BATCH_SIZE].tolist(), values, strict=True)

    def _prepare(self, clip: Clip) -> torch.Tensor:
        """A long clip is squeezed to the length that the model knows; numbers never seen become the mean."""
        pose, seen, limit = clip.filled(), clip.seen, self.model.config.max_frames
        if len(pose) > limit:
            pose, seen = resample(pose, limit), resample_seen(seen, limit)
        return torch.from_numpy(self.statistics.normalize(pose, seen))
