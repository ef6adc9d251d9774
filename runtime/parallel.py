"""An ordered map over processes, which end with this one: by Ctrl-C, by an error, or when it is killed."""

import multiprocessing
import os
import pickle
import queue
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from threadpoolctl import threadpool_limits

from runtime.errors import UserError
from runtime.lifetime import end_with_parent, held_back

_AHEAD = 4  # tasks per worker that are read ahead of the results, so that memory does not grow with their number
_AT_WORK = 2  # of these, tasks that a worker holds, so that it need not wait for the next one

_idle: list["_Worker"] = []  # workers of the last map, kept where starting a process takes long


def parallel_map(function: Callable, tasks: Iterable, num_workers: int, *shared: Any) -> Iterator:
    """function(task, *shared) for each task, in order; in `num_workers` processes if that is more than one.

    `shared` is sent to each process once, not once per task. Tasks are read from the iterator as they are needed.
    Raises UserError if a process is killed.
    """
    if num_workers <= 1:
        for task in tasks:
            yield function(task, *shared)
        return
    workers = _start(num_workers, function, shared)
    try:
        yield from _in_order(workers, tasks)
    except BaseException:
        _end(workers)
        raise
    if multiprocessing.get_start_method() == "fork" or _idle:  # a fork takes milliseconds, and shares memory
        _end(workers)
    else:
        _idle.extend(workers)


def _in_order(workers: list["_Worker"], tasks: Iterable) -> Iterator:
    """The results of the tasks, each given to a worker that has room for it."""
    numbered = enumerate(tasks)
    waiting: deque[tuple[int, Any]] = deque()
    results: dict[int, Any] = {}
    num_read = num_yielded = 0  # tasks, results
    more = True
    while True:
        while more and num_read - num_yielded < _AHEAD * len(workers):
            task = next(numbered, None)
            more = task is not None
            if more:
                waiting.append(task)
                num_read += 1
                _hand_out(workers, waiting)
                results |= _receive(workers, timeout=0)
        if num_yielded == num_read:
            return
        while num_yielded not in results:
            _hand_out(workers, waiting)
            results |= _receive(workers, timeout=None)
        _hand_out(workers, waiting)
        succeeded, value = results.pop(num_yielded)
        if not succeeded:
            raise value
        yield value
        num_yielded += 1


def _hand_out(workers: list["_Worker"], waiting: deque) -> None:
    while waiting:
        worker = min(workers, key=lambda worker: worker.at_work)
        if worker.at_work == _AT_WORK:
            return
        worker.send(waiting.popleft())
        worker.at_work += 1


def _receive(workers: list["_Worker"], timeout: float | None) -> dict[int, tuple[bool, Any]]:
    """The results that have arrived, by task number: whether the task succeeded, and its value or error."""
    by_connection = {worker.connection: worker for worker in workers if worker.at_work}
    results = {}
    for connection in wait(list(by_connection), timeout) if by_connection else ():
        number, *result = by_connection[connection].receive()
        results[number] = result
    return results


# ---- a worker, seen from the process that started it -----------------------------------------------------------------


class _Worker:
    """A process and a pipe of its own: one that is killed holds no lock that others wait for."""

    def __init__(self, others: list["_Worker"], function: Callable, shared: tuple) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        is_fork = multiprocessing.get_start_method() == "fork"
        ours = [self.connection, *(other.connection for other in others)] if is_fork else []
        in_main = threading.current_thread() is threading.main_thread()
        parent = os.getpid() if in_main else None  # Linux watches the thread that started it
        arguments = (theirs, ours, parent, function, shared)
        self.process = multiprocessing.Process(target=_work, args=arguments, daemon=True)
        self.at_work = 0
        with held_back("SIGINT", "SIGTERM", "SIGUSR1"):
            self.process.start()
        theirs.close()

    def send(self, message: object) -> None:
        try:
            self.connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
        except OSError:
            raise self.ended() from None

    def receive(self) -> tuple:
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            raise self.ended() from None
        self.at_work -= 1
        return message

    def ended(self) -> UserError:
        """The message about a worker that has ended."""
        self.process.join(5)
        code = self.process.exitcode
        how = f"was killed ({signal.Signals(-code).name})" if code and code < 0 else f"ended (exit code {code})"
        return UserError(f"a worker process {how}; lower --num_workers, or free memory that other programs hold")


def _start(num_workers: int, function: Callable, shared: tuple) -> list[_Worker]:
    """Workers for a map: those of the last map if it had as many, else new ones."""
    workers, _idle[:] = _idle[:], []
    if len(workers) == num_workers and all(worker.process.is_alive() for worker in workers):
        for worker in workers:
            worker.send((function, shared))
        return workers
    _end(workers)
    workers = []
    try:
        while len(workers) < num_workers:
            workers.append(_Worker(workers, function, shared))
    except BaseException:
        _end(workers)
        raise
    return workers


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.process.kill()
    for worker in workers:
        worker.connection.close()
        worker.process.join()


# ---- within a worker -------------------------------------------------------------------------------------------------


def as_worker(parent: int | None) -> None:
    """What a worker process does first: it leaves signals for the whole job to its parent, and ends together with
    it. `parent`: the process that started it, from its main thread, or None."""
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if parent is not None:
        end_with_parent(parent)


def as_loader_worker(parent: int, _number: int) -> None:
    """`as_worker` for a worker of PyTorch's loader, which leaves SIGTERM, too, to its parent."""
    as_worker(parent)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_on_sigterm, args=(parent,), daemon=True).start()


def _end_on_sigterm(parent: int) -> None:
    """End this process at once upon its parent's SIGTERM. Any other SIGTERM goes to the whole job: the parent acts."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


def _work(
    connection: Connection, inherited: list[Connection], parent: int | None, function: Callable, shared: tuple
) -> None:
    """Do what comes through the pipe until its other end is closed."""
    as_worker(parent)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in inherited:
        other.close()
    threadpool_limits(1)  # the processes are the parallelism; threads of each would get in the others' way
    messages: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, messages), daemon=True).start()
    while True:
        message = messages.get()
        if isinstance(message, Exception):
            raise message
        number, task = message
        if callable(number):  # the next map
            function, shared = message
            continue
        try:
            answer = pickle.dumps((number, True, function(task, *shared)), pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            error.add_note(traceback.format_exc())
            answer = pickle.dumps((number, False, _portable(error)))
        connection.send_bytes(answer)


def _listen(connection: Connection, messages: queue.SimpleQueue) -> None:
    """Take every message at once, so that the sender never waits; end the process when the pipe is closed."""
    try:
        while True:
            messages.put(pickle.loads(connection.recv_bytes()))
    except (EOFError, OSError):
        os._exit(0)
    except Exception as error:  # the message cannot be read here: the worker says so
        messages.put(error)


def _portable(error: Exception) -> Exception:
    """The error, or what it says where the error itself cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception may define any constructor
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
