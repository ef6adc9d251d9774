"""Layers that several networks share: attention with rotary positions, feed-forward, time embedding, masks."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.whole_batch import Dropout
from runtime.cpu import uses_onednn

MAX_WHOLE_KEYS = 256  # above this many, unfused attention is slower: its scores leave the caches
Rotary = tuple[Tensor, Tensor]  # cosine and sine of rotary positions, each [B,1,T,head_dim/2]


class ScaledLatents(nn.Module):
    """A network over latents that are normalised per dimension: mean and std of the train latents, kept as buffers."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("latent_mean", torch.zeros(latent_dim))
        self.register_buffer("latent_std", torch.ones(latent_dim))

    def normalize(self, z: Tensor) -> Tensor:
        """Latents [...,D] as the autoencoder gives them -> normalised."""
        return (z - self.latent_mean) / self.latent_std

    def denormalize(self, z: Tensor) -> Tensor:
        """Normalised latents [...,D] -> as the autoencoder decodes them."""
        return z * self.latent_std + self.latent_mean

    def take_scale(self, other: "ScaledLatents") -> None:
        self.latent_mean.copy_(other.latent_mean)
        self.latent_std.copy_(other.latent_std)


def lengths_to_mask(lengths: Tensor, max_length: int | None = None) -> Tensor:
    """lengths [B] -> mask [B,T], True at real entries."""
    positions = torch.arange(max_length or int(lengths.max()), device=lengths.device)
    return positions[None, :] < lengths[:, None]


def mean_over_time(x: Tensor, mask: Tensor) -> Tensor:
    """The mean [B,C] of the real frames of x [B,T,C], mask [B,T]; 0 for a clip without a real frame."""
    keep = mask[..., None].to(x.dtype)
    return (x * keep).sum(1) / keep.sum(1).clamp_min(1)


def rotary(positions: Tensor, head_dim: int) -> Rotary:
    """Cosine, sine [B,1,T,head_dim/2] of rotary positions (RoFormer, Su et al. 2021); positions [B,T] may be real."""
    frequency = 10000.0 ** (-torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim)
    angle = positions.float()[:, None, :, None] * frequency
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos_sin: Rotary) -> Tensor:
    """Turn each pair of channels of x [B,heads,T,head_dim] by its position's angle."""
    cos, sin = (part.to(x.dtype) for part in cos_sin)
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat([torch.addcmul(x1 * cos, x2, sin, value=-1), torch.addcmul(x1 * sin, x2, cos)], dim=-1)


def frame_positions(x: Tensor) -> Tensor:
    """Positions [1,T] of a sequence x [B,T,...]."""
    return torch.arange(x.shape[1], device=x.device)[None]


def key_mask(mask: Tensor | None) -> Tensor | None:
    """mask [B,S] -> the mask [B,1,1,S] that attention takes; None if every entry is real.

    Only a CPU checks whether every entry is real: a GPU would have to wait for the answer, and a compiler would have to
    break the graph.
    """
    if mask is None or (not mask.is_cuda and not torch.compiler.is_compiling() and mask.all()):
        return None
    return mask[:, None, None, :]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention, q [B,heads,T,d], k, v [B,heads,S,d], mask broadcast to [B,heads,T,S].

    PyTorch's fused attention on a CPU works in small products, at which oneDNN is slow. Up to MAX_WHOLE_KEYS keys are
    therefore multiplied as whole matrices. In bf16 the gradient of fused attention is four to ten times slower, for any
    number of keys.
    """
    in_bf16 = q.dtype == torch.bfloat16 and q.requires_grad
    if q.is_cuda or not (in_bf16 or (uses_onednn() and k.shape[2] <= MAX_WHOLE_KEYS)):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1) @ v


class SelfAttention(nn.Module):
    """Multi-head self-attention with rotary positions."""

    def __init__(self, hidden_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(hidden_dim, 3 * hidden_dim)
        self.out = nn.Linear(hidden_dim, hidden_dim)

    def forward(self, x: Tensor, mask: Tensor | None, cos_sin: Rotary) -> Tensor:
        """x [B,T,H] -> [B,T,H]; mask as `attend` takes it."""
        B, T, H = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)  # each [B,heads,T,head_dim]
        x = attend(rotate(q, cos_sin), rotate(k, cos_sin), v, mask)  # [B,heads,T,head_dim]
        return self.out(x.transpose(1, 2).reshape(B, T, H))  # [B,T,H]


class CrossAttention(nn.Module):
    """Attention from frames to text tokens.

    `keys_values` depends on the text alone: a sampler computes it once per trajectory, not once per step. Queries and
    keys both carry rotary positions on the scale of tokens (a frame at the middle of its clip stands at the middle of
    its text), so that "sign these in this order" is easy to learn from few clips and reordering stays possible.
    """

    def __init__(self, hidden_dim: int, cond_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(hidden_dim, hidden_dim)
        self.key_value = nn.Linear(cond_dim, 2 * hidden_dim)
        self.out = nn.Linear(hidden_dim, hidden_dim)

    def keys_values(self, cond: Tensor) -> tuple[Tensor, Tensor]:
        """cond [B,L,C] -> rotated keys and values, each [B,heads,L,head_dim]."""
        B, L, _ = cond.shape
        k, v = self.key_value(cond).view(B, L, 2, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        return rotate(k, rotary(frame_positions(cond), k.shape[-1])), v

    def forward(self, x: Tensor, keys_values: tuple[Tensor, Tensor], mask: Tensor | None, cos_sin: Rotary) -> Tensor:
        """x [B,T,H] -> [B,T,H]; mask of the tokens as `attend` takes it; cos_sin: the frames' positions in the text."""
        B, T, H = x.shape
        q = rotate(self.query(x).view(B, T, self.num_heads, -1).transpose(1, 2), cos_sin)  # [B,heads,T,head_dim]
        x = attend(q, *keys_values, mask)  # [B,heads,T,head_dim]
        return self.out(x.transpose(1, 2).reshape(B, T, H))  # [B,T,H]


