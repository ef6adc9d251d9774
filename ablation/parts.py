"""What an ablation runs: parts, each one command of the project with a folder of its own, run once and resumed.

A part's key is its command without the flags that change no result, what this version does otherwise than earlier ones,
and the keys of what it needs. So a changed flag runs again what depends on it and nothing else. What a part was before
is kept beside it, as .NAME.before, until the new run has ended. `part.json` in its folder keeps the key and, once it
is done, its seconds.
"""

import contextlib
import hashlib
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from unittest import mock

from checkpoints import FLOW, PREDICTOR, SCRIPT_OF, STUDENT
from evaluation import registry
from runtime.console import say
from runtime.errors import UserError
from runtime.files import temporary_beside, write_whole
from runtime.lifetime import PARENT
from runtime.untrusted import read_kept
from training import latents, trajectories
from training.resuming import EARLIER_VALUES, WITHOUT_EFFECT

ROOT = Path(__file__).resolve().parents[1]
RECORD = "part.json"
_PATIENCE = 20  # seconds from asking a part to end to killing it
_running: set[subprocess.Popen] = set()


@dataclass(frozen=True)
class Part:
    """One command of the project. A flag's value `@NAME/FILE` is a file of the part NAME, which runs before."""

    name: str
    script: str
    flags: tuple[str, ...]

    @property
    def needs(self) -> list[str]:
        return [flag[1:].split("/")[0] for flag in self.flags if flag.startswith("@")]

    @property
    def trains(self) -> bool:
        return self.script.startswith("train_")


def keys_of(parts: Sequence[Part], data: str) -> dict[str, str]:
    """What each part's result depends on, hashed: `data`, its command, this version's ways, and what it needs."""
    keys: dict[str, str] = {}
    for part in parts:
        made_from = [data, part.script, _deciding(part.flags), _of_version(part), [keys[name] for name in part.needs]]
        keys[part.name] = hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]
    return keys


def _deciding(flags: Sequence[str]) -> list[str]:
    """The flags, with their values, that may change a result: `data` says what is in the files, wherever they are."""
    kept, keeps = [], True
    for word in flags:
        if word.startswith("--"):
            keeps = word.removeprefix("--").partition("=")[0] not in WITHOUT_EFFECT
        if keeps:
            kept.append(word)
    return kept


def _of_version(part: Part) -> list[object]:
    """What decides the result of a part that is no flag: the settings that earlier versions had not, and how this
    version computes latents, embeddings of texts, trajectories and metrics."""
    found: list[object] = sorted(EARLIER_VALUES.items()) if part.trains else [registry.METRICS_VERSION]
    if part.script in (SCRIPT_OF[PREDICTOR], SCRIPT_OF[FLOW], SCRIPT_OF[STUDENT]):
        found += [latents.LATENTS_VERSION, latents.TEXTS_VERSION]
    if part.script == SCRIPT_OF[STUDENT]:
        found.append(trajectories.TRAJECTORIES_VERSION)
    return found


def require_parsed(parts: Sequence[Part]) -> None:
    """Raises UserError if a script does not know the flags that a part gives it: before anything is trained."""
    for part in parts:
        script, said = importlib.import_module(part.script.removesuffix(".py")), io.StringIO()
        typed = [part.script, *part.flags, "--output_dir", part.name]
        try:
            with mock.patch.object(sys, "argv", typed), contextlib.redirect_stderr(said):
                script.parse_arguments()
        except SystemExit:
            reason = said.getvalue().strip().splitlines()[-1].partition("error: ")[2]
            raise UserError(f"--recipe: {part.script} of {part.name}: {reason}") from None


def read_record(folder: Path) -> dict:
    """The record of a part, empty where it never ran. UserError of a damaged one."""
    damaged = f"not the record of a part; delete {folder}, and the part runs again"
    return read_kept(folder / RECORD, _is_record, damaged) or {}


def _is_record(record: object) -> bool:
    return (
        isinstance(record, dict)
        and isinstance(record.get("key"), str)
        and all(type(record.get(name, 0.0)) in (int, float) for name in ("seconds", "stopped_after"))
    )


def _write_record(folder: Path, record: dict) -> None:
    with write_whole(folder / RECORD, "w") as file:
        json.dump(record, file)


def is_done(folder: Path, key: str) -> bool:
    record = read_record(folder)
    return record.get("key") == key and "seconds" in record


