"""What a run reports of itself: log.jsonl, TensorBoard, and lines on screen."""

import json
import math
from pathlib import Path

from torch import nn
from torch.utils.tensorboard import SummaryWriter

from runtime import processes
from runtime.console import say
from runtime.errors import UserError
from runtime.files import write_whole
from training.run_folder import LOG, TENSORBOARD
from training.settings import RunLength, TrainSettings
from training.state import Pictures, Progress, Stage


def announce(stage: Stage, num_clips: int, length: RunLength, progress: Progress, settings: TrainSettings) -> None:
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


class RunLog:
    """The log of a run, which the first process writes.

    epoch: the last one whose lines are kept; a resumed run writes later ones again.
    """

    def __init__(self, folder: Path, epoch: int) -> None:
        self.path = folder / LOG
        self.writer = SummaryWriter(str(folder / TENSORBOARD), purge_step=epoch + 1)
        self._trim(epoch)

    def append(self, record: dict) -> None:
        """Append one line of JSON; a number that is not finite becomes null."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(_finite(record), allow_nan=False) + "\n")

    def show(self, record: dict) -> None:
        """TensorBoard's scalars, and one line on screen."""
        shown = [f"epoch {record['epoch']:4d}"]
        for split in ("train", "dev", "test"):
            for name, value in record.get(split, {}).items():
                self.writer.add_scalar(f"{name}/{split}", value, record["epoch"])
            if split in record:
                shown.append(f"{split} loss {record[split]['loss']:.4f}")
        for name in ("learning_rate", "grad_norm", "skipped_steps"):
            if name in record:
                self.writer.add_scalar(name, record[name], record["epoch"])
        if "clips_per_second" in record:
            shown.append(f"{record['clips_per_second']:.0f} clips/s")
        if record.get("skipped_steps"):
            shown.append(f"{record['skipped_steps']} steps skipped")
        say("  ".join(shown))

    def show_pictures(self, pictures: Pictures, model: nn.Module, epoch: int) -> None:
        """TensorBoard's images. They do not change training, whose random draws depend on seed, epoch and clip alone.

        The first process makes them, and the others wait.
        """
        with processes.alone():
            try:
                made = pictures(model)
            except UserError as error:  # what a network makes in its first epochs may be no clip; training goes on
                print(f"no pictures of epoch {epoch}: {error}")
                return
        for name, image in made:
            self.writer.add_image(name, image, epoch, dataformats="HWC")

    def close_with(self, record: dict) -> None:
        """Write the last record, the best epoch's losses on test."""
        self.append(record)
        self.show(record)
        self.writer.close()

    def _trim(self, epoch: int) -> None:
        if not self.path.is_file():
            return
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        kept = [line for line in lines if _is_kept(line, epoch)]
        if kept != lines:
            with write_whole(self.path, "w") as file:
                file.writelines(f"{line}\n" for line in kept)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_kept(line: str, epoch: int) -> bool:
    """Whether a line is of an epoch up to `epoch`; that of the best epoch on test is not."""
    try:
        record = json.loads(line)
        return "train" in record and record["epoch"] <= epoch
    except (ValueError, TypeError, KeyError):  # cut off by a kill
        return False
