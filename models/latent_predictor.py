"""Direction 1, the baseline: text to latents in one pass, by regression."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.flow_matching import sample_noise
from models.layers import Context, DecoderLayer, require_head_sizes
from models.sampling_settings import SamplingSettings, SettingRefused
from models.whole_batch import masked_mean
from runtime.config import described

STARTS = ("noise", "mean")  # where a flow's trajectories start; a `LatentPredictor` predicts the mean


class StartsAtMean(Protocol):
    """What the configuration of a flow, or of its student, says of the network that learns the mean."""

    latent_dim: int
    hidden_dim: int
    num_heads: int
    cond_dim: int
    dropout: float
    start_layers: int


@dataclass(frozen=True)
class PredictorConfig:
    """What builds a `LatentPredictor`; kept in its checkpoint."""

    latent_dim: int = 256
    hidden_dim: int = described(512, "width of the network")
    num_layers: int = described(6, "layers of the network")
    num_heads: int = described(8, "attention heads of each layer")
    cond_dim: int = 768
    num_queries: int = described(100, "learnt queries, which are stretched over a clip's length")
    dropout: float = described(0.1, "probability that training drops an activation")
    max_frames: int | None = None  # the length to which longer clips were squeezed; None: no clip was longer
    space: ClassVar[str] = "latent"

    def __post_init__(self) -> None:
        require_head_sizes(self.hidden_dim, self.num_heads)

    @classmethod
    def of_mean(cls, config: StartsAtMean) -> "PredictorConfig":
        """The configuration of the network that predicts the mean latents of a text, for a flow or its student."""
        sizes = {
            name: getattr(config, name) for name in ("latent_dim", "hidden_dim", "num_heads", "cond_dim", "dropout")
        }
        return cls(**sizes, num_layers=config.start_layers)


class LatentPredictor(nn.Module):
    """c [B,L,C] -> normalised latents [B,N,D], from learnable queries interpolated to the clip's length."""

    kind = "predictor"
    compiled_method = "forward"

    def __init__(self, config: PredictorConfig) -> None:
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_dim // config.num_heads
        self.queries = nn.Parameter(0.02 * torch.randn(config.num_queries, config.hidden_dim))
        self.layers = nn.ModuleList(
            DecoderLayer(config.hidden_dim, config.num_heads, config.cond_dim, config.dropout)
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.hidden_dim)
        self.out = nn.Linear(config.hidden_dim, config.latent_dim)

    def queries_for(self, mask: Tensor) -> Tensor:
        """The queries stretched over each clip's own length, [B,N,H] (never over the batch's padding)."""
        lengths = mask.sum(1, keepdim=True)  # [B,1]
        index = torch.arange(mask.shape[1], device=mask.device)[None]  # [1,N]
        place = (index / (lengths - 1).clamp_min(1)).clamp(max=1.0) * (len(self.queries) - 1)  # [B,N]
        left = place.floor().long()  # [B,N]
        right = (left + 1).clamp(max=len(self.queries) - 1)  # [B,N]
        weight = (place - left)[..., None].to(self.queries.dtype)  # [B,N,1], of the right one
        return torch.lerp(self.queries[left], self.queries[right], weight)  # [B,N,H]

    def forward(self, cond: Tensor, cond_mask: Tensor, mask: Tensor) -> Tensor:
        """cond [B,L,C], cond_mask [B,L], mask of latents [B,N] -> [B,N,D], zero at padded latents."""
        x = self.queries_for(mask)  # [B,N,H]
        context = Context.of_text(self.layers, cond, cond_mask, mask, self.head_dim)
        for layer, layer_context in zip(self.layers, context.layers(), strict=True):
            x = layer(x, None, layer_context)  # [B,N,H]
        return self.out(self.norm(x)) * mask[..., None]  # [B,N,D]

    # ---- sampling, as the flow and its student do it -----------------------------------------------------------------

    def resolve(self, settings: SamplingSettings) -> SamplingSettings:
        """One step. Raises SettingRefused for any other setting, since a predictor has none."""
        only = SamplingSettings(num_steps=1)
        for name, asked in asdict(settings).items():
            if asked not in (None, getattr(only, name)):
                raise SettingRefused(name, "a predictor takes one step, and no other setting", asked)
        return only

    def describe(self, settings: SamplingSettings) -> dict[str, object]:
        """What decides the latents besides text, length and seed."""
        return {"num_steps": 1}

    def time_table(self, settings: SamplingSettings) -> None:
        """None, since a predictor has no times."""

    def sample(
        self,
        cond: Tensor,
        cond_mask: Tensor,
        mask: Tensor,
        seeds: Sequence[int],
        settings: SamplingSettings,
        table: None = None,
    ) -> Tensor:
        """The latents [B,N,D] of each text; seeds and settings change nothing here."""
        return self(cond, cond_mask, mask)


def sample_start(
    mean: LatentPredictor | None, seeds: Sequence[int], cond: Tensor, cond_mask: Tensor, mask: Tensor, latent_dim: int
) -> Tensor:
    """The start z_0 [B,N,D] of each trajectory: noise from the clip's seed, plus what `mean` predicts, if it is given.

    cond [B,L,C], cond_mask [B,L], mask of latents [B,N].
    """
    noise = sample_noise(seeds, mask.sum(1).tolist(), latent_dim).to(cond.device)
    return noise if mean is None else noise + mean(cond, cond_mask, mask)


def latent_regression_loss(prediction: Tensor, z_1: Tensor, mask: Tensor) -> Tensor:
    """Smooth L1 between predicted and true normalised latents [B,N,D] over real latents, scalar."""
    return masked_mean(F.smooth_l1_loss(prediction, z_1, reduction="none"), mask[..., None])
