"""The training loop, once. A stage brings its model, loss and data, and, if it has them, a dev score and pictures.

Epochs, gradient accumulation, clipping, warm-up and cosine, mixed precision, EMA, dev after each epoch, early stopping,
logs, checkpoints, resume, and test once at the end. Random draws depend only on seed, epoch and clip ID, and a loss is
that of the whole batch (models/whole_batch.py). So a resumed run equals an uninterrupted one, and a run on several
processes equals a run on one, up to rounding.
"""

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from checkpoints import load_checkpoint, load_weights
from dataset import Batch, make_loader
from models.whole_batch import Draws, WholeBatch, part_of
from runtime import processes
from runtime.console import progress_bar, say
from runtime.errors import UserError
from runtime.flags import RUN_CONFIG_FILE, write_config
from runtime.lifetime import GO_ON, stop_upon
from runtime.rank import is_first
from training import mixed_precision
from training.log import RunLog, announce
from training.optimisation import start_run, update_ema
from training.resuming import resume
from training.run_folder import BEST, LAST, prepare_folder, require_free, resume_path
from training.saving import Saver, StopAsked
from training.settings import RunLength, TrainSettings
from training.state import EpochState, Losses, LossFunction, Means, Run, Stage

_EVALUATION_SEED = 20_000  # dev and test draw the same noise in every epoch and every run


class Objective(nn.Module):
    """The model under its loss as one forward, which is what several processes synchronise."""

    def __init__(self, model: nn.Module, loss: LossFunction) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch, whole: WholeBatch) -> Losses:
        with part_of(whole):
            return self.loss(self.model, batch, whole.draws)


def prepare_run(settings: TrainSettings, width: int) -> Accelerator:
    """What a stage calls first: sets precision and threads, refuses an output folder of another run, seeds PyTorch.

    width: of the widest network that is trained; it decides precision and threads.
    """
    message = "stopped by {name} before training began; run the same command again" if is_first() else ""
    stop_upon("SIGTERM", "SIGUSR1", message=message, code=GO_ON)
    accelerator = make_accelerator(mixed_precision.settle(settings, width))
    processes.first_decides(lambda: require_free(settings))
    torch.manual_seed(settings.seed)
    return accelerator


def make_accelerator(mixed_precision: str) -> Accelerator:
    """An accelerator that refuses to run several processes that do not know of each other."""
    accelerator = Accelerator(mixed_precision=mixed_precision)
    processes.require_acquainted()
    return accelerator


def split_loader(dataset: Dataset, split: str, settings: TrainSettings, accelerator: Accelerator) -> DataLoader:
    """The batches of a split, shuffled for train; each batch is divided among the processes."""
    return make_loader(
        dataset,
        settings.batch_size,
        shuffle=split == "train",
        seed=settings.seed,
        num_workers=settings.num_workers,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
    )


def train(
    accelerator: Accelerator,
    stage: Stage,
    train_loader: DataLoader,
    dev_loader: DataLoader,
    test_loader: Callable[[], DataLoader],
    settings: TrainSettings,
) -> dict | None:
    """Train `stage`; returns the log's record of the last epoch, None if no epoch was left or another process writes.

    test_loader: called once, after training. `Saver.session` says what a signal does.
    """
    stage.made_with["mixed_precision"] = accelerator.mixed_precision  # what auto has chosen
    length, num_clips, record = settings.length(len(train_loader)), len(train_loader.dataset), None
    saver = Saver(accelerator, stage, settings)
    with saver.session():
        run = _open_run(accelerator, stage, settings, length)
        objective, run.optimizer = accelerator.prepare(Objective(run.model, stage.loss), run.optimizer)
        ema_objective, dev_batches = Objective(run.ema, stage.loss), saver.until_asked(dev_loader)
        log = RunLog(saver.folder, run.progress.epoch) if accelerator.is_main_process else None
        if log is not None:
            if stage.record and run.progress.has_epochs_left(length.epochs, settings):  # else that of the weights stays
                write_config(saver.folder / RUN_CONFIG_FILE, stage.record)
            announce(stage, num_clips, length, run.progress, settings)

        while run.progress.has_epochs_left(length.epochs, settings):
            run.progress.epoch += 1
            if stage.before_epoch is not None:
                stage.before_epoch(run.progress)
            train_losses = train_epoch(accelerator, objective, run, train_loader, settings, saver)
            started = time.perf_counter()
            try:
                dev_losses = evaluate_loss(accelerator, ema_objective, dev_batches)
                if stage.score is not None:
                    dev_losses |= stage.score(accelerator, run.ema, dev_batches)
            except StopAsked:
                saver.save_within_epoch(run, len(train_loader))
                raise
            _require_finite(dev_losses, run, saver.folder)
            run.progress.update_by_heart(train_losses["loss"], dev_losses["loss"])
            improved, run.dev_loss = run.progress.update_best(dev_losses, stage.criterion), dev_losses["loss"]
            if log is not None:
                seconds = run.epoch.seconds + time.perf_counter() - started
                record = _epoch_record(accelerator, run, train_losses, dev_losses, num_clips, seconds)
                log.append(record)
                saver.save_epoch(run, improved)
                log.show(record)
                if stage.pictures is not None and settings.draws_pictures(run.progress.epoch):
                    log.show_pictures(stage.pictures, run.ema, run.progress.epoch)
            run.epoch = EpochState()
            accelerator.wait_for_everyone()
            if saver.is_due() and saver.may_stop:
                raise StopAsked
        if log is not None and run.progress.stops_early(settings):
            say(f"stopped early: no better dev result in {run.progress.epoch - run.progress.best_epoch} epochs")

        test_batches = saver.until_asked(test_loader())
        best = load_checkpoint(saver.folder / BEST, stage.kind)
        load_weights(run.ema, best["weights"], str(saver.folder / BEST))
        test_losses = evaluate_loss(accelerator, ema_objective, test_batches)
        if log is not None:
            log.close_with({"epoch": best["epoch"], "step": run.progress.step, "test": test_losses})
            print(f"wrote {saver.folder / BEST} (epoch {best['epoch']}, fingerprint {best['fingerprint']})")
    return record


