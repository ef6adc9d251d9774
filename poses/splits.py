"""A split of a data set as one pack, made at the first call from its files."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from poses import files
from poses.files import Clip, Reading
from poses.interpolation import FILL_GAPS_VERSION, MAX_INTERPOLATED_GAP
from poses.pack import Items, Pack, cached_pack, digest
from poses.statistics import prepared_reading
from runtime.errors import UserError
from runtime.parallel import parallel_map

SPLIT_VERSION = 3  # of what is read from a clip's files; raised when the same files give other numbers


def load_split(
    data_dir: Path,
    split: str,
    cache_dir: Path | None = None,
    skip_bad: bool = False,
    num_workers: int = 0,
    reading: Reading | None = None,
) -> Pack:
    """The pack of a split's clips: pose [T,214] float32 and seen [T,214] uint8; made at the first call.

    The pack is found again by the texts, by the names, sizes and times of the files it was made from, and by how they
    are read: `reading`, by default as data_preparation.py read them. Damaged clips are all named in one UserError; with
    `skip_bad` they are named and left out. The number of worker processes changes only the speed. `info` of the pack
    holds `fps`, None if unknown, and `notes` on how the files were read: by note its clips, frames and first clip.
    """
    data_dir = Path(data_dir)
    reading = reading or prepared_reading(data_dir, cache_dir)
    texts = files.list_clips(data_dir, split)
    made_from = {
        "clips": len(texts),
        "listing": digest(_listing(data_dir, split, texts)),
        "skip_bad": skip_bad,
        "reading": asdict(reading),
        "fill_gaps": FILL_GAPS_VERSION,
        "max_interpolated_gap": MAX_INTERPOLATED_GAP,
    }
    problems: list[str] = []
    told = _Told()

    def clips() -> Items:
        items = parallel_map(_read_clip, texts, num_workers, data_dir, split, reading)
        progress = tqdm(texts.items(), desc=f"packing {split}", unit="clip", disable=None)
        for (clip_id, text), clip in zip(progress, items, strict=True):
            if isinstance(clip, str):
                problems.append(clip)
            else:
                told.add(clip)
                yield clip_id, text, {"pose": clip.pose, "seen": clip.seen.astype(np.uint8)}
        if problems and (not skip_bad or len(problems) == len(texts)):
            listing = "\n  ".join(problems)
            raise UserError(
                f"{len(problems)} of {len(texts)} clips of {split} are damaged (go on without them: --skip_bad):"
                f"\n  {listing}"
            )
        info.update(fps=told.one_rate(data_dir / split), notes=told.notes)

    info: dict = {}
    pack = cached_pack(cache_dir or data_dir / "cache", split, SPLIT_VERSION, made_from, clips, info)
    if problems:
        print(f"left out {len(problems)} damaged clips of {split}:", *problems, sep="\n  ")
    return pack


class _Told:
    """What the clips of a split say of themselves: their rates, and the notes of their reading."""

    def __init__(self) -> None:
        self.rates: dict[float, list[str]] = {}
        self.notes: dict[str, dict] = {}

    def add(self, clip: Clip) -> None:
        if clip.fps is not None:
            rate = next((rate for rate in self.rates if files.same_rate(rate, clip.fps)), clip.fps)
            self.rates.setdefault(rate, []).append(clip.id)
        for note, frames in clip.notes.items():
            noted = self.notes.setdefault(note, {"clips": 0, "frames": 0, "first": clip.id})
            noted["clips"] += 1
            noted["frames"] += frames

    def one_rate(self, folder: Path) -> float | None:
        """The frames a second of all clips that give them, None where none does; a UserError where they differ."""
        if len(self.rates) > 1:
            rates = ", ".join(f"{rate:g} ({len(ids)} clips, such as {ids[0]})" for rate, ids in self.rates.items())
            raise UserError(
                f"{folder}: its clips are of several rates, {rates} frames a second; bring them to one with "
                "data_preparation.py --fps"
            )
        return next(iter(self.rates), None)


def _read_clip(clip_id: str, data_dir: Path, split: str, reading: Reading) -> Clip | str:
    """The clip, or what is wrong with its files."""
    try:
        return files.read_clip(data_dir, split, clip_id, reading=reading)
    except UserError as error:
        return str(error)


def _listing(data_dir: Path, split: str, texts: dict[str, str]) -> list[list]:
    """Of each clip its ID, its text, and the size and time of its files."""
    listing = []
    for clip_id, text in texts.items():
        paths = (data_dir / split / "poses" / f"{clip_id}.npz", data_dir / split / "nmms" / f"{clip_id}.pkl")
        stats = [path.stat() for path in paths if path.is_file()]
        listing.append([clip_id, text, *((status.st_size, status.st_mtime_ns) for status in stats)])
    return listing
