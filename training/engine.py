"""The training loop, once: a stage brings a model, its loss and its data, nothing else.

Epochs, gradient accumulation, clipping, warm-up and cosine, mixed precision, EMA, dev after each epoch, early stopping,
logs, checkpoints, resume, and test once at the end. Whatever is drawn follows from (seed, epoch, step, process), so a
resumed run equals an uninterrupted one.
"""

import contextlib
import copy
import dataclasses
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from checkpoints import load_checkpoint, load_weights, require_equal, save_checkpoint
from dataset import Batch
from poses.statistics import Statistics
from runtime.cpu import keep_freed_memory, prefer_onednn
from runtime.errors import UserError
from runtime.files import write_whole

Losses = dict[str, Tensor]
LossFunction = Callable[[nn.Module, Batch, torch.Generator | None], Losses]
Score = Callable[[Accelerator, nn.Module, DataLoader], dict[str, float]]
_EVALUATION_SEED = 20_000  # dev and test draw the same noise in every epoch and every run


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """How to train; every field is a flag."""

    output_dir: str
    num_epochs: int = 100
    batch_size: int = 32
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    warmup_steps: int = 1000
    gradient_accumulation_steps: int = 1
    max_grad_norm: float = 1.0
    mixed_precision: str = "no"
    ema_decay: float = 0.999
    early_stopping_patience: int = 0
    seed: int = 0
    num_workers: int = 4
    resume_from: str | None = None


@dataclasses.dataclass
class Stage:
    """What is trained: its kind and what rebuilds it, the model, and loss(model, batch, generator) -> {"loss": ...}.

    With score(accelerator, model, dev_loader) -> {"score": ...} the best epoch is the one of the highest dev score, and
    among equal ones of the least dev loss, instead of the least dev loss alone.
    """

    kind: str
    model: nn.Module
    config: dict
    loss: LossFunction
    statistics: Statistics
    parent: str | None = None
    text_encoder: dict | None = None
    score: Score | None = None


class _Objective(nn.Module):
    """The model under its loss as one forward, which is what several processes synchronise."""

    def __init__(self, model: nn.Module, loss: LossFunction) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Losses:
        return self.loss(self.model, batch, generator)


def make_accelerator(mixed_precision: str) -> Accelerator:
    """An accelerator that refuses to run several processes that do not know of each other."""
    prefer_onednn()
    keep_freed_memory()
    accelerator = Accelerator(mixed_precision=mixed_precision)
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started > 1 and accelerator.num_processes == 1:
        raise UserError(
            f"{started} processes were started but do not see each other; "
            "on a CPU set ACCELERATE_USE_CPU=true for torchrun"
        )
    if mixed_precision != "no" and accelerator.device.type == "cpu" and accelerator.is_main_process:
        print(
            f"note: {mixed_precision} on a CPU is quick only where it has bf16 matrix instructions, and slow elsewhere"
        )
    return accelerator


