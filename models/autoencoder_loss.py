"""The loss of stage 1."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from models.autoencoder import MAX_LATENT_NOISE, Levels, PoseAutoencoder, presence_by_number
from models.whole_batch import Draws, clip_mean, masked_mean, whole_value
from poses import layout
from runtime.config import described

MEASURED_EVERY = 8  # the kept motion is measured in one clip of so many
VELOCITY_BETA = 0.1  # normalised numbers: below it, the error of a change from frame to frame is squared


@dataclass(frozen=True)
class AutoencoderLoss:
    """Errors of every level, the hands' shape, the face and the velocity, over the numbers that were seen; a mild KL.

    An absent articulator that was seen for an instant (`poses.presence.steady`) does not count either.
    """

    hand_weight: float = described(2.0, "weight of the hands' numbers relative to the others")
    hand_shape_weight: float = described(1.0, "weight of the hands relative to their wrists")
    face_weight: float = described(
        0.3, "weight of the face by itself, where each of its features counts alike, however many numbers it has"
    )
    velocity_weight: float = described(1.0, "weight of the change from frame to frame")
    level_weight: float = described(0.5, "weight of the decoder's first outputs, body and hands")
    kl_weight: float = described(1e-4, "weight of the latents' distance to a standard normal distribution")

    def __call__(
        self,
        model: PoseAutoencoder,
        pose: Tensor,
        seen: Tensor,
        present: Tensor,
        mask: Tensor,
        draws: Draws | None = None,
    ) -> dict[str, Tensor]:
        """pose [B,T,214], seen [B,T,214] bool, present [B,T,3] bool, mask [B,T] -> `loss` and its parts, scalars.

        Without `draws` nothing is random. Everything is compared in the body frame.
        """
        pose, _ = model.to_body_frame(pose, mask)
        noise = None
        if draws is not None:
            noise = draws.normal(model.num_latents(pose.shape[1]), model.config.learnt_dim)
        levels, mean, log_variance = model(pose, present, mask, noise)
        weight = seen & mask[..., None]
        if model.config.presence:
            weight &= presence_by_number(present)
        weight = weight.to(pose.dtype)
        parts = self.reconstruction(model, levels, pose, weight)
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)
        parts["kl"] = masked_mean(kl, model.latent_mask(mask)[..., None])
        loss = (
            parts["reconstruction"]
            + self.hand_shape_weight * parts["hand_shape"]
            + self.face_weight * parts["face"]
            + self.velocity_weight * parts["velocity"]
            + self.level_weight * parts["coarse"]
            + self.kl_weight * parts["kl"]
        )
        if draws is not None and model.noise_level is not None:
            lost = self.motion_lost(model, pose, weight, mean, present, mask, draws)
            may_grow = model.latent_noise < MAX_LATENT_NOISE
            lost = lost * (may_grow | (whole_value(lost) > 0))
            # This term is 0. Its gradient by the level is `lost`: a step lowers the noise where motion is lost, and
            # raises it where none is (a constraint's multiplier, as in GECO, Rezende & Viola 2018).
            loss = loss + (model.noise_level - model.noise_level.detach()) * lost
            parts["latent_noise"] = clip_mean(model.latent_noise.expand(len(pose)))
        return {"loss": loss, **parts}

    def reconstruction(self, model: PoseAutoencoder, levels: Levels, pose: Tensor, weight: Tensor) -> dict[str, Tensor]:
        """How far the decoder's levels are from pose [B,T,214] under its weight, scalars by name."""
        scaled = weight.clone()
        scaled[..., layout.HANDS] *= self.hand_weight
        pairs = weight[:, 1:] * weight[:, :-1]
        hands, body = weight[..., layout.HANDS], weight[..., layout.BODY]
        wrists = weight[..., model.hand_frame.wrist_dims]
        return {
            "reconstruction": _error(levels.pose, pose, scaled),
            "hand_shape": _error(levels.relative, model.hand_frame.relative(pose), hands * wrists),
            "face": self.face(*(x[..., layout.NMM] for x in (levels.pose, pose, weight)), model.face_moves),
            "velocity": _error(levels.pose.diff(dim=1), pose.diff(dim=1), pairs, beta=VELOCITY_BETA),
            "coarse": _error(levels.body, pose[..., layout.BODY], body)
            + _error(levels.hands, pose[..., layout.HANDS], hands),
        }

    @staticmethod
    def face(made: Tensor, real: Tensor, weight: Tensor, moves: Tensor) -> Tensor:
        """The error of a face and of its change from frame to frame, scalar; made, real, weight [B,T,64].

        Each of the four features has the same weight, shared by its numbers that move in train (moves [64] bool). Some
        data have the head's pose alone. Without this weight its three numbers would hardly count among the 214, and the
        decoder would guess the head from the hands. Other data measure a feature in part.
        """
        share = moves.to(weight.dtype)  # [64]
        for part in layout.FACE_SLICES:
            share[part] /= share[part].sum().clamp_min(1)
        pairs = weight[:, 1:] * weight[:, :-1]
        change = _error(made.diff(dim=1), real.diff(dim=1), pairs * share, beta=VELOCITY_BETA)
        return _error(made, real, weight * share) + change

    @staticmethod
    def motion_lost(
        model: PoseAutoencoder, pose: Tensor, weight: Tensor, mean: Tensor, present: Tensor, mask: Tensor, draws: Draws
    ) -> Tensor:
        """`motion_kept` times the hands' real motion from frame to frame, minus their decoded motion, scalar.

        pose [B,T,214] and its weight; mean [B,N,learnt] of the latents, which are decoded without noise. A draw chooses
        one clip in MEASURED_EVERY; decoding these clips costs a few per cent of a step.
        """
        chosen = draws.uniform() * MEASURED_EVERY < 1  # [B]
        rows = chosen.nonzero()[:, 0]
        real, weight = pose[rows][..., layout.HANDS], weight[rows][..., layout.HANDS]
        made = real
        if len(rows):
            made = model.decode_without_dropout(mean[rows].detach(), present[rows], mask[rows])[..., layout.HANDS]
        lost = model.config.motion_kept * real.diff(dim=1).abs() - made.diff(dim=1).abs()
        return masked_mean(lost, weight[:, 1:] * weight[:, :-1])


def _error(made: Tensor, real: Tensor, weight: Tensor, beta: float = 1.0) -> Tensor:
    """The mean of the smooth L1 distance under `weight`, scalar; squared below `beta`."""
    return masked_mean(F.smooth_l1_loss(made, real, reduction="none", beta=beta), weight)
