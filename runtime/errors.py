"""How a script says what a user did wrong: one sentence on stderr, exit code 2, no traceback."""

import io
import os
import sys
from collections.abc import Callable

from runtime.lifetime import PARENT, Stopped, end_with_parent, stopped_by


class UserError(Exception):
    """Something the user can mend. The message names the file, what is wrong with it, and what to do."""


LESS_MEMORY = (
    "lower --batch_size (in training raise --gradient_accumulation_steps as much) or --max_seq_len, "
    "or free memory that other programs hold"
)


def run(main: Callable[[], None]) -> None:
    """Run a script's `main`; what a user can mend, Ctrl-C, or SIGTERM ends it with one sentence, not a traceback.

    A console whose encoding lacks a letter (cp1252, latin-1, ASCII) shows it as \\uXXXX: no print ends a script.
    """
    if PARENT in os.environ:
        end_with_parent(int(os.environ.pop(PARENT)))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None without a console, or what a caller put in its place
            stream.reconfigure(errors="backslashreplace")
    try:
        with stopped_by("SIGTERM"):
            main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or error
        print(f"error: {where}{reason}; check the path, its permissions and the free space", file=sys.stderr)
        sys.exit(2)
    except UnicodeEncodeError as error:  # of a file's name, or of a text from the command line
        letters = ascii(error.object[error.start : error.end])
        print(f"error: {error.encoding} has no {letters}; set PYTHONUTF8=1, or write names in ASCII", file=sys.stderr)
        sys.exit(2)
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        print(f"error: out of memory ({reason}); {LESS_MEMORY}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped by the user; go on with --resume_from last.pt where the stage has one", file=sys.stderr)
        sys.exit(130)
    except Stopped as stop:
        if str(stop):
            print(stop, file=sys.stderr)
        sys.exit(stop.code)


def _out_of_memory(error: Exception) -> bool:
    """Of the main memory, or of a GPU's: `torch.OutOfMemoryError`, known by name, as not every script needs torch."""
    by_name = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or by_name