def _open_run(accelerator: Accelerator, stage: Stage, settings: TrainSettings, length: RunLength) -> Run:
    """The run at its first step, or at that of the last.pt from which it resumes."""
    if accelerator.is_main_process:
        prepare_folder(settings)
    run = start_run(stage.model.to(accelerator.device), settings, length.steps, length.warmup_steps)
    run.scaler = accelerator.scaler
    resumed = resume_path(settings)
    if resumed is not None:
        resume(run, stage, resumed, settings, accelerator)
    if not run.progress.has_epochs_left(length.epochs, settings):
        processes.first_decides(lambda: _require_best(Path(settings.output_dir), resumed))
    return run


def _require_best(output_dir: Path, resumed: Path | None) -> None:
    """Raises UserError if a finished run's best epoch, which is scored on test, is not there."""
    if not (output_dir / BEST).is_file():
        raise UserError(f"{resumed}: no epoch is left, and {BEST} is not beside it; put it there, or train longer")


def _epoch_record(
    accelerator: Accelerator, run: Run, train_losses: dict, dev_losses: dict, num_clips: int, seconds: float
) -> dict[str, object]:
    """What log.jsonl keeps of an epoch: losses, learning rate, and how fast and how steadily it went.

    The first epoch after resuming also keeps the settings that this changed.
    """
    epoch = run.epoch
    record = {
        "epoch": run.progress.epoch,
        "step": run.progress.step,
        "train": train_losses,
        "dev": dev_losses,
        "learning_rate": run.schedule.get_last_lr()[0],
        "grad_norm": epoch.grad_norm,
        "skipped_steps": epoch.skipped_steps,
        "seconds": round(seconds, 3),
        "clips_per_second": round(num_clips / max(epoch.seconds, 1e-9), 2),
        "mixed_precision": accelerator.mixed_precision,
    }
    if run.changed:
        record["changed"], run.changed = run.changed, {}
    return record


def _require_finite(dev_losses: dict[str, float], run: Run, output_dir: Path) -> None:
    """Raises UserError if an epoch's result or a weight is not finite, before anything of that epoch is written."""
    deciding = (dev_losses[name] for name in ("loss", "score") if name in dev_losses)
    if not all(map(math.isfinite, deciding)) or not run.is_finite():
        raise UserError(f"the dev loss is not finite in epoch {run.progress.epoch}; {_advice(output_dir)}")


def _advice(output_dir: Path) -> str:
    """The advice for numbers that are not finite."""
    last = output_dir / LAST
    then = f"and resume from {last}, which was written before" if last.is_file() else "and begin again"
    return f"lower --learning_rate (or lengthen --warmup_steps) {then}"


