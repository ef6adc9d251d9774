"""The training loop, once. A stage brings its model, loss and data, and, if it has them, a dev score and pictures.

Epochs, gradient accumulation, clipping, warm-up and cosine, mixed precision, EMA, dev after each epoch, early stopping,
logs, checkpoints, resume, and test once at the end. Random draws depend only on seed, epoch and clip ID, and a loss is
that of the whole batch (models/whole_batch.py). So a resumed run equals an uninterrupted one, and a run on several
processes equals a run on one, up to rounding.
"""

import contextlib
import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from checkpoints import load_checkpoint, load_weights
from dataset import Batch, LatentDataset, PoseDataset, make_loader
from models.whole_batch import Draws, WholeBatch, part_of
from runtime import processes
from runtime.claims import claimed
from runtime.console import progress_bar, say
from runtime.errors import UserError, is_lost
from runtime.flags import RUN_CONFIG_FILE, write_config
from runtime.lifetime import GO_ON, stop_upon
from runtime.rank import is_first
from training import mixed_precision
from training.resuming import resume
from training.run_folder import BEST, LAST, TENSORBOARD, begin, require_free, resume_path
from training.saving import Saver, StopAsked, append_to_log, trim_log
from training.settings import TrainSettings
from training.state import EpochState, Losses, LossFunction, Means, Pictures, Progress, Run, Stage

DYNAMICS = ("A_log", "log_decay", "frequency")  # names of a state space's own parameters, Mamba's and S4D's
_EVALUATION_SEED = 20_000  # dev and test draw the same noise in every epoch and every run


class Objective(nn.Module):
    """The model under its loss as one forward, which is what several processes synchronise."""

    def __init__(self, model: nn.Module, loss: LossFunction) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch, whole: WholeBatch) -> Losses:
        with part_of(whole):
            return self.loss(self.model, batch, whole.draws)


