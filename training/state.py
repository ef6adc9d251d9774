"""What a run consists of, what last.pt keeps of it, and what must be unchanged when a stopped run resumes."""

import argparse
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from checkpoint_checks import check_optimizer_state, is_count, not_finite, require_undamaged
from checkpoints import STUDENT, load_checkpoint, load_weights, require_equal, same_text_encoder
from dataset import Batch
from models.whole_batch import Draws
from poses.pack import Pack, digest
from poses.statistics import Statistics
from runtime.errors import UserError
from runtime.files import write_whole
from runtime.untrusted import shown
from training.precision import THREADS
from training.run_folder import BEST
from training.settings import TrainSettings

Losses = dict[str, Tensor]
LossFunction = Callable[[nn.Module, Batch, Draws], Losses]
Score = Callable[[Accelerator, nn.Module, DataLoader], dict[str, float]]
Pictures = Callable[[nn.Module], list[tuple[str, np.ndarray]]]  # names and images [H,W,3]

# Flags that change no result: they say where files are, and what a run does besides learning.
WITHOUT_EFFECT = {
    *("data_dir", "cache_dir", "output_dir", "skip_bad", "num_workers", "resume_from", "overwrite", "override"),
    *("save_every_minutes", "max_skipped_steps", "picture_every", "config", "quiet"),
}
# Flags that may change when a run resumes, since they say how long and how fast it learns; the log names the change.
FREE = {"num_epochs", "min_steps", "early_stopping_patience", "learning_rate", "weight_decay"}
_PRIOR = "prior_checkpoint"  # key of a configuration: the fingerprint of the checkpoint that this flag names
# Flags whose value may change too: instead of it, the fingerprint of the checkpoint or the configuration is compared.
KNOWN_OTHERWISE = {"autoencoder_checkpoint", "teacher_checkpoint", "text_encoder", "ssm_prior_type", _PRIOR}
# Settings that an earlier version did not have, each with the value that behaves like that version.
NEWER = {
    **{"face_weight": 0.0, "joined_clips": 0.0, "joined_texts": 0.0, "trajectories": "4", "steps_learnt": "by count"},
    "followed_by": "any",
}
OF_VERSION = {"gamma_unit", "sync_pulls_lag"}  # of a flow's configuration: no flags, but how its version guides
FOLLOWS = {"max_frames", "has_null_text"}  # of a configuration: no flags, but what follows from those of `made_with`
FLAG_OF = {"prior_type": "ssm_prior_type"}  # the flag behind a name of a configuration, where it has another one
OF_TEACHER = {"start", "start_layers", "prior_type", "use_sync_guidance", "gamma_guidance", "guidance_from"}
_OF_NAME = {
    "data": "the clips or texts of train or dev differ",
    "teacher": "the teacher differs",
    "trajectories": "this version computes the teacher's trajectories differently",
    "steps_learnt": "this version learns the student's steps in other shares",
    "followed_by": "this version joins no clip with itself",
}


def made_with(args: argparse.Namespace, *packs: Pack, **more: str) -> dict:
    """What a run's result depends on besides its model: the flags, the clips and texts of its packs, and `more`."""
    flags = {name: value for name, value in vars(args).items() if name not in WITHOUT_EFFECT | KNOWN_OTHERWISE}
    data = digest([[pack.info.get("content"), pack.ids, pack.texts] for pack in packs])
    return {**flags, "data": data, **more}


@dataclass
class Stage:
    """What is trained: its kind, its configuration, the model, and loss(model, batch, draws) -> {"loss": ...}.

    A loss follows the rules of models/whole_batch.py.

    The best epoch has the lowest dev loss: of the total, or of the part that `criterion` names. With
    score(accelerator, model, dev_loader) -> {"score": ...} it has the highest dev score instead, and among equal scores
    the lowest dev loss.

    pictures(model) -> names and images, which TensorBoard shows. record: the script's call, kept as config.json.
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
    made_with: dict = field(default_factory=dict)  # plain values, as `made_with` gives them
    pictures: Pictures | None = None
    record: dict = field(default_factory=dict)  # `Flags.record`


@dataclass
class Progress:
    """How far a run has come, and which epoch was the best on dev so far."""

    epoch: int = 0
    step: int = 0
    best: float = math.inf  # dev loss of the criterion, or minus dev score
    best_loss: float = math.inf
    best_epoch: int = 0

    def note(self, dev: dict[str, float], criterion: str = "loss") -> bool:
        """Whether this epoch's dev losses are the best so far; if so, they are kept."""
        value = -dev["score"] if "score" in dev else dev[criterion]
        improved = (value, dev["loss"]) < (self.best, self.best_loss)
        if improved:
            self.best, self.best_loss, self.best_epoch = value, dev["loss"], self.epoch
        return improved

    def stops(self, settings: TrainSettings) -> bool:
        """Whether early stopping applies: dev has not improved for that many epochs. A resumed run asks this, too."""
        return 0 < settings.early_stopping_patience <= self.epoch - self.best_epoch