def train_epoch(
    accelerator: Accelerator,
    objective: nn.Module,
    run: Run,
    loader: DataLoader,
    settings: TrainSettings,
    saver: Saver | None = None,
) -> dict[str, float]:
    """One pass over train, or what is left of it; returns the mean of each loss.

    A step whose loss or gradient is not finite changes nothing, and is counted.
    """
    objective.train()
    number, epoch = run.progress.epoch, run.epoch
    batches_per_step, begun = settings.gradient_accumulation_steps, time.perf_counter() - epoch.seconds
    first = epoch.batches  # batch to be read
    loader.batch_sampler.epoch, loader.batch_sampler.start = number, first
    left = loader.batch_sampler.clips()
    title, last_dev = f"epoch {number}", run.dev_shown()
    bar = progress_bar(loader, title, "batch", leave=False, initial=first, total=len(loader), postfix=last_dev)
    of_step: list[tuple[Losses, int]] = []
    for index, batch in enumerate(bar, first):
        ends_step = (index + 1) % batches_per_step == 0 or index + 1 == len(loader)
        start = max(0, index // batches_per_step * batches_per_step - first)  # the step's first batch, in `left`
        clips_of_step = sum(clips for clips, _ in left[start : start + batches_per_step])
        clips, own = left[index - first]
        batch = send_to_device(batch, accelerator.device, non_blocking=True)
        with contextlib.nullcontext() if ends_step else accelerator.no_sync(objective):
            losses = objective(batch, _whole_batch(accelerator, batch, own, settings.seed, number))
            # Accelerate averages the processes' gradients, but the parts of a loss add up: hence the factor.
            accelerator.backward(losses["loss"] * (accelerator.num_processes * clips / clips_of_step))
        of_step.append((losses, clips))
        if not ends_step:
            continue
        norm = accelerator.clip_grad_norm_(objective.parameters(), settings.max_grad_norm)
        is_finite = _all_finite(accelerator, norm, of_step)
        if saver is not None and saver.is_due():
            epoch.seconds = time.perf_counter() - begun
            if is_finite:
                saver.save_within_epoch(run, index + 1 - len(of_step))
            if saver.may_stop:
                raise StopAsked
        if is_finite or run.scaler is not None:
            run.optimizer.step()  # a scaler skips a bad step itself, and lowers its scale
        run.optimizer.zero_grad(set_to_none=True)
        if is_finite:
            _count_step(run, of_step, float(norm), settings)
        else:
            _count_skipped(run, batch["id"], settings)
        of_step = []
    epoch.seconds, epoch.batches = time.perf_counter() - begun, len(loader)
    if not epoch.means.sums:
        raise UserError(
            f"the loss or its gradient was not finite in any step of epoch {number}; "
            f"{_advice(Path(settings.output_dir))}"
        )
    return epoch.means.reduce(accelerator)


def _count_step(run: Run, of_step: list[tuple[Losses, int]], norm: float, settings: TrainSettings) -> None:
    """After an optimiser step: update schedule, averaged weights, means. of_step: losses and clips of its batches."""
    run.schedule.step()
    run.progress.step += 1
    update_ema(run.ema, run.model, settings.ema_decay, run.progress.step)
    epoch = run.epoch
    for losses, clips in of_step:
        epoch.means.add(losses, clips)
    epoch.steps, epoch.norms, run.skipped_in_a_row = epoch.steps + 1, epoch.norms + norm, 0


def _count_skipped(run: Run, ids: list[str], settings: TrainSettings) -> None:
    """Count a skipped step; raises UserError with its clips' IDs after too many in a row."""
    run.epoch.skipped_steps, run.skipped_in_a_row = run.epoch.skipped_steps + 1, run.skipped_in_a_row + 1
    if run.skipped_in_a_row >= settings.max_skipped_steps:
        named = ", ".join(sorted({name for names in processes.gather(ids) for name in names}))
        raise UserError(
            f"the loss or its gradient was not finite in {run.skipped_in_a_row} steps in a row, the last in "
            f"epoch {run.progress.epoch} with the clips {named}; {_advice(Path(settings.output_dir))}"
        )


def _all_finite(accelerator: Accelerator, norm: Tensor, of_step: list[tuple[Losses, int]]) -> bool:
    """Whether a step's losses and the norm of its gradient are finite, in all processes."""
    numbers = torch.stack([norm.detach().float(), *(losses["loss"].detach().float() for losses, _ in of_step)])
    wrong = (~numbers.isfinite()).any().float()
    if accelerator.num_processes > 1:
        wrong = accelerator.reduce(wrong)
    return not bool(wrong)


def _whole_batch(accelerator: Accelerator, batch: Batch, own: int, seed: int, epoch: int) -> WholeBatch:
    """The whole batch that this process's batch is a part of; `own`: the clips of this process that count."""
    draws = Draws.of(batch["id"], seed, epoch, device=accelerator.device)
    return WholeBatch(draws, accelerator.reduce, float(own > 0))


@torch.no_grad()
def evaluate_loss(accelerator: Accelerator, objective: nn.Module, loader: DataLoader) -> dict[str, float]:
    """Mean of each loss over a split, in eval mode, with the same draws in every epoch.

    Within a batch a loss is a mean over frames; across batches these means are weighted by their clips. So the dev loss
    depends slightly on --batch_size.
    """
    objective.eval()
    means = Means()
    for batch, (clips, own) in zip(loader, loader.batch_sampler.clips(), strict=True):
        whole = _whole_batch(accelerator, batch, own, _EVALUATION_SEED, 0)
        with accelerator.autocast():
            losses = objective(send_to_device(batch, accelerator.device), whole)
        means.add(losses, clips)
    return means.reduce(accelerator)
