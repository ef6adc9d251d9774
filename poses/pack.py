"""Many arrays of different lengths in memory-mapped files: the operating system reads only the pages that are used.

A pack is a folder: one raw file per field, and index.json with the ids, the texts, the fields' widths, types and
offsets of the clips, and what the pack was made from. It is built in a temporary folder and renamed when complete, so
several processes may build the same pack at once.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from runtime import processes
from runtime.errors import UserError
from runtime.files import temporary_beside
from runtime.untrusted import read_json

Item = dict[str, np.ndarray]
Items = Iterable[tuple[str, str, Item]]  # id, text, arrays [length, width]
MAX_INDEX_BYTES = 2**30  # of the ids, texts and offsets of millions of clips
DTYPES = {name: np.dtype(name) for name in ("float32", "float64", "float16", "uint8", "bool", "int32", "int64")}


class Pack:
    """Read access by index: `pack[i]` is a dict of arrays, each [length_i, width] (a view of the file)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ids, self.texts, self.fields, self.info = _read_index(folder)
        self._maps: dict[str, np.memmap] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_maps": {}}  # a worker process maps the files itself

    def lengths(self, field: str) -> np.ndarray:
        """The length of every clip's array of `field`, [clips]."""
        return np.diff(self.fields[field]["offsets"])

    def field(self, name: str, index: int) -> np.ndarray:
        """One clip's array of a field, [length, width], a read-only view of the file."""
        description = self.fields[name]
        if name not in self._maps:
            rows = description["offsets"][-1]
            self._maps[name] = np.memmap(
                self.folder / name, dtype=description["dtype"], mode="r", shape=(rows, description["width"])
            )
        start, stop = description["offsets"][index : index + 2]
        return self._maps[name][start:stop]

    def stream(self) -> Iterator[Item]:
        """Every clip's arrays in order, read and not mapped: memory stays that of one clip."""
        with contextlib.ExitStack() as stack:
            opened = {name: stack.enter_context(open(self.folder / name, "rb")) for name in self.fields}
            for index in range(len(self)):
                item = {}
                for name, description in self.fields.items():
                    start, stop = description["offsets"][index : index + 2]
                    dtype, width = np.dtype(description["dtype"]), description["width"]
                    content = opened[name].read((stop - start) * width * dtype.itemsize)
                    item[name] = np.frombuffer(content, dtype).reshape(-1, width)
                yield item

    def __getitem__(self, index: int) -> Item:
        return {name: self.field(name, index) for name in self.fields}


def _read_index(folder: Path) -> tuple[list[str], list[str], dict[str, dict], dict]:
    """The ids, texts, fields and info of a pack, which must fit each other and the files."""
    damaged = UserError(f"{folder}: a damaged cache; delete this folder, and it is made again")
    try:
        index = read_json(folder / "index.json", MAX_INDEX_BYTES)
        ids, texts, fields, info = index["ids"], index["texts"], index["fields"], index["info"]
        if len(ids) != len(texts) or not all(type(text) is str for text in (*ids, *texts)):
            raise damaged
        for name, field in fields.items():
            offsets, width = np.asarray(field["offsets"]), field["width"]
            if offsets.shape != (len(ids) + 1,) or offsets.dtype.kind != "i" or type(width) is not int or width < 1:
                raise damaged
            if offsets[0] != 0 or (offsets < 0).any() or (np.diff(offsets) < 0).any() or Path(name).name != name:
                raise damaged
            size = int(offsets[-1]) * width * DTYPES[field["dtype"]].itemsize
            if (folder / name).stat().st_size != size:
                raise damaged
    except (UserError, KeyError, TypeError, ValueError, AttributeError, OSError):
        raise damaged from None
    return ids, texts, fields, info


def digest(value: object) -> str:
    """Sixteen hexadecimal digits that differ where a plain value differs."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def cached_pack(
    cache_dir: Path, name: str, version: int, made_from: dict, items: Callable[[], Items], info: dict | None = None
) -> Pack:
    """The pack of `items()`: made at the first call, later found by its name and what it was made from.

    made_from: plain values, everything that the content depends on. version: of the code that turns them into the
    content; raise it with every change of that code, so that earlier packs are not found. info: as in `write_pack`.
    Several processes make the items together, by `shared_map`, and one of them writes.
    """
    made_from = {"name": name, "version": version, **made_from}
    folder = Path(cache_dir) / f"{name}-{digest(made_from)}"
    if processes.all_agree(folder.is_dir()):
        return Pack(folder)
    if processes.writes_caches():
        write_pack(folder, items(), made_from, info)
    else:
        deque(items(), maxlen=0)
    processes.gather(None)  # wait until the pack is written
    return Pack(folder)


def write_pack(folder: Path, items: Items, made_from: dict | None = None, info: dict | None = None) -> Pack:
    """Stream items into a pack at `folder`; only ids, texts and offsets are held in memory.

    info: plain values that are kept with it; it may still grow while the items are streamed.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(folder)
        temporary.mkdir()
    except OSError as error:
        raise UserError(f"{folder.parent}: not writable ({error.strerror}); pass another --cache_dir") from error
    ids, texts, fields = [], [], {}
    try:
        with contextlib.ExitStack() as opened:
            files = {}
            for clip_id, text, arrays in items:
                ids.append(clip_id)
                texts.append(text)
                for name, array in arrays.items():
                    if name not in files:
                        files[name] = opened.enter_context(open(temporary / name, "wb"))
                        fields[name] = {"width": array.shape[1], "dtype": str(array.dtype), "offsets": [0]}
                    files[name].write(np.ascontiguousarray(array).tobytes())
                    fields[name]["offsets"].append(fields[name]["offsets"][-1] + len(array))
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())
        index = {"made_from": made_from or {}, "info": info or {}, "ids": ids, "texts": texts, "fields": fields}
        with open(temporary / "index.json", "w", encoding="utf-8") as file:
            json.dump(index, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.rename(temporary, folder)
        except OSError:
            if not (folder / "index.json").is_file():
                raise
            shutil.rmtree(temporary)  # another process was first, with the same content
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.filename is None:
            advice = "check the free space, or pass another --cache_dir"
            raise UserError(f"{folder}: not written ({error.strerror}); {advice}") from error
        raise
    return Pack(folder)