@dataclass(frozen=True)
class Length:
    """How long a run is. Its warm-up takes no more than a fifth of it."""

    steps_per_epoch: int
    epochs: int
    warmup_steps: int

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    @classmethod
    def of(cls, settings: TrainSettings, batches: int) -> "Length":
        steps_per_epoch = math.ceil(batches / settings.gradient_accumulation_steps)
        epochs = settings.epochs(steps_per_epoch)
        return cls(steps_per_epoch, epochs, min(settings.warmup_steps, steps_per_epoch * epochs // 5))


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


def split_loader(
    dataset: PoseDataset | LatentDataset, split: str, settings: TrainSettings, accelerator: Accelerator
) -> DataLoader:
    """The batches of a split, shuffled for train; each batch is divided among the processes."""
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
) -> dict | None:
    """Train `stage`; returns the log's record of the last epoch, None if no epoch was left or another process writes.

    `test_loader` is called once, after training.

    A signal stops it after a step: last.pt is written, and the exit code says that the same command resumes the run.
    """
    stage.made_with["mixed_precision"] = accelerator.mixed_precision  # what auto has chosen
    saver = Saver(accelerator, stage, settings)
    with contextlib.ExitStack() as held:
        if accelerator.is_main_process:
            held.enter_context(claimed(Path(settings.output_dir)))
        held.enter_context(saver.listening())
        try:
            return _train(accelerator, stage, train_loader, dev_loader, test_loader, settings, saver)
        except StopAsked:
            stopped = saver.stop()
        except RuntimeError as error:
            if not is_lost(error):
                raise
            stopped = saver.lost()
    raise stopped


def _train(
    accelerator: Accelerator,
    stage: Stage,
    train_loader: DataLoader,
    dev_loader: DataLoader,
    test_loader: Callable[[], DataLoader],
    settings: TrainSettings,
    saver: Saver,
) -> dict | None:
    output_dir, main = Path(settings.output_dir), accelerator.is_main_process
    if main:
        begin(settings)
    length, num_clips = Length.of(settings, len(train_loader)), len(train_loader.dataset)
    run = start_run(stage.model.to(accelerator.device), settings, length.steps, length.warmup_steps)
    run.scaler = accelerator.scaler
    resumed = resume_path(settings)
    if resumed is not None:
        resume(run, stage, resumed, settings, accelerator)
    progress = run.progress
    is_left = progress.has_epochs_left(length.epochs, settings)
    if not is_left:
        processes.first_decides(lambda: _require_best(output_dir, resumed))
    objective, run.optimizer = accelerator.prepare(Objective(run.model, stage.loss), run.optimizer)
    ema_objective, dev_batches = Objective(run.ema, stage.loss), saver.until_asked(dev_loader)
    writer = SummaryWriter(str(output_dir / TENSORBOARD), purge_step=progress.epoch + 1) if main else None
    if main:
        trim_log(output_dir, progress.epoch)
        if stage.record and is_left:  # without an epoch, the record of the call that made the weights stays
            write_config(output_dir / RUN_CONFIG_FILE, stage.record)
        _announce(stage, num_clips, length, progress, settings)

    record = None
    while progress.has_epochs_left(length.epochs, settings):
        progress.epoch += 1
        if stage.before_epoch is not None:
            stage.before_epoch(progress)
        train_losses = train_epoch(accelerator, objective, run, train_loader, settings, saver)
        started = time.perf_counter()
        try:
            dev_losses = evaluate_loss(accelerator, ema_objective, dev_batches)
            if stage.score is not None:
                dev_losses |= stage.score(accelerator, run.ema, dev_batches)
        except StopAsked:
            saver.save_within_epoch(run, len(train_loader))
            raise
        _require_finite("dev loss", dev_losses, run, output_dir)
        progress.update_by_heart(train_losses["loss"], dev_losses["loss"])
        improved, run.dev_loss = progress.update_best(dev_losses, stage.criterion), dev_losses["loss"]
        if main:
            record = _epoch_record(run, train_losses, dev_losses, num_clips, time.perf_counter() - started)
            record["mixed_precision"] = accelerator.mixed_precision
            if run.changed:
                record["changed"], run.changed = run.changed, {}
            append_to_log(output_dir, record)
            saver.save_epoch(run, improved)
            _show(writer, record)
            if stage.pictures is not None and settings.picture_every and progress.epoch % settings.picture_every == 0:
                _show_pictures(writer, stage.pictures, run)
        run.epoch = EpochState()
        accelerator.wait_for_everyone()
        if saver.is_due() and saver.may_stop:
            raise StopAsked
    if main and progress.stops_early(settings):
        say(f"stopped early: no better dev result in {progress.epoch - progress.best_epoch} epochs")

    test_batches = saver.until_asked(test_loader())
    _score_best(accelerator, stage, run, ema_objective, test_batches, output_dir, writer)
    return record


def _announce(stage: Stage, num_clips: int, length: Length, progress: Progress, settings: TrainSettings) -> None:
    """Say what is trained, on what, and for how long; first, where the length is not that of the flags."""
    if length.warmup_steps < settings.warmup_steps:
        say(f"warm-up: {length.warmup_steps} steps, a fifth of the run, not --warmup_steps {settings.warmup_steps}")
    if length.epochs > settings.num_epochs:
        say(f"epochs: {length.epochs} instead of {settings.num_epochs}, for {settings.min_steps} steps (--min_steps)")
    epochs = f"epochs {progress.epoch + 1}-{length.epochs} of {length.steps_per_epoch} steps"
    if not progress.has_epochs_left(length.epochs, settings):
        epochs = f"no epoch is left after {progress.epoch}"
    parameters = [parameter for parameter in stage.model.parameters() if parameter.requires_grad]
    millions, device = sum(parameter.numel() for parameter in parameters) / 1e6, parameters[0].device
    say(f"{stage.kind}: {millions:.2f} M parameters on {device}, {num_clips} {stage.learns_from}, {epochs}")


def _require_best(output_dir: Path, resumed: Path | None) -> None:
    """Raises UserError if a finished run's best epoch, which is scored on test, is not there."""
    if not (output_dir / BEST).is_file():
        raise UserError(f"{resumed}: no epoch is left, and {BEST} is not beside it; put it there, or train longer")


def _epoch_record(run: Run, train: dict, dev: dict, num_clips: int, dev_seconds: float) -> dict[str, object]:
    """What log.jsonl keeps of an epoch: losses, learning rate, and how fast and how steadily it went."""
    epoch = run.epoch
    return {
        "epoch": run.progress.epoch,
        "step": run.progress.step,
        "train": train,
        "dev": dev,
        "learning_rate": run.schedule.get_last_lr()[0],
        "grad_norm": epoch.grad_norm,
        "skipped_steps": epoch.skipped_steps,
        "seconds": round(epoch.seconds + dev_seconds, 3),
        "clips_per_second": round(num_clips / max(epoch.seconds, 1e-9), 2),
    }


def _score_best(
    accelerator: Accelerator,
    stage: Stage,
    run: Run,
    ema_objective: nn.Module,
    test_batches: DataLoader,
    output_dir: Path,
    writer: SummaryWriter | None,
) -> None:
    """Write the best epoch's losses on test, once, as the log's last line."""
    best_path = output_dir / BEST
    best = load_checkpoint(best_path, stage.kind)
    load_weights(run.ema, best["weights"], str(best_path))
    test_losses = evaluate_loss(accelerator, ema_objective, test_batches)
    if writer is not None:
        record = {"epoch": best["epoch"], "step": run.progress.step, "test": test_losses}
        append_to_log(output_dir, record)
        _show(writer, record)
        writer.close()
        print(f"wrote {best_path} (epoch {best['epoch']}, fingerprint {best['fingerprint']})")


def _require_finite(what: str, losses: dict[str, float], run: Run, output_dir: Path) -> None:
    """Raises UserError if an epoch's result or a weight is not finite, before anything of that epoch is written."""
    named = (losses[name] for name in ("loss", "score") if name in losses)
    if not all(map(math.isfinite, named)) or not run.is_finite():
        epoch = run.progress.epoch
        raise UserError(f"the {what} is not finite in epoch {epoch}; {_advice(output_dir)}")


def _advice(output_dir: Path) -> str:
    """The advice for numbers that are not finite."""
    last = output_dir / LAST
    then = f"and resume from {last}, which was written before" if last.is_file() else "and begin again"
    return f"lower --learning_rate (or lengthen --warmup_steps) {then}"


def start_run(model: nn.Module, settings: TrainSettings, total_steps: int, warmup_steps: int) -> Run:
    """A run of `model` at its first step."""
    optimizer = torch.optim.AdamW(  # fused: on a CPU five times quicker
        parameter_groups(model, settings.weight_decay), settings.learning_rate, (0.9, 0.99), fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _learning_rate_factor(step, warmup_steps, total_steps)
    )
    return Run(model, copy.deepcopy(model).eval().requires_grad_(False), optimizer, schedule, Progress())


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
    accumulated, begun = settings.gradient_accumulation_steps, time.perf_counter() - epoch.seconds
    first = epoch.batches
    loader.batch_sampler.epoch, loader.batch_sampler.start = number, first
    left = loader.batch_sampler.clips()
    shown = {"initial": first, "total": len(loader), "postfix": run.dev_shown()}
    bar = progress_bar(loader, f"epoch {number}", "batch", leave=False, **shown)
    of_step: list[tuple[Losses, int]] = []
    for index, batch in enumerate(bar, first):
        is_last = (index + 1) % accumulated == 0 or index + 1 == len(loader)  # batch of this step
        start = max(0, index // accumulated * accumulated - first)  # the step's first batch, in `left`
        clips_of_step = sum(clips for clips, _ in left[start : start + accumulated])
        clips, own = left[index - first]
        batch = send_to_device(batch, accelerator.device, non_blocking=True)
        with contextlib.nullcontext() if is_last else accelerator.no_sync(objective):
            losses = objective(batch, _whole_batch(accelerator, batch, own, settings.seed, number))
            # Accelerate averages the processes' gradients, but the parts of a loss add up: hence the factor.
            accelerator.backward(losses["loss"] * (accelerator.num_processes * clips / clips_of_step))
        of_step.append((losses, clips))
        if not is_last:
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


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Weight decay for matrices; none for biases, norms and a state space's own dynamics (S4D, Gu et al. 2022)."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    decayed = [p for name, p in trained if p.ndim >= 2 and not name.endswith(DYNAMICS)]
    kept = [p for name, p in trained if p.ndim < 2 or name.endswith(DYNAMICS)]
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
    averages, weights = list(ema.parameters()), [parameter.detach() for parameter in model.parameters()]
    torch._foreach_lerp_(averages, weights, 1 - decay)
    for average, value in zip(ema.buffers(), model.buffers(), strict=True):
        average.copy_(value)


def _show(writer: SummaryWriter, record: dict) -> None:
    """TensorBoard scalars, one line on screen."""
    shown = [f"epoch {record['epoch']:4d}"]
    for split in ("train", "dev", "test"):
        for name, value in record.get(split, {}).items():
            writer.add_scalar(f"{name}/{split}", value, record["epoch"])
        if split in record:
            shown.append(f"{split} loss {record[split]['loss']:.4f}")
    for name in ("learning_rate", "grad_norm", "skipped_steps"):
        if name in record:
            writer.add_scalar(name, record[name], record["epoch"])
    if "clips_per_second" in record:
        shown.append(f"{record['clips_per_second']:.0f} clips/s")
    if record.get("skipped_steps"):
        shown.append(f"{record['skipped_steps']} steps skipped")
    say("  ".join(shown))


def _show_pictures(writer: SummaryWriter, pictures: Pictures, run: Run) -> None:
    """Write TensorBoard images. They do not change training, whose random draws depend on seed, epoch and clip alone.

    The first process makes them, and the others wait.
    """
    with processes.alone():
        try:
            made = pictures(run.ema)
        except UserError as error:  # what a network makes in its first epochs may be no clip; training goes on
            print(f"no pictures of epoch {run.progress.epoch}: {error}")
            return
    for name, image in made:
        writer.add_image(name, image, run.progress.epoch, dataformats="HWC")