class Means:
    """Means of losses over clips, summed on the device and read once; each process holds a part of each loss."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, losses: Losses, clips: int) -> None:
        """Add the losses of a batch; `clips` counts the whole batch."""
        for name, value in losses.items():
            value = value.detach().double() if value.device.type != "mps" else value.detach()
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
        """As last.pt keeps it; given the batches and the totals at the last completed step."""
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
        dtype = torch.float32 if device.type == "mps" else torch.float64
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
    changed: dict = field(default_factory=dict)  # what --override changed, until the log has it
    skipped_in_a_row: int = 0
    dev_loss: float | None = None  # of the last epoch that this process has completed

    def dev_shown(self) -> str:
        """The dev losses for the progress bar: the last one and that of the best epoch, once there are any."""
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


def resume(run: Run, stage: Stage, path: Path, settings: TrainSettings, accelerator: Accelerator) -> None:
    """Resume from a last.pt; from there on, the learning rate and weight decay of this call apply."""
    output_dir, device, process = Path(settings.output_dir), accelerator.device, accelerator.process_index
    require_undamaged(path)
    content = load_checkpoint(path, stage.kind)
    _require_same_run(stage, content, path)
    state = content["training"]
    run.changed = _changes(stage, state, path, settings.override)
    load_weights(run.ema, content["weights"], str(path))
    load_weights(run.model, state["model"], str(path))
    check_optimizer_state(run.optimizer, state["optimizer"], path)
    _load_optimizer(run.optimizer, run.schedule, state)
    run.progress = Progress(**{field.name: state[field.name] for field in fields(Progress) if field.name in state})
    if run.scaler is not None and "scaler" in state:
        run.scaler.load_state_dict(state["scaler"])
    if "under_way" in state and run.changed.keys() - FREE:
        print("note: the interrupted epoch starts again, with the weights that it had reached")
    elif "under_way" in state:
        try:
            run.epoch = EpochState.load(state["under_way"], device, process)
        except ValueError:
            raise UserError(
                f"{path}: its training state is damaged ('under_way'); resume from another last.pt"
            ) from None
    if isinstance(state.get("changed"), dict):
        run.changed = state["changed"] | run.changed
    best, ours = path.with_name(BEST), output_dir / BEST
    if not best.is_file():  # this run writes one
        run.progress = Progress(run.progress.epoch, run.progress.step, best_epoch=run.progress.epoch)
    elif best.resolve() != ours.resolve() and accelerator.is_main_process:
        with write_whole(ours) as file:
            file.write(best.read_bytes())


def _require_same_run(stage: Stage, content: dict, path: Path) -> None:
    """Raises UserError if a checkpoint has no training state, or that of another model, text encoder or data set."""
    if "training" not in content:
        raise UserError(f"{path}: holds no training state; resume from last.pt")
    if not same_text_encoder(content["text_encoder"], stage.text_encoder):
        raise UserError(f"{path}: trained with another text encoder, or on other texts from scratch; resume with those")
    ours, theirs = (config.get(_PRIOR) for config in (stage.config, content["config"]))
    if ours != theirs:
        if theirs is None:
            raise UserError(f"{path}: trained without --prior_checkpoint; leave the flag out")
        raise UserError(f"{path}: trained with the prior of fingerprint {shown(theirs)}; name it by --prior_checkpoint")
    for name, value in stage.config.items():
        if name not in FOLLOWS:
            kept = content["config"].get(name, value)
            if name in OF_VERSION and kept != value:
                raise UserError(f"{path}: a version that guided otherwise ({name} {kept}) began this run; begin again")
            if value is not None and value != kept:  # the value may be a default: to leave the flag out would not help
                taught = stage.kind == STUDENT and name in OF_TEACHER
                ours = f"the teacher's {name}" if taught else f"--{FLAG_OF.get(name, name)}"
                advice = "name the teacher that it had" if taught else "pass that"
                raise UserError(f"{ours} {value} contradicts {kept} in {path}, with which the run began; {advice}")
    require_equal("--autoencoder_checkpoint", stage.parent, content["parent"], path)
    if tuple(content.get("signers", ())) != stage.signers:
        raise UserError(f"{path}: trained with other signers; resume with the data set it was trained on")
    if Statistics.from_dict(content["statistics"]).fingerprint != stage.statistics.fingerprint:
        raise UserError(f"{path}: trained with other data statistics; resume with the data set it was trained on")


def _changes(stage: Stage, state: dict, path: Path, override: bool) -> dict[str, list]:
    """The settings that differ from the stopped run's, [before, now] by name; a UserError without --override, but for
    those that are FREE.

    Checkpoints of earlier versions kept none of them.
    """
    kept, ours = state.get("made_with", {}), stage.made_with
    if not isinstance(kept, dict):
        raise UserError(f"{path}: its training state is damaged ('made_with'); resume from another last.pt")
    kept = NEWER | kept if kept else kept
    changes = {}
    for name in kept.keys() & ours.keys() - stage.config.keys():
        if None not in (kept[name], ours[name]) and kept[name] != ours[name]:
            changes[name] = [kept[name], ours[name]]
    changes = dict(sorted(changes.items()))
    refused = [] if override else [name for name in changes if name not in FREE]

    def said(names: Iterable[str]) -> str:
        told = {name: f"--{name} is {changes[name][1]}, was {changes[name][0]}" for name in names}
        return ", ".join((told | _OF_NAME)[name] for name in told)

    if refused:
        raise UserError(
            f"{path}: the run was started with other settings ({said(refused)}); restore them, or pass --override"
        )
    if changes:
        print(f"note: resuming with changed settings: {said(changes)}")
    return changes


def _load_optimizer(optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LambdaLR, state: dict) -> None:
    """Load the moments and the step of a stopped run, but keep the learning rate and weight decay of this one."""
    ours = [{key: group[key] for key in ("initial_lr", "weight_decay")} for group in optimizer.param_groups]
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict({**state["schedule"], "base_lrs": [group["initial_lr"] for group in ours]})
    for group, kept, factor in zip(optimizer.param_groups, ours, schedule.lr_lambdas, strict=True):
        group.update(kept, lr=kept["initial_lr"] * factor(schedule.last_epoch))
