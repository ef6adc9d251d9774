"""The number format and the threads of a training run: chosen once, when it begins, and kept when it resumes."""

from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, parse_flag_from_env

from checkpoint_checks import WEIGHTS_FILE, read_header
from runtime import processes
from runtime.config import AUTO
from runtime.console import say
from runtime.errors import UserError
from runtime.precision import FP32, Choice, choose_precision, has_bf16, has_tiles, precision_line, use_threads
from training.run_folder import resume_path
from training.settings import PRECISIONS, TrainSettings

THREADS = "threads"  # a key of last.pt's training state


def settle(settings: TrainSettings, width: int) -> str:
    """Choose a run's --mixed_precision, set its threads, and print both; width: of the widest network it trains.

    A resumed run keeps its precision and thread count, so that its results stay comparable on other machines.
    """
    process = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"), timeout=processes.PATIENCE)
    path = resume_path(settings)
    kept = _kept(path)
    precision = _precision(settings.mixed_precision, kept.get("mixed_precision"), process.device.type, width, path)
    threads = use_threads(width, process.device.type, kept.get(THREADS))
    shared = [precision]  # the first process decides: others may run on another kind of processor
    if process.num_processes > 1:
        broadcast_object_list(shared)
    if process.is_main_process:
        say(precision_line(precision._replace(value=FP32 if precision.value == "no" else precision.value), threads))
    return str(shared[0].value)


def _precision(asked: str, kept: str | None, device: str, width: int, path: Path | None) -> Choice:
    if asked == "fp16" and device == "cpu":
        raise UserError("--mixed_precision fp16 needs a GPU; use bf16 or no")
    if asked != AUTO:
        slow = "" if asked == "no" or device != "cpu" or has_bf16() else ", although slow on this processor"
        return Choice(asked, f"as asked{slow}")
    here = choose_precision(device, width, has_tiles())
    ours = "no" if here.value == FP32 else str(here.value)
    if kept is None:
        return Choice(ours, here.why)
    if kept == "fp16" and device == "cpu":
        raise UserError(
            f"{path}: the run computes in fp16, which needs a GPU; resume it there, or in fp32 "
            "(--mixed_precision no --override)"
        )
    if kept != "no" and device == "cpu" and not has_bf16():
        raise UserError(
            f"{path}: the run computes in {kept}, which is slow on this processor, since it has no instructions for "
            "it; resume on another machine, or in fp32 (--mixed_precision no --override)"
        )
    return Choice(kept, "as the run began" if kept == ours else f"as the run began; a new one here uses {here.value}")


def width_of(path: Path) -> int:
    """The width of a checkpoint's network; 0 if the file names none (loading it then says what is wrong)."""
    config = _header(path).get("config")
    width = config.get("hidden_dim") if isinstance(config, dict) else None
    return width if type(width) is int else 0


def _header(path: Path) -> dict:
    content = read_header(path) if path.is_file() or (path / WEIGHTS_FILE).is_file() else None
    return content if isinstance(content, dict) else {}


def _kept(path: Path | None) -> dict:
    """The precision and threads that a last.pt holds; earlier versions computed in fp32 and stored neither."""
    state = _header(path).get("training") if path is not None else None
    if not isinstance(state, dict):
        return {}
    made_with, kept = state.get("made_with"), {"mixed_precision": "no"}
    if isinstance(made_with, dict) and made_with.get("mixed_precision") in PRECISIONS:
        kept["mixed_precision"] = made_with["mixed_precision"]
    if type(state.get(THREADS)) is int and 1 <= state[THREADS] <= 4096:
        kept[THREADS] = state[THREADS]
    return kept
