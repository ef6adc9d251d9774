"""How a stage is trained, and the flags that say so: each field of `TrainSettings` is one."""

import math
from dataclasses import MISSING, dataclass

from runtime import precision
from runtime.arguments import folder_name, fraction, natural_float, natural_int, positive_float
from runtime.config import described

AUTO = "auto"  # of --resume_from
PRECISIONS = ("no", "fp16", "bf16")


@dataclass(frozen=True)
class TrainSettings:
    output_dir: str = described(MISSING, "folder for the checkpoints and logs", parse=folder_name)
    num_epochs: int = described(100, "passes over the train clips")
    min_steps: int = described(
        0,
        "steps at least, unless training stops early: where num_epochs hold fewer, more epochs are trained",
        parse=natural_int,
    )
    batch_size: int = described(32, "clips of a batch, over all processes")
    learning_rate: float = described(1e-4, "step size of AdamW, reached after the warm-up", parse=positive_float)
    weight_decay: float = described(
        0.01, "weight decay of the matrices; biases and norms have none", parse=natural_float
    )
    warmup_steps: int = described(
        1000, "steps in which the learning rate rises; at most a fifth of the run", parse=natural_int
    )
    gradient_accumulation_steps: int = described(1, "batches whose gradients are added up for one step")
    max_grad_norm: float = described(1.0, "norm to which a step's gradient is cut", parse=positive_float)
    mixed_precision: str = described(
        precision.AUTO,
        "number format of matrix products: no is fp32; auto is bf16 on a CPU with AMX for networks at least "
        f"{precision.WIDE} wide, else fp32",
        choices=(precision.AUTO, *PRECISIONS),
    )
    ema_decay: float = described(
        0.999, "decay of the moving average of the weights, which best_model.pt holds", parse=fraction
    )
    early_stopping_patience: int = described(
        0, "epochs without a better dev result before training stops; 0 never stops", parse=natural_int
    )
    seed: int = described(0, "seed of all that is random", parse=natural_int)
    num_workers: int = described(4, "processes that load data; 0 loads in this one", parse=natural_int)
    resume_from: str | None = described(
        None,
        "the last.pt of a stopped run, or its folder: training goes on from it; "
        f"'{AUTO}' goes on from OUTPUT_DIR/last.pt, or begins where there is none",
    )
    save_every_minutes: float = described(
        15.0, "minutes after which last.pt is written within an epoch too; 0 waits for its end", parse=natural_float
    )
    max_skipped_steps: int = described(20, "steps in a row without a finite loss and gradient that end the run")
    picture_every: int = described(
        10, "epochs from one picture of a few dev clips in TensorBoard to the next; 0 draws none", parse=natural_int
    )
    overwrite: bool = described(False, "replace the run that the output folder holds")
    override: bool = described(False, "go on although the stopped run was made with other flags, data or teacher")

    def epochs(self, steps_per_epoch: int) -> int:
        """The epochs of a run."""
        return max(self.num_epochs, math.ceil(self.min_steps / steps_per_epoch))
