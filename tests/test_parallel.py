"""The ordered map over processes: as `map`, whatever their number, and no further ahead than it must."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tqdm import tqdm

from runtime import parallel
from runtime.console import progress_bar
from runtime.parallel import parallel_map

ROOT = Path(__file__).resolve().parents[1]


def work(task: int, factor: int) -> tuple[int, int]:
    if task == 99:
        raise ValueError("task 99")
    return factor * task, os.getpid()


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_results_come_in_order_and_tasks_are_asked_for_as_needed(num_workers: int):
    asked = []

    def tasks():
        for number in range(40):
            asked.append(number)
            yield number

    results = parallel_map(work, tasks(), num_workers, 10)
    first, process = next(results)
    assert (first, len(asked)) == (0, 4 * num_workers if num_workers > 1 else 1)
    assert (process == os.getpid()) == (num_workers <= 1)
    assert [value for value, _ in results] == [10 * number for number in range(1, 40)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_in_a_task_is_the_callers(num_workers: int):
    with pytest.raises(ValueError, match="task 99"):
        list(parallel_map(work, [1, 99, 2], num_workers, 1))


# ---- how workers end -------------------------------------------------------------------------------------------------

PROGRAM = """import os, sys, time
from runtime import errors
from runtime.parallel import parallel_map

def work(task):
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")
    if task == int(sys.argv[2]):
        os.kill(os.getpid(), 9)
    time.sleep(float(sys.argv[3]))
    return bytes(300_000)

def main():
    for _ in parallel_map(work, range(10**6), 2):
        pass

if __name__ == "__main__":
    errors.run(main)
"""


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start the program in a process group of its own, as a terminal does; wait until both workers are at work."""
    (tmp_path / "program.py").write_text(PROGRAM)
    started = []

    def start(kills: int = -1, seconds: float = 0.0) -> subprocess.Popen:
        pids = tmp_path / "pids"
        pids.unlink(missing_ok=True)
        words = [sys.executable, str(tmp_path / "program.py"), str(pids), str(kills), str(seconds)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment
        )
        started.append(process)
        wait_for(lambda: process.poll() is not None or (pids.exists() and len(set(pids.read_text().split())) == 2))
        process.workers = [int(pid) for pid in set(pids.read_text().split())]
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.1])
def test_ctrl_c_ends_everything_at_once_with_one_sentence(begin, delay: float):
    process = begin()
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 130
    assert said == "stopped by the user\n"
    assert not any(map(is_alive, process.workers))


@pytest.mark.parametrize("seconds", [0, 60])
def test_workers_end_with_their_parent_even_when_it_is_killed(begin, seconds: int):
    process = begin(seconds=seconds)
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(is_alive, process.workers)), 5)


def test_sigterm_ends_all_too(begin):
    process = begin(seconds=60)
    process.terminate()
    _, said = process.communicate(timeout=10)
    assert (process.returncode, said) == (143, "stopped by SIGTERM\n")
    assert not any(map(is_alive, process.workers))


def test_a_worker_that_is_killed_is_one_sentence(begin):
    process = begin(kills=20)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 2
    assert said.startswith("error: a worker process was killed (SIGKILL); lower --num_workers")
    assert said.count("\n") == 1


def test_a_map_that_is_left_early_ends_its_workers():
    results = parallel_map(work, range(100), 2, 1)
    _, pid = next(results)
    results.close()
    assert not is_alive(pid)


class Peculiar(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def peculiar(_: int) -> None:
    raise Peculiar(1, 2)


def test_an_error_that_cannot_be_sent_says_what_it_said():
    with pytest.raises(RuntimeError, match="Peculiar: 1 and 2"):
        list(parallel_map(peculiar, [0], 2))


def test_where_processes_start_slowly_they_serve_the_next_map(monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "spawn")
    monkeypatch.setattr(parallel.multiprocessing, "Process", multiprocessing.get_context("spawn").Process)
    first = {pid for _, pid in parallel_map(work, range(20), 2, 1)}
    idle = {worker.process.pid for worker in parallel._idle}
    assert first <= idle
    assert [value for value, _ in parallel_map(work, range(5), 2, 3)] == [0, 3, 6, 9, 12]
    assert {pid for _, pid in parallel_map(work, range(20), 2, 1)} <= idle
    assert idle.isdisjoint(pid for _, pid in parallel_map(work, range(20), 3, 1))
    parallel._end(parallel._idle)
    parallel._idle.clear()


def test_a_fork_that_is_killed_while_it_shows_a_bar_stops_no_other():
    tqdm.get_lock()  # made before the fork, as the bars of earlier work make it
    child = os.fork()
    if child == 0:
        tqdm.get_lock().acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    shown = threading.Thread(target=lambda: list(progress_bar([1, 2], "reading", "clip")), daemon=True)
    shown.start()
    shown.join(timeout=10)
    assert not shown.is_alive()
