"""Flow matching: the straight path from noise to data, and the ODE solvers. Does not depend on any network.

Conditional flow matching (Lipman et al. 2023; rectified flow, Liu et al. 2023): z_0 ~ N(0,I), z_1 data, t in [0,1],

    z_t = (1 - t) z_0 + t z_1,      u = z_1 - z_0,      loss = E || v(z_t, t) - u ||^2.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from models.whole_batch import Draws

MAX_STEPS = 1000  # of a trajectory: each takes memory and time

# (z_t [B,N,D], t [B]) -> [B,N,D]. When sampling, t is one time for all clips and lies on the CPU: what depends on it is
# decided without waiting for a GPU.
Velocity = Callable[[Tensor, Tensor], Tensor]


@dataclass
class PathSample:
    """A point on the path, z_t [B,N,D], and the velocity u [B,N,D] there."""

    z_t: Tensor
    velocity: Tensor


def path_sample(z_0: Tensor, z_1: Tensor, t: Tensor) -> PathSample:
    """The straight path between noise z_0 and data z_1, both [B,...], at t [B]."""
    if t.ndim != 1:
        raise ValueError(f"t must be [B], got {tuple(t.shape)}")
    t = expand(t, z_0)
    return PathSample(z_t=(1 - t) * z_0 + t * z_1, velocity=z_1 - z_0)


def predict_clean(z_t: Tensor, t: Tensor, velocity: Tensor) -> Tensor:
    """The clean latent that a velocity points at, z_t + (1 - t) v: z_t and velocity [B,N,D], t [B] -> [B,N,D]."""
    return z_t + (1 - expand(t, z_t)) * velocity


def expand(t: Tensor, like: Tensor) -> Tensor:
    """t [B] -> [B,1,...] with as many dimensions as `like`, on its device."""
    return t.to(like.device, non_blocking=True).view(-1, *[1] * (like.ndim - 1))


def reached(t: Tensor, time: float) -> Tensor:
    """Whether t [...] is at `time` or later, up to the rounding of a time grid."""
    return t >= time - 1e-6


def within(t: Tensor, interval: tuple[float, float]) -> Tensor:
    """Whether t [...] is in [low, high): a step from `high` on is outside."""
    return reached(t, interval[0]) & ~reached(t, interval[1])


def sample_times(draws: Draws) -> Tensor:
    """Logit-normal times [B] (Esser et al. 2024): more of them in the middle of the path, where it is hardest."""
    return torch.sigmoid(draws.normal())


def _euler(velocity: Velocity, z: Tensor, t: Tensor, dt: Tensor) -> Tensor:
    return z + dt * velocity(z, _batch(t, z))


def _midpoint(velocity: Velocity, z: Tensor, t: Tensor, dt: Tensor) -> Tensor:
    half = z + 0.5 * dt * velocity(z, _batch(t, z))
    return z + dt * velocity(half, _batch(t + 0.5 * dt, z))


def _heun(velocity: Velocity, z: Tensor, t: Tensor, dt: Tensor) -> Tensor:
    first = velocity(z, _batch(t, z))
    second = velocity(z + dt * first, _batch(t + dt, z))
    return z + 0.5 * dt * (first + second)


SOLVERS = {"euler": _euler, "midpoint": _midpoint, "heun": _heun}
# Adams-Bashforth remembers the last velocity, so it has second order at one evaluation per step. Euler's 50 steps miss
# the covariance of a known Gaussian by 5 % although the field is exact (benchmarks/gaussian.py); ab2's do not.
DEFAULT_SOLVER = "ab2"
SOLVER_NAMES = (DEFAULT_SOLVER, *SOLVERS)


def _batch(t: Tensor, z: Tensor) -> Tensor:
    return t.expand(z.shape[0])


def sample_noise(seeds: Sequence[int], lengths: Sequence[int], dim: int) -> Tensor:
    """Noise [B,N,D], each row from its own seed and zero beyond its length; a row does not depend on the others."""
    noise = torch.zeros(len(seeds), max(lengths), dim)
    for row, seed, length in zip(noise, seeds, lengths, strict=True):
        row[:length] = torch.randn(length, dim, generator=torch.Generator().manual_seed(seed))
    return noise


def time_grid(num_steps: int) -> Tensor:
    """Equal steps from 0 to 1, [num_steps + 1], on the CPU."""
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    return torch.linspace(0.0, 1.0, num_steps + 1)


def evaluation_times(grid: Tensor, solver: str) -> Tensor:
    """The distinct times at which a solver asks for the velocity along a grid, ascending."""
    times = []

    def watch(z: Tensor, t: Tensor) -> Tensor:
        times.append(t[0])
        return z

    sample_ode(watch, torch.zeros(1), grid, solver)
    return torch.stack(times).unique()


def ode_states(
    velocity: Velocity, z: Tensor, grid: Tensor, solver: str = DEFAULT_SOLVER, jumps: Sequence[float] = ()
) -> Iterator[Tensor]:
    """The states [B,...] of `sample_ode` at each of the times grid[1:], in order: z [B,...], grid [S+1]."""
    last_v = last_t = last_dt = None
    for t, t_next in pairwise(grid):
        dt = t_next - t
        if solver == "ab2":
            if last_t is not None and any(reached(t, jump) and not reached(last_t, jump) for jump in jumps):
                last_v = None  # beyond a jump it says nothing about the field's change
            v = velocity(z, _batch(t, z))
            z = z + dt * (v if last_v is None else v + 0.5 * dt / last_dt * (v - last_v))
            last_v, last_t, last_dt = v, t, dt
        else:
            z = SOLVERS[solver](velocity, z, t, dt)
        yield z


def sample_ode(
    velocity: Velocity, z: Tensor, grid: Tensor, solver: str = DEFAULT_SOLVER, jumps: Sequence[float] = ()
) -> Tensor:
    """Integrate dz/dt = velocity(z, t) along the times `grid` [S+1]: z [B,...] at the first time -> at the last.

    jumps: times at which the field is not continuous, such as the end of guidance. Adams-Bashforth begins anew there.
    """
    return deque(ode_states(velocity, z, grid, solver, jumps), maxlen=1)[-1]
