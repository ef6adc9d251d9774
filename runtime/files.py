"""Files that appear whole or not at all, and files of texts."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from runtime.errors import UserError


@contextmanager
def write_whole(path: Path, mode: str = "wb") -> Iterator[IO]:
    """Open a file that appears at `path` complete or not at all: written beside it, flushed to disk, then renamed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = error.strerror or error  # numpy reports a write that falls short without an error number
            raise UserError(f"{path}: not written ({reason}); check the free space and the permissions") from error
        raise


def read_texts(path: Path) -> list[str]:
    """The lines of a text file, blank ones left out."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; it should hold a text a line") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; convert it, for example with iconv") from None
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise UserError(f"{path}: holds no text; write one a line")
    return texts
