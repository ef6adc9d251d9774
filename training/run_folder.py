"""The folder of a run: a run in it is never replaced without --overwrite, and a stopped one can be resumed."""

import filecmp
import shutil
from collections.abc import Iterable
from pathlib import Path

from checkpoint_checks import WEIGHTS_FILE
from runtime.claims import require_unclaimed
from runtime.config import AUTO
from runtime.errors import UserError
from training.settings import TrainSettings

BEST, LAST, LOG, TENSORBOARD = "best_model.pt", "last.pt", "log.jsonl", "tensorboard"


def resume_path(settings: TrainSettings) -> Path | None:
    """The last.pt to resume from, which --resume_from names by itself or by its folder; None for a new run."""
    if settings.resume_from is None:
        return None
    if settings.resume_from == AUTO:
        last = Path(settings.output_dir) / LAST
        return last if last.is_file() else None
    path = Path(settings.resume_from)
    return path / LAST if path.is_dir() else path


def require_free(settings: TrainSettings) -> None:
    """Raises UserError if another run is writing to the output folder, or it holds a run that must not be replaced."""
    if settings.overwrite and settings.resume_from is not None:
        raise UserError("--overwrite begins again and --resume_from continues a run; give one of them")
    if settings.override and settings.resume_from is None:
        raise UserError("--override needs --resume_from; add it, or leave --override out")
    if (Path(settings.output_dir) / WEIGHTS_FILE).exists():
        raise UserError(f"{settings.output_dir}: holds a model of export.py; choose another --output_dir")
    require_unclaimed(Path(settings.output_dir))
    require_replaceable(settings)


def require_replaceable(settings: TrainSettings) -> None:
    """Raises UserError if the output folder holds a run that this one neither continues nor may replace."""
    folder, resumed = Path(settings.output_dir), resume_path(settings)
    found = [name for name in (BEST, LAST, LOG) if (folder / name).exists()]
    if not found or settings.overwrite:
        return
    if resumed is not None and (resumed.parent.resolve() == folder.resolve() or _holds_copies(folder, found, resumed)):
        return
    if settings.resume_from == AUTO:
        if _stopped_in_first_epoch(folder):
            return
        raise UserError(f"{folder}: no {LAST} to resume from, but {found[0]}; put {LAST} back, or pass --overwrite")
    raise UserError(
        f"{folder}: holds a run already ({', '.join(found)}); resume it (--resume_from {AUTO}), replace it "
        "(--overwrite), or choose another --output_dir"
    )


def require_elsewhere(output_dir: str | Path, inputs: Iterable[Path | None]) -> None:
    """Raises UserError if a checkpoint that a run reads lies where it would write its own."""
    folder = Path(output_dir).resolve()
    for path in inputs:
        if path is not None and path.resolve().parent == folder:
            raise UserError(f"--output_dir {output_dir}: holds {path}, which this run reads; choose another folder")


def prepare_folder(settings: TrainSettings) -> None:
    """Prepare the claimed folder for a run: remove what --overwrite replaces, or what a stopped first epoch left."""
    require_replaceable(settings)
    folder = Path(settings.output_dir)
    if resume_path(settings) is None:
        for name in (BEST, LAST, LOG):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)


def _holds_copies(folder: Path, found: Iterable[str], resumed: Path) -> bool:
    """Whether the files found in a folder are only copies of the resumed run's, left by a run that was killed before it
    wrote its own."""
    sources = {BEST: resumed.with_name(BEST), LAST: resumed}
    return all(
        name in sources and sources[name].is_file() and filecmp.cmp(folder / name, sources[name], shallow=False)
        for name in found
    )


def _stopped_in_first_epoch(folder: Path) -> bool:
    """Whether a run without last.pt was stopped before it could write its first one."""
    log = folder / LOG
    lines = log.read_bytes().count(b"\n") if log.is_file() else 0
    return not (folder / LAST).exists() and lines <= 1 and (lines == 1 or not (folder / BEST).exists())
