"""The training loop, once: a stage brings a model, its loss and its data, nothing else.

Epochs, gradient accumulation, clipping, warm-up and cosine, mixed precision, EMA, dev after each epoch, early stopping,
logs, checkpoints, resume, and test once at the end. Whatever is drawn follows from (seed, epoch, step, process), so a
resumed run equals an uninterrupted one.
"""

import contextlib
import copy
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

from checkpoints import load_checkpoint, load_weights, save_checkpoint
from dataset import Batch, LatentDataset, PoseDataset, make_loader
from runtime.claims import claimed
from runtime.errors import UserError
from training.run_folder import BEST, LAST, LOG, TENSORBOARD, begin, require_free, resume_path
from training.settings import TrainSettings
from training.state import Losses, LossFunction, Progress, Run, Stage, resume

_EVALUATION_SEED = 20_000  # dev and test draw the same noise in every epoch and every run


class Objective(nn.Module):
    """The model under its loss as one forward, which is what several processes synchronise."""

    def __init__(self, model: nn.Module, loss: LossFunction) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Losses:
        return self.loss(self.model, batch, generator)


def start(settings: TrainSettings) -> Accelerator:
    """What a stage calls first: refuses an output folder that holds another run, before any work, and seeds PyTorch."""
    require_free(settings)
    accelerator = make_accelerator(settings.mixed_precision)
    torch.manual_seed(settings.seed)
    return accelerator


def make_accelerator(mixed_precision: str) -> Accelerator:
    """An accelerator that refuses to run several processes that do not know of each other."""
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


def split_loader(
    dataset: PoseDataset | LatentDataset, split: str, settings: TrainSettings, accelerator: Accelerator
) -> DataLoader:
    """The batches of a split, those of train shuffled, each divided among the processes."""
    place = {"rank": accelerator.process_index, "world_size": accelerator.num_processes}
    shuffle, workers = split == "train", settings.num_workers
    return make_loader(dataset, settings.batch_size, shuffle=shuffle, seed=settings.seed, num_workers=workers, **place)


def train(
    accelerator: Accelerator,
    stage: Stage,
    train_loader: DataLoader,
    dev_loader: DataLoader,
    test_loader: Callable[[], DataLoader],
    settings: TrainSettings,
) -> Path:
    """Train `stage`; returns the path of best_model.pt. `test_loader` is called once, after training."""
    with claimed(Path(settings.output_dir)) if accelerator.is_main_process else contextlib.nullcontext():
        return _train(accelerator, stage, train_loader, dev_loader, test_loader, settings)


