"""Reading files that others wrote: numpy's .npy and .npz, JSON, and what a .safetensors holds.

Pickles have a module of their own, `pickles`.

Every size that a file states is checked against the size that the file has before anything of that size is made. What
is returned is an array of plain numbers, booleans or texts, or plain JSON; anything else is a UserError that names the
file. Reading takes at most four times the file's size and 200 MB.
"""

import functools
import io
import json
import math
import os
import re
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np

from runtime.errors import UserError, without_tricks

T = TypeVar("T")

MAX_ARRAY_BYTES = 2**30  # of all the arrays of one file; a clip of an hour takes a tenth
MAX_JSON_BYTES = 2**26
# Arrays unpacked may take this much, whatever the file's size, and beyond it twice the file's size. Poses shrink to
# between a tenth and all of their size; a clip of zeros to a thousandth, but half an hour of it takes 64 MB.
FREE_UNPACKED_BYTES = 2**26
MAX_DIRECTORY_BYTES = 2**20  # of a zip archive's table of contents: some ten thousand arrays
MAX_HEADER_BYTES = 10_000  # of a .npy, as numpy has it
_NPY_START = 12 + MAX_HEADER_BYTES  # magic, version, length and header
MAX_TENSORS_BYTES = 2**22  # of a .safetensors' table of contents: some thirty thousand tensors

_STARTS = {
    b"\x1f\x8b": "compressed by gzip: unpack it with gunzip",
    b"BZh": "compressed by bzip2: unpack it with bunzip2",
    b"\xfd7zXZ": "compressed by xz: unpack it with unxz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it with unzstd",
    b"PK\x03\x04": "a zip archive, as .npz and .pt are",
    b"\x93NUMPY": "a .npy array",
    b"\x89HDF": "an HDF5 file",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"\x00\x05\x16\x07": "what macOS leaves beside a file of the same name: delete it",
    b"version https://git-lfs": "a Git LFS pointer and not the file: fetch it with git lfs pull",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
}
_DTYPE = re.compile(r"[<>|=]?(?:b1|i[1248]|u[1248]|f[248]|[US][1-9]\d{0,6})")
_NAMED_KINDS = {
    "O": "Python objects",
    "V": "structured records",
    "c": "complex numbers",
    "M": "dates",
    "m": "time differences",
}
_HEADER = re.compile(
    r"\{\s*+(?:(?:'descr':\s*+'(?P<dtype>[^']{1,12})'|'fortran_order':\s*+(?P<fortran>True|False)"
    r"|'shape':\s*+\((?P<shape>(?:\d{1,19}+L?+,\s*+)*+(?:\d{1,19}+L?+)?+)\))\s*+(?:,\s*+)?+){3}\}\s*+"
)


class Refusal(Exception):
    """Why a file's content is not read, in a few words; the readers add the path and raise a UserError."""


def escaped(value: object) -> str:
    """A value of a file as it may stand in a message: short, on one line, without what moves a terminal's cursor."""
    text = without_tricks(str(value)[:81], kept="")
    return text if len(text) <= 80 else text[:80] + "…"


# ---- files -----------------------------------------------------------------------------------------------------------


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to read, or a link to one. A pipe, which would wait for ever, or a device is a UserError.

    A missing file stays a FileNotFoundError, which each caller words for itself.
    """
    try:
        _require_regular(path, os.stat(path))  # before it is opened, since opening a device may act on it
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; check the path and its permissions") from None
    try:
        _require_regular(path, os.fstat(descriptor))  # and after, since it may have been replaced
    except UserError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _require_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        names = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        what = names.get(stat.S_IFMT(status.st_mode), "a device")
        raise UserError(f"{path}: {what}, but a file is needed; remove or replace it")


def read_regular(path: Path, at_most: int) -> bytes:
    """All bytes of a regular file; UserError if they are more than `at_most`."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > at_most:
            raise UserError(f"{path}: {_megabytes(size)}, where at most {_megabytes(at_most)} are read; split it")
        return _read(file, size, path)


def _read(file: BinaryIO, size: int, path: Path) -> bytes:
    try:
        return file.read(size)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; check the disk") from None


def what_it_is(start: bytes) -> str:
    """What a file seems to be by its first bytes, if its content is not what its name says."""
    if not start:
        return "it is empty"
    for magic, name in _STARTS.items():
        if start.startswith(magic):
            return f"it is {name}"
    return "truncated?"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size:,} bytes"


# ---- arrays ----------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def parse_dtype(text: str) -> np.dtype:
    """The dtype of plain numbers, booleans or texts, such as '<f4'; any other is a Refusal."""
    if _DTYPE.fullmatch(text) is None:
        kind = _NAMED_KINDS.get(text.lstrip("<>|=")[:1], f"elements of type {escaped(text)}")
        raise Refusal(f"it holds {kind}, which are not read")
    return np.dtype(text)


