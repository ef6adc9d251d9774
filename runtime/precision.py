"""Which number format networks multiply in, and on how many threads; chosen for the machine unless the user says.

bf16 is faster if the processor has matrix tiles for it (AMX), and only in wide networks: narrow ones spend their time
between the products. Small networks use one thread. Larger ones use the cores that are free when the script starts,
since two threads that share a core wait for each other at every product.
"""

import os
import time
from pathlib import Path
from typing import NamedTuple

import torch

from runtime.config import AUTO
from runtime.console import say
from runtime.processes import broadcast_from_first

FP32, BF16, INT8 = "fp32", "bf16", "int8"
WIDE = 384  # hidden_dim from which bf16 is faster on AMX for single clips, too; for batches it is from 256 on
SMALL = 256  # hidden_dim below which one thread is used
THREADS_ASKED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_OWN_THREADS = torch.get_num_threads()  # PyTorch's own choice: the cores that this process may use
_LOOKED_AT = 0.2  # seconds for which the machine's load is watched
_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


class Choice(NamedTuple):
    """What was chosen, and why, as the second half of a sentence."""

    value: str | int
    why: str


def has_bf16() -> bool:
    """Whether the processor multiplies in bf16 at all; elsewhere it is a hundred times slower than fp32."""
    processor = torch.cpu.get_capabilities()
    return bool(processor.get("avx512_bf16") or processor.get("amx_bf16"))


def has_tiles() -> bool:
    """Whether this process may multiply in bf16 tiles (AMX): the processor has them, and the system allows it."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16")) and torch.cpu._init_amx()


def choose_precision(device: str, width: int, tiles: bool) -> Choice:
    """fp32 or bf16, for the type of a device and the widest network of a run."""
    if device != "cpu":
        return Choice(FP32, f"the default on {device}")
    if not tiles:
        return Choice(FP32, "since this processor has no bf16 tiles (AMX)")
    if width < WIDE:
        return Choice(FP32, f"since networks under {WIDE} wide gain nothing from bf16")
    return Choice(BF16, "since this processor has bf16 tiles (AMX)")


def choose_threads(width: int, most: int, free: float) -> Choice:
    """Threads for a network of that width, given what PyTorch may take at most and the cores that are free."""
    if width < SMALL:
        return Choice(1, "the network is small")
    threads = max(1, min(most, int(free + 0.5)))
    return Choice(threads, "all it may take" if threads == most else f"{most} cores, busy with other work")


def use_threads(width: int, device: str, kept: int | None = None) -> Choice:
    """Set PyTorch's threads for a network of that width; `kept`: the thread count of the run being resumed.

    The variables of THREADS_ASKED decide, if the environment sets one of them.
    """
    now = torch.get_num_threads()
    if asked := [name for name in THREADS_ASKED if os.environ.get(name)]:
        return Choice(now, asked[0])
    if device != "cpu":
        return Choice(now, "PyTorch's own")
    most = max(1, int(min(_OWN_THREADS, quota() + 0.5)))
    if kept is not None:
        threads = Choice(min(kept, most), "as the run began" if kept <= most else f"the run had {kept}")
    else:
        threads = choose_threads(width, most, free_cores() if width >= SMALL and most > 1 else 1.0)
    torch.set_num_threads(threads.value)
    return threads


def precision_line(precision: Choice, threads: Choice) -> str:
    """The line about precision and threads that a script prints at its start."""
    count = f"{threads.value} thread{'s' if threads.value > 1 else ''}"
    return f"precision: {precision.value}, {precision.why}; {count} ({threads.why})"


def settle_precision(asked: str, device: str, width: int) -> str:
    """The precision of a script that signs; also sets its threads and prints both in one line.

    Of several processes the first decides: the others may run on another kind of processor.
    """
    precision = choose_precision(device, width, has_tiles()) if asked == AUTO else Choice(asked, "as asked")
    precision = broadcast_from_first(precision)
    say(precision_line(precision, use_threads(width, device)))
    return str(precision.value)


# ---- what the machine has left ---------------------------------------------------------------------------------------


def free_cores() -> float:
    """The cores that this process may use and that are idle now; all of them if the system does not tell."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    before = _ticks(allowed)
    if before is None:
        return float(len(allowed))
    time.sleep(_LOOKED_AT)
    idle, total = (after - then for after, then in zip(_ticks(allowed) or before, before, strict=True))
    return len(allowed) * idle / total if total > 0 else float(len(allowed))


def _ticks(cores: list[int]) -> tuple[int, int] | None:
    """Idle and all ticks of these cores since the machine started; None where /proc/stat does not count them."""
    try:
        lines = (_PROC / "stat").read_text().splitlines()
    except OSError:
        return None
    wanted = {f"cpu{core}" for core in cores}
    counts = [list(map(int, line.split()[1:9])) for line in lines if line.partition(" ")[0] in wanted]
    if len(counts) < len(cores):
        return None
    return sum(of_core[3] + of_core[4] for of_core in counts), sum(map(sum, counts))


def quota() -> float:
    """Cores' worth of time that the control groups of this process allow (containers, SLURM); inf without a limit."""
    try:
        lines = (_PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return float("inf")
    limits = [float("inf")]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2: a folder's limit holds for all below it
            folder = _CGROUPS / path.strip("/")
            limits += [_share(*_words(place / "cpu.max", 2)) for place in (folder, *folder.parents)]
        elif "cpu" in controllers.split(","):
            folder = _CGROUPS / "cpu" / path.strip("/")
            for place in (folder, *folder.parents):
                limits.append(_share(*_words(place / "cpu.cfs_quota_us", 1), *_words(place / "cpu.cfs_period_us", 1)))
    return min(limits)


def _words(path: Path, number: int) -> list[str]:
    try:
        return (path.read_text().split() + ["max"] * number)[:number]
    except OSError:
        return ["max"] * number


def _share(most: str, period: str) -> float:
    """A quota over its period, "max" or -1 for none."""
    return int(most) / int(period) if most.isdigit() and period.isdigit() and int(period) > 0 else float("inf")
