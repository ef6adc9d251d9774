"""What a run consists of, and what last.pt keeps of it."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from checkpoint_checks import is_count, not_finite
from dataset import Batch
from models.whole_batch import Draws
from poses.statistics import Statistics
from training.mixed_precision import THREADS
from training.settings import TrainSettings

Losses = dict[str, Tensor]
LossFunction = Callable[[nn.Module, Batch, Draws], Losses]
Score = Callable[[Accelerator, nn.Module, DataLoader], dict[str, float]]
Pictures = Callable[[nn.Module], list[tuple[str, np.ndarray]]]  # names and images [H,W,3]
BY_HEART = 3.0  # dev loss / train loss. Mixed faces helped a flow where it was 4.7, but not at 1.1, 1.8 and 2.3.


def is_by_heart(train_loss: float, dev_loss: float) -> bool:
    """Whether the losses of an epoch say that the train clips are known by heart."""
    return dev_loss > BY_HEART * train_loss


@dataclass
class Stage:
    """What is trained: its kind, its configuration, the model, and loss(model, batch, draws) -> {"loss": ...}.

    A loss follows the rules of models/whole_batch.py.

    The best epoch has the lowest dev loss: of the total, or of the part that `criterion` names. With
    score(accelerator, model, dev_loader) -> {"score": ...} it has the highest dev score instead, and among equal scores
    the lowest dev loss.

    pictures(model) -> names and images, which TensorBoard shows. before_epoch(progress) is called at the beginning of
    an epoch. record: the script's call, kept as config.json.
    learns_from: what the clips of train are called on screen. train_clips: digests of the train clips that this model,
    and the checkpoints that it begins with, learn from; empty where `statistics` name them.
    """

    kind: str
    model: nn.Module
    config: dict
    loss: LossFunction
    statistics: Statistics
    parent: str | None = None
    text_encoder: dict | None = None
    signers: tuple[str, ...] = ()
    criterion: str = "loss"
    score: Score | None = None
    made_with: dict = field(default_factory=dict)  # plain values, as `training.resuming.made_with` gives them
    pictures: Pictures | None = None
    before_epoch: "Callable[[Progress], None] | None" = None
    record: dict = field(default_factory=dict)  # `Flags.record`
    learns_from: str = "clips"
    train_clips: tuple[str, ...] = ()


@dataclass
class Progress:
    """How far a run has come, and which epoch was the best on dev so far."""

    epoch: int = 0
    step: int = 0
    best: float = math.inf  # dev loss of the criterion, or minus dev score
    best_loss: float = math.inf
    best_epoch: int = 0
    by_heart_in: int = 0  # the first epoch in which train was known by heart; 0: none so far

    def update_by_heart(self, train_loss: float, dev_loss: float) -> None:
        """Keep this epoch if it is the first one whose losses say that the train clips are known by heart."""
        if self.by_heart_in == 0 and is_by_heart(train_loss, dev_loss):
            self.by_heart_in = self.epoch

    def update_best(self, dev: dict[str, float], criterion: str = "loss") -> bool:
        """Whether this epoch's dev losses are the best so far; if so, they are kept."""
        value = -dev["score"] if "score" in dev else dev[criterion]
        improved = (value, dev["loss"]) < (self.best, self.best_loss)
        if improved:
            self.best, self.best_loss, self.best_epoch = value, dev["loss"], self.epoch
        return improved

    def has_epochs_left(self, epochs: int, settings: TrainSettings) -> bool:
        """Whether a run of `epochs` epochs goes on."""
        return self.epoch < epochs and not self.stops_early(settings)

    def stops_early(self, settings: TrainSettings) -> bool:
        """Whether early stopping applies: dev has not improved for that many epochs."""
        return 0 < settings.early_stopping_patience <= self.epoch - self.best_epoch


