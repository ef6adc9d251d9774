"""Stage 3: a student that covers a 50-step trajectory in 1, 2 or 4 steps, each one evaluation of the network.

It is distilled into a flow map. There is no consistency loss (Song et al. 2023), although the file is called so.

The teacher's guided ODE is a fixed map along the trajectory. The student learns its mean velocity over a step,

    v_student(z_t, t, d) ~ (z_{t+d} - z_t) / d,      d in {1, 1/2, 1/4},

a two-time flow map (Frans et al. 2024; Boffi et al. 2024) fitted to the teacher's own states, so one student serves
every count of steps. Guidance, prior and synchrony are part of what it learns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.flow_matching import MAX_STEPS, Velocity, evaluation_times, ode_states, sample_ode, time_grid
from models.guidance import UNCONDITIONAL
from models.latent_flow_matcher import SPACES, FlowConfig, LatentFlowMatcher
from models.latent_predictor import STARTS, LatentPredictor, PredictorConfig, sample_start
from models.layers import require_head_sizes
from models.sampling_settings import SamplingSettings, SettingRefused, describe, require_as_trained
from models.velocity_net import TimeTable, VelocityNet
from models.whole_batch import Draws, masked_mean
from runtime.config import require_known

STEP_COUNTS = (1, 2, 4)  # how many steps a student may take


@dataclass(frozen=True)
class StudentConfig:
    """What builds a `Student`; kept in its checkpoint."""

    latent_dim: int = 256
    hidden_dim: int = 512
    num_layers: int = 6
    num_heads: int = 8
    cond_dim: int = 768
    temporal_stride: int = 1
    space: str = "latent"
    dropout: float = 0.0
    step_counts: tuple[int, ...] = STEP_COUNTS
    # Settings of the teacher, which the student has learnt:
    guidance_scale: float = 2.0
    guidance_start: float = 0.2
    guidance_from: str = "null_text"
    prior_type: str = "none"
    use_sync_guidance: bool = False
    gamma_guidance: float | None = None  # None: the checkpoint is of a version that did not keep it
    start: str = "noise"
    start_layers: int = 2
    max_frames: int | None = None

    def __post_init__(self) -> None:
        require_head_sizes(self.hidden_dim, self.num_heads)
        require_known(self, space=SPACES, guidance_from=UNCONDITIONAL, start=STARTS)
        object.__setattr__(self, "step_counts", tuple(self.step_counts))  # a checkpoint keeps a list
        if max(self.step_counts) > MAX_STEPS:
            raise ValueError(f"step_counts {self.step_counts}: at most {MAX_STEPS} each")

    @classmethod
    def of_teacher(cls, teacher: FlowConfig, num_layers: int) -> "StudentConfig":
        """A student of the teacher's sizes and guidance, with `num_layers` of its layers."""
        return cls(
            latent_dim=teacher.latent_dim,
            hidden_dim=teacher.hidden_dim,
            num_layers=num_layers,
            num_heads=teacher.num_heads,
            cond_dim=teacher.cond_dim,
            temporal_stride=teacher.temporal_stride,
            space=teacher.space,
            guidance_scale=teacher.guidance_scale,
            guidance_start=teacher.guidance_start,
            guidance_from=teacher.guidance_from,
            prior_type=teacher.prior_type,
            use_sync_guidance=teacher.use_sync_guidance,
            gamma_guidance=teacher.gamma_guidance if teacher.use_sync_guidance else 0.0,
            start=teacher.start,
            start_layers=teacher.start_layers,
            max_frames=teacher.max_frames,
        )


