"""Direction 1, the baseline: text to latents in one pass, by regression."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import (
    CrossAttention,
    FeedForward,
    SelfAttention,
    frame_positions,
    key_mask,
    masked_mean,
    rotary,
    token_positions,
)


@dataclass(frozen=True)
class PredictorConfig:
    """What builds a `LatentPredictor`; kept in its checkpoint."""

    latent_dim: int = 256
    hidden_dim: int = 512
    num_layers: int = 6
    num_heads: int = 8
    cond_dim: int = 768
    num_queries: int = 100
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.hidden_dim % (2 * self.num_heads):
            raise ValueError(f"hidden_dim {self.hidden_dim} must be a multiple of twice num_heads {self.num_heads}")


class DecoderLayer(nn.Module):
    """A pre-norm transformer decoder layer: frames attend to each other, then to the text."""

    def __init__(self, config: PredictorConfig) -> None:
        super().__init__()
        H = config.hidden_dim
        self.norms = nn.ModuleList(nn.LayerNorm(H) for _ in range(3))
        self.self_attention = SelfAttention(H, config.num_heads)
        self.cross_attention = CrossAttention(H, config.cond_dim, config.num_heads)
        self.feed = FeedForward(H, config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, frames: Tensor | None, cond: Tensor, tokens: Tensor | None, here: tuple[Tensor, Tensor],
        in_text: tuple[Tensor, Tensor],
    ) -> Tensor:  # fmt: skip
        x = x + self.dropout(self.self_attention(self.norms[0](x), frames, here))
        keys_values = self.cross_attention.keys_values(cond)
        x = x + self.dropout(self.cross_attention(self.norms[1](x), keys_values, tokens, in_text))
        return x + self.dropout(self.feed(self.norms[2](x)))


class LatentPredictor(nn.Module):
    """c [B,L,C] -> normalised latents [B,N,D], from learnable queries interpolated to the clip's length."""

    def __init__(self, config: PredictorConfig) -> None:
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_dim // config.num_heads
        self.queries = nn.Parameter(0.02 * torch.randn(config.num_queries, config.hidden_dim))
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.hidden_dim)
        self.out = nn.Linear(config.hidden_dim, config.latent_dim)

    def queries_for(self, mask: Tensor) -> Tensor:
        """The queries stretched over each clip's own length, [B,N,H] (never over the batch's padding)."""
        lengths = mask.sum(1, keepdim=True)
        index = torch.arange(mask.shape[1], device=mask.device)[None]
        place = (index / (lengths - 1).clamp_min(1)).clamp(max=1.0) * (len(self.queries) - 1)  # [B,N]
        left = place.floor().long()
        right = (left + 1).clamp(max=len(self.queries) - 1)
        share = (place - left)[..., None].to(self.queries.dtype)
        return torch.lerp(self.queries[left], self.queries[right], share)

    def forward(self, cond: Tensor, cond_mask: Tensor, mask: Tensor) -> Tensor:
        """cond [B,L,C], cond_mask [B,L], mask of latents [B,N] -> [B,N,D], zero at padded latents."""
        x = self.queries_for(mask)
        here = rotary(frame_positions(x), self.head_dim)
        in_text = rotary(token_positions(mask, cond_mask), self.head_dim)
        frames, tokens = key_mask(mask), key_mask(cond_mask)
        for layer in self.layers:
            x = layer(x, frames, cond, tokens, here, in_text)
        return self.out(self.norm(x)) * mask[..., None]


def latent_regression_loss(prediction: Tensor, z_1: Tensor, mask: Tensor) -> Tensor:
    """Smooth L1 between predicted and true normalised latents [B,N,D] over real latents, scalar."""
    return masked_mean(F.smooth_l1_loss(prediction, z_1, reduction="none"), mask[..., None])