def token_positions(mask: Tensor, cond_mask: Tensor) -> Tensor:
    """Where each frame stands in its text, in tokens [B,T]: the clip is stretched over the whole text."""
    tokens = cond_mask.sum(1, keepdim=True).float()
    frames = mask.sum(1, keepdim=True).float().clamp_min(1.0)
    index = torch.arange(mask.shape[1], device=mask.device).float()[None]
    return (index + 0.5) / frames * tokens - 0.5


class FeedForward(nn.Sequential):
    """Two linear layers with GELU, four times as wide inside."""

    def __init__(self, hidden_dim: int, dropout: float = 0.0) -> None:
        super().__init__(
            nn.Linear(hidden_dim, 4 * hidden_dim), nn.GELU(), Dropout(dropout), nn.Linear(4 * hidden_dim, hidden_dim)
        )


class EncoderLayer(nn.Module):
    """A pre-norm transformer layer over frames, x [B,T,H] -> [B,T,H]."""

    def __init__(self, hidden_dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm_attention, self.norm_feed = nn.LayerNorm(hidden_dim), nn.LayerNorm(hidden_dim)
        self.attention = SelfAttention(hidden_dim, num_heads)
        self.feed = FeedForward(hidden_dim, dropout)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None, cos_sin: Rotary) -> Tensor:
        x = x + self.dropout(self.attention(self.norm_attention(x), mask, cos_sin))
        return x + self.dropout(self.feed(self.norm_feed(x)))


