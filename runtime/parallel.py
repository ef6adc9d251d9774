"""An ordered map over processes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from threadpoolctl import threadpool_limits

_AHEAD = 4  # tasks a worker that may be under way or wait to be taken, so that memory does not grow with their number

_function: Callable | None = None  # of a worker process, with what all its tasks share
_shared: tuple = ()


def parallel_map(function: Callable, tasks: Iterable, num_workers: int, *shared: Any) -> Iterator:
    """function(task, *shared) for each task, in order; in `num_workers` processes where more than one is asked for.

    What is `shared` reaches each process once, not once a task. Tasks are asked for as they are needed.
    """
    if num_workers <= 1:
        for task in tasks:
            yield function(task, *shared)
        return
    with ProcessPoolExecutor(num_workers, initializer=_start, initargs=(function, shared)) as pool:
        waiting = deque()
        for task in tasks:
            waiting.append(pool.submit(_run, task))
            if len(waiting) >= _AHEAD * num_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _start(function: Callable, shared: tuple) -> None:
    global _function, _shared
    _function, _shared = function, shared
    threadpool_limits(1)  # the processes are the parallelism; threads of each would get in the others' way


def _run(task: Any) -> Any:
    return _function(task, *_shared)
