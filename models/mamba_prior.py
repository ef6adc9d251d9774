"""The prior of Direction 2: an unconditional drift over latents by state space models, Mamba or a plain diagonal one.

    MambaPrior      selective state space: Mamba, Gu & Dao 2023, arXiv 2312.00752; per layer one mixer per direction
    SimpleSSMPrior  time-invariant diagonal state space: S4D, Gu et al. 2022, arXiv 2206.11893; one FFT convolution

Both take (z_t [B,N,D], t [B], mask [B,N]) to v_prior [B,N,D]. They see the whole clip and never its padding, which
must lie to the right of the real latents.

Shapes inside a mixer (names of the Mamba paper, but its `z` is called `gate`, since z is a latent here):

    b  batch            d_model  width outside the mixer           n  d_state, states per channel
    l  length           d        d_inner = expand * d_model        r  dt_rank, width of the bottleneck before delta
    k  steps of l that are computed together, a block
    A  [d,n] < 0, how fast each number of state fades     u      [b,l,d] what goes into the scan
    B  [b,l,n] how input enters the state                 delta  [b,l,d] > 0, the step size: large takes the input in,
    C  [b,l,n] how the state is read                             small passes it over
    D  [d] a skip past the scan                           gate   [b,l,d] what multiplies the output of the scan
"""

import functools
import importlib.util
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from models.flow_matching import path_sample, sample_times
from models.layers import ScaledLatents, TimestepEmbedding, modulate, zero_init
from models.whole_batch import Draws, masked_mean
from runtime.config import AUTO, described
from runtime.cpu import small_products

PRIORS = ("mamba", "simple")
MIN_BLOCK_STEPS = 16  # the scan stores a state every so many steps, or less often, for its backward pass
BUFFER_ELEMENTS = 2**19  # numbers per thread in a scratch buffer of the scan: as many as a core's caches hold
CUDA_BUFFER_ELEMENTS = 2**26


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


# ---- the selective scan ----------------------------------------------------------------------------------------------


