"""How a process ends: together with its parent, however that ends, and upon a signal by an exception."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

PARENT = "SIGN_END_WITH_PARENT"  # environment variable: the ID of a process; the script ends together with it
GO_ON = 75  # exit code of a stopped run that the same command resumes
LOST = "another process of this command has ended, or does not answer"
_PR_SET_PDEATHSIG = 1  # of Linux's prctl.h


class Stopped(BaseException):
    """A signal asked this process to end; the message says what to do then."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def stop_upon(*names: str, message: str, code: int) -> None:
    """Turn signals, by name, into `Stopped` from now on, so that files are closed and children ended on the way out."""
    if threading.current_thread() is threading.main_thread():
        for number in _numbers(names):
            signal.signal(number, _stopping(message, code))


@contextlib.contextmanager
def stopped_by(*names: str) -> Iterator[None]:
    """Turn signals into `Stopped` within a block, with the exit code of a shell for a process that a signal ended."""
    with handled(_stopping("stopped by {name}", None), *names):
        yield


def _stopping(message: str, code: int | None) -> Callable[[int, object], None]:
    def stop(number: int, _frame: object) -> None:
        name = signal.Signals(number).name
        raise Stopped(message.format(name=name), 128 + number if code is None else code)

    return stop


def _numbers(names: tuple[str, ...]) -> list[int]:
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


@contextlib.contextmanager
def handled(handler: object, *names: str) -> Iterator[None]:
    """Set a handler for the named signals within a block; outside the main thread, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in _numbers(names)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextlib.contextmanager
def held_back(*names: str) -> Iterator[None]:
    """Delay the named signals until the block ends: an exception that a handler raises during a fork would be lost."""
    arrived: list[int] = []
    try:
        with handled(lambda number, _frame: arrived.append(number), *names):
            yield
    finally:
        for number in arrived:
            signal.raise_signal(number)


def end_with_parent(parent: int) -> None:
    """Kill this process as soon as `parent`, which started it, has ended."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
