"""What a script shows while it works. With --quiet only warnings, errors and the last line are printed."""

import threading
from collections.abc import Iterable

from tqdm import tqdm

from runtime.errors import without_tricks
from runtime.rank import is_first

_quiet = False
# One process shows bars. Forks share tqdm's own lock: a process that is killed while it holds it stops all others.
tqdm.set_lock(threading.RLock())


def be_quiet(quiet: bool) -> None:
    """Set whether this process hides what `say` and `progress_bar` show."""
    global _quiet
    _quiet = quiet


def say(*words: object, sep: str = " ") -> None:
    """Print what a user may want to know but need not."""
    if not _quiet:
        print(without_tricks(sep.join(map(str, words))), flush=True)


def progress_bar(items: Iterable, what: str | None, unit: str, *, hidden: bool = False, **more: object) -> tqdm:
    """A progress bar on a terminal; elsewhere, and where it is hidden, the items alone. `more` goes to tqdm.

    Of several processes the first alone shows one.
    """
    return tqdm(items, desc=what, unit=unit, disable=True if hidden or _quiet or not is_first() else None, **more)