def run_part(part: Part, key: str, output_dir: Path, threads: int) -> float:
    """Run a part in output_dir/NAME, or resume from its last.pt; returns its seconds, with those before a stop."""
    folder, before = output_dir / part.name, output_dir / f".{part.name}.before"
    if is_done(before, key):  # its flags are as they were
        _replace(folder, before)
    record = read_record(folder)
    if is_done(folder, key):
        _remove(before)
        return record["seconds"]
    if not record and _holds_something(folder):
        raise UserError(f"{folder}: holds something that is no part of an ablation; choose another --output_dir")
    if record and record["key"] != key:
        say(f"{part.name}: runs again, since it was made with other flags or data, or by an earlier version")
        if "seconds" in record:
            say(f"{part.name}: what it was is kept as {before.name} until then")
            _replace(before, folder)
        else:
            _remove(folder)
        record = {}
    flags = [str(output_dir / flag[1:]) if flag.startswith("@") else flag for flag in part.flags]
    if part.trains and record:
        last = folder / "last.pt"
        flags += ["--resume_from", str(last)] if last.is_file() else ["--overwrite"]  # stopped in its first epoch
    earlier = record.get("stopped_after", 0.0)
    started = time.perf_counter()
    _write_record(folder, {"key": key, "stopped_after": earlier})
    command = [sys.executable, str(ROOT / part.script), *flags, "--output_dir", str(folder)]
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ, PARENT: str(os.getpid())}
    with open(folder / "output.log", "a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        _running.add(process)
        try:
            status = process.wait()
        finally:
            process.kill()
            _running.discard(process)
            _write_record(folder, {"key": key, "stopped_after": earlier + time.perf_counter() - started})
    if status:
        lines = (folder / "output.log").read_text(errors="replace").strip().splitlines()
        reason = lines[-1].removeprefix("error: ") if lines else f"exit code {status}"
        raise UserError(f"{part.name}: {reason} (all of it: {folder / 'output.log'})")
    seconds = round(earlier + time.perf_counter() - started, 1)
    _write_record(folder, {"key": key, "seconds": seconds})
    _remove(before)
    return seconds


def _holds_something(folder: Path) -> bool:
    """Whether a folder holds more than what a kill leaves that comes before a part's first record is whole."""
    return folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir())


def _replace(folder: Path, other: Path) -> None:
    """Move the folder `other` to `folder`, in place of one there."""
    _remove(folder)
    other.rename(folder)


def _remove(folder: Path) -> None:
    """Remove a folder. What a kill leaves of it has a name that nobody reads, and goes with a later removal."""
    if folder.exists():
        gone = temporary_beside(folder)
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def run_parts(parts: Sequence[Part], data: str, output_dir: Path, jobs: int) -> None:
    """Run all parts, `jobs` at a time, each after what it needs; `parts` lists what is needed first."""
    keys = keys_of(parts, data)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    futures: dict[str, Future[float]] = {}
    failed = Event()

    def run(number: int, part: Part) -> float:
        for name in part.needs:
            futures[name].result()
        if failed.is_set():  # this part would run for hours before the failure is shown
            raise CancelledError
        known = is_done(output_dir / part.name, keys[part.name])
        if not known:
            say(f"[{number}/{len(parts)}] {part.name}: {part.script}")
        try:
            seconds = run_part(part, keys[part.name], output_dir, threads)
        except BaseException:
            failed.set()
            raise
        say(f"[{number}/{len(parts)}] {part.name}: {'was done' if known else 'done'}, {seconds:.0f} s")
        return seconds

    with ThreadPoolExecutor(jobs) as pool:
        for number, part in enumerate(parts, 1):
            futures[part.name] = pool.submit(run, number, part)
        try:
            for future in as_completed(futures.values()):
                with contextlib.suppress(CancelledError):
                    future.result()
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if not isinstance(error, Exception):
                _stop_running()  # else what runs already is waited for
            raise


def _stop_running() -> None:
    """End the parts that run: a training has the time to keep what it has reached."""
    stopped = list(_running)
    for process in stopped:
        process.terminate()
    try:
        for process in stopped:
            process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        print(f"a part does not end within {_PATIENCE} seconds and is killed", flush=True)
    finally:
        for process in stopped:
            process.kill()
