"""Reads clips back as text with the frozen model of train_pose_to_text.py, the same way whoever made them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from evaluation.clips import Clip
from models.layers import lengths_to_mask
from models.pose_to_text import PoseToText
from poses.interpolation import resample, resample_seen
from poses.statistics import Statistics

BATCH_SIZE = 32


@dataclass(frozen=True)
class BackTranslator:
    """Poses in data units to texts; `statistics` are those that the model was trained with, not those of the clips."""

    model: PoseToText
    statistics: Statistics
    num_beams: int

    def read(self, clips: Sequence[Clip]) -> list[str]:
        """The text of each clip."""
        device = next(self.model.parameters()).device
        texts = [""] * len(clips)
        order = np.argsort([len(clip.pose) for clip in clips], kind="stable")  # alike in length: less padding
        starts = range(0, len(order), BATCH_SIZE)
        for start in tqdm(starts, desc="reading back", unit="batch", leave=False, disable=None):
            chosen = order[start : start + BATCH_SIZE]
            poses = [self._prepare(clips[i]) for i in chosen]
            mask = lengths_to_mask(torch.tensor([len(pose) for pose in poses]))
            padded = torch.nn.utils.rnn.pad_sequence(poses, batch_first=True)
            read = self.model.translate(padded.to(device), mask.to(device), self.num_beams)
            for index, text in zip(chosen, read, strict=True):
                texts[index] = text
        return texts

    def _prepare(self, clip: Clip) -> torch.Tensor:
        """As in training: a long clip is squeezed to what the model knows, numbers never seen become the mean."""
        pose, seen, limit = clip.filled(), clip.seen, self.model.config.max_frames
        if len(pose) > limit:
            pose, seen = resample(pose, limit), resample_seen(seen, limit)
        return torch.from_numpy(self.statistics.normalize(pose, seen))