def make_array(dtype: np.dtype, shape: object, fortran: bool, data: bytes | memoryview) -> np.ndarray:
    """An array of a dtype of `parse_dtype` that owns its memory, from bytes that must be exactly what it needs.

    Booleans are made True or False, texts must be Unicode, and the byte order becomes this machine's.
    """
    if type(shape) is not tuple or len(shape) > 32 or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
        raise Refusal("an array's shape is not valid")
    if math.prod(max(n, 1) for n in shape) * dtype.itemsize >= 2**62:
        raise Refusal("an array's shape is too large")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise Refusal(f"an array {dtype} {list(shape)} would not fill the {len(data)} bytes that it has")
    if not data:
        return np.zeros(shape, dtype.newbyteorder("="))
    array = np.frombuffer(data, np.uint8 if dtype.kind == "b" else dtype).reshape(shape, order="F" if fortran else "C")
    if dtype.kind == "b":
        return array.astype(bool)
    if dtype.kind == "U":
        codes = np.frombuffer(data, np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if (codes > 0x10FFFF).any() or ((codes >= 0xD800) & (codes <= 0xDFFF)).any():
            raise Refusal("a text is not Unicode")
    return array.astype(dtype.newbyteorder("="), order="K")


class _NpyHeader(NamedTuple):
    """What the header of a .npy says, and where the array's bytes start behind it."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    start: int


def _parse_npy_header(data: bytes) -> _NpyHeader:
    """The header of a .npy file's bytes, of which the first _NPY_START suffice."""
    if not data.startswith(b"\x93NUMPY"):
        raise Refusal(what_it_is(data))
    wide = data[6:7] != b"\x01"
    if data[6:7] not in (b"\x01", b"\x02", b"\x03"):
        raise Refusal("an unknown version of .npy")
    try:
        (length,) = struct.unpack_from("<I" if wide else "<H", data, 8)
    except struct.error:
        raise Refusal("truncated?") from None
    start = (12 if wide else 10) + length
    if length > MAX_HEADER_BYTES or start > len(data):
        raise Refusal("truncated?")
    header = data[12 if wide else 10 : start].decode("latin1")
    match = _HEADER.fullmatch(header)
    if match is None or None in match.groups():
        raise Refusal(
            "it holds structured records, which are not read" if "[(" in header else "its header is not valid"
        )
    shape = tuple(int(size) for size in re.findall(r"\d+", match["shape"]))
    return _NpyHeader(parse_dtype(match["dtype"]), shape, match["fortran"] == "True", start)


def _parse_npy(data: bytes) -> np.ndarray:
    """The array of a .npy file's bytes."""
    header = _parse_npy_header(data)
    return make_array(header.dtype, header.shape, header.fortran, memoryview(data)[header.start :])


def read_npy(path: Path) -> np.ndarray:
    """The array of a .npy file. A missing file stays a FileNotFoundError."""
    return _try_npy(_parse_npy, read_regular(path, MAX_ARRAY_BYTES), path)


def read_npy_shape(path: Path) -> tuple[int, ...]:
    """The shape of a .npy file's array, by its header alone. A missing file stays a FileNotFoundError."""
    with open_regular(path) as file:
        start = _read(file, _NPY_START, path)
    return _try_npy(_parse_npy_header, start, path).shape


def _try_npy(parse: Callable[[bytes], T], data: bytes, path: Path) -> T:
    try:
        return parse(data)
    except Refusal as refusal:
        raise UserError(f"{path}: not a readable .npy of numbers ({refusal}); write it again with numpy.save") from None


def open_zip(file: BinaryIO) -> zipfile.ZipFile:
    """A zip archive, its table of contents checked before it is read: its size, and that no name stands there twice."""
    size = file.seek(0, io.SEEK_END)
    file.seek(-min(size, 98), io.SEEK_END)  # the end record's 22 bytes and, of large archives, 76 before them
    tail = file.read(98)
    end = tail[-22:]
    if not end.startswith(b"PK\x05\x06") or not end.endswith(b"\0\0"):
        file.seek(0)
        raise Refusal(what_it_is(file.read(32)).replace("it is a zip archive, as .npz and .pt are", "truncated?"))
    directory = int.from_bytes(end[12:16], "little")
    if tail[-42:-38] == b"PK\x06\x07" and tail[-98:-94] == b"PK\x06\x06":
        directory = int.from_bytes(tail[-58:-50], "little")
    if directory > MAX_DIRECTORY_BYTES:
        raise Refusal("its table of contents is too long")
    archive = zipfile.ZipFile(file)
    if len(archive.NameToInfo) != len(archive.infolist()):
        raise Refusal("a name stands in it twice")
    return archive


class NpzArchive(Mapping[str, np.ndarray]):
    """The arrays of a .npz by name, each read when it is asked for; used as `with NpzArchive(path) as archive`.

    At most `at_most` bytes of arrays are read. Unpacked, they may take FREE_UNPACKED_BYTES and twice the file's size: a
    file that shrank more is refused, and can be written uncompressed by numpy.savez. A missing file stays a
    FileNotFoundError.
    """

    def __init__(self, path: Path, at_most: int = MAX_ARRAY_BYTES) -> None:
        self.path = path
        self._file = open_regular(path)
        self._bytes_left = min(at_most, FREE_UNPACKED_BYTES + 2 * os.fstat(self._file.fileno()).st_size)
        try:
            archive = self._try(open_zip, self._file)
        except BaseException:
            self._file.close()
            raise
        self._archive = archive
        self._members = {name.removesuffix(".npy"): info for name, info in archive.NameToInfo.items()}

    def __enter__(self) -> "NpzArchive":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __getitem__(self, name: str) -> np.ndarray:
        return self._try(self._read, name, self._members[name])

    def _read(self, name: str, info: zipfile.ZipInfo) -> np.ndarray:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Refusal("compressed in a way that numpy does not write")
        if info.file_size > self._bytes_left:
            raise Refusal(
                f"'{escaped(name)}' takes {_megabytes(info.file_size)} unpacked, and {_megabytes(self._bytes_left)} "
                "are left for a file of this size; numpy.savez writes it uncompressed"
            )
        self._bytes_left -= info.file_size
        with self._archive.open(info) as member:
            data = member.read(info.file_size)  # never more, whatever the packed bytes unpack to
        if len(data) != info.file_size:
            raise Refusal("truncated?")
        try:
            return _parse_npy(data)
        except Refusal as refusal:
            raise Refusal(f"'{escaped(name)}': {refusal}") from None

    def _try(self, function: Callable[..., T], *args: object) -> T:
        try:
            return function(*args)
        except Refusal as refusal:
            reason = str(refusal)
        except Exception:  # a damaged archive raises almost anything, of zip, of zlib, of struct
            reason = "truncated?"
        raise UserError(f"{self.path}: not a readable .npz of arrays ({reason}); write it again")


# ---- JSON ------------------------------------------------------------------------------------------------------------


def read_json(path: Path, at_most: int = MAX_JSON_BYTES) -> object:
    """The content of a JSON file. A missing file stays a FileNotFoundError."""
    try:
        return parse_json(read_regular(path, at_most))
    except Refusal as refusal:
        raise UserError(f"{path}: not readable JSON ({refusal}); write it again") from None


def read_kept(path: Path, is_whole: Callable[[object], bool], damaged: str) -> Any:
    """The content of a JSON file that this project wrote; None without the file.

    Raises UserError, which says `damaged`, if it is no JSON or `is_whole` finds something missing.
    """
    try:
        content = read_json(path)
    except FileNotFoundError:
        return None
    except UserError:
        content = None
    if not is_whole(content):
        raise UserError(f"{path}: {damaged}")
    return content


def parse_json(data: bytes | str) -> object:
    """Plain values of JSON in UTF-8, its texts Unicode, and with no more lists than its length warrants."""
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        if text.count("[") + text.count("{") > 200_000 + len(text) // 16:
            raise Refusal("too many lists")
        content = json.loads(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(content, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise Refusal("not UTF-8") from None
    except UnicodeEncodeError:
        raise Refusal("a text is not Unicode") from None
    except RecursionError:
        raise Refusal("lists within lists without end") from None
    except ValueError:  # of JSON's grammar, or a whole number of thousands of digits
        raise Refusal("truncated?") from None
    return content


# ---- safetensors -----------------------------------------------------------------------------------------------------

TENSOR_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


class TensorEntry(NamedTuple):
    """What a .safetensors says of a tensor: its dtype, a key of TENSOR_BYTES, and its shape."""

    dtype: str
    shape: tuple[int, ...]


def read_tensor_entries(file: BinaryIO) -> dict[str, TensorEntry]:
    """The tensors of a .safetensors by name, without their numbers.

    A Refusal unless the numbers fill the file to its end, in parts that neither overlap nor leave a gap.
    """
    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > size - 8:
        raise Refusal(what_it_is(start))
    if length > MAX_TENSORS_BYTES:
        raise Refusal("its table of contents is too long")
    table = parse_json(file.read(length))
    if not isinstance(table, dict):
        raise Refusal("its table of contents is not valid")
    table.pop("__metadata__", None)
    entries, parts = {}, []
    for name, entry in table.items():
        try:
            dtype, shape, (first, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
            numbers = TENSOR_BYTES[dtype]
        except (TypeError, KeyError, ValueError):
            raise Refusal("a tensor that is not valid") from None
        if len(shape) > 32 or not all(type(n) is int and 0 <= n < 2**40 for n in (*shape, first, end)):
            raise Refusal("a tensor that is not valid")
        if math.prod(shape) * numbers != end - first:
            raise Refusal("a tensor that does not fill its part of the file")
        entries[name] = TensorEntry(dtype, shape)
        parts.append((first, end))
    ends = [0, *(end for _, end in sorted(parts))]
    if [first for first, _ in sorted(parts)] != ends[:-1] or ends[-1] != size - 8 - length:
        raise Refusal("truncated?")
    return entries
