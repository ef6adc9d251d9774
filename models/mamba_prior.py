"""The prior of Direction 2: an unconditional drift over latents by state space models, Mamba or a plain diagonal one.

    MambaPrior      selective state space: Mamba, Gu & Dao 2023, arXiv 2312.00752; per layer one mixer per direction
    SimpleSSMPrior  time-invariant diagonal state space: S4D, Gu et al. 2022, arXiv 2206.11893; one FFT convolution

Both take (z_t [B,N,D], t [B], mask [B,N]) to v_prior [B,N,D]. They see the whole clip and never its padding, which
must lie to the right of the real latents.

Shapes inside a mixer (names of the Mamba paper, but its `z` is called `gate`, since z is a latent here). Those of the
scan, A, B, C, u and delta, are in models/mamba_scan.py:

    b  batch     d_model  width outside the mixer        r     dt_rank, width of the bottleneck before delta
    l  length    d        d_inner = expand * d_model     D     [d] a skip past the scan
                 n        d_state, states per channel    gate  [b,l,d] what multiplies the output of the scan
"""

import functools
import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.flow_matching import path_sample, sample_times
from models.layers import ScaledLatents, TimestepEmbedding, modulate, zero_init
from models.mamba_scan import selective_scan
from models.whole_batch import Draws, masked_mean
from runtime.config import AUTO, described

PRIORS = ("mamba", "simple")


@dataclass(frozen=True)
class PriorConfig:
    """What builds a prior; a checkpoint keeps it."""

    prior_type: str = "simple"  # "mamba" or "simple": what `resolve_prior_type` answered
    latent_dim: int = 256
    hidden_dim: int = described(256, "width of the prior")
    num_layers: int = described(4, "layers of the prior")
    d_state: int = 16
    d_conv: int = 4  # Mamba only
    expand: int = 2

    def __post_init__(self) -> None:
        if self.prior_type not in PRIORS:
            raise ValueError(f"prior_type '{self.prior_type}' must be {' or '.join(PRIORS)}")

    @property
    def d_inner(self) -> int:
        return self.expand * self.hidden_dim

    @property
    def dt_rank(self) -> int:
        return math.ceil(self.hidden_dim / 16)


# ---- mixers ----------------------------------------------------------------------------------------------------------


@functools.cache
def mamba_kernels_available() -> bool:
    """Whether mamba-ssm and causal-conv1d are installed. They import, and run, only where there is CUDA."""
    return torch.cuda.is_available() and all(importlib.util.find_spec(m) for m in ("mamba_ssm", "causal_conv1d"))


