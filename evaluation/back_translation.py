"""Reads clips back as text with the frozen model of train_pose_to_text.py, the same way whoever made them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from checkpoints import load_pose_to_text
from models.layers import lengths_to_mask
from poses.interpolation import resample

BATCH_SIZE = 32


class BackTranslator:
    """Poses in data units to texts. The clips' own statistics play no part: the model's checkpoint brings its own."""

    def __init__(self, checkpoint: Path, device: torch.device, num_beams: int) -> None:
        self.model, self.statistics, content = load_pose_to_text(checkpoint, device)
        self.fingerprint, self.num_beams = content["fingerprint"], num_beams
        self.device = device

    def read(self, poses: Sequence[np.ndarray], weights: Sequence[np.ndarray] | None = None) -> list[str]:
        """The text of each clip [T,214]; weights [T,214]: what was seen of it, everything by default."""
        texts = [""] * len(poses)
        order = np.argsort([len(pose) for pose in poses], kind="stable")  # alike in length: less padding
        starts = range(0, len(order), BATCH_SIZE)
        for start in tqdm(starts, desc="reading back", unit="batch", leave=False, disable=None):
            chosen = order[start : start + BATCH_SIZE]
            clips = [self._prepare(poses[i], None if weights is None else weights[i]) for i in chosen]
            mask = lengths_to_mask(torch.tensor([len(clip) for clip in clips]))
            padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
            read = self.model.translate(padded.to(self.device), mask.to(self.device), self.num_beams)
            for index, text in zip(chosen, read, strict=True):
                texts[index] = text
        return texts

    def _prepare(self, pose: np.ndarray, weight: np.ndarray | None) -> torch.Tensor:
        """As in training: a long clip is squeezed to what the model knows, numbers never seen become the mean."""
        seen = None if weight is None else np.asarray(weight) > 0
        limit = self.model.config.max_frames
        if len(pose) > limit:
            pose, seen = resample(pose, limit), None if seen is None else resample(seen.astype(np.float32), limit) > 0
        return torch.from_numpy(self.statistics.normalize(pose, seen))
