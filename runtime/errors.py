"""How a script says what a user did wrong: one sentence on stderr, exit code 2, no traceback."""

import io
import os
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from runtime.lifetime import LOST, PARENT, Stopped, end_with_parent, stopped_by
from runtime.rank import is_first


class UserError(Exception):
    """Something the user can fix. The message names the file, what is wrong with it, and what to do."""


def without_tricks(message: str, kept: str = "\n\t") -> str:
    """The message, with every character spelt out, such as \\x1b or \\u202e, that a terminal would not show as it is.

    Messages hold names and texts of files, which may hold marks that turn around or hide what follows. The letters in
    `kept` stay, and so do joiners, which some scripts need within words.
    """
    shows = str.isprintable
    return "".join(c if shows(c) or c in kept + "\u200c\u200d" else ascii(c)[1:-1] for c in message)


def first_line(error: Exception) -> str:
    """The first line of another library's error message, shortened."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:160]


# PyTorch's messages when a process that it waits for has ended or is silent; it has no type of error for this.
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting", "pair closure")
_FIRST_TO_SPEAK = 15.0  # seconds for which other processes let the first print its error, and the launcher end them

LESS_MEMORY = (
    "lower --batch_size (in training raise --gradient_accumulation_steps as much) or --max_seq_len, "
    "or free memory that other programs hold"
)


def run(main: Callable[[], None]) -> None:
    """Run a script's `main`; a UserError, Ctrl-C or SIGTERM ends it with one sentence, not a traceback.

    Of several processes the first one prints. Another prints its error only if the first has not ended the command by
    then. No print ends a script: a console whose encoding lacks a letter (cp1252, latin-1, ASCII) shows \\uXXXX, and
    where nobody reads any more, the script goes on.
    """
    if PARENT in os.environ:
        end_with_parent(int(os.environ.pop(PARENT)))
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        stream = stream.stream if isinstance(stream, _MayLoseReader) else stream
        if isinstance(stream, io.TextIOWrapper):  # None without a console, or what a caller put in its place
            stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, _MayLoseReader(stream))
    if not is_first():
        sys.stdout = _Silence()
    try:
        with stopped_by("SIGTERM"):
            main()
    except UserError as error:
        _refuse(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or error
        _refuse(f"{where}{reason}; check the path, its permissions and the free space")
    except UnicodeEncodeError as error:  # of a file's name, or of a text from the command line
        letters = ascii(error.object[error.start : error.end])
        _refuse(f"{error.encoding} has no {letters}; set PYTHONUTF8=1, or write names in ASCII")
    except (RuntimeError, MemoryError) as error:
        if is_lost(error):
            print(f"error: {LOST}; its message is printed above", file=sys.stderr)
            sys.exit(2)
        if not _out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        _refuse(f"out of memory ({reason}); {LESS_MEMORY}")
    except KeyboardInterrupt as stop:  # a run that trains says how to go on
        print("; ".join(["stopped by the user", *map(str, stop.args)]), file=sys.stderr)
        sys.exit(130)
    except Stopped as stop:
        if str(stop):
            print(stop, file=sys.stderr)
        sys.exit(stop.code)


class _MayLoseReader:
    """A stream that leads nowhere once its reader has gone, as after `| head`, so that the script does its work."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except BrokenPipeError:
            self._lead_nowhere()
            return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except BrokenPipeError:
            self._lead_nowhere()

    def _lead_nowhere(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)


class _Silence(io.TextIOBase):
    """A stream that shows nothing."""

    def write(self, text: str) -> int:
        return len(text)


def _refuse(reason: str) -> NoReturn:
    if not is_first():
        time.sleep(_FIRST_TO_SPEAK)
    print(f"error: {without_tricks(reason)}", file=sys.stderr)
    sys.exit(2)


def is_lost(error: BaseException) -> bool:
    """Whether an error says that another process of this command has ended, or does not answer."""
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _LOST)


def _out_of_memory(error: Exception) -> bool:
    """Whether main memory or a GPU's is full: `torch.OutOfMemoryError` by its name, as not every script needs torch."""
    by_name = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or by_name