class MambaMixer(nn.Module):
    """One Mamba layer without norm and residual, x [b,l,d_model] -> [b,l,d_model]; output i sees inputs 0..i.

    Parameters have the names, shapes and initial values of `mamba_ssm.Mamba`: each loads the other's weights, and so
    does transformers' MambaMixer. CUDA tensors go through mamba-ssm's fused kernel if it is installed.
    """

    def __init__(
        self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2, dt_rank: int | None = None
    ) -> None:
        super().__init__()
        d, r = expand * d_model, dt_rank or math.ceil(d_model / 16)
        self.dt_rank, self.d_state = r, d_state
        self.in_proj = nn.Linear(d_model, 2 * d, bias=False)
        self.conv1d = nn.Conv1d(d, d, d_conv, groups=d, padding=d_conv - 1)
        self.x_proj = nn.Linear(d, r + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(r, d)
        self.A_log = nn.Parameter(torch.arange(1, d_state + 1).float().log().repeat(d, 1))  # S4D-Real: A = -1..-n
        self.D = nn.Parameter(torch.ones(d))
        self.out_proj = nn.Linear(d, d_model, bias=False)
        nn.init.uniform_(self.dt_proj.weight, -(r**-0.5), r**-0.5)
        dt = _log_uniform(d, low=1e-3, high=1e-1)
        with torch.no_grad():
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # softplus(bias) = dt

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda and mamba_kernels_available():
            return self._forward_kernel(x)
        u, gate = self.in_proj(x).chunk(2, dim=-1)  # [b,l,d] each
        u = F.silu(causal_conv(u, self.conv1d.weight[:, 0].t(), self.conv1d.bias))
        r, B, C = self.x_proj(u).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        y = selective_scan(u, F.softplus(self.dt_proj(r)), -torch.exp(self.A_log), B, C) + self.D * u
        return self.out_proj(y * F.silu(gate))

    def _forward_kernel(self, x: Tensor) -> Tensor:
        """`forward` by mamba-ssm's kernel, whose tensors are [b,d,l]."""
        from mamba_ssm.ops.selective_scan_interface import mamba_inner_fn

        return mamba_inner_fn(
            self.in_proj(x).transpose(1, 2).contiguous(),
            self.conv1d.weight,
            self.conv1d.bias,
            self.x_proj.weight,
            self.dt_proj.weight,
            self.out_proj.weight,
            None,  # no bias after out_proj
            -torch.exp(self.A_log.float()),
            None,  # B and C depend on the input
            None,
            self.D.float(),
            delta_bias=self.dt_proj.bias.float(),
            delta_softplus=True,
        )


def causal_conv(u: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Each channel of u [b,l,d] under its filter, weight [taps,d]; the last tap is the present. Beats Conv1d."""
    taps, length = len(weight), u.shape[1]
    past = F.pad(u, (0, 0, taps - 1, 0))
    for i in range(taps):
        bias = torch.addcmul(bias, past[:, i : i + length], weight[i])
    return bias


def _log_uniform(*shape: int, low: float, high: float) -> Tensor:
    return torch.exp(torch.empty(*shape).uniform_(math.log(low), math.log(high)))


def reverse_valid(x: Tensor, mask: Tensor) -> Tensor:
    """Reverse the real frames of x [B,T,H] and leave the padding, so that a causal mixer never reads it."""
    position = torch.arange(x.shape[1], device=x.device)[None]
    index = torch.where(mask, mask.sum(1, keepdim=True) - 1 - position, position)  # [B,T]
    return x.gather(1, index[:, :, None].expand_as(x))


class BidirectionalMamba(nn.Module):
    """A mixer forwards in time plus another backwards, x [B,T,H], mask [B,T] -> [B,T,H]."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        sizes = (config.hidden_dim, config.d_state, config.d_conv, config.expand, config.dt_rank)
        self.forward_mixer, self.backward_mixer = MambaMixer(*sizes), MambaMixer(*sizes)

    def filters(self, length: int) -> None:
        """None: everything that it computes depends on its input."""

    def forward(self, x: Tensor, mask: Tensor, filters: None = None) -> Tensor:
        return self.forward_mixer(x) + reverse_valid(self.backward_mixer(reverse_valid(x, mask)), mask)


class BidirectionalS4D(nn.Module):
    """A convolution over the whole clip, both ways at once, x [B,T,H], mask [B,T] -> [B,T,H]; T log T by FFT.

    Each channel's filter is a sum of n/2 damped waves per direction, the impulse response of a diagonal state space
    with n/2 complex states (S4D, section 3): K_i = Re sum_m C_m exp(rate_m i), rate = -exp(log_decay) + i frequency.
    """

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        d, waves = config.d_inner, max(1, config.d_state // 2)
        self.in_proj = nn.Linear(config.hidden_dim, 2 * d, bias=False)
        dt = _log_uniform(2, d, 1, low=1e-3, high=1e-1)  # one time scale per channel and direction
        self.log_decay = nn.Parameter(torch.log(dt / 2).repeat(1, 1, waves))  # S4D-Lin: dt (-1/2 + i pi m)
        self.frequency = nn.Parameter(dt * math.pi * torch.arange(waves))
        self.C = nn.Parameter(torch.randn(2, 2, d, waves) * dt.sqrt() / waves**0.5)
        self.D = nn.Parameter(torch.ones(d))
        self.out_proj = nn.Linear(d, config.hidden_dim, bias=False)

    def kernels(self, length: int) -> Tensor:
        """Both filters at lags 0..length-1, [2,d,length]: the past's, the future's."""
        # lag = stride * q + r: products of the waves at 2 sqrt(length) lags give the waves at all lags
        stride = math.ceil(length**0.5)
        lag = torch.arange(stride, device=self.D.device, dtype=self.D.dtype)
        fine, coarse = self._waves(lag), self._waves(stride * lag)  # [2,d,n/2,stride]
        coarse = coarse * torch.complex(self.C[0], self.C[1])[..., None]
        return (coarse.transpose(2, 3) @ fine).real.flatten(2)[..., :length]

    def _waves(self, lag: Tensor) -> Tensor:
        """exp(rate_m i) at lags i, complex [2,d,n/2,lags]; by real functions, which run on whole vectors."""
        angle = self.frequency[..., None] * lag
        envelope = torch.exp(-torch.exp(self.log_decay)[..., None] * lag)
        return torch.complex(envelope * torch.cos(angle), envelope * torch.sin(angle))

    def filters(self, length: int) -> Tensor:
        """The spectrum of both filters together, complex [length+1,d]; it depends only on the length of the clips."""
        past, future = self.kernels(length)  # [d,T]; lag 0 is the past's alone
        kernel = torch.cat([past, torch.zeros_like(past[:, :1]), future[:, 1:].flip(1)], dim=1)  # circular, [d,2T]
        return torch.fft.rfft(kernel).t()

    def forward(self, x: Tensor, mask: Tensor, filters: Tensor | None = None) -> Tensor:
        T = x.shape[1]
        u, gate = self.in_proj(x).chunk(2, dim=-1)  # [B,T,d] each
        with torch.autocast(x.device.type, enabled=False):  # there is no FFT in half precision
            u = F.silu(u.to(self.D.dtype)).masked_fill(~mask[:, :, None], 0.0)
            spectrum = torch.fft.rfft(u, n=2 * T, dim=1) * (self.filters(T) if filters is None else filters)
            y = torch.fft.irfft(spectrum, n=2 * T, dim=1)[:, :T] + self.D * u
        return self.out_proj(y * F.silu(gate))


# ---- priors ----------------------------------------------------------------------------------------------------------


class PriorBlock(nn.Module):
    """A residual mixer whose input and output the time scales: x [B,T,H], time [B,H], mask [B,T] -> [B,T,H]."""

    def __init__(self, hidden_dim: int, mixer: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden_dim, elementwise_affine=False)
        self.mixer = mixer
        self.adapt = zero_init(nn.Linear(hidden_dim, 3 * hidden_dim))

    def forward(self, x: Tensor, time: Tensor, mask: Tensor, filters: Tensor | None = None) -> Tensor:
        shift, scale, gate = self.adapt(F.silu(time)).chunk(3, dim=-1)
        return x + gate[:, None] * self.mixer(modulate(self.norm(x), shift, scale), mask, filters)


class SSMPrior(nn.Module):
    """What the two priors share; they differ in `mixer_class`. At the start v_prior is 0 everywhere."""

    mixer_class: type[nn.Module]

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        H = config.hidden_dim
        self.input = nn.Linear(config.latent_dim, H)
        self.time = TimestepEmbedding(H)
        self.blocks = nn.ModuleList(PriorBlock(H, self.mixer_class(config)) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(H, elementwise_affine=False)
        self.adapt = zero_init(nn.Linear(H, 2 * H))
        self.output = zero_init(nn.Linear(H, config.latent_dim))

    def filters(self, length: int) -> list[Tensor | None]:
        """For each block, the filters that all steps of a trajectory of `length` latents share; None if it has none."""
        return [block.mixer.filters(length) for block in self.blocks]

    def forward(self, z_t: Tensor, t: Tensor, mask: Tensor, filters: Sequence[Tensor | None] | None = None) -> Tensor:
        """z_t [B,N,D], t [B] in [0,1], mask [B,N] (True = real latent) -> v_prior [B,N,D], 0 at padding."""
        padding = ~mask[:, :, None]
        x = self.input(z_t.masked_fill(padding, 0.0))  # [B,T,H]
        time = self.time(t)  # [B,H]
        for block, part in zip(self.blocks, filters or [None] * len(self.blocks), strict=True):
            x = block(x, time, mask, part)
        shift, scale = self.adapt(F.silu(time)).chunk(2, dim=-1)
        return self.output(modulate(self.norm(x), shift, scale)).masked_fill(padding, 0.0)


class MambaPrior(SSMPrior):
    mixer_class = BidirectionalMamba


class SimpleSSMPrior(SSMPrior):
    mixer_class = BidirectionalS4D


def resolve_prior_type(requested: str) -> str:
    """'auto', 'mamba' or 'simple' -> 'mamba' or 'simple'; auto is Mamba where its kernels can run, else simple."""
    if requested == AUTO:
        return "mamba" if mamba_kernels_available() else "simple"
    if requested not in PRIORS:
        raise ValueError(f"no prior is called {requested!r}: auto, mamba or simple")
    return requested


def build_prior(config: PriorConfig) -> SSMPrior:
    """The prior that a configuration (a checkpoint's, or a new one) names."""
    return {"mamba": MambaPrior, "simple": SimpleSSMPrior}[config.prior_type](config)


class PriorAlone(ScaledLatents):
    """A prior that is trained without texts and without a velocity network. Stage 2 uses it unchanged."""

    kind = "prior"

    def __init__(self, config: PriorConfig) -> None:
        super().__init__(config.latent_dim)
        self.config = config
        self.prior = build_prior(config)

    def loss(self, z_1: Tensor, mask: Tensor, draws: Draws) -> dict[str, Tensor]:
        """The prior's fit to the velocity of the straight path, as in `LatentFlowMatcher.loss`, scalar.

        z_1 [B,N,D] normalised latents, mask [B,N].
        """
        z_0 = draws.normal(*z_1.shape[1:]).to(z_1)  # [B,N,D]
        t = sample_times(draws)  # [B]
        point = path_sample(z_0, z_1, t)
        return {"loss": masked_mean((self.prior(point.z_t, t, mask) - point.velocity) ** 2, mask[..., None])}
