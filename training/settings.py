"""How a stage is trained: each field of `TrainSettings` is a flag."""

import math
from dataclasses import MISSING, dataclass

from runtime import precision
from runtime.arguments import folder_name, fraction, natural_float, natural_int, positive_float
from runtime.config import AUTO, described

PRECISIONS = ("no", "fp16", "bf16")


@dataclass(frozen=True)
class TrainSettings:
    output_dir: str = described(MISSING, "folder for the checkpoints and logs", parse=folder_name)
    num_epochs: int = described(100, "passes over the train clips")
    min_steps: int = described(
        0,
        "minimum number of optimiser steps; adds epochs if num_epochs give fewer (early stopping still applies)",
        parse=natural_int,
    )
    batch_size: int = described(32, "clips per batch, over all processes")
    learning_rate: float = described(1e-4, "learning rate of AdamW after the warm-up", parse=positive_float)
    weight_decay: float = described(
        0.01, "weight decay of the matrices; biases and norms have none", parse=natural_float
    )
    warmup_steps: int = described(
        1000, "steps in which the learning rate rises; at most a fifth of the run", parse=natural_int
    )
    gradient_accumulation_steps: int = described(1, "batches per optimiser step")
    max_grad_norm: float = described(
        1.0, "largest norm of a step's gradient; a larger one is scaled down", parse=positive_float
    )
    mixed_precision: str = described(
        AUTO,
        "number format of matrix products: no is fp32; auto is bf16 on a CPU with AMX for networks at least "
        f"{precision.WIDE} wide, else fp32",
        choices=(AUTO, *PRECISIONS),
    )
    ema_decay: float = described(
        0.999, "decay of the moving average of the weights, which best_model.pt holds", parse=fraction
    )
    early_stopping_patience: int = described(
        0, "stop after this many epochs without a better dev result; 0 disables", parse=natural_int
    )
    seed: int = described(0, "random seed", parse=natural_int)
    num_workers: int = described(4, "processes that load data; 0 loads in the main process", parse=natural_int)
    resume_from: str | None = described(
        None,
        "resume from the last.pt of a stopped run, given as the file or its folder; "
        f"'{AUTO}' resumes from OUTPUT_DIR/last.pt, or begins a new run if there is none",
    )
    save_every_minutes: float = described(
        15.0,
        "also write last.pt within an epoch, every so many minutes; 0 writes it at the end of each epoch only",
        parse=natural_float,
    )
    max_skipped_steps: int = described(20, "stop after this many consecutive steps with a non-finite loss or gradient")
    picture_every: int = described(
        10, "draw a few dev clips for TensorBoard every N epochs; 0 disables", parse=natural_int
    )
    overwrite: bool = described(False, "replace the run that the output folder holds")
    override: bool = described(False, "resume although the stopped run had other flags, data or another teacher")

    def draws_pictures(self, epoch: int) -> bool:
        return self.picture_every > 0 and epoch % self.picture_every == 0

    def length(self, batches_per_epoch: int) -> "RunLength":
        steps_per_epoch = math.ceil(batches_per_epoch / self.gradient_accumulation_steps)
        epochs = max(self.num_epochs, math.ceil(self.min_steps / steps_per_epoch))
        return RunLength(steps_per_epoch, epochs, min(self.warmup_steps, steps_per_epoch * epochs // 5))


@dataclass(frozen=True)
class RunLength:
    """How long a run is. Its warm-up takes no more than a fifth of it."""

    steps_per_epoch: int
    epochs: int
    warmup_steps: int

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.epochs
