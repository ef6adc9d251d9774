"""A split of a data set as one pack, made at the first call from its files."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from poses import files
from poses.interpolation import FILL_GAPS_VERSION, MAX_INTERPOLATED_GAP
from poses.pack import Item, Items, Pack, cached_pack, digest
from runtime.errors import UserError
from runtime.parallel import parallel_map

SPLIT_VERSION = 2  # of what is read from a clip's files; raised when the same files give other numbers


def load_split(
    data_dir: Path, split: str, cache_dir: Path | None = None, skip_bad: bool = False, num_workers: int = 0
) -> Pack:
    """The pack of a split's clips: pose [T,214] float32 and seen [T,214] uint8; made at the first call.

    The pack is found again by the texts and by the names, sizes and times of the files it was made from. Damaged clips
    are all named in one UserError; with `skip_bad` they are named and left out. The number of worker processes changes
    only the speed.
    """
    data_dir = Path(data_dir)
    texts = files.list_clips(data_dir, split)
    made_from = {
        "clips": len(texts),
        "listing": digest(_listing(data_dir, split, texts)),
        "skip_bad": skip_bad,
        "fill_gaps": FILL_GAPS_VERSION,
        "max_interpolated_gap": MAX_INTERPOLATED_GAP,
    }
    problems: list[str] = []

    def clips() -> Items:
        items = parallel_map(_read_item, texts, num_workers, data_dir, split)
        progress = tqdm(texts.items(), desc=f"packing {split}", unit="clip", disable=None)
        for (clip_id, text), item in zip(progress, items, strict=True):
            if isinstance(item, str):
                problems.append(item)
            else:
                yield clip_id, text, item
        if problems and (not skip_bad or len(problems) == len(texts)):
            listing = "\n  ".join(problems)
            raise UserError(
                f"{len(problems)} of {len(texts)} clips of {split} are damaged (go on without them: --skip_bad):"
                f"\n  {listing}"
            )

    pack = cached_pack(cache_dir or data_dir / "cache", split, SPLIT_VERSION, made_from, clips)
    if problems:
        print(f"left out {len(problems)} damaged clips of {split}:", *problems, sep="\n  ")
    return pack


def _read_item(clip_id: str, data_dir: Path, split: str) -> Item | str:
    """What the pack holds of a clip, or what is wrong with its files."""
    try:
        clip = files.read_clip(data_dir, split, clip_id)
    except UserError as error:
        return str(error)
    return {"pose": clip.pose, "seen": clip.seen.astype(np.uint8)}


def _listing(data_dir: Path, split: str, texts: dict[str, str]) -> list[list]:
    """Of each clip its ID, its text, and the size and time of its files."""
    listing = []
    for clip_id, text in texts.items():
        paths = (data_dir / split / "poses" / f"{clip_id}.npz", data_dir / split / "nmms" / f"{clip_id}.pkl")
        stats = [path.stat() for path in paths if path.is_file()]
        listing.append([clip_id, text, *((status.st_size, status.st_mtime_ns) for status in stats)])
    return listing
