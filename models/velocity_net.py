"""The velocity network: a DiT (Peebles & Xie 2023) over latents, with cross-attention to the text's tokens."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from models.layers import Context, DecoderLayer, TimestepEmbedding, modulate, zero_init


class VelocityNetSizes(Protocol):
    """What a configuration says of its `VelocityNet`."""

    latent_dim: int
    hidden_dim: int
    num_layers: int
    num_heads: int
    cond_dim: int
    dropout: float


class VelocityNet(nn.Module):
    """z_t [B,N,D], t [B], text -> velocity [B,N,D]. With `knows_step` it also reads the size of its step [B]."""

    compiled_method = "blocks"

    def __init__(self, config: VelocityNetSizes, *, knows_step: bool = False) -> None:
        super().__init__()
        H = config.hidden_dim
        self.head_dim = H // config.num_heads
        self.embed = nn.Linear(config.latent_dim, H)
        self.time = TimestepEmbedding(H)
        self.step = TimestepEmbedding(H) if knows_step else None
        if self.step is not None:
            zero_init(self.step.net[-1])
        self.layers = nn.ModuleList(
            DecoderLayer(H, config.num_heads, config.cond_dim, config.dropout, adaptive=True)
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(H, elementwise_affine=False)
        self.modulation = nn.Sequential(nn.SiLU(), zero_init(nn.Linear(H, 2 * H)))
        self.out = zero_init(nn.Linear(H, config.latent_dim))

    def context(self, cond: Tensor, cond_mask: Tensor, mask: Tensor) -> Context:
        """What all steps of a trajectory share: cond [B,L,C], cond_mask [B,L], mask [B,N]."""
        return Context.of_text(self.layers, cond, cond_mask, mask, self.head_dim)

    def modulations(self, t: Tensor, step: Tensor | None = None) -> list[Tensor]:
        """Shifts, scales and gates from t [B] and a step's size [B]: [B,9H] for each layer, [B,2H] for the output."""
        time = self.time(t)  # [B,H]
        if self.step is not None:
            time = time + self.step(step)
        return [module.modulation(time) for module in (*self.layers, self)]

    def forward(
        self, z_t: Tensor, t: Tensor, context: Context, step: Tensor | None = None, table: "TimeTable | None" = None
    ) -> Tensor:
        """z_t [B,N,D], t [B] -> velocity [B,N,D]; step [B]: the size of each clip's step, if the net `knows_step`.

        With a `table`, t must be one of its times, and `step` is in the table.
        """
        return self.blocks(z_t, self.modulations(t, step) if table is None else table.at(t), context)

    def blocks(self, z_t: Tensor, modulations: list[Tensor], context: Context) -> Tensor:
        """The network, given its modulations: z_t [B,N,D] -> velocity [B,N,D]."""
        x = self.embed(z_t)  # [B,N,H]
        *inner, last = modulations
        for layer, modulation, layer_context in zip(self.layers, inner, context.layers(), strict=True):
            x = layer(x, modulation, layer_context)  # [B,N,H]
        shift, scale = last.chunk(2, dim=-1)  # [B,H] each
        return self.out(modulate(self.norm(x), shift, scale)) * context.mask[..., None]  # [B,N,D]


@dataclass(frozen=True)
class TimeTable:
    """The modulations of a frozen network at the times of a sampler, computed once for all clips.

    They do not depend on the clip. Computing them reads 40 % of the network's weights, even for one time.
    """

    times: Tensor  # [S], ascending, on the CPU
    modulations: list[Tensor]  # `VelocityNet.modulations` of these times, [S,...] each

    @classmethod
    def build(cls, net: VelocityNet, times: Tensor, step: float | None = None) -> "TimeTable":
        """The table of `times` [S], ascending, on the CPU; step: the size of every step, for a net that knows it."""
        device = net.time.frequency.device
        steps = None if step is None else torch.full_like(times, step).to(device)
        return cls(times, net.modulations(times.to(device), steps))

    def at(self, t: Tensor) -> list[Tensor]:
        """The modulations at t [B], all equal and on the CPU, as one row each. Raises ValueError for another time."""
        row = int(torch.searchsorted(self.times, t[0]))
        if row == len(self.times) or self.times[row] != t[0]:
            raise ValueError(f"time {t[0].item()} is not among the table's {len(self.times)} times")
        return [part[row : row + 1] for part in self.modulations]