def _train(
    accelerator: Accelerator,
    stage: Stage,
    train_loader: DataLoader,
    dev_loader: DataLoader,
    test_loader: Callable[[], DataLoader],
    settings: TrainSettings,
) -> Path:
    output_dir, main = Path(settings.output_dir), accelerator.is_main_process
    if main:
        begin(settings)
    num_clips = len(train_loader.dataset)
    steps_per_epoch = math.ceil(len(train_loader) / settings.gradient_accumulation_steps)
    warmup_steps = min(settings.warmup_steps, steps_per_epoch * settings.num_epochs // 5)
    run = start_run(stage.model.to(accelerator.device), settings, steps_per_epoch, warmup_steps)
    resumed = resume_path(settings)
    if resumed is not None:
        resume(run, stage, resumed, settings)
    progress = run.progress
    objective, run.optimizer = accelerator.prepare(Objective(run.model, stage.loss), run.optimizer)
    ema_objective = Objective(run.ema, stage.loss)
    writer = SummaryWriter(str(output_dir / TENSORBOARD)) if main else None
    if main:
        if warmup_steps < settings.warmup_steps:
            print(f"warm-up: {warmup_steps} steps, a fifth of the run, instead of {settings.warmup_steps}")
        parameters = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
        print(
            f"{stage.kind}: {parameters / 1e6:.2f} M parameters on {accelerator.device}, {num_clips} clips, "
            f"epochs {progress.epoch + 1}-{settings.num_epochs} of {steps_per_epoch} steps"
        )

    while progress.epoch < settings.num_epochs and not progress.stops(settings):
        progress.epoch += 1
        started = time.perf_counter()
        train_losses = train_epoch(accelerator, objective, run, train_loader, settings)
        train_seconds = time.perf_counter() - started
        dev_losses = evaluate_loss(accelerator, ema_objective, dev_loader)
        if stage.score is not None:
            dev_losses |= stage.score(accelerator, run.ema, dev_loader)
        improved = progress.note(dev_losses)
        if main:
            record = {
                "epoch": progress.epoch,
                "step": progress.step,
                "train": train_losses,
                "dev": dev_losses,
                "learning_rate": run.schedule.get_last_lr()[0],
                "seconds": round(time.perf_counter() - started, 3),
                "clips_per_second": round(num_clips / train_seconds, 2),
            }
            if run.changed:
                record["changed"], run.changed = run.changed, {}
            _log(output_dir, writer, record)
            _save(output_dir, stage, run, improved)
        accelerator.wait_for_everyone()
    if main and progress.stops(settings):
        print(f"stopped early: no better dev loss in {progress.epoch - progress.best_epoch} epochs")

    best_path = output_dir / BEST
    best = load_checkpoint(best_path, stage.kind)
    load_weights(run.ema, best["weights"], str(best_path))
    test_losses = evaluate_loss(accelerator, ema_objective, test_loader())
    if main:
        _log(output_dir, writer, {"epoch": best["epoch"], "step": progress.step, "test": test_losses})
        writer.close()
        print(f"wrote {best_path} (epoch {best['epoch']}, fingerprint {best['fingerprint']})")
    return best_path


def start_run(model: nn.Module, settings: TrainSettings, steps_per_epoch: int, warmup_steps: int) -> Run:
    """A run of `model` at its first step."""
    total_steps = steps_per_epoch * settings.num_epochs
    optimizer = torch.optim.AdamW(  # fused: on a CPU five times quicker
        parameter_groups(model, settings.weight_decay), settings.learning_rate, (0.9, 0.99), fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _learning_rate_factor(step, warmup_steps, total_steps)
    )
    return Run(model, copy.deepcopy(model).eval().requires_grad_(False), optimizer, schedule, Progress())


def train_epoch(
    accelerator: Accelerator, objective: nn.Module, run: Run, loader: DataLoader, settings: TrainSettings
) -> dict[str, float]:
    """One pass over train; returns the mean of each loss."""
    objective.train()
    epoch, process = run.progress.epoch, accelerator.process_index
    accumulated = settings.gradient_accumulation_steps
    loader.batch_sampler.epoch = epoch
    torch.manual_seed(seed_of(settings.seed, epoch, process))  # for dropout
    generator = torch.Generator(accelerator.device)
    means = _Means()
    bar = tqdm(loader, desc=f"epoch {epoch}", unit="batch", leave=False, disable=None if process == 0 else True)
    for index, batch in enumerate(bar):
        is_last = (index + 1) % accumulated == 0 or index + 1 == len(loader)  # of the batches of this step
        batches_of_step = min(accumulated, len(loader) - index // accumulated * accumulated)
        generator.manual_seed(seed_of(settings.seed, epoch, process, index))
        batch = send_to_device(batch, accelerator.device, non_blocking=True)
        with contextlib.nullcontext() if is_last else accelerator.no_sync(objective):
            losses = objective(batch, generator)
            accelerator.backward(losses["loss"] / batches_of_step)
        means.add(losses, len(batch["id"]))
        if not is_last:
            continue
        accelerator.clip_grad_norm_(objective.parameters(), settings.max_grad_norm)
        run.optimizer.step()
        run.schedule.step()
        run.optimizer.zero_grad(set_to_none=True)
        run.progress.step += 1
        update_ema(run.ema, run.model, settings.ema_decay, run.progress.step)
    losses = means.reduce(accelerator)
    if not math.isfinite(losses["loss"]):
        raise UserError(
            f"the loss is not finite in epoch {epoch}; lower --learning_rate, or go on from last.pt with it lowered"
        )
    return losses


@torch.no_grad()
def evaluate_loss(accelerator: Accelerator, objective: nn.Module, loader: DataLoader) -> dict[str, float]:
    """Mean of each loss over a split, in eval mode, with the same draws in every epoch."""
    objective.eval()
    generator = torch.Generator(accelerator.device)
    means = _Means()
    for index, batch in enumerate(loader):
        generator.manual_seed(seed_of(_EVALUATION_SEED, 0, accelerator.process_index, index))
        with accelerator.autocast():
            losses = objective(send_to_device(batch, accelerator.device), generator)
        means.add(losses, len(batch["id"]))
    return means.reduce(accelerator)


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


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
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
def update_ema(ema: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average of the weights, with a decay that grows to its value over the first steps."""
    decay = min(decay, (1 + step) / (10 + step))
    ours, theirs = list(ema.parameters()), list(model.parameters())
    torch._foreach_lerp_(ours, [p.detach() for p in theirs], 1 - decay)
    for mine, other in zip(ema.buffers(), model.buffers(), strict=True):
        mine.copy_(other)


def _save(output_dir: Path, stage: Stage, run: Run, improved: bool) -> None:
    """Write last.pt, and best_model.pt where this epoch is the best."""
    content = {
        "kind": stage.kind,
        "config": stage.config,
        "weights": run.ema.state_dict(),
        "parent": stage.parent,
        "statistics": stage.statistics.to_dict(),
        "text_encoder": stage.text_encoder,
        "epoch": run.progress.epoch,
    }
    if improved:
        save_checkpoint(output_dir / BEST, content)
    save_checkpoint(output_dir / LAST, content | {"training": run.state() | {"made_with": stage.made_with}})


def _log(output_dir: Path, writer: SummaryWriter, record: dict) -> None:
    """One line of JSON, TensorBoard scalars, one line on screen."""
    with open(output_dir / LOG, "a", encoding="utf-8") as file:
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


def seed_of(*numbers: int) -> int:
    """One seed from several numbers, without collisions between neighbours."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