def train(
    accelerator: Accelerator,
    stage: Stage,
    train_loader: DataLoader,
    dev_loader: DataLoader,
    test_loader: Callable[[], DataLoader],
    settings: TrainSettings,
) -> Path:
    """Train `stage`; returns the path of best_model.pt. `test_loader` is called once, after training."""
    output_dir = Path(settings.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    device, main = accelerator.device, accelerator.is_main_process
    model = stage.model.to(device)
    groups = _parameter_groups(model, settings.weight_decay)
    optimizer = torch.optim.AdamW(
        groups, settings.learning_rate, (0.9, 0.99), fused=True
    )  # on a CPU five times quicker
    steps_per_epoch = math.ceil(len(train_loader) / settings.gradient_accumulation_steps)
    total_steps = steps_per_epoch * settings.num_epochs
    warmup_steps = min(settings.warmup_steps, total_steps // 5)
    if main and warmup_steps < settings.warmup_steps:
        print(f"warm-up: {warmup_steps} steps, a fifth of the run, instead of {settings.warmup_steps}")
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _learning_rate_factor(step, warmup_steps, total_steps)
    )
    ema = copy.deepcopy(model).eval().requires_grad_(False)
    progress = {"epoch": 0, "step": 0, "best": math.inf, "best_loss": math.inf, "best_epoch": 0}
    if settings.resume_from:
        _resume(stage, settings, model, ema, optimizer, schedule, progress)

    objective, optimizer = accelerator.prepare(_Objective(model, stage.loss), optimizer)
    ema_objective = _Objective(ema, stage.loss)
    writer = SummaryWriter(str(output_dir / "tensorboard")) if main else None
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if main:
        print(
            f"{stage.kind}: {parameters / 1e6:.2f} M parameters on {device}, {len(train_loader.dataset)} clips, "
            f"epochs {progress['epoch'] + 1}-{settings.num_epochs} of {steps_per_epoch} steps"
        )

    while progress["epoch"] < settings.num_epochs and not _waited_enough(settings, progress):
        progress["epoch"] += 1
        started = time.perf_counter()
        train_losses = _train_epoch(accelerator, objective, ema, optimizer, schedule, train_loader, settings, progress)
        train_seconds = time.perf_counter() - started
        dev_losses = evaluate_loss(accelerator, ema_objective, dev_loader)
        criterion = dev_losses["loss"]
        if stage.score is not None:
            dev_losses |= stage.score(accelerator, ema, dev_loader)
            criterion = -dev_losses["score"]
        improved = (criterion, dev_losses["loss"]) < (progress["best"], progress["best_loss"])
        if improved:
            progress |= {"best": criterion, "best_loss": dev_losses["loss"], "best_epoch": progress["epoch"]}
        if main:
            record = {
                "epoch": progress["epoch"], "step": progress["step"], "train": train_losses, "dev": dev_losses,
                "learning_rate": schedule.get_last_lr()[0], "seconds": round(time.perf_counter() - started, 3),
                "clips_per_second": round(len(train_loader.dataset) / train_seconds, 2),
            }  # fmt: skip
            _log(output_dir, writer, record)
            content = _checkpoint_content(stage, settings, ema, progress)
            if improved:
                save_checkpoint(output_dir / "best_model.pt", content)
            content["training"] = {
                "model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(),
                **progress,
            }  # fmt: skip
            save_checkpoint(output_dir / "last.pt", content)
        accelerator.wait_for_everyone()
    if main and _waited_enough(settings, progress):
        print(f"stopped early: no better dev loss in {progress['epoch'] - progress['best_epoch']} epochs")

    best_path = output_dir / "best_model.pt"
    best = load_checkpoint(best_path, stage.kind)
    load_weights(ema, best["weights"], str(best_path))
    test_losses = evaluate_loss(accelerator, ema_objective, test_loader())
    if main:
        _log(output_dir, writer, {"epoch": best["epoch"], "step": progress["step"], "test": test_losses})
        writer.close()
        print(f"wrote {best_path} (epoch {best['epoch']}, fingerprint {best['fingerprint']})")
    return best_path


def _waited_enough(settings: TrainSettings, progress: dict) -> bool:
    """Whether dev has not got better for as long as early stopping waits; also of a run that is resumed."""
    waited = progress["epoch"] - progress["best_epoch"]
    return 0 < settings.early_stopping_patience <= waited


def _train_epoch(
    accelerator: Accelerator, objective: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR, loader: DataLoader, settings: TrainSettings, progress: dict,
) -> dict[str, float]:  # fmt: skip
    """One pass over train; returns the mean of each loss."""
    objective.train()
    epoch, process = progress["epoch"], accelerator.process_index
    loader.batch_sampler.epoch = epoch
    torch.manual_seed(_seed(settings.seed, epoch, process))  # for dropout
    generator = torch.Generator(accelerator.device)
    sums = _Means()
    bar = tqdm(loader, desc=f"epoch {epoch}", unit="batch", leave=False, disable=None if process == 0 else True)
    for index, batch in enumerate(bar):
        step_now = (index + 1) % settings.gradient_accumulation_steps == 0 or index + 1 == len(loader)
        group = min(settings.gradient_accumulation_steps, len(loader) - index // settings.gradient_accumulation_steps
                    * settings.gradient_accumulation_steps)  # fmt: skip
        generator.manual_seed(_seed(settings.seed, epoch, process, index))
        batch = send_to_device(batch, accelerator.device, non_blocking=True)
        with contextlib.nullcontext() if step_now else accelerator.no_sync(objective):
            losses = objective(batch, generator)
            accelerator.backward(losses["loss"] / group)
        sums.add(losses, len(batch["id"]))
        if not step_now:
            continue
        accelerator.clip_grad_norm_(objective.parameters(), settings.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        progress["step"] += 1
        _update_ema(ema, accelerator.unwrap_model(objective).model, settings.ema_decay, progress["step"])
    means = sums.reduce(accelerator)
    if not math.isfinite(means["loss"]):
        raise UserError(
            f"the loss is not finite in epoch {epoch}; lower --learning_rate, or go on from last.pt with it lowered"
        )
    return means


@torch.no_grad()
def evaluate_loss(accelerator: Accelerator, objective: nn.Module, loader: DataLoader) -> dict[str, float]:
    """Mean of each loss over a split, in eval mode, with the same draws in every epoch."""
    objective.eval()
    generator = torch.Generator(accelerator.device)
    sums = _Means()
    for index, batch in enumerate(loader):
        generator.manual_seed(_seed(_EVALUATION_SEED, 0, accelerator.process_index, index))
        with accelerator.autocast():
            losses = objective(send_to_device(batch, accelerator.device), generator)
        sums.add(losses, len(batch["id"]))
    return sums.reduce(accelerator)


class _Means:
    """Means of losses over clips, summed on the device and read once."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, losses: Losses, clips: int) -> None:
        for name, value in losses.items():
            value = value.detach().double() if value.device.type != "mps" else value.detach()
            self.sums[name] = self.sums.get(name, 0.0) + value * clips
        self.count += clips

    def reduce(self, accelerator: Accelerator) -> dict[str, float]:
        names = list(self.sums)
        values = torch.stack([self.sums[name] for name in names] + [self.sums[names[0]].new_tensor(float(self.count))])
        *sums, count = accelerator.reduce(values).tolist()
        return {name: value / count for name, value in zip(names, sums, strict=True)}


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Weight decay for matrices; none for biases, norms and a state space's own dynamics (A_log, D)."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    decayed = [p for name, p in trained if p.ndim >= 2 and not name.endswith("A_log")]
    kept = [p for name, p in trained if p.ndim < 2 or name.endswith("A_log")]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


def _learning_rate_factor(step: int, warmup_steps: int, total_steps: int) -> float:
    """Linear warm-up, then a cosine down to a hundredth."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@torch.no_grad()
def _update_ema(ema: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average of the weights, with a decay that grows to its value over the first steps."""
    decay = min(decay, (1 + step) / (10 + step))
    ours, theirs = list(ema.parameters()), list(model.parameters())
    torch._foreach_lerp_(ours, [p.detach() for p in theirs], 1 - decay)
    for mine, other in zip(ema.buffers(), model.buffers(), strict=True):
        mine.copy_(other)


def _resume(
    stage: Stage, settings: TrainSettings, model: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR, progress: dict,
) -> None:  # fmt: skip
    path = settings.resume_from
    content = load_checkpoint(Path(path), stage.kind)
    if "training" not in content:
        raise UserError(f"{path}: holds no training state; resume from last.pt")
    for name, value in stage.config.items():
        require_equal(f"--{name}", value, content["config"].get(name), path)
    require_equal("--autoencoder_checkpoint", stage.parent, content["parent"], path)
    if content["text_encoder"] != stage.text_encoder:
        raise UserError(f"{path}: trained with another text encoder, or on other texts from scratch; resume with those")
    if content["statistics"] != stage.statistics.to_dict():
        raise UserError(f"{path}: trained with other data statistics; resume with the data set it was trained on")
    state = content["training"]
    load_weights(ema, content["weights"], path)
    load_weights(model, state["model"], path)
    flags = [{key: group[key] for key in ("initial_lr", "weight_decay")} for group in optimizer.param_groups]
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict({**state["schedule"], "base_lrs": [group["initial_lr"] for group in flags]})
    for group, given, factor in zip(optimizer.param_groups, flags, schedule.lr_lambdas, strict=True):
        group.update(given, lr=given["initial_lr"] * factor(schedule.last_epoch))  # a flag counts from here on
    progress.update({name: state[name] for name in progress if name in state})
    best, ours = Path(path).with_name("best_model.pt"), Path(settings.output_dir) / "best_model.pt"
    if best.is_file():
        if best.resolve() != ours.resolve():
            with write_whole(ours) as file:
                file.write(best.read_bytes())
    else:
        # This run writes one.
        progress |= {"best": math.inf, "best_loss": math.inf, "best_epoch": progress["epoch"]}


def _checkpoint_content(stage: Stage, settings: TrainSettings, ema: nn.Module, progress: dict) -> dict:
    return {
        "kind": stage.kind, "config": stage.config, "weights": ema.state_dict(), "parent": stage.parent,
        "statistics": stage.statistics.to_dict(), "text_encoder": stage.text_encoder,
        "settings": dataclasses.asdict(settings), "epoch": progress["epoch"],
    }  # fmt: skip


def _log(output_dir: Path, writer: SummaryWriter, record: dict) -> None:
    """One line of JSON, TensorBoard scalars, one line on screen."""
    with open(output_dir / "log.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    shown = [f"epoch {record['epoch']:4d}"]
    for split in ("train", "dev", "test"):
        for name, value in record.get(split, {}).items():
            writer.add_scalar(f"{name}/{split}", value, record["epoch"])
        if split in record:
            shown.append(f"{split} {record[split]['loss']:.4f}")
    if "learning_rate" in record:
        writer.add_scalar("learning_rate", record["learning_rate"], record["epoch"])
        shown.append(f"{record['clips_per_second']:.0f} clips/s")
    tqdm.write("  ".join(shown))


def _seed(*numbers: int) -> int:
    """One seed from several numbers, without collisions between neighbours."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