class Encoder(nn.Module):
    """A stack of `EncoderLayer`, x [B,T,H], mask [B,T] -> [B,T,H]; not normalised at the end."""

    def __init__(self, hidden_dim: int, num_heads: int, num_layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.head_dim = hidden_dim // num_heads
        self.layers = nn.ModuleList(EncoderLayer(hidden_dim, num_heads, dropout) for _ in range(num_layers))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        cos_sin, mask = rotary(frame_positions(x), self.head_dim), key_mask(mask)
        for layer in self.layers:
            x = layer(x, mask, cos_sin)  # [B,T,H]
        return x


class LayerContext(NamedTuple):
    """What a `DecoderLayer` needs besides its input."""

    self_mask: Tensor | None  # of the frames, as `attend` takes it
    self_rotary: Rotary  # where the frames stand in the clip
    keys_values: tuple[Tensor, Tensor]  # of the text, `CrossAttention.keys_values`
    cross_mask: Tensor | None  # of the text's tokens, as `attend` takes it
    cross_rotary: Rotary  # where the frames stand in the text


@dataclass(frozen=True)
class Context:
    """What all steps of a trajectory share: masks, positions, and the text as each layer reads it."""

    mask: Tensor  # [B,N]
    cond_mask: Tensor  # [B,L]
    keys_values: list[tuple[Tensor, Tensor]]  # of each layer, [B,heads,L,head_dim]
    self_rotary: Rotary
    cross_rotary: Rotary

    @classmethod
    def of_text(cls, layers: nn.ModuleList, cond: Tensor, cond_mask: Tensor, mask: Tensor, head_dim: int) -> "Context":
        """cond [B,L,C], cond_mask [B,L], mask [B,N], for `DecoderLayer`s."""
        return cls(
            mask,
            cond_mask,
            [layer.cross_attention.keys_values(cond) for layer in layers],
            rotary(frame_positions(mask), head_dim),
            rotary(token_positions(mask, cond_mask), head_dim),
        )

    def layers(self) -> list[LayerContext]:
        """The context of each layer, in order."""
        self_mask, cross_mask = key_mask(self.mask), key_mask(self.cond_mask)
        return [
            LayerContext(self_mask, self.self_rotary, keys_values, cross_mask, self.cross_rotary)
            for keys_values in self.keys_values
        ]

    def first(self, count: int) -> "Context":
        """The context of the first `count` clips."""
        keys_values = [(keys[:count], values[:count]) for keys, values in self.keys_values]
        cos, sin = self.cross_rotary
        return Context(
            self.mask[:count], self.cond_mask[:count], keys_values, self.self_rotary, (cos[:count], sin[:count])
        )


class DecoderLayer(nn.Module):
    """Frames attend to each other, then to a text; then a feed-forward. Pre-norm, x [B,T,H] -> [B,T,H].

    With `adaptive`, time shifts and scales each branch's input and gates its output (DiT, Peebles & Xie 2023).
    """

    def __init__(
        self, hidden_dim: int, num_heads: int, cond_dim: int, dropout: float, *, adaptive: bool = False
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_dim, elementwise_affine=not adaptive) for _ in range(3))
        self.self_attention = SelfAttention(hidden_dim, num_heads)
        self.cross_attention = CrossAttention(hidden_dim, cond_dim, num_heads)
        self.feed = FeedForward(hidden_dim, dropout)
        self.dropout = Dropout(dropout)
        if adaptive:
            self.modulation = nn.Sequential(nn.SiLU(), zero_init(nn.Linear(hidden_dim, 9 * hidden_dim)))

    def forward(self, x: Tensor, modulation: Tensor | None, context: LayerContext) -> Tensor:
        """modulation [B,9H]: shift, scale and gate of each branch; None without `adaptive`."""
        branches = (
            lambda h: self.self_attention(h, context.self_mask, context.self_rotary),
            lambda h: self.cross_attention(h, context.keys_values, context.cross_mask, context.cross_rotary),
            self.feed,
        )
        parts = None if modulation is None else modulation.chunk(9, dim=-1)  # each [B,H]
        for number, (norm, branch) in enumerate(zip(self.norms, branches, strict=True)):
            if parts is None:
                x = x + self.dropout(branch(norm(x)))
            else:
                shift, scale, gate = parts[3 * number : 3 * number + 3]
                h = branch(modulate(norm(x), shift, scale))  # [B,T,H]
                x = torch.addcmul(x, gate[:, None], self.dropout(h))
        return x


def require_head_sizes(hidden_dim: int, num_heads: int) -> None:
    """Raises ValueError unless every head has an even number of channels, as rotary positions need."""
    if hidden_dim % (2 * num_heads):
        raise ValueError(f"hidden_dim {hidden_dim} must be a multiple of twice num_heads {num_heads}")


class TimestepEmbedding(nn.Module):
    """t [B] in [0,1] -> [B,H]: sines and cosines of many frequencies, a small network (DiT, Peebles & Xie 2023)."""

    def __init__(self, hidden_dim: int, num_frequencies: int = 128) -> None:
        super().__init__()
        frequency = torch.exp(-math.log(10000.0) * torch.arange(num_frequencies) / num_frequencies)
        self.register_buffer("frequency", 1000.0 * frequency, persistent=False)
        self.net = nn.Sequential(
            nn.Linear(2 * num_frequencies, hidden_dim), nn.SiLU(), nn.Linear(hidden_dim, hidden_dim)
        )

    def forward(self, t: Tensor) -> Tensor:
        angle = t.to(self.frequency.device, non_blocking=True).float()[:, None] * self.frequency  # [B,frequencies]
        return self.net(torch.cat([angle.cos(), angle.sin()], dim=-1))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Adaptive norm: x [B,T,H] under shift and scale [B,H]."""
    return torch.addcmul(shift[:, None], x, 1 + scale[:, None])


def zero_init(layer: nn.Linear) -> nn.Linear:
    """Set a linear layer to zero, so that its output, or the branch that it scales, is 0 at the start."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
