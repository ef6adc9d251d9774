"""Direction 2: the velocity field over latents, with text, prior and guidance, as it is trained and as it is sampled.

    v(z,t|x) = v_flow(z,t|x) + lambda(t) v_prior(z,t) - gamma grad_z L_sync(z),      lambda(t) = lambda_prior (1 - t)

The sum of the first two is one field: the loss fits it, the sampler integrates it. The third acts when sampling only.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from models.flow_matching import Velocity, path_sample, sample_times
from models.layers import (
    CrossAttention,
    FeedForward,
    SelfAttention,
    TimestepEmbedding,
    frame_positions,
    key_mask,
    masked_mean,
    modulate,
    rotary,
    token_positions,
    zero_init,
)
from models.mamba_prior import PriorConfig, build_prior
from models.sync_guidance import SyncConfig, SyncGuidanceHead, sync_gradient

SPACES = ("latent", "pose")
GUIDANCE_INTERVAL = (0.0, 0.9)  # of t, for classifier-free guidance: near the clean end it only adds tremble


@dataclass(frozen=True)
class FlowConfig:
    """What builds a `LatentFlowMatcher`; kept in its checkpoint."""

    latent_dim: int = 256
    hidden_dim: int = 512
    num_layers: int = 6
    num_heads: int = 8
    cond_dim: int = 768
    temporal_stride: int = 1
    space: str = "latent"  # what the flow's latents are: the autoencoder's, or with "pose" the normalised poses
    dropout: float = 0.1
    cfg_dropout: float = 0.1
    prior_type: str = "none"  # none, mamba or simple
    prior_hidden_dim: int = 256
    prior_layers: int = 4
    lambda_prior: float = 0.1
    use_sync_guidance: bool = False
    gamma_guidance: float = 0.01
    num_inference_steps: int = 50  # what inference, evaluation and distillation take by default
    guidance_scale: float = 2.0  # the same, for classifier-free guidance
    student_steps: tuple[int, ...] = ()  # a distilled student: the step counts it knows, guidance folded in

    def __post_init__(self) -> None:
        if self.hidden_dim % (2 * self.num_heads):
            raise ValueError(f"hidden_dim {self.hidden_dim} must be a multiple of twice num_heads {self.num_heads}")
        if self.prior_type not in ("none", "mamba", "simple"):
            raise ValueError(f"prior_type '{self.prior_type}' must be none, mamba or simple")
        if self.space not in SPACES:
            raise ValueError(f"space '{self.space}' must be one of {', '.join(SPACES)}")
        object.__setattr__(self, "student_steps", tuple(self.student_steps))  # a checkpoint keeps a list


@dataclass
class TrajectoryMemory:
    """What every step of a trajectory needs and none changes, computed once: of the clips, and of their texts.

    Every layer's keys and values of the text, and where the latents stand in the clip and in the text.
    """

    mask: Tensor  # [B,N]
    cond_mask: Tensor  # [B,L]
    keys_values: list[tuple[Tensor, Tensor]]
    here: tuple[Tensor, Tensor]  # `rotary`
    in_text: tuple[Tensor, Tensor]

    def first(self, count: int) -> "TrajectoryMemory":
        """That of the first `count` clips."""
        return TrajectoryMemory(
            self.mask[:count],
            self.cond_mask[:count],
            [(keys[:count], values[:count]) for keys, values in self.keys_values],
            self.here,
            (self.in_text[0][:count], self.in_text[1][:count]),
        )


class TimeMemory:
    """What the adaptive norms of a frozen velocity net need of each time (and a student's step size).

    That does not depend on the clip, and takes 40 % of the net's weights for a single row: a sampler computes the times
    of its grid in one go and keeps them for all its clips. Times beside the grid are added when they are met.
    """

    def __init__(self, net: "VelocityNet", times: Tensor, step: float | None = None) -> None:
        self.net, self.step = net, step
        self.rows: dict[float, list[Tensor]] = {}
        self._add(times)

    def _add(self, times: Tensor) -> None:
        step = None if self.step is None else torch.full_like(times, self.step)
        parts = self.net.modulations(times, step)
        for i, t in enumerate(times.tolist()):
            self.rows[t] = [part[i : i + 1] for part in parts]

    def at(self, t: Tensor) -> list[Tensor]:
        """`VelocityNet.modulations` at t [B], all equal, as one row."""
        if (key := float(t[0])) not in self.rows:
            self._add(t[:1])
        return self.rows[key]


class VelocityLayer(nn.Module):
    """A DiT block with text: self-attention and feed-forward under adaptive norm, cross-attention between them."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        H = config.hidden_dim
        self.norms = nn.ModuleList(nn.LayerNorm(H, elementwise_affine=False) for _ in range(3))
        self.self_attention = SelfAttention(H, config.num_heads)
        self.cross_attention = CrossAttention(H, config.cond_dim, config.num_heads)
        self.feed = FeedForward(H, config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.modulation = nn.Sequential(nn.SiLU(), zero_init(nn.Linear(H, 9 * H)))

    def forward(
        self, x: Tensor, modulation: Tensor, frames: Tensor | None, keys_values: tuple[Tensor, Tensor],
        tokens: Tensor | None, here: tuple[Tensor, Tensor], in_text: tuple[Tensor, Tensor],
    ) -> Tensor:  # fmt: skip
        parts = modulation.chunk(9, dim=-1)  # shift, scale, gate for each branch, each [B,H]
        shift, scale, gate = parts[0:3]
        h = self.self_attention(modulate(self.norms[0](x), shift, scale), frames, here)
        x = torch.addcmul(x, gate[:, None], self.dropout(h))
        shift, scale, gate = parts[3:6]
        h = self.cross_attention(modulate(self.norms[1](x), shift, scale), keys_values, tokens, in_text)
        x = torch.addcmul(x, gate[:, None], self.dropout(h))
        shift, scale, gate = parts[6:9]
        return torch.addcmul(x, gate[:, None], self.dropout(self.feed(modulate(self.norms[2](x), shift, scale))))


class VelocityNet(nn.Module):
    """z_t [B,N,D], t [B], text -> v_flow [B,N,D]. A few-step student also takes its step's size [B]."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        H = config.hidden_dim
        self.head_dim = H // config.num_heads
        self.embed = nn.Linear(config.latent_dim, H)
        self.time = TimestepEmbedding(H)
        self.step = TimestepEmbedding(H) if config.student_steps else None
        if self.step is not None:
            zero_init(self.step.net[-1])
        self.layers = nn.ModuleList(VelocityLayer(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(H, elementwise_affine=False)
        self.modulation = nn.Sequential(nn.SiLU(), zero_init(nn.Linear(H, 2 * H)))
        self.out = zero_init(nn.Linear(H, config.latent_dim))

    def remember(self, cond: Tensor, cond_mask: Tensor, mask: Tensor) -> TrajectoryMemory:
        """cond [B,L,C], cond_mask [B,L], mask [B,N]."""
        return TrajectoryMemory(
            mask,
            cond_mask,
            [layer.cross_attention.keys_values(cond) for layer in self.layers],
            rotary(frame_positions(mask), self.head_dim),
            rotary(token_positions(mask, cond_mask), self.head_dim),
        )

    def modulations(self, t: Tensor, step: Tensor | None = None) -> list[Tensor]:
        """What t [B] and a student's step [B] do to the norms: [B,9H] for each layer, [B,2H] for the output."""
        time = self.time(t)
        if self.step is not None:
            time = time + self.step(step)
        return [module.modulation(time) for module in (*self.layers, self)]

    def forward(
        self, z_t: Tensor, t: Tensor, memory: TrajectoryMemory, step: Tensor | None = None,
        times: TimeMemory | None = None,
    ) -> Tensor:  # fmt: skip
        return self.blocks(z_t, self.modulations(t, step) if times is None else times.at(t), memory)

    def blocks(self, z_t: Tensor, modulations: list[Tensor], memory: TrajectoryMemory) -> Tensor:
        """The net after its times: all of its work where `TimeMemory` and `TrajectoryMemory` hold the rest."""
        x = self.embed(z_t)
        *inner, last = modulations
        frames, tokens = key_mask(memory.mask), key_mask(memory.cond_mask)
        for layer, modulation, keys_values in zip(self.layers, inner, memory.keys_values, strict=True):
            x = layer(x, modulation, frames, keys_values, tokens, memory.here, memory.in_text)
        return self.out(modulate(self.norm(x), *last.chunk(2, dim=-1))) * memory.mask[..., None]


class LatentFlowMatcher(nn.Module):
    """The field over normalised latents: velocity net, unconditional prior, sync head, and the text that is no text."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.velocity_net = VelocityNet(config)
        self.null_token = nn.Parameter(0.02 * torch.randn(config.cond_dim))
        self.prior = self.sync_head = None  # a student has both folded into its velocity net
        if config.prior_type != "none" and not config.student_steps:
            self.prior = build_prior(
                PriorConfig(config.prior_type, config.latent_dim, config.prior_hidden_dim, config.prior_layers)
            )
        if config.use_sync_guidance and not config.student_steps:
            self.sync_head = SyncGuidanceHead(
                SyncConfig(latent_dim=config.latent_dim, temporal_stride=config.temporal_stride)
            )

    def keep_layers(self, count: int) -> None:
        """Go on with `count` of the velocity net's layers, evenly spaced from first to last; one is the first."""
        layers = self.velocity_net.layers
        kept = torch.linspace(0, len(layers) - 1, count).round().long().tolist()
        self.velocity_net.layers = nn.ModuleList(layers[i] for i in kept)
        self.config = replace(self.config, num_layers=count)

    def prior_weight(self, t: Tensor) -> Tensor:
        """lambda(t) [B,1,1]."""
        return (self.config.lambda_prior * (1 - t))[:, None, None]

    def drop_text(self, cond: Tensor, cond_mask: Tensor, drop: Tensor) -> tuple[Tensor, Tensor]:
        """Where `drop` [B], replace the text by the null token: one learned token in its place, the rest masked."""
        first = torch.zeros_like(cond_mask)
        first[:, 0] = True
        cond = torch.where((drop[:, None] & first)[..., None], self.null_token.to(cond.dtype), cond)
        return cond, torch.where(drop[:, None], first, cond_mask)

    def field(self, z_t: Tensor, t: Tensor, memory: TrajectoryMemory) -> Tensor:
        """v_flow + lambda(t) v_prior, [B,N,D]: what is trained and what is sampled."""
        return self.add_prior(self.velocity_net(z_t, t, memory), z_t, t, memory.mask)

    def add_prior(
        self, velocity: Tensor, z_t: Tensor, t: Tensor, mask: Tensor, filters: list[Tensor | None] | None = None
    ) -> Tensor:
        """The field [B,N,D] from v_flow; `filters`: what the prior remembers of a trajectory."""
        if self.prior is None:
            return velocity
        return velocity + self.prior_weight(t) * self.prior(z_t, t, mask, filters)

    def loss(
        self, z_1: Tensor, mask: Tensor, cond: Tensor, cond_mask: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Flow matching loss of the field, the prior's own fit to u without text, and L_prior; scalars.

        z_1 [B,N,D] normalised latents, mask [B,N], cond [B,L,C]. L_prior = lambda(t) ||v - v_prior||^2 compares the
        field itself, and only where the text was dropped: there both estimate the same drift. With a text it would pull
        every text to the mean of all; on v_flow alone it would leave lambda^2 / (1 + lambda) too much in the sum.
        """
        draw = {"generator": generator, "device": generator.device}
        z_0 = torch.randn(z_1.shape, **draw).to(z_1)
        t = sample_times(len(z_1), generator, z_1.device)
        point = path_sample(z_0, z_1, t)
        drop = torch.zeros(len(z_1), dtype=torch.bool, device=z_1.device)
        if self.training:
            drop = (torch.rand(len(z_1), **draw) < self.config.cfg_dropout).to(z_1.device)
            cond, cond_mask = self.drop_text(cond, cond_mask, drop)
        real = mask[..., None]
        flow = self.velocity_net(point.z_t, t, self.velocity_net.remember(cond, cond_mask, mask))
        if self.prior is None:
            fit = masked_mean((flow - point.velocity) ** 2, real)
            return {"loss": fit, "flow": fit}
        weight, prior = self.prior_weight(t), self.prior(point.z_t, t, mask)
        field = flow + weight * prior
        fit = masked_mean((field - point.velocity) ** 2, real)
        prior_fit = masked_mean((prior - point.velocity) ** 2, real)
        closeness = masked_mean(drop[:, None, None] * weight * (field - prior) ** 2, real)
        return {"loss": fit + prior_fit + closeness, "flow": fit, "prior": prior_fit, "closeness": closeness}

    def remember_times(self, grid: Tensor, step: float | None = None) -> TimeMemory:
        """For `guided_field` or `step_field` of these weights, whatever the clips: the times of a sampler's grid."""
        return TimeMemory(self.velocity_net, grid[:-1], step)

    def guided_field(
        self, cond: Tensor, cond_mask: Tensor, mask: Tensor, guidance_scale: float = 1.0,
        times: TimeMemory | None = None,
    ) -> Velocity:  # fmt: skip
        """The field of a trajectory as a function (z_t, t) -> v, with classifier-free and sync guidance.

        The text's keys and values and the prior's filters are computed here, once; with guidance both branches run in
        one batch.
        """
        config, B = self.config, len(cond)
        if guidance_scale == 1.0:
            memory = with_text = self.velocity_net.remember(cond, cond_mask, mask)
        else:
            nothing = self.drop_text(cond, cond_mask, torch.ones(B, dtype=torch.bool, device=cond.device))
            memory = self.velocity_net.remember(
                torch.cat([cond, nothing[0]]), torch.cat([cond_mask, nothing[1]]), torch.cat([mask, mask])
            )
            with_text = memory.first(B)
        filters = None if self.prior is None else self.prior.remember(mask.shape[1])

        def velocity(z_t: Tensor, t: Tensor) -> Tensor:
            if guidance_scale != 1.0 and GUIDANCE_INTERVAL[0] <= float(t[0]) <= GUIDANCE_INTERVAL[1]:
                v_both = self.velocity_net(torch.cat([z_t, z_t]), torch.cat([t, t]), memory, times=times)
                v_text, v_null = v_both.chunk(2)
                v = v_null + guidance_scale * (v_text - v_null)
            else:
                v = self.velocity_net(z_t, t, with_text, times=times)
            v = self.add_prior(v, z_t, t, mask, filters)
            if self.sync_head is not None and config.gamma_guidance > 0:
                v = v - config.gamma_guidance * sync_gradient(self.sync_head, z_t, t, v, mask)
            return v

        return velocity

    def step_field(
        self, cond: Tensor, cond_mask: Tensor, mask: Tensor, num_steps: int, times: TimeMemory | None = None
    ) -> Velocity:
        """A student's mean velocity over each of `num_steps` equal steps, a function (z_t, t) -> v: one forward."""
        memory = self.velocity_net.remember(cond, cond_mask, mask)
        step = torch.full((len(cond),), 1.0 / num_steps, device=cond.device)
        return lambda z_t, t: self.velocity_net(z_t, t, memory, step, times)