class Student(nn.Module):
    """The mean velocity over a step, as a velocity net that knows the step's size."""

    kind = "student"

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        self.velocity_net = VelocityNet(config, knows_step=True)
        self.mean = None
        if config.start == "mean":  # the teacher's, which is not trained further
            self.mean = LatentPredictor(PredictorConfig.of_mean(config)).requires_grad_(False)

    def start_from(self, teacher: LatentFlowMatcher) -> None:
        """Copy the teacher's velocity net, with as many of its layers as the student has, evenly spaced.

        The step's embedding starts at zero, so a student of all layers starts as its teacher's field without guidance.
        """
        count, available = self.config.num_layers, len(teacher.velocity_net.layers)
        kept = torch.linspace(0, available - 1, count).round().long().tolist()  # one layer: the first
        for name, part in teacher.velocity_net.named_children():
            if name != "layers":
                getattr(self.velocity_net, name).load_state_dict(part.state_dict())
        if self.mean is not None:
            self.mean.load_state_dict(teacher.mean.state_dict())
        for layer, number in zip(self.velocity_net.layers, kept, strict=True):
            layer.load_state_dict(teacher.velocity_net.layers[number].state_dict())

    def loss(
        self, states: Tensor, mask: Tensor, cond: Tensor, cond_mask: Tensor, draws: Draws, huber_scale: float = 0.3
    ) -> dict[str, Tensor]:
        """Distance between the student's and the teacher's mean velocity over one random step of each clip, scalar.

        The number of steps (1, 2 or 4) is drawn with a probability in proportion to it, so that each of the seven steps
        (1 + 2 + 4) is learnt equally often.
        states [B,S+1,N,D] on the teacher's trajectories, S a multiple of every number in `step_counts`.
        """
        count_of = torch.tensor([count for count in self.config.step_counts for _ in range(count)]).to(states.device)
        num_steps, num_segments = count_of[draws.integers(len(count_of))], states.shape[1] - 1  # [B]
        index = (draws.uniform() * num_steps).long()  # [B], which of the trajectory's steps is learnt
        stride = num_segments // num_steps  # [B]
        row = torch.arange(len(states), device=states.device)
        start, stop = states[row, index * stride], states[row, (index + 1) * stride]  # [B,N,D]
        step = 1.0 / num_steps
        context = self.velocity_net.context(cond, cond_mask, mask)
        velocity = self.velocity_net(start, index * step, context, step)  # [B,N,D]
        error = velocity - (stop - start) * num_steps[:, None, None]
        return {"loss": masked_mean(pseudo_huber(error, huber_scale), mask[..., None])}

    # ---- sampling ----------------------------------------------------------------------------------------------------

    def step_field(
        self, cond: Tensor, cond_mask: Tensor, mask: Tensor, num_steps: int, table: TimeTable | None = None
    ) -> Velocity:
        """The mean velocity over each of `num_steps` equal steps, as a function (z_t, t) -> v: one evaluation."""
        context = self.velocity_net.context(cond, cond_mask, mask)
        step = torch.full((len(cond),), 1.0 / num_steps, device=cond.device)  # [B]
        return lambda z_t, t: self.velocity_net(z_t, t, context, step, table)

    def resolve(self, settings: SamplingSettings) -> SamplingSettings:
        """The settings, with the configuration's in place of None.

        Raises SettingRefused if this student cannot follow them.
        """
        config = self.config
        if settings.num_steps is not None and settings.num_steps not in config.step_counts:
            known = ", ".join(map(str, config.step_counts))
            raise SettingRefused("num_steps", f"this student takes {known} steps", settings.num_steps)
        if settings.solver not in (None, "euler"):
            raise SettingRefused("solver", "a student has its own steps, which are euler's", settings.solver)
        require_as_trained("use_ssm_prior", settings.use_ssm_prior, config.prior_type != "none")
        require_as_trained("guidance_scale", settings.guidance_scale, config.guidance_scale)
        require_as_trained("guidance_start", settings.guidance_start, config.guidance_start)
        require_as_trained("guidance_from", settings.guidance_from, config.guidance_from)
        require_as_trained("use_sync_guidance", settings.use_sync_guidance, config.use_sync_guidance)
        require_as_trained("gamma_guidance", settings.gamma_guidance, config.gamma_guidance)
        return SamplingSettings(
            num_steps=settings.num_steps or max(config.step_counts),
            guidance_scale=config.guidance_scale,
            guidance_start=config.guidance_start,
            solver="euler",
            use_ssm_prior=config.prior_type != "none",
            use_sync_guidance=config.use_sync_guidance,
            guidance_from=config.guidance_from,
            gamma_guidance=config.gamma_guidance,
        )

    def describe(self, settings: SamplingSettings) -> dict[str, object]:
        return describe(self.config, settings)

    def time_table(self, settings: SamplingSettings) -> TimeTable:
        """The modulations that all clips sampled with these settings share. Valid for these weights only."""
        times = evaluation_times(time_grid(settings.num_steps), settings.solver)
        return TimeTable.build(self.velocity_net, times, 1.0 / settings.num_steps)

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
        velocity = self.step_field(cond, cond_mask, mask, settings.num_steps, table)
        return sample_ode(velocity, z_0, time_grid(settings.num_steps), settings.solver)


def teacher_trajectory(
    velocity: Velocity, z_0: Tensor, num_teacher_steps: int, num_segments: int, jumps: Sequence[float] = ()
) -> Tensor:
    """The teacher's states at num_segments + 1 equally spaced times, [B,num_segments+1,N,D].

    It is computed as one trajectory, so that a solver with a memory keeps it. The steps are divided among the segments
    as evenly as possible (50 over 4: 12, 13, 12, 13).
    """
    marks = [segment * num_teacher_steps // num_segments for segment in range(num_segments + 1)]
    parts = [torch.arange(stop - start) / (stop - start) for start, stop in pairwise(marks)]
    grid = torch.cat([segment + part for segment, part in enumerate(parts)] + [torch.tensor([num_segments])])
    states = ode_states(velocity, z_0, (grid / num_segments).to(z_0.dtype), jumps=jumps)
    return torch.stack([z_0, *(z for step, z in enumerate(states, 1) if step in marks)], dim=1)


def pseudo_huber(error: Tensor, scale: float) -> Tensor:
    """Quadratic near zero, linear beyond `scale`: sqrt(error^2 + scale^2) - scale, elementwise."""
    return (error**2 + scale**2).sqrt() - scale