def selective_scan_reference(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The recurrence of the paper (Algorithm 2), a step at a time: slow, and what `selective_scan` must equal.

    h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t,  y_t = C_t h_t
    u, delta [b,l,d], A [d,n], B, C [b,l,n] -> y [b,l,d]
    """
    state = u.new_zeros(u.shape[0], *A.shape)  # [b,d,n]
    outputs = []
    for i in range(u.shape[1]):
        decay = torch.exp(delta[:, i, :, None] * A)  # [b,d,n]
        state = decay * state + (delta[:, i] * u[:, i])[:, :, None] * B[:, i, None, :]
        outputs.append((state * C[:, i, None, :]).sum(-1))  # [b,d]
    return torch.stack(outputs, dim=1)


def selective_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Equal to `selective_scan_reference`, four times faster to train, with little memory; differentiable once."""
    dtype = torch.promote_types(u.dtype, torch.float32)
    with torch.autocast(u.device.type, enabled=False), small_products():
        return _SelectiveScan.apply(*(x.to(dtype) for x in (u, delta, A, B, C)))


class _SelectiveScan(torch.autograd.Function):
    """The scan, in blocks of a few clips by k steps, with its gradient written out.

    Nothing of size [b,l,n,d] is ever held: forward keeps the state at the start of each block, backward computes the
    states of one block again. Buffers are [k,b,n,d], time first so that a step of the recurrence is one fused operation
    on one contiguous piece, channels last so that it runs on whole vectors, and small enough to stay in the caches.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        (b, length, d), n = u.shape, A.shape[1]
        A_nd = A.t().contiguous()
        A_log2 = A_nd / math.log(2)
        rows, k = _block_shape(u, n)
        buffers = u.new_empty(2, k + 1, rows, n, d)
        starts = u.new_empty(math.ceil(length / k), b, n, d)
        y = torch.empty_like(u, memory_format=torch.contiguous_format)
        for clips in _slices(b, rows):
            starts[0, clips] = 0
            for i, span in enumerate(_slices(length, k)):
                u_k, delta_k, B_k, C_k = _block(clips, span, u, delta, B, C)
                steps = len(u_k)
                _, states = _run_block(buffers, starts[i, clips], delta_k, delta_k * u_k, A_log2, B_k)
                y_k = torch.bmm(C_k.view(-1, 1, n), states[1:].view(-1, n, d))  # [k*b,1,d]
                y[clips, span] = y_k.view(steps, -1, d).transpose(0, 1)
                if span.stop < length:
                    starts[i + 1, clips] = states[steps]
        ctx.save_for_backward(u, delta, A_nd, B, C, starts)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_y: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(grad_y.device.type, enabled=False), small_products():
            return _scan_backward(*ctx.saved_tensors, grad_y)


def _scan_backward(
    u: Tensor, delta: Tensor, A_nd: Tensor, B: Tensor, C: Tensor, starts: Tensor, grad_y: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of u, delta, A, B, C; `starts` [blocks,b,n,d] holds the state before each block."""
    (b, length, d), n = u.shape, len(A_nd)
    A_log2 = A_nd / math.log(2)
    rows, k = _block_shape(u, n)
    buffers, grad_buffer = u.new_empty(2, k + 1, rows, n, d), u.new_empty(k, rows, n, d)
    grad_u, grad_delta, grad_B, grad_C = (u.new_empty(x.shape) for x in (u, delta, B, C))
    grad_A = u.new_zeros(rows, n, d)
    for clips in _slices(b, rows):
        carry = 0.0  # what later blocks add to the gradient of this block's last state
        for i, span in reversed(list(enumerate(_slices(length, k)))):
            u_k, delta_k, B_k, C_k, grad_y_k = _block(clips, span, u, delta, B, C, grad_y)
            steps, size = u_k.shape[:2]
            delta_u = delta_k * u_k
            decay, states = _run_block(buffers, starts[i, clips], delta_k, delta_u, A_log2, B_k)

            # dL/dh_t = C_t dL/dy_t + exp(delta_{t+1} A) dL/dh_{t+1}
            grad = _front(grad_buffer, steps, size)
            torch.mul(C_k[:, :, :, None], grad_y_k[:, :, None, :], out=grad)
            grad[-1] += carry
            grads, decays = grad.unbind(), decay.unbind()
            for j in reversed(range(1, steps)):
                grads[j - 1].addcmul_(decays[j], grads[j])
            carry = decays[0] * grads[0]

            grad_flat, states_flat = grad.view(-1, n, d), states[1:].view(-1, n, d)
            grad_C_k = torch.bmm(grad_y_k.view(-1, 1, d), states_flat.transpose(1, 2)).view(steps, size, n)
            grad_B_k = torch.bmm(delta_u.view(-1, 1, d), grad_flat.transpose(1, 2)).view(steps, size, n)
            grad_delta_u = torch.bmm(B_k.view(-1, 1, n), grad_flat).view(steps, size, d)

            # dL/d(delta_t A) = dL/dh_t exp(delta_t A) h_{t-1}
            grad.mul_(states[:-1]).mul_(decay)
            grad_A_k = grad_A[:size]
            for grad_j, delta_j in zip(grads, delta_k[:, :, None, :], strict=True):
                grad_A_k.addcmul_(grad_j, delta_j)
            grad_delta_k = grad.mul_(A_nd).sum(2).addcmul_(grad_delta_u, u_k)

            parts = (grad_delta_u * delta_k, grad_delta_k, grad_B_k, grad_C_k)
            for whole, part in zip((grad_u, grad_delta, grad_B, grad_C), parts, strict=True):
                whole[clips, span] = part.transpose(0, 1)
    return grad_u, grad_delta, grad_A.sum(0).t(), grad_B, grad_C


def _run_block(
    buffers: Tensor, start: Tensor, delta: Tensor, delta_u: Tensor, A_log2: Tensor, B: Tensor
) -> tuple[Tensor, Tensor]:
    """Decay [k,b,n,d] and the states [k+1,b,n,d] from `start` on, in `buffers`; delta, delta_u [k,b,d], B [k,b,n]."""
    steps, size = delta.shape[:2]
    decay, states = _front(buffers[0], steps, size), _front(buffers[1], steps + 1, size)
    torch.mul(delta[:, :, None, :], A_log2, out=decay).exp2_()  # three times as fast as MKL's exp
    torch.mul(B[:, :, :, None], delta_u[:, :, None, :], out=states[1:])
    states[0] = start
    for (before, after), fade in zip(pairwise(states), decay, strict=True):
        after.addcmul_(fade, before)
    return decay, states


def _block_shape(u: Tensor, n: int) -> tuple[int, int]:
    """Clips and steps of a block, so that a buffer [k,b,n,d] keeps to its size and blocks are not too short."""
    b, length, d = u.shape
    elements = CUDA_BUFFER_ELEMENTS if u.is_cuda else BUFFER_ELEMENTS * torch.get_num_threads()
    rows = min(b, max(1, elements // (MIN_BLOCK_STEPS * n * d)))
    return rows, min(length, max(MIN_BLOCK_STEPS, elements // (rows * n * d)))


def _slices(total: int, size: int) -> list[slice]:
    return [slice(first, min(first + size, total)) for first in range(0, total, size)]


def _block(clips: slice, span: slice, *sequences: Tensor) -> Iterator[Tensor]:
    """Cut a block from sequences [b,l,x], as contiguous [k,b,x]."""
    return (x[clips, span].transpose(0, 1).contiguous() for x in sequences)


def _front(buffer: Tensor, steps: int, size: int) -> Tensor:
    """The front of a buffer's memory as a contiguous [steps,size,n,d]."""
    return buffer.view(-1, *buffer.shape[2:])[: steps * size].view(steps, size, *buffer.shape[2:])


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
