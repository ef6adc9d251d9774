"""Hand-face synchrony of a latent clip: a head that reads motion energy, and the gradient that guides sampling.

Motion energy is how fast hands and face move in a smoothed clip. The Pearson correlation of the two is a differentiable
function of the latents through `SyncGuidanceHead`. The guidance pulls it to the mean of real train clips.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.flow_matching import expand, predict_clean, within
from models.whole_batch import at_least_fp32, masked_mean

MAX_SHARE = 10.0  # of the velocity: beyond it, guidance only destroys the clip
SYNC_INTERVAL = (0.2, 0.8)  # of t: before, the clip is noise; after, it is settled


@dataclass(frozen=True)
class SyncConfig:
    """What builds a `SyncGuidanceHead`."""

    latent_dim: int = 256
    hidden_dim: int = 128
    temporal_stride: int = 1
    max_lag: int = 5
    pulls_lag: bool = False  # whether guidance also pulls the lag to 0, as in flows of earlier versions


class SyncGuidanceHead(nn.Module):
    """z [B,N,D] -> motion energy of hands and face [B,N*stride,2], in units of the train mean (1 is usual)."""

    differentiated_when_sampling = True

    def __init__(self, config: SyncConfig) -> None:
        super().__init__()
        self.config = config
        H = config.hidden_dim
        self.before = nn.Conv1d(config.latent_dim, H, 3, padding=1)
        self.between = nn.Conv1d(H, H, 3, padding=1)
        self.out = nn.Linear(H, 2 * config.temporal_stride)
        # Means over real train clips, set before training: the target of the guidance.
        self.register_buffer("target_correlation", torch.tensor(0.0))
        self.register_buffer("energy_scale", torch.ones(2))

    def forward(self, z: Tensor, mask: Tensor) -> Tensor:
        """mask [B,N] of latents; padding is zeroed before each convolution, so it never reaches a real frame."""
        keep = mask[:, None].to(z.dtype)
        h = F.gelu(self.before(z.transpose(1, 2) * keep))
        h = h + F.gelu(self.between(h * keep))
        energy = F.softplus(at_least_fp32(self.out(h.transpose(1, 2))))  # [B,N,2*stride]
        return energy.reshape(z.shape[0], -1, 2)

    def loss(self, z: Tensor, latent_mask: Tensor, energy: Tensor, energy_mask: Tensor) -> Tensor:
        """Fit of the predicted to the true energy [B,T,2] (data units, NaN where it was not seen), scalar."""
        predicted = self(z, latent_mask)[:, : energy.shape[1]]
        known = energy_mask[..., None] & energy.isfinite()
        error = F.smooth_l1_loss(predicted, energy.nan_to_num() / self.energy_scale, reduction="none")
        return masked_mean(error, known)


def pearson(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """Correlation of a and b over time under mask, all [B,T] -> [B]; 0 where either is constant."""
    keep = mask.to(a.dtype)
    count = keep.sum(1, keepdim=True).clamp_min(1)
    a = (a - (a * keep).sum(1, keepdim=True) / count) * keep
    b = (b - (b * keep).sum(1, keepdim=True) / count) * keep
    return (a * b).sum(1) / ((a**2).sum(1) * (b**2).sum(1) + 1e-8).sqrt()


def soft_lag(energy: Tensor, mask: Tensor, max_lag: int, sharpness: float = 10.0) -> Tensor:
    """Frames [B] by which the face follows the hands: the mean lag under a softmax of the correlations at each lag.

    energy [B,T,2] of hands and face, mask [B,T]. Positive: the face is late.
    """
    hands, face, T = energy[..., 0], energy[..., 1], energy.shape[1]
    max_lag = min(max_lag, T - 1)
    lags = range(-max_lag, max_lag + 1)
    correlations = []
    for lag in lags:
        h, f = (slice(0, T - lag), slice(lag, T)) if lag >= 0 else (slice(-lag, T), slice(0, T + lag))
        both = mask[:, h] & mask[:, f]
        # Two frames at least, counted in the clip itself: its padding must not decide which lags it has.
        impossible = (both.sum(1) < 2) & (lag != 0)
        correlations.append(pearson(hands[:, h], face[:, f], both).masked_fill(impossible, -torch.inf))
    weight = (sharpness * torch.stack(correlations, dim=1)).softmax(dim=1)
    return (weight * torch.tensor(lags, device=energy.device, dtype=energy.dtype)).sum(1)


def sync_loss(head: SyncGuidanceHead, z_1: Tensor, latent_mask: Tensor) -> Tensor:
    """L_sync [B]: squared distance of a clip's hand-face correlation from the mean correlation of real clips.

    With `pulls_lag` in the head's configuration, the squared relative lag is added.
    """
    energy = head(z_1, latent_mask)
    mask = latent_mask.repeat_interleave(head.config.temporal_stride, dim=1)
    correlation = pearson(energy[..., 0], energy[..., 1], mask)
    loss = (head.target_correlation - correlation) ** 2
    if head.config.pulls_lag:
        loss = loss + (soft_lag(energy, mask, head.config.max_lag) / head.config.max_lag) ** 2
    return loss


def sync_gradient(
    head: SyncGuidanceHead, z_t: Tensor, t: Tensor, velocity: Tensor, latent_mask: Tensor, *, in_units_of_field: bool
) -> Tensor:
    """The gradient [B,N,D] of L_sync at the predicted clean latent; zero outside SYNC_INTERVAL.

    in_units_of_field: scale each clip's gradient to the norm of its velocity, times min(1, sqrt(L_sync)), the clip's
    distance from its target. The caller's factor gamma is then the largest share of a step that guidance may add,
    however long the clip is. The unscaled gradient shrinks as clips get longer.

    t [B]. The velocity is a constant here: the gradient goes through the head only, not through the network.
    """
    active = within(t, SYNC_INTERVAL)
    if not active.any():
        return torch.zeros_like(z_t)
    with torch.enable_grad():
        clean = predict_clean(z_t, t, velocity).detach().requires_grad_(True)
        loss = sync_loss(head, clean, latent_mask)  # [B]
        (gradient,) = torch.autograd.grad(loss.sum(), clean)
    gradient = gradient * latent_mask[..., None]
    if in_units_of_field:
        velocity_norm, gradient_norm = (norm_of_clip(x, latent_mask) for x in (velocity, gradient))  # [B,1,1] each
        distance = expand(loss.detach().sqrt().clamp(max=1.0), z_t)
        gradient = gradient * (distance * velocity_norm / gradient_norm.clamp_min(1e-12))
    return gradient * expand(active, z_t)


def norm_of_clip(x: Tensor, mask: Tensor) -> Tensor:
    """The norm [B,1,1] of each clip's x [B,N,D] over its real latents, mask [B,N]."""
    return (x * mask[..., None]).pow(2).sum((1, 2), keepdim=True).sqrt()
