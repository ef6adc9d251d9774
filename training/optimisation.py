"""The optimiser, the schedule of its learning rate, and the moving average of the weights."""

import copy
import math

import torch
from torch import nn

from training.settings import TrainSettings
from training.state import Progress, Run

DYNAMICS = ("A_log", "log_decay", "frequency")  # names of a state space's own parameters, Mamba's and S4D's
BETAS = (0.9, 0.99)  # of AdamW


def start_run(model: nn.Module, settings: TrainSettings, num_steps: int, warmup_steps: int) -> Run:
    """A run of `model` at its first of `num_steps` steps."""
    groups = parameter_groups(model, settings.weight_decay)
    optimizer = torch.optim.AdamW(groups, settings.learning_rate, BETAS, fused=True)  # on a CPU five times quicker
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, warmup_steps, num_steps)
    )
    return Run(model, copy.deepcopy(model).eval().requires_grad_(False), optimizer, schedule, Progress())


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Weight decay for matrices; none for biases, norms and a state space's own dynamics (S4D, Gu et al. 2022)."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    decayed = [p for name, p in trained if p.ndim >= 2 and not name.endswith(DYNAMICS)]
    kept = [p for name, p in trained if p.ndim < 2 or name.endswith(DYNAMICS)]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


def learning_rate_factor(step: int, warmup_steps: int, num_steps: int) -> float:
    """Linear warm-up, then a cosine down to a hundredth."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@torch.no_grad()
def update_ema(ema: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average of the weights, with a decay that grows to its value over the first steps."""
    decay = min(decay, (1 + step) / (10 + step))
    averages, weights = list(ema.parameters()), [parameter.detach() for parameter in model.parameters()]
    torch._foreach_lerp_(averages, weights, 1 - decay)
    for average, value in zip(ema.buffers(), model.buffers(), strict=True):
        average.copy_(value)
