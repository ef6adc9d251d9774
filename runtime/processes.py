"""Several processes of one command, as torchrun and accelerate start them: which one this is, how they share work.

Functions that exchange values must be called by all processes, in the same order. A single process can call them, too.
Nothing here imports torch; without torch, no process knows of another.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import Any

from runtime.errors import UserError
from runtime.parallel import parallel_map
from runtime.rank import is_first

_alone = False  # True while this process works without the others
PATIENCE = timedelta(minutes=10)  # of a process for the others, before it takes one for lost


def started() -> int:
    """The number of processes that a launcher started for the command."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def writes_caches() -> bool:
    """Whether this process writes shared caches; one on each machine does, since each may have its own disk."""
    return count() == 1 or os.environ.get("LOCAL_RANK", "0") == "0"


def count() -> int:
    """The number of processes that know of each other."""
    group = _group()
    return 1 if group is None else group.get_world_size()


def number() -> int:
    """This process's number among those that know of each other, from 0."""
    group = _group()
    return 0 if group is None else group.get_rank()


def gather(value: Any) -> list:
    """The values of all processes, in their order."""
    group = _group()
    if group is None:
        return [value]
    values = [None] * group.get_world_size()
    group.all_gather_object(values, value)
    return values


def broadcast_from_first(value: Any) -> Any:
    """The value of the first process, for all; this process's own where it works `alone`."""
    return value if count() == 1 or _alone else gather(value)[0]


def shared_map(function: Callable, tasks: Iterable, num_workers: int, *shared: Any, at_a_time: int = 64) -> Iterator:
    """`parallel_map` whose tasks all processes share; each gets all results, in order.

    at_a_time: tasks that a process does before it shares its results. A UserError of one process ends all. Within a
    task, another map belongs to this process only.
    """
    if count() == 1 or _alone:
        yield from parallel_map(function, tasks, num_workers, *shared)
        return
    own = parallel_map(function, islice(tasks, number(), None, count()), num_workers, *shared)
    while True:
        done, error = [], None
        with alone():
            try:
                done.extend(islice(own, at_a_time))
            except UserError as own_error:
                error = own_error
        parts = gather((done, error))
        for _, their_error in parts:
            if their_error is not None:
                raise their_error
        for place in range(len(parts[0][0])):
            yield from (part[place] for part, _ in parts if place < len(part))
        if len(parts[-1][0]) < at_a_time:
            return


@contextmanager
def alone() -> Iterator[None]:
    """Within the block, `shared_map` is not shared: the other processes do something else, or nothing."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def require_acquainted() -> None:
    """Raises UserError if several processes were started and do not know of each other."""
    if started() > 1 and count() == 1:
        raise UserError(
            f"{started()} processes were started but do not see each other; on a CPU set ACCELERATE_USE_CPU=true for "
            "torchrun"
        )


def all_agree(condition: bool) -> bool:
    """Whether a condition holds in every process."""
    return all(gather(condition))


def first_decides(check: Callable[[], None]) -> None:
    """Let the first process check something; its UserError ends all."""
    error = None
    if is_first():
        try:
            check()
        except UserError as found:
            error = found
    error = gather(error)[0]
    if error is not None:
        raise error


def _group() -> Any:
    """torch.distributed, where processes know of each other through it."""
    distributed = sys.modules.get("torch.distributed")
    return distributed if distributed and distributed.is_available() and distributed.is_initialized() else None
