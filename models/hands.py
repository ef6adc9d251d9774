"""Hands relative to the wrists: a fixed affine map between two ways to say where a hand is."""

import torch
from torch import Tensor, nn

from poses import layout
from poses.statistics import Statistics


class HandFrame(nn.Module):
    """Between normalised absolute hands and hands relative to the wrists: a fixed affine map made from the statistics.

    A hand's keypoint is its body's wrist plus an offset. Offsets vary ten times less than positions, so in normalised
    absolute numbers a finger's movement all but vanishes; here it has unit scale, and no hand can leave its arm.
    """

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        self.register_buffer("wrist_dims", torch.from_numpy(layout.WRIST_DIMS), persistent=False)
        for name in ("mean", "std", "hand_mean", "hand_std"):
            self.register_buffer(name, torch.as_tensor(getattr(statistics, name), dtype=torch.float32))

    def wrists(self, body: Tensor) -> Tensor:
        """The wrists in data units, repeated for every hand number, [...,84], from a normalised body [...,66]."""
        return body[..., self.wrist_dims] * self.std[self.wrist_dims] + self.mean[self.wrist_dims]

    def relative(self, pose: Tensor) -> Tensor:
        """Normalised pose [...,214] -> normalised hands relative to the wrists [...,84]."""
        hands = pose[..., layout.HANDS] * self.std[layout.HANDS] + self.mean[layout.HANDS]
        return (hands - self.wrists(pose[..., layout.BODY]) - self.hand_mean) / self.hand_std

    def absolute(self, body: Tensor, relative: Tensor) -> Tensor:
        """Normalised body [...,66] and relative hands [...,84] -> normalised absolute hands [...,84]."""
        hands = relative * self.hand_std + self.hand_mean + self.wrists(body)
        return (hands - self.mean[layout.HANDS]) / self.std[layout.HANDS]
