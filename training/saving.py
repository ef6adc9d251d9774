"""When and how a run is saved: at the end of an epoch, every few minutes within one, and when it is stopped."""

import contextlib
import math
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from checkpoints import save_checkpoint
from dataset import Batch
from runtime.claims import claimed
from runtime.config import AUTO
from runtime.errors import is_lost
from runtime.lifetime import GO_ON, LOST, Stopped, handled
from training.run_folder import BEST, LAST
from training.settings import TrainSettings
from training.state import Run, Stage

STOPPING = ("SIGINT", "SIGTERM", "SIGUSR1")


class StopAsked(Exception):
    """Raised between two steps after a signal has asked to stop."""


class Saver:
    """Writes last.pt and best_model.pt; within an epoch too, when enough time has passed or a signal asks for it.

    Within an epoch it saves the run as it was before the current step. That step's loss and gradient have shown that
    these weights are finite.
    """

    def __init__(self, accelerator: Accelerator, stage: Stage, settings: TrainSettings) -> None:
        self.accelerator, self.stage, self.folder = accelerator, stage, Path(settings.output_dir)
        self.interval = settings.save_every_minutes * 60 or math.inf
        self.saved = time.monotonic()
        self.asked: list[str] = []  # the signals that asked to stop
        self.may_stop = False  # whether all processes know of a signal: only then may this one stop

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """The block in which a run trains: it holds the output folder, and a signal stops it after the current step.

        Raises Stopped, whose exit code says that the same command resumes the run: after a signal, or if another
        process of this command is lost.
        """
        message = None
        with contextlib.ExitStack() as held:
            if self.accelerator.is_main_process:
                held.enter_context(claimed(self.folder))
            held.enter_context(self._listening())
            try:
                yield
            except StopAsked:
                message = f"stopped by {self.asked[0]}; {self._how_to_go_on()}"
                message = message if self.accelerator.is_main_process else ""
            except RuntimeError as error:
                if not is_lost(error):
                    raise
                message = f"process {self.accelerator.process_index}: {LOST}; {self._how_to_go_on()}"
        if message is not None:
            raise Stopped(message, GO_ON)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Within the block, a signal stops the run after the current step; a second Ctrl-C stops it at once."""

        def note(number: int, _frame: object) -> None:
            name = signal.Signals(number).name
            if name == "SIGINT" and name in self.asked:
                raise KeyboardInterrupt(self._how_to_go_on())
            if name == "SIGINT" and self.accelerator.is_main_process:
                os.write(2, b"saving last.pt after this step; press Ctrl-C again to stop at once\n")
            self.asked.append(name)

        with handled(note, *STOPPING):
            yield

    def is_due(self) -> bool:
        """Whether last.pt is to be written at this step; the same in all processes."""
        due = bool(self.asked) or time.monotonic() - self.saved > self.interval
        if self.accelerator.num_processes == 1:
            self.may_stop = bool(self.asked)
            return due
        device = self.accelerator.device
        asked = torch.tensor([float(bool(self.asked)), float(due and self.accelerator.is_main_process)], device=device)
        stop, due = (value > 0 for value in self.accelerator.reduce(asked).tolist())
        self._agree(stop)
        return stop or due

    def must_stop(self) -> bool:
        """Whether a signal has asked to stop; the same in all processes."""
        if self.accelerator.num_processes == 1:
            self.may_stop = bool(self.asked)
        else:
            asked = torch.tensor(float(bool(self.asked)), device=self.accelerator.device)
            self._agree(bool(self.accelerator.reduce(asked)))
        return self.may_stop

    def _agree(self, stop: bool) -> None:
        self.may_stop = stop
        if stop and not self.asked:
            self.asked.append("a signal to another process")

    def until_asked(self, loader: DataLoader) -> Iterable[Batch]:
        """The batches of a loader; raises StopAsked as soon as a signal asks to stop."""
        return _UntilAsked(loader, self)

    def save_within_epoch(self, run: Run, batches: int) -> None:
        """Write last.pt as it was before a step: after `batches` batches."""
        totals = run.epoch.means.totals(self.accelerator) if run.epoch.means.sums else ({}, 0)
        if self.accelerator.is_main_process and run.is_finite():
            under_way = {"under_way": run.epoch.plain(batches, totals), "epoch": run.progress.epoch - 1}
            self._write(LAST, run, {"training": run.state() | under_way | {"made_with": self.stage.made_with}})
        self.saved = time.monotonic()

    def save_epoch(self, run: Run, improved: bool) -> None:
        """Write last.pt, and best_model.pt if this epoch is the best."""
        if improved:
            self._write(BEST, run, {})
        self._write(LAST, run, {"training": run.state() | {"made_with": self.stage.made_with}})
        self.saved = time.monotonic()

    def _write(self, name: str, run: Run, more: dict) -> None:
        content = {
            "kind": self.stage.kind,
            "config": self.stage.config,
            "weights": run.ema.state_dict(),
            "parent": self.stage.parent,
            "statistics": self.stage.statistics.to_dict(),
            "text_encoder": self.stage.text_encoder,
            "signers": list(self.stage.signers),
            "train_clips": list(self.stage.train_clips),
            "epoch": more.get("training", {}).get("epoch", run.progress.epoch),
        }
        save_checkpoint(self.folder / name, content | more)

    def _how_to_go_on(self) -> str:
        kept = f"{self.folder / LAST} holds the progress so far; " if (self.folder / LAST).is_file() else ""
        return f"{kept}the same command with --resume_from {AUTO} resumes the run"


class _UntilAsked:
    def __init__(self, loader: DataLoader, saver: Saver) -> None:
        self.loader, self.saver = loader, saver
        self.dataset, self.batch_sampler = loader.dataset, loader.batch_sampler

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.loader:
            if self.saver.must_stop():
                raise StopAsked
            yield batch
