"""Digests of files' contents. A listing keeps them, so that a file is read again only where it may have changed."""

import hashlib
import json
import os
import time
from pathlib import Path

from runtime.errors import UserError
from runtime.files import write_whole
from runtime.untrusted import MAX_ARRAY_BYTES, read_json

_SETTLED = 2 * 10**9  # ns: a file that changed more recently may change again within the same tick of the clock
_CHUNK = 2**20


class FileDigests:
    """The digests of files by their paths.

    A file counts as unchanged if its size, times and inode number are the same. Nobody can set a file's ctime, so a
    file that was replaced by one of the same size and mtime is read again.
    """

    def __init__(self, listing: Path) -> None:
        self._listing, self._known, self._seen = listing, _read(listing), {}

    def digest(self, path: Path) -> list | None:
        """The size of a file and a digest of its content; None where there is no such file."""
        if not path.is_file():
            return None
        started, status, name = time.time_ns(), path.stat(), str(path.resolve())
        identity = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        known = self._known.get(name)
        unchanged = isinstance(known, list) and known[:-1] == identity
        content = known[-1] if unchanged else _digest(path)
        if status.st_ctime_ns < started - _SETTLED:
            self._seen[name] = [*identity, content]
        return [status.st_size, content]

    def save(self) -> None:
        """Write the listing, if its folder is writable: without it, files are only read more often."""
        if self._seen == self._known or not os.access(self._listing.parent, os.W_OK):
            return
        with write_whole(self._listing, "w") as file:
            json.dump(self._seen, file)


def _read(listing: Path) -> dict[str, list]:
    try:
        content = read_json(listing)
    except (FileNotFoundError, UserError):  # a damaged listing is made again
        return {}
    return content if isinstance(content, dict) else {}


def _digest(path: Path) -> str:
    """Sixteen hexadecimal digits of a file's content, or of its start if the file is too long to be read."""
    digest, left = hashlib.blake2b(digest_size=8), MAX_ARRAY_BYTES
    try:
        with open(path, "rb", buffering=0) as file:
            while left > 0 and (chunk := file.read(_CHUNK)):
                digest.update(chunk)
                left -= len(chunk)
    except OSError as error:  # reading the clip will report it
        return str(error.errno)
    return digest.hexdigest()