def _sum_dtype(device: torch.device) -> torch.dtype:
    """The widest type of numbers that a device adds: Apple's GPUs have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


class Means:
    """Means of losses over clips, summed on the device and read once; each process holds a part of each loss."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, losses: Losses, clips: int) -> None:
        """Add the losses of a batch; `clips` counts the whole batch."""
        for name, value in losses.items():
            value = value.detach().to(_sum_dtype(value.device))
            self.sums[name] = self.sums.get(name, 0.0) + value * clips
        self.count += clips

    def totals(self, accelerator: Accelerator) -> tuple[dict[str, float], int]:
        """The sums of all processes together, and the clips."""
        sums = accelerator.reduce(torch.stack(list(self.sums.values()))).tolist()
        return dict(zip(self.sums, sums, strict=True)), self.count

    def reduce(self, accelerator: Accelerator) -> dict[str, float]:
        sums, count = self.totals(accelerator)
        return {name: value / count for name, value in sums.items()}


@dataclass
class EpochState:
    """How far an epoch has come, besides the weights: with it, a run resumes in the middle of an epoch."""

    batches: int = 0  # read, of all processes together
    means: Means = field(default_factory=Means)
    steps: int = 0
    skipped_steps: int = 0
    norms: float = 0.0  # of the gradients before they are cut, summed over the steps
    seconds: float = 0.0

    @property
    def grad_norm(self) -> float:
        return self.norms / max(1, self.steps)

    def plain(self, batches: int, totals: tuple[dict[str, float], int]) -> dict:
        """The state as last.pt keeps it, from the batches and the totals at the last completed step."""
        numbers = {name: getattr(self, name) for name in ("steps", "skipped_steps", "norms", "seconds")}
        return {**numbers, "batches": batches, "sums": totals[0], "clips": totals[1]}

    @classmethod
    def load(cls, state: object, device: torch.device, process: int) -> "EpochState":
        """Read what `plain` gave; raises ValueError if it is something else. The first process takes all sums."""
        if not isinstance(state, dict):
            raise ValueError("no epoch")
        counts = [state.get(name) for name in ("batches", "steps", "skipped_steps", "clips")]
        sums, numbers = state.get("sums"), [state.get("norms"), state.get("seconds")]
        if not all(map(is_count, counts)):
            raise ValueError("no counts")
        if not isinstance(sums, dict) or not all(isinstance(value, float) for value in (*sums.values(), *numbers)):
            raise ValueError("no sums")
        means = Means()
        dtype = _sum_dtype(device)
        for name, value in sums.items():
            means.sums[name] = torch.tensor(value if process == 0 else 0.0, dtype=dtype, device=device)
        means.count = counts[3]
        return cls(counts[0], means, counts[1], counts[2], *numbers)


@dataclass
class Run:
    """All that training changes, and last.pt keeps: the raw weights, their average, optimiser, schedule, progress."""

    model: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    progress: Progress
    epoch: EpochState = field(default_factory=EpochState)
    scaler: torch.amp.GradScaler | None = None  # of fp16
    changed: dict = field(default_factory=dict)  # settings that resuming changed, until the log has them
    skipped_in_a_row: int = 0
    dev_loss: float | None = None  # of the last epoch that this process has completed

    def dev_shown(self) -> str:
        """The dev losses for the progress bar: of the last epoch and of the best one, once there are any."""
        last = "" if self.dev_loss is None else f"dev {self.dev_loss:.4f}, "
        best = f"best dev {self.progress.best_loss:.4f} in epoch {self.progress.best_epoch}"
        return last + best if math.isfinite(self.progress.best_loss) else ""

    def state(self) -> dict:
        """What last.pt holds besides the averaged weights, as plain values."""
        parts = {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule}
        parts |= {"scaler": self.scaler} if self.scaler is not None else {}
        changed = {"changed": self.changed} if self.changed else {}
        numbers = asdict(self.progress) | {THREADS: torch.get_num_threads()} | changed
        return {name: part.state_dict() for name, part in parts.items()} | numbers

    def is_finite(self) -> bool:
        """Whether everything that last.pt would hold is finite, so that a run can resume from it."""
        parts = {"model": self.model, "average": self.ema, "optimizer": self.optimizer}
        return not_finite({name: part.state_dict() for name, part in parts.items()}) is None
