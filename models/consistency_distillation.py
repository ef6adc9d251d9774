"""Stage 3: a student that takes a 50-step trajectory in 1, 2 or 4 steps, each one forward.

The teacher's guided ODE is a fixed map along the trajectory. The student learns its mean velocity over a step,

    v_student(z_t, t, d) ~ (z_{t+d} - z_t) / d,      d in {1, 1/2, 1/4},

a two-time flow map (Frans et al. 2024; Boffi et al. 2024) fitted to the teacher's own states, so one student serves
every count of steps, guidance and prior folded in.
"""

from itertools import pairwise

import torch
from torch import Tensor

from models.flow_matching import Velocity, ode_states
from models.latent_flow_matcher import LatentFlowMatcher
from models.layers import masked_mean


def teacher_trajectory(velocity: Velocity, z_0: Tensor, num_teacher_steps: int, num_segments: int) -> Tensor:
    """The teacher's states at num_segments + 1 equally spaced times, [B,num_segments+1,N,D].

    One trajectory, so that a solver with a memory keeps it. The steps are shared out over the segments as evenly as
    they go (50 over 4: 12, 13, 12, 13).
    """
    marks = [segment * num_teacher_steps // num_segments for segment in range(num_segments + 1)]
    parts = [torch.arange(stop - start) / (stop - start) for start, stop in pairwise(marks)]
    grid = torch.cat([segment + part for segment, part in enumerate(parts)] + [torch.tensor([num_segments])])
    states = ode_states(velocity, z_0, (grid / num_segments).to(z_0))
    return torch.stack([z_0, *(z for step, z in enumerate(states, 1) if step in marks)], dim=1)


def pseudo_huber(error: Tensor, scale: float) -> Tensor:
    """Quadratic near zero, linear beyond `scale`: sqrt(error^2 + scale^2) - scale, elementwise."""
    return (error**2 + scale**2).sqrt() - scale


def distillation_loss(
    student: LatentFlowMatcher, states: Tensor, mask: Tensor, cond: Tensor, cond_mask: Tensor,
    generator: torch.Generator, huber_scale: float = 0.3,
) -> dict[str, Tensor]:  # fmt: skip
    """Distance between the student's and the teacher's mean velocity over one random step of each clip, scalar.

    states [B,S+1,N,D] on the teacher's trajectories, S a multiple of every count in `student_steps`.
    """
    counts, num_segments = torch.tensor(student.config.student_steps), states.shape[1] - 1
    draw = {"generator": generator, "device": generator.device}
    num_steps = counts.to(generator.device)[torch.randint(len(counts), (len(states),), **draw)]  # [B]
    place = (torch.rand(len(states), **draw) * num_steps).long()  # which of its steps each clip takes
    num_steps, place = num_steps.to(states.device), place.to(states.device)
    stride = num_segments // num_steps
    row = torch.arange(len(states), device=states.device)
    start, stop = states[row, place * stride], states[row, (place + 1) * stride]  # [B,N,D]
    step = 1.0 / num_steps
    memory = student.velocity_net.remember(cond, cond_mask, mask)
    velocity = student.velocity_net(start, place * step, memory, step)
    error = velocity - (stop - start) * num_steps[:, None, None]
    return {"loss": masked_mean(pseudo_huber(error, huber_scale), mask[..., None])}
