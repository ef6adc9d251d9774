"""What torchrun starts twice for test_processes.py: commands in turn, in one process, some of which are interrupted.

A line of the file is an interruption and a command: `-` none, `stop:N` a SIGTERM to every process in its N-th batch,
`kill:N` a SIGKILL of the second process there.
"""

import contextlib
import importlib
import os
import shlex
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runtime import errors
from training import engine

forward = engine.Objective.forward


def interrupt(how: str) -> None:
    """From now on the batch of that number is interrupted; `-` is none."""
    kind, _, number = how.partition(":")
    calls = iter(range(1, 10**6))

    def interrupted(self, *args):
        if str(next(calls)) == number:
            if kind == "stop":
                signal.raise_signal(signal.SIGTERM)
            elif os.environ["RANK"] == "1":
                os.kill(os.getpid(), signal.SIGKILL)
        return forward(self, *args)

    engine.Objective.forward = interrupted if number else forward


for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
    how, script, *flags = shlex.split(line)
    interrupt(how)
    sys.argv = [script, *flags]
    with contextlib.suppress(SystemExit) if how.startswith("stop") else contextlib.nullcontext():
        errors.run(importlib.import_module(script.removesuffix(".py")).main)
