"""Many ragged arrays in one memory-mapped file each: the operating system reads a data set page by page, none is held.

A pack is a folder: one raw file a field, the fields' widths and types, the offsets of the clips, and what it was made
from. It is built in a temporary folder and renamed when whole, so several processes may build the same pack at once.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from runtime.errors import UserError

Item = dict[str, np.ndarray]


class Pack:
    """Read access by index: `pack[i]` is a dict of arrays, each [length_i, width] (a view of the file)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self.ids: list[str] = index["ids"]
        self.texts: list[str] = index["texts"]
        self.fields: dict[str, dict] = index["fields"]
        self._maps: dict[str, np.memmap] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_maps": {}}  # a worker process maps the files itself

    def lengths(self, field: str) -> np.ndarray:
        """The length of every clip's array of `field`, [clips]."""
        return np.diff(self.fields[field]["offsets"])

    def field(self, name: str, index: int) -> np.ndarray:
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


def write_pack(folder: Path, items: Iterable[tuple[str, str, Item]]) -> Pack:
    """Stream (id, text, arrays [length, width]) into a pack at `folder`; holds only ids, texts and offsets."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    files, fields, ids, texts = {}, {}, [], []
    try:
        for clip_id, text, arrays in items:
            ids.append(clip_id)
            texts.append(text)
            for name, array in arrays.items():
                if name not in files:
                    files[name] = open(temporary / name, "wb")  # noqa: SIM115, closed below, all together
                    fields[name] = {"width": array.shape[1], "dtype": str(array.dtype), "offsets": [0]}
                files[name].write(np.ascontiguousarray(array).tobytes())
                fields[name]["offsets"].append(fields[name]["offsets"][-1] + len(array))
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()
        (temporary / "index.json").write_text(
            json.dumps({"ids": ids, "texts": texts, "fields": fields}, ensure_ascii=False), encoding="utf-8"
        )
        try:
            os.rename(temporary, folder)
        except OSError:
            if not (folder / "index.json").is_file():
                raise
            shutil.rmtree(temporary)  # another process was first, with the same content
    except BaseException as error:
        for file in files.values():
            with contextlib.suppress(OSError):  # on a full disk closing fails as writing did
                file.close()
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.filename is None:
            advice = "check the free space, or pass another --cache_dir"
            raise UserError(f"{folder}: not written ({error.strerror}); {advice}") from error
        raise
    return Pack(folder)
