"""The map between a normalised clip in the picture and in its own body frame, whose place is given."""

import math

import torch
from torch import Tensor, nn

from models.layers import mean_over_time
from poses import layout
from poses.body_frame import AXIS, LEAST_UNIT, SHOULDER_DIMS
from poses.statistics import Statistics


class BodyFrame(nn.Module):
    """The frame of `poses.body_frame` for normalised poses: by `statistics` outside it, by `statistics.framed` inside.

    In the frame, the numbers of a clip do not depend on where its body is and how large it is. A clip has one place and
    one size for all of its frames.
    """

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        if statistics.framed is None:
            raise ValueError("the statistics know no body frame")
        self.register_buffer("axis", torch.from_numpy(AXIS), persistent=False)
        self.register_buffer("shown", torch.from_numpy(statistics.shown), persistent=False)
        for name in ("mean", "std"):
            self.register_buffer(name, torch.as_tensor(getattr(statistics, name), dtype=torch.float32))
        for name in ("mean", "std", "place_mean", "place_std"):
            values = torch.as_tensor(getattr(statistics.framed, name), dtype=torch.float32)
            self.register_buffer(name if name.startswith("place") else f"framed_{name}", values)

    def place(self, pose: Tensor, mask: Tensor) -> Tensor:
        """The normalised place [B,3] of each clip, pose [B,T,214], mask [B,T].

        Its unit is at least half of the mean train clip's: nobody who turns aside, or whose shoulders were never seen,
        is magnified.
        """
        dims = torch.from_numpy(SHOULDER_DIMS).to(pose.device)
        left, right = (pose[..., dims] * self.std[dims] + self.mean[dims]).chunk(2, dim=-1)  # [B,T,2]
        unit = mean_over_time((left - right).norm(dim=-1, keepdim=True), mask).clamp_min(LEAST_UNIT)  # [B,1]
        unit = unit.log().maximum(self.place_mean[2] - math.log(2))
        place = torch.cat([mean_over_time((left + right) / 2, mask), unit], dim=-1)
        return (place - self.place_mean) / self.place_std

    def enter(self, pose: Tensor, place: Tensor, mask: Tensor) -> Tensor:
        """Normalised pose [B,T,214] -> the pose in the frame at `place` [B,3].

        A number that the clip never shows is 0, the mean, in every frame, and stays 0.
        """
        origin, unit = self._origin_and_unit(place)
        keypoints, nmm = (pose * self.std + self.mean).split([layout.MANUAL_DIM, layout.NMM_DIM], dim=-1)
        framed = (torch.cat([(keypoints - origin) / unit, nmm], dim=-1) - self.framed_mean) / self.framed_std
        unseen = ((pose == 0) | ~mask[..., None]).all(1, keepdim=True)  # [B,1,214]
        return framed.masked_fill(unseen, 0.0)

    def leave(self, framed: Tensor, place: Tensor) -> Tensor:
        """The inverse of `enter` for numbers that the clip shows. Those that no train clip shows are 0: unseen."""
        origin, unit = self._origin_and_unit(place)
        keypoints, nmm = (framed * self.framed_std + self.framed_mean).split(
            [layout.MANUAL_DIM, layout.NMM_DIM], dim=-1
        )
        return (torch.cat([keypoints * unit + origin, nmm], dim=-1) - self.mean) / self.std * self.shown

    def _origin_and_unit(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """The origin of every keypoint's number [B,1,150] and the unit [B,1,1], in data units."""
        place = (place * self.place_std + self.place_mean)[:, None]
        return place[..., self.axis], place[..., 2:].exp()
