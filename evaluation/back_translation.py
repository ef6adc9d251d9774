"""Reads clips back as text with the frozen model of train_pose_to_text.py, the same way whoever made them."""

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
    """Poses in data units to texts; `statistics` are those that the model was trained with, not those of the clips."""

    model: PoseToText
    statistics: Statistics
    num_beams: int

    def read(self, clips: Sequence[Clip]) -> list[str]:
        """The text of each clip."""

        def translate(_: Array, pose: torch.Tensor, mask: torch.Tensor) -> list[str]:
            return self.model.translate(pose, mask, self.num_beams)

        texts = dict(self._of_batches(clips, range(len(clips)), "reading back", translate))
        return [texts[index] for index in range(len(clips))]

    def likelihoods(self, clips: Sequence[Clip], texts: Sequence[str]) -> Array:
        """The log-likelihood of each clip's text, given the clip, and the number of its subwords, [N,2].

        NaN where there is no clip, no text, or one that is longer than the model reads.
        """
        meant, values = [normalize_text(text) for text in texts], np.full((len(clips), 2), np.nan)
        too_long = self.model.too_long(meant)
        asked = [n for n, clip in enumerate(clips) if meant[n] and not too_long[n] and clip.seen.any()]

        def weigh(chosen: Array, pose: torch.Tensor, mask: torch.Tensor) -> Array:
            sums, counts = self.model.log_likelihoods(pose, mask, [meant[index] for index in chosen])
            return np.stack([sums.cpu().numpy(), counts.cpu().numpy()], axis=1)

        for index, value in self._of_batches(clips, asked, "weighing texts", weigh):
            values[index] = value
        return values

    def _of_batches(
        self,
        clips: Sequence[Clip],
        asked: Sequence[int],
        doing: str,
        make: Callable[[Array, torch.Tensor, torch.Tensor], Sequence],
    ) -> Iterator[tuple[int, object]]:
        """Each asked clip's index and what `make` gives for it, of a batch's indices, padded poses and masks.

        Clips of like length share a batch, for less padding; processes share the batches.
        """
        device = next(self.model.parameters()).device
        order = np.array(asked, int)[np.argsort([len(clips[index].pose) for index in asked], kind="stable")]
        starts = range(0, len(order), BATCH_SIZE)

        def of_batch(start: int) -> Sequence:
            chosen = order[start : start + BATCH_SIZE]
            poses = [self._prepare(clips[index]) for index in chosen]
            mask = lengths_to_mask(torch.tensor([len(pose) for pose in poses]))
            padded = torch.nn.utils.rnn.pad_sequence(poses, batch_first=True)
            return make(chosen, padded.to(device), mask.to(device))

        made = shared_map(of_batch, starts, 0, at_a_time=1)
        for start, values in zip(progress_bar(starts, doing, "batch", leave=False), made, strict=True):
            yield from zip(order[start : start + BATCH_SIZE].tolist(), values, strict=True)

    def _prepare(self, clip: Clip) -> torch.Tensor:
        """A long clip is squeezed to the length that the model knows; numbers never seen become the mean."""
        pose, seen, limit = clip.filled(), clip.seen, self.model.config.max_frames
        if len(pose) > limit:
            pose, seen = resample(pose, limit), resample_seen(seen, limit)
        return torch.from_numpy(self.statistics.normalize(pose, seen))
