"""One process at a time in a folder: a lock that is released when the process that holds it ends."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_CLAIM = ".claim"
_TAKEN = (errno.EACCES, errno.EAGAIN)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make a folder and lock it within the block; raises UserError if another process holds it.

    The lock belongs to the process, not to its children, and works between the machines of a shared file system. On a
    file system without locks it only prints a warning.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _CLAIM
    descriptor = _lock(path)
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def require_unclaimed(folder: Path) -> None:
    """Raises UserError if another process holds the folder. Nothing is made."""
    if (folder / _CLAIM).is_file():
        with claimed(folder):
            pass


def _lock(path: Path) -> int:
    """An open file at `path` that this process has locked."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # less the umask, as all files
        try:
            if fcntl is None:
                return descriptor
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of the process: children do not keep it
        except OSError as error:
            holder = os.read(descriptor, 200).decode(errors="replace") or "another process"
            if error.errno in _TAKEN:
                os.close(descriptor)
                raise UserError(
                    f"{path.parent}: in use by {holder}; wait for it, stop it, or choose another folder"
                ) from None
            print(f"{path.parent}: its file system has no locks; make sure that no second run writes there")
            return descriptor
        if path.is_file() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
        os.close(descriptor)  # its holder had removed it meanwhile
