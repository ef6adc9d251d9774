"""What a loss needs of the whole batch, of which this process may hold a part: draws, dropout masks, and means.

A loss that follows four rules gives the same curve in one process and in many:

    random numbers come from its `Draws`, which depend only on the clip, the epoch and the number of the draw
    dropout is `Dropout`, which uses the same draws
    a mean is `masked_mean` or `clip_mean`, never .mean(): its weights are summed over all processes
    clips of a batch do not affect each other, except through `std_over_batch`

The value that it returns is this process's part: the parts of all processes add up to the loss of the whole batch. So a
loss may scale and add means, but not multiply them, divide by them, or put them through a function.
"""

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # 2^64 divided by the golden ratio: its multiples differ in many bits
_LEA = 0xDABA0B6EB09322E3 - 2**64  # Doug Lea's mixer, as in Java's L64X128MixRandom (Steele & Vigna 2021)
_counters: dict[torch.device, Tensor] = {}


class Draws:
    """Random numbers for a batch, one row per clip, from the clip's own key: equal on every device.

    Draws are numbered by the order in which they are asked for. Entry n of a row is a hash of key, draw and n, so a row
    depends neither on other rows nor on how far it is padded.
    """

    def __init__(self, keys: Tensor) -> None:
        self.keys, self.count = keys, 0

    @classmethod
    def of(cls, ids: Sequence[str], *numbers: int, device: torch.device | str = "cpu") -> "Draws":
        """The draws of clips with these ids, for numbers such as seed and epoch."""
        keys = [hashlib.blake2b(f"{numbers} {name}".encode(), digest_size=8).digest() for name in ids]
        return cls(torch.tensor([int.from_bytes(key, "little", signed=True) for key in keys]).to(device))

    def random_bits(self, number: int) -> Tensor:
        """`number` words of 64 random bits for each clip, [B,number] int64."""
        self.count += 1
        own = _mix(self.keys + self.count)
        return _mix(own[:, None] ^ _counter(number, self.keys.device))

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0,1), [B,*shape]."""
        words = self.random_bits(math.prod(shape))
        return ((words & 0xFFFFFF).float() * 2.0**-24).view(-1, *shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers (Box & Muller 1958), [B,*shape]."""
        count = math.prod(shape)
        words = self.random_bits((count + 1) // 2)
        radius = ((words & 0xFFFFFFFF).float() + 1).mul_(2.0**-32).log_().mul_(-2).sqrt_()
        angle = (words >> 32).float().mul_(math.pi * 2.0**-31)
        pairs = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1).flatten(1)
        return pairs[:, :count].reshape(-1, *shape)

    def integers(self, bound: int, *shape: int) -> Tensor:
        """Whole numbers in 0 … bound - 1, [B,*shape] int64."""
        return (self.uniform(*shape) * bound).long().clamp_(max=bound - 1)

    def dropout(self, x: Tensor, probability: float) -> Tensor:
        """x [B,...] with entries dropped, and the others scaled up; the probability is rounded to 16 bits."""
        if len(x) != len(self.keys):
            raise ValueError(f"dropout of {len(x)} rows, where the batch has {len(self.keys)} clips")
        dropped, count = round(probability * 2**16), x[0].numel()
        if dropped >= 2**16:
            return x * 0
        bits = self.random_bits((count + 3) // 4).view(torch.int16)[:, :count].reshape(x.shape)
        return x.masked_fill(bits < dropped - 2**15, 0.0) * (2**16 / (2**16 - dropped))


def _mix(words: Tensor) -> Tensor:
    """Hash each of `words`, int64, in its place."""
    low, high = words.view(torch.int32).unflatten(-1, (-1, 2)).unbind(-1)
    for _ in range(2):
        low ^= high
        words *= _LEA
    low ^= high
    return words


def _counter(number: int, device: torch.device) -> Tensor:
    """The first multiples of `_GOLDEN`, [number]; kept for each device, since every draw needs them."""
    known = _counters.get(device)
    if known is None or len(known) < number:
        known = _counters[device] = torch.arange(number, device=device) * _GOLDEN
    return known[:number]


@dataclass(frozen=True)
class WholeBatch:
    """How a process's part of a batch relates to the whole: its draws, the sum over all processes, and its share.

    share: 1, or 0 for a process that got no clip of this batch and computes a duplicate that must not count.
    """

    draws: Draws
    total: Callable[[Tensor], Tensor]
    share: float


_whole: ContextVar[WholeBatch | None] = ContextVar("whole_batch", default=None)


@contextlib.contextmanager
def part_of(whole: WholeBatch) -> Iterator[None]:
    """Within the block, dropout and means are those of the whole batch."""
    token = _whole.set(whole)
    try:
        yield
    finally:
        _whole.reset(token)


class Dropout(nn.Dropout):
    """nn.Dropout whose mask depends on each clip alone; outside `part_of` it uses PyTorch's generator."""

    def forward(self, x: Tensor) -> Tensor:
        whole = _whole.get()
        if whole is None or not self.training or self.p == 0:
            return super().forward(x)
        return whole.draws.dropout(x, self.p)


def at_least_fp32(x: Tensor) -> Tensor:
    """x, in fp32 if autocast has made it narrower: long sums, and terms that cancel, need that."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def masked_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean of `values` under `weight` (same shape, or broadcast to it); 0 where all weights are 0. Scalar.

    Summed in fp32 or wider. Within `part_of`, this process's part of the mean over the whole batch.
    """
    values = at_least_fp32(values)
    weight = weight.to(values.dtype).expand_as(values)
    value, total, whole = (values * weight).sum(), weight.sum(), _whole.get()
    if whole is not None:
        value, total = value * whole.share, whole.total(total.detach() * whole.share)
    return value / total.clamp_min(1e-8)


def whole_value(part: Tensor) -> Tensor:
    """The sum of `part`, such as a result of `masked_mean`, over all processes; without gradient."""
    whole = _whole.get()
    return part.detach() if whole is None else whole.total(part.detach())


def clip_mean(values: Tensor) -> Tensor:
    """Mean of values [B], one per clip, computed like `masked_mean`."""
    return masked_mean(values, torch.ones_like(values))


def std_over_batch(values: Tensor, mask: Tensor) -> Tensor:
    """The standard deviation [D] of the real values [B,N,D], mask [B,N], over the whole batch; without gradient."""
    kept = values.detach()[mask].float()  # [n,D]
    count = kept.new_full((1, kept.shape[1]), len(kept))
    sums, whole = torch.cat([count, kept.sum(0, keepdim=True), (kept**2).sum(0, keepdim=True)]), _whole.get()
    if whole is not None:
        sums = whole.total(sums * whole.share)
    count, total, squares = sums
    mean = total / count
    return (squares / count - mean**2).clamp_min(0).sqrt()
