"""Direction 2: the velocity field over latents, with text, prior and guidance, as it is trained and as it is sampled.

    v(z,t|x) = v_flow(z,t|x) + lambda(t) v_prior(z,t) - gamma grad_z L_sync(z),      lambda(t) = lambda_prior (1 - t)

The sum of the first two terms is the field: the loss fits it, the sampler integrates it. The third term acts only in
sampling; its gradient is scaled to at most the norm of the field, so gamma is the largest share of that norm.

A trajectory starts in noise, z_0 ~ N(0,I), or in noise around the mean latents of its text, z_0 ~ N(mu(x),I): a
coupling that depends on the data (Albergo et al. 2024), whose shorter paths need fewer steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.flow_matching import (
    MAX_STEPS,
    Velocity,
    evaluation_times,
    expand,
    path_sample,
    sample_ode,
    sample_times,
    time_grid,
    within,
)
from models.guidance import (
    TEXT_GUIDANCE_END,
    UNCONDITIONAL,
    field_jumps,
    guided_within,
    require_guidance_start,
    resolve_sampling,
)
from models.latent_predictor import STARTS, LatentPredictor, PredictorConfig, latent_regression_loss, sample_start
from models.layers import require_head_sizes
from models.mamba_prior import PRIORS, PriorConfig, build_prior
from models.sampling_settings import SamplingSettings, describe
from models.sync_guidance import MAX_SHARE, SyncConfig, SyncGuidanceHead, sync_gradient
from models.velocity_net import TimeTable, VelocityNet
from models.whole_batch import Draws, masked_mean
from runtime.config import described, require_known

SPACES = ("latent", "pose")
GAMMA_UNITS = ("field", "gradient")


@dataclass(frozen=True)
class FlowConfig:
    """What builds a `LatentFlowMatcher`; kept in its checkpoint."""

    latent_dim: int = 256
    hidden_dim: int = described(512, "width of the velocity network")
    num_layers: int = described(6, "layers of the velocity network")
    num_heads: int = described(8, "attention heads of each layer")
    cond_dim: int = 768
    temporal_stride: int = 1
    space: str = described(
        "latent", "where the flow runs: in the autoencoder's latents, or in the normalised poses", choices=SPACES
    )
    dropout: float = described(0.1, "probability that training drops an activation")
    cfg_dropout: float = described(0.1, "share of train clips whose text is dropped, for classifier-free guidance")
    prior_type: str = "none"  # none, mamba or simple
    prior_checkpoint: str | None = None  # fingerprint of a prior that was trained alone and stays as it is
    prior_hidden_dim: int = described(256, "width of the prior")
    prior_layers: int = described(4, "layers of the prior")
    lambda_prior: float = described(0.1, "weight of the prior in the velocity at t = 0; it falls to 0 at t = 1")
    use_sync_guidance: bool = described(False, "train the sync head, and guide sampling with it")
    gamma_guidance: float = described(
        0.01, "largest share of the velocity that sync guidance may add, in the middle of a trajectory", most=MAX_SHARE
    )
    sync_pulls_lag: bool = False  # see `SyncConfig.pulls_lag`
    gamma_unit: str = "field"  # gamma_guidance is a share of the field's norm, or a factor of the unscaled "gradient"
    start: str = described(
        "noise",
        "where trajectories start: in noise; or in noise around the mean of a text's latents, which a regression "
        "network, as in Direction 1, learns at the same time",
        choices=STARTS,
    )
    start_layers: int = described(2, "layers of the network that learns the mean")
    num_inference_steps: int = described(50, "default number of steps in inference and evaluation", most=MAX_STEPS)
    guidance_scale: float = described(
        2.0, "default scale of classifier-free guidance by the text in sampling; 1 disables it"
    )
    guidance_start: float = described(
        0.2,
        f"time of a trajectory, from 0 to 1, at which guidance by the text begins; it ends at {TEXT_GUIDANCE_END}. "
        "Earlier guidance makes the clips of a text more alike",
    )
    guidance_from: str = described(
        "prior",
        "unconditional estimate that guidance moves away from: the prior (if there is one), or a second pass of the "
        "velocity network without text",
        choices=UNCONDITIONAL,
    )
    has_null_text: bool = True  # whether training shows clips without text
    max_frames: int | None = None  # the length to which longer clips were squeezed; None: no clip was longer

    def __post_init__(self) -> None:
        require_head_sizes(self.hidden_dim, self.num_heads)
        if self.prior_type not in ("none", *PRIORS):
            raise ValueError(f"prior_type '{self.prior_type}' must be none, {' or '.join(PRIORS)}")
        require_known(self, space=SPACES, guidance_from=UNCONDITIONAL, gamma_unit=GAMMA_UNITS, start=STARTS)
        require_guidance_start(self.guidance_start)
        if self.prior_type == "none":
            object.__setattr__(self, "guidance_from", "null_text")


class LatentFlowMatcher(nn.Module):
    """The field over normalised latents: velocity net, unconditional prior, sync head, and a token for "no text"."""

    kind = "flow"

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.velocity_net = VelocityNet(config)
        self.null_token = nn.Parameter(0.02 * torch.randn(config.cond_dim))
        self.prior = self.sync_head = self.mean = None
        if config.start == "mean":
            self.mean = LatentPredictor(PredictorConfig.of_mean(config))
        if config.prior_type != "none":
            self.prior = build_prior(
                PriorConfig(config.prior_type, config.latent_dim, config.prior_hidden_dim, config.prior_layers)
            ).requires_grad_(config.prior_checkpoint is None)
        if config.use_sync_guidance:
            self.sync_head = SyncGuidanceHead(
                SyncConfig(config.latent_dim, temporal_stride=config.temporal_stride, pulls_lag=config.sync_pulls_lag)
            )

    def drop_text(self, cond: Tensor, cond_mask: Tensor, drop: Tensor) -> tuple[Tensor, Tensor]:
        """Where `drop` [B], replace the text by the null token: one learned token in its place, the rest masked."""
        first = torch.zeros_like(cond_mask)
        first[:, 0] = True
        cond = torch.where((drop[:, None] & first)[..., None], self.null_token.to(cond.dtype), cond)
        return cond, torch.where(drop[:, None], first, cond_mask)

    def prior_weight(self, t: Tensor, like: Tensor) -> Tensor:
        """lambda(t) [B,1,1] for t [B]."""
        return expand(self.config.lambda_prior * (1 - t), like)

    # ---- training ----------------------------------------------------------------------------------------------------

    def loss(
        self, z_1: Tensor, mask: Tensor, cond: Tensor, cond_mask: Tensor, draws: Draws, labelled: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Flow matching loss of the field, the prior's own fit to u without text, and L_prior; scalars.

        z_1 [B,N,D] normalised latents, mask [B,N], cond [B,L,C]. L_prior = lambda(t) ||v - v_prior||^2, called
        `closeness`, compares the whole field with the prior. It counts only where the text was dropped, since there
        both estimate the same drift: with a text it would pull every text to the mean of all. If trajectories start
        around the text's mean, `mean` is the regression loss of the network that predicts this mean, and the flow's
        own loss does not train that network.
        labelled [B] bool: the clips that have a text, by default all. The others train the unconditional branch.
        """
        z_0 = draws.normal(*z_1.shape[1:]).to(z_1)  # [B,N,D]
        mean_loss: dict[str, Tensor] = {}
        if self.mean is not None:
            mean = self.mean(cond, cond_mask, mask)  # [B,N,D]
            with_text = mask if labelled is None else mask & labelled[:, None]
            mean_loss["mean"] = latent_regression_loss(mean, z_1, with_text)
            z_0 = z_0 + mean.detach() * with_text[..., None]
        t = sample_times(draws)  # [B]
        point = path_sample(z_0, z_1, t)
        drop = torch.zeros(len(z_1), dtype=torch.bool, device=z_1.device)
        if self.training:
            drop = draws.uniform() < self.config.cfg_dropout
        if labelled is not None:
            drop = drop | ~labelled
        cond, cond_mask = self.drop_text(cond, cond_mask, drop)
        real = mask[..., None]
        v_flow = self.velocity_net(point.z_t, t, self.velocity_net.context(cond, cond_mask, mask))  # [B,N,D]
        if self.prior is None:
            fit = masked_mean((v_flow - point.velocity) ** 2, real)
            return {"loss": sum(mean_loss.values(), fit), "flow": fit, **mean_loss}
        weight, v_prior = self.prior_weight(t, z_1), self.prior(point.z_t, t, mask)  # [B,1,1], [B,N,D]
        field = v_flow + weight * v_prior
        fit = masked_mean((field - point.velocity) ** 2, real)
        prior_fit = masked_mean((v_prior - point.velocity) ** 2, real)
        closeness = masked_mean(drop[:, None, None] * weight * (field - v_prior) ** 2, real)
        loss = sum(mean_loss.values(), fit + prior_fit + closeness)
        return {"loss": loss, "flow": fit, "prior": prior_fit, "closeness": closeness, **mean_loss}

    # ---- sampling ----------------------------------------------------------------------------------------------------

    def guided_field(
        self, cond: Tensor, cond_mask: Tensor, mask: Tensor, settings: SamplingSettings, table: TimeTable | None = None
    ) -> Velocity:
        """The field of a trajectory as a function (z_t, t) -> v, with guidance by the text and by synchrony.

        cond [B,L,C], cond_mask [B,L], mask [B,N]; settings as `resolve` gives them.
        The text's keys and values and the prior's filters are computed here, once. Guidance by the text moves away from
        an unconditional estimate, v_without + s (v - v_without): the prior, which is evaluated anyway, or the null
        text, which shares a batch with the text (classifier-free guidance, Ho & Salimans 2022).
        """
        B, guidance_scale, gamma = len(cond), settings.guidance_scale, settings.gamma_guidance
        guided = guidance_scale != 1.0
        from_null_text = guided and settings.guidance_from == "null_text"
        if from_null_text:
            null, null_mask = self.drop_text(cond, cond_mask, torch.ones(B, dtype=torch.bool, device=cond.device))
            both = self.velocity_net.context(
                torch.cat([cond, null]), torch.cat([cond_mask, null_mask]), torch.cat([mask, mask])
            )
            with_text = both.first(B)
        else:
            with_text = self.velocity_net.context(cond, cond_mask, mask)
        filters = None if self.prior is None else self.prior.filters(mask.shape[1])
        in_units_of_field = self.config.gamma_unit == "field"
        interval = guided_within(settings)

        def velocity(z_t: Tensor, t: Tensor) -> Tensor:
            guides = guided and bool(within(t[0], interval))
            if guides and from_null_text:
                v_both = self.velocity_net(torch.cat([z_t, z_t]), torch.cat([t, t]), both, table=table)  # [2B,N,D]
                v_text, v_null = v_both.chunk(2)
                v = v_null + guidance_scale * (v_text - v_null)
            else:
                v = self.velocity_net(z_t, t, with_text, table=table)
            if self.prior is not None:
                v_prior = self.prior(z_t, t, mask, filters)
                v = v + self.prior_weight(t, z_t) * v_prior
                if guides and not from_null_text:
                    v = v_prior + guidance_scale * (v - v_prior)
            if gamma > 0:
                v = v - gamma * sync_gradient(self.sync_head, z_t, t, v, mask, in_units_of_field=in_units_of_field)
            return v

        return velocity

    def resolve(self, settings: SamplingSettings) -> SamplingSettings:
        """The settings as this flow follows them (`guidance.resolve_sampling`). Raises SettingRefused if it cannot."""
        return resolve_sampling(self.config, settings)

    def describe(self, settings: SamplingSettings) -> dict[str, object]:
        return describe(self.config, settings)

    def time_table(self, settings: SamplingSettings) -> TimeTable:
        """The modulations that all clips sampled with these settings share. Valid for these weights only."""
        return TimeTable.build(self.velocity_net, evaluation_times(time_grid(settings.num_steps), settings.solver))

    def sample(
        self,
        cond: Tensor,
        cond_mask: Tensor,
        mask: Tensor,
        seeds: Sequence[int],
        settings: SamplingSettings,
        table: TimeTable | None = None,
    ) -> Tensor:
        """Latents [B,N,D] of texts cond [B,L,C], cond_mask [B,L], mask [B,N]; each clip's noise comes from its seed."""
        z_0 = sample_start(self.mean, seeds, cond, cond_mask, mask, self.config.latent_dim)
        velocity = self.guided_field(cond, cond_mask, mask, settings, table)
        return sample_ode(velocity, z_0, time_grid(settings.num_steps), settings.solver, field_jumps(settings))
