"""Files that appear whole or not at all, and the lines of text files."""

import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from runtime.errors import UserError

_UTF16 = "not UTF-8 but UTF-16; convert it: iconv -f UTF-16 -t UTF-8"
_NO_UTF8 = {
    b"\xff\xfe": _UTF16,
    b"\xfe\xff": _UTF16,
    b"\x1f\x8b": "not UTF-8 but compressed by gzip; unpack it with gunzip",
    b"PK\x03\x04": "no text but a zip archive, as .xlsx and .ods are; save the sheet as CSV in UTF-8",
}
_TEMPORARY = re.compile(r"\..+\.(?P<machine>[0-9a-f]{8})-(?P<process>\d{1,10})\.[0-9a-f]{8}")
_swept: set[Path] = set()  # folders, once a process


@contextmanager
def write_whole(path: Path, mode: str = "wb") -> Iterator[IO]:
    """Open a file that appears at `path` complete or not at all: written beside it, flushed to disk, then renamed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with open(temporary, mode.replace("w", "x"), encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = error.strerror or error  # numpy reports a write that falls short without an error number
            raise UserError(f"{path}: not written ({reason}); check the free space and the permissions") from error
        raise


@contextmanager
def write_whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder to write files into, which appears at `folder` complete or not at all, in place of one there."""
    folder = Path(folder).resolve()  # a link to a folder stays one
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary, before = temporary_beside(folder), temporary_beside(folder)
    try:
        temporary.mkdir()
        yield temporary
        for path in temporary.iterdir():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        if folder.exists():
            os.rename(folder, before)
        os.rename(temporary, folder)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if before.exists() and not folder.exists():
            os.rename(before, folder)
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise UserError(f"{folder}: not written ({reason}); check the free space and the permissions") from error
        raise
    shutil.rmtree(before, ignore_errors=True)


def is_undecoded(text: str) -> bool:
    """Whether a text of the system, such as a file's name, is no UTF-8: Python keeps its bytes as surrogates."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def require_writable(folder: Path) -> None:
    """Raises UserError if no file could be written into a folder, which need not be there. Nothing stays behind."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise UserError(
            f"{folder}: not writable ({error.strerror}); check the free space and the permissions, or choose another "
            "folder"
        ) from error


def temporary_beside(path: Path) -> Path:
    """A name for what is not whole yet; what dead processes left under such names in the folder is removed.

    The name says which process of which machine writes there.
    """
    if path.parent not in _swept:
        _swept.add(path.parent)
        _sweep(path.parent)
    return path.with_name(f".{path.name[:50]}.{_machine()}-{os.getpid()}.{secrets.token_hex(4)}")


def _sweep(folder: Path) -> None:
    for path in folder.glob(".*"):
        found = _TEMPORARY.fullmatch(path.name)
        if not found or found["machine"] != _machine() or _lives(int(found["process"])):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@functools.cache
def _machine() -> str:
    """Eight digits for the machine, or the container, within which process numbers are unique."""
    namespace = Path("/proc/self/ns/pid")
    where = f"{socket.gethostname()} {namespace.stat().st_ino if namespace.exists() else ''}"
    return hashlib.sha256(where.encode()).hexdigest()[:8]


def _lives(process: int) -> bool:
    """Whether a process may still write: one that has ended, but that its parent has not yet waited for, does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        pass
    try:
        state = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:  # not Linux, or hidden
        return True
    return state not in "ZX"


def read_text(path: Path) -> str:
    """The content of a text file in UTF-8, whose lines end in a line feed whatever they end in on disk."""
    content = path.read_bytes()
    what = next((what for start, what in _NO_UTF8.items() if content.startswith(start)), None)
    if what is None and b"\0" in content:
        what = "not UTF-8 (UTF-16?); convert it, for example with iconv"
    if what is not None:
        raise UserError(f"{path}: {what}")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; convert it, for example with iconv") from None


def read_lines(path: Path, *, blank: bool = False) -> list[tuple[int, str]]:
    """The lines of a text file in UTF-8 with their numbers from 1, blanks at their ends cut.

    Blank lines are left out; with `blank` only the last is, where the file ends.
    """
    lines = read_text(path).split("\n")  # not at other separators, which a text may hold
    numbered = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    if blank:
        return numbered[:-1] if not numbered[-1][1] else numbered
    return [(number, line) for number, line in numbered if line]


def composed(text: str) -> str:
    """A text or a name in the one Unicode form in which all are compared: 'ü', not 'u' and a mark."""
    return unicodedata.normalize("NFC", text)
