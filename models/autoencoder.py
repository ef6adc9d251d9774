"""Stage 1: poses [B,T,214] to latents [B,N,D] and back, with the hands attached to the wrists by construction.

The last numbers of each latent are measured, not learnt: the presence of left hand, right hand and face (3), then the
body's place (3, equal in all latents of a clip).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.body_frame import BodyFrame
from models.hands import HandFrame
from models.layers import Encoder, mean_over_time, require_head_sizes, zero_init
from models.whole_batch import at_least_fp32, std_over_batch
from poses import layout
from poses.body_frame import PLACE_DIM
from poses.presence import ARTICULATOR_OF, NUM_ARTICULATORS
from poses.statistics import Statistics
from runtime.config import described

TEMPORAL_STRIDES = (1, 2, 4)  # frames per latent
# Noise on the latents, in their standard deviations: its start, its maximum, the pace of its adaptation. Without a
# maximum it would grow without end on clips that lose no motion by it, such as letters that a lexicon spells.
INITIAL_LATENT_NOISE, MAX_LATENT_NOISE, NOISE_PACE = 0.03, 0.25, 3.0


@dataclass(frozen=True)
class AutoencoderConfig:
    """What builds a `PoseAutoencoder`; kept in its checkpoint."""

    latent_dim: int = described(256, "numbers in each latent")
    hidden_dim: int = described(512, "width of the encoder and the decoder")
    num_heads: int = described(8, "attention heads of each layer")
    encoder_layers: int = described(6, "layers of the encoder")
    coarse_layers: int = described(4, "decoder layers that lead to the body")
    medium_layers: int = described(4, "decoder layers that lead from the body to the hands")
    fine_layers: int = described(6, "decoder layers that lead from the hands to the face and the details")
    temporal_stride: int = described(1, "frames per latent: 1, 2 or 4")
    dropout: float = described(0.1, "probability that training drops an activation")
    presence: bool = described(
        True, "store in the latents whether each hand and the face are visible; without it all are always drawn"
    )
    body_frame: bool = described(
        True, "store a clip's body position and size once in its latents instead of leaving each latent to learn them"
    )
    latent_noise: float = described(
        0.0,
        "noise added to the latents in training, in their standard deviations, so that the decoder tolerates a flow's "
        "errors",
    )
    motion_kept: float = described(
        1.0, "adapt latent_noise until reconstructions keep this share of the hands' motion; 1 keeps the noise fixed"
    )
    max_frames: int | None = None  # the length to which longer train clips were cut; None: no clip was longer

    def __post_init__(self) -> None:
        require_head_sizes(self.hidden_dim, self.num_heads)
        if self.temporal_stride not in TEMPORAL_STRIDES:
            raise ValueError(f"temporal_stride {self.temporal_stride} must be 1, 2 or 4")
        if not 0 < self.motion_kept <= 1:
            raise ValueError(f"motion_kept {self.motion_kept} must be above 0, and 1 at most")
        if not 0 <= self.latent_noise < math.inf:
            raise ValueError(f"latent_noise {self.latent_noise} must be 0 or more, and finite")
        if self.motion_kept < 1 and self.latent_noise > MAX_LATENT_NOISE:
            raise ValueError(
                f"latent_noise {self.latent_noise} must be {MAX_LATENT_NOISE} at most, because motion_kept adapts it"
            )
        if self.learnt_dim < 1:
            raise ValueError(
                f"latent_dim {self.latent_dim} must be more than {self.latent_dim - self.learnt_dim}, "
                "the numbers that hold presence and place"
            )

    @property
    def decoded_dim(self) -> int:
        """The numbers of a latent that the decoder reads: all but the place."""
        return self.latent_dim - (PLACE_DIM if self.body_frame else 0)

    @property
    def learnt_dim(self) -> int:
        """The numbers of a latent that are learnt, the first ones."""
        return self.decoded_dim - (NUM_ARTICULATORS if self.presence else 0)


class PoseEncoder(nn.Module):
    """x [B,T,214], mask [B,T] -> mean and log-variance of the learnt part of the latents, each [B,N,learnt].

    N = ceil(T / stride). With `presence` it does not read the numbers of an absent hand or face, but reads that the
    hand or face is absent.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.stride = config.temporal_stride
        self.reads_presence = config.presence
        numbers = layout.POSE_DIM + layout.HANDS_DIM + (NUM_ARTICULATORS if config.presence else 0)
        self.embed = nn.Linear(numbers, config.hidden_dim)
        self.frames = Encoder(config.hidden_dim, config.num_heads, config.encoder_layers, config.dropout)
        self.norm = nn.LayerNorm(config.hidden_dim)
        self.to_latent = nn.Linear(self.stride * config.hidden_dim, 2 * config.learnt_dim)

    def forward(self, x: Tensor, relative: Tensor, present: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """relative [B,T,84]: the hands relative to their wrists; present [B,T,3] bool, of each articulator."""
        parts = [x, relative]
        if self.reads_presence:
            number_present = presence_by_number(present)  # [B,T,214]
            parts = [x * number_present, relative * number_present[..., layout.HANDS], present.to(x.dtype)]
        h = self.norm(self.frames(self.embed(torch.cat(parts, dim=-1)), mask)) * mask[..., None]  # [B,T,H]
        h = F.pad(h, (0, 0, 0, -h.shape[1] % self.stride))
        h = h.reshape(h.shape[0], -1, self.stride * h.shape[2])  # [B,N,s*H]
        mean, log_variance = at_least_fp32(self.to_latent(h)).chunk(2, dim=-1)  # exp(x) - 1 - x cancels in bf16
        return mean, log_variance.clamp(-12.0, 4.0)


class PoseDecoder(nn.Module):
    """z [B,N,decoded] -> three supervised levels: body, then hands given the body, then face and a residual on all."""

    compiled_method = "forward"

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        H, self.stride = config.hidden_dim, config.temporal_stride
        body, hands = layout.BODY_DIM, layout.HANDS_DIM
        self.embed = nn.Linear(config.decoded_dim, H)
        self.to_frames = nn.Linear(H, self.stride * H)
        self.coarse = Encoder(H, config.num_heads, config.coarse_layers, config.dropout)
        self.medium = Encoder(H, config.num_heads, config.medium_layers, config.dropout)
        self.fine = Encoder(H, config.num_heads, config.fine_layers, config.dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(H) for _ in range(3))
        self.body_to_hidden = nn.Linear(body, H)
        self.hands_to_hidden = nn.Linear(hands, H)
        # Zero at the start, and each level passes its output on detached. So a dimension that the data never show gets
        # no gradient and stays at the mean. Otherwise the next level would use it as a channel, and draw a wild hand.
        self.to_body = zero_init(nn.Linear(H, body))
        self.to_hands = zero_init(nn.Linear(H, hands))
        self.to_nmm = zero_init(nn.Linear(H, layout.NMM_DIM))
        self.to_residual = zero_init(nn.Linear(H, body + hands + layout.NMM_DIM))

    def forward(self, z: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns body [B,T,66], relative hands [B,T,84], and the final frame: body, relative hands, face [B,T,214]."""
        h = self.to_frames(self.embed(z))
        h = h.reshape(h.shape[0], -1, h.shape[2] // self.stride)[:, : mask.shape[1]]  # [B,T,H]
        h = self.coarse(h, mask)
        body = self.to_body(self.norms[0](h))
        h = self.medium(h + self.body_to_hidden(body.detach()), mask)
        hands = self.to_hands(self.norms[1](h))
        h = self.norms[2](self.fine(h + self.hands_to_hidden(hands.detach()), mask))
        return body, hands, torch.cat([body, hands, self.to_nmm(h)], dim=-1) + self.to_residual(h)


@dataclass
class Levels:
    """A decoded clip in normalised numbers, in its body frame: `pose` [B,T,214] is the result, the others are
    supervised on the way."""

    body: Tensor  # [B,T,66], coarse
    hands: Tensor  # [B,T,84], medium, absolute
    pose: Tensor  # [B,T,214], fine
    relative: Tensor  # [B,T,84], the fine level's hands relative to the wrists


class Decoded(NamedTuple):
    """A decoded clip: pose [B,T,214] in normalised numbers, zero at padded frames; and presence [B,T,3], above a half
    where an articulator (`poses.presence.ARTICULATORS`) is present. The numbers of an absent one mean nothing."""

    pose: Tensor
    presence: Tensor


def presence_by_number(present: Tensor) -> Tensor:
    """Presence [B,T,3] bool of the articulators -> of each number of a frame, [B,T,214]; the body is always present."""
    return F.pad(present, (0, 1), value=True)[..., torch.from_numpy(ARTICULATOR_OF).to(present.device)]


def presence_shares(present: Tensor, mask: Tensor, stride: int) -> Tensor:
    """The share of each latent's frames that show each articulator, [B,N,3]; present [B,T,3] bool, mask [B,T]."""
    shown, real = (present & mask[..., None]).float(), mask[..., None].float()
    shown, real = (F.pad(x, (0, 0, 0, -x.shape[1] % stride)).unflatten(1, (-1, stride)).sum(2) for x in (shown, real))
    return shown / real.clamp_min(1)


def presence_of_frames(shares: Tensor, mask: Tensor, stride: int) -> Tensor:
    """The inverse of `presence_shares`: shares [B,N,3] -> presence [B,T,3], interpolated between the latents' middles.

    An articulator is present where the value is above a half. If a hand or the face appears or disappears once between
    two latents, the interpolated value crosses a half at the right frame.
    """
    last = ((mask.sum(1, keepdim=True) + stride - 1) // stride - 1).clamp_min(0)  # [B,1], the last latent
    place = (torch.arange(mask.shape[1], device=mask.device) + 0.5) / stride - 0.5  # [T], in latents
    before = place.floor().long()
    weight = (place - before).to(shares.dtype)[None, :, None]
    start, end = (
        shares.gather(1, index.clamp_min(0).minimum(last)[..., None].expand(-1, -1, shares.shape[2]))
        for index in (before[None], before[None] + 1)
    )
    return torch.lerp(start, end, weight)


class PoseAutoencoder(nn.Module):
    """A variational autoencoder of clips. `encode` gives the latents' means; `decode` the pose; numbers normalised.

    Raises ValueError if the configuration asks for a body frame and the statistics have none.
    """

    def __init__(self, config: AutoencoderConfig, statistics: Statistics) -> None:
        super().__init__()
        self.config = config
        self.body_frame = BodyFrame(statistics) if config.body_frame else None
        self.hand_frame = HandFrame(statistics.framed if config.body_frame else statistics)
        self.register_buffer("face_moves", torch.from_numpy(statistics.moves[layout.NMM]), persistent=False)  # [64]
        self.encoder = PoseEncoder(config)
        self.decoder = PoseDecoder(config)
        self.noise_level = None
        if config.motion_kept < 1:
            # log(noise) / NOISE_PACE, so that one optimiser step moves log(noise) NOISE_PACE times as far as another
            # parameter.
            first = config.latent_noise or INITIAL_LATENT_NOISE
            self.noise_level = nn.Parameter(torch.tensor(math.log(first) / NOISE_PACE))

    @property
    def latent_noise(self) -> Tensor:
        """The noise that training adds to the latents, in their standard deviations, a scalar."""
        if self.noise_level is None:
            return self.hand_frame.std.new_tensor(self.config.latent_noise)
        return (NOISE_PACE * self.noise_level.detach()).exp().clamp(max=MAX_LATENT_NOISE)

    def latent_mask(self, mask: Tensor) -> Tensor:
        """Which latents hold a real frame: mask [B,T] -> [B,N]."""
        stride = self.config.temporal_stride
        return F.pad(mask, (0, -mask.shape[1] % stride)).view(mask.shape[0], -1, stride).any(2)

    def num_latents(self, num_frames: Tensor | int) -> Tensor | int:
        """The number of latents of a clip with `num_frames` frames ([B] or one number)."""
        return (num_frames + self.config.temporal_stride - 1) // self.config.temporal_stride

    def to_body_frame(self, pose: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised pose [B,T,214] -> the pose in its body frame, and the frame's place [B,3], or [B,0] if unused."""
        if self.body_frame is None:
            return pose, pose.new_zeros(len(pose), 0)
        place = self.body_frame.place(pose, mask)
        return self.body_frame.enter(pose, place, mask), place

    def posterior(self, framed: Tensor, present: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents' learnt part, each [B,N,learnt]; clips come from `to_body_frame`."""
        return self.encoder(framed, self.hand_frame.relative(framed), present, mask)

    def encode(self, pose: Tensor, present: Tensor, mask: Tensor) -> Tensor:
        """Normalised pose [B,T,214], present [B,T,3] bool, mask [B,T] -> latents [B,N,D]."""
        framed, place = self.to_body_frame(pose, mask)
        z = self._with_presence(self.posterior(framed, present, mask)[0], present, mask)
        return torch.cat([z, place[:, None].expand(-1, z.shape[1], -1).to(z.dtype)], dim=-1)

    def _with_presence(self, learnt: Tensor, present: Tensor, mask: Tensor) -> Tensor:
        if not self.config.presence:
            return learnt
        shares = presence_shares(present, mask, self.config.temporal_stride).to(learnt.dtype)
        return torch.cat([learnt, shares], dim=-1)

    def decode_levels(self, z: Tensor, mask: Tensor) -> Levels:
        """z [B,N,decoded]: latents without the place; mask [B,T] of frames."""
        body, hands, final = self.decoder(z, mask)
        final_body, relative, nmm = final.split([layout.BODY_DIM, layout.HANDS_DIM, layout.NMM_DIM], dim=-1)
        absolute = self.hand_frame.absolute(final_body, relative)
        pose = torch.cat([final_body, absolute, nmm], dim=-1)
        return Levels(body, self.hand_frame.absolute(body, hands), pose, relative)

    def decode(self, z: Tensor, mask: Tensor) -> Decoded:
        """Latents [B,N,D], mask of frames [B,T] -> the clip. Its place is the mean of its latents' places."""
        z, place = z.split([self.config.decoded_dim, z.shape[2] - self.config.decoded_dim], dim=-1)
        pose = self.decode_levels(z.contiguous(), mask).pose  # a compiled decoder knows one memory layout
        if self.body_frame is not None:
            pose = self.body_frame.leave(pose, mean_over_time(place, self.latent_mask(mask)))
        pose = pose * mask[..., None]
        if not self.config.presence:
            return Decoded(pose, pose.new_ones(*pose.shape[:2], NUM_ARTICULATORS))
        shares = z[..., self.config.learnt_dim :]
        return Decoded(pose, presence_of_frames(shares, mask, self.config.temporal_stride))

    def forward(
        self, framed: Tensor, present: Tensor, mask: Tensor, noise: Tensor | None = None
    ) -> tuple[Levels, Tensor, Tensor]:
        """Reconstruct clips from `to_body_frame`; with noise [B,N,learnt] the learnt part is drawn from the posterior.

        The posterior's spread then also gets `latent_noise` standard deviations of the batch's latents.
        Returns levels, and mean and log-variance of the learnt part.
        """
        mean, log_variance = self.posterior(framed, present, mask)
        learnt = mean
        if noise is not None:
            variance = log_variance.exp()
            if self.config.latent_noise or self.noise_level is not None:
                variance = variance + (self.latent_noise * std_over_batch(mean, self.latent_mask(mask))) ** 2
            learnt = mean + variance.sqrt() * noise
        return self.decode_levels(self._with_presence(learnt, present, mask), mask), mean, log_variance

    @torch.no_grad()
    def decode_without_dropout(self, learnt: Tensor, present: Tensor, mask: Tensor) -> Tensor:
        """The latents' learnt part [B,N,learnt] -> pose [B,T,214] in its body frame, without dropout."""
        training = self.decoder.training
        self.decoder.eval()
        pose = self.decode_levels(self._with_presence(learnt, present, mask), mask).pose
        self.decoder.train(training)
        return pose


class PoseSpace(nn.Module):
    """No compression: the latents are the normalised poses, one per frame. It stands in for a `PoseAutoencoder`.

    It shows, for comparison, what a flow has to learn without stage 1. It stores neither presence (everything is always
    present) nor place.
    """

    config = AutoencoderConfig(latent_dim=layout.POSE_DIM, temporal_stride=1, presence=False, body_frame=False)

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Identity()  # in place of an autoencoder's network

    def num_latents(self, num_frames: Tensor | int) -> Tensor | int:
        """One latent per frame; `num_frames` [B] or one number."""
        return num_frames

    def encode(self, pose: Tensor, present: Tensor, mask: Tensor) -> Tensor:
        """Normalised pose [B,T,214] -> itself, zero at padded frames."""
        return pose * mask[..., None]

    def decode(self, z: Tensor, mask: Tensor) -> Decoded:
        """Latents [B,T,214], mask [B,T] -> the latents as a clip, zero at padded frames; everything is present."""
        return Decoded(z * mask[..., None], z.new_ones(*z.shape[:2], NUM_ARTICULATORS))
