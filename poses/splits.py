"""A split of a data set as one pack, made at the first call from its files, and the statistics that belong to it."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np

from poses import files, layout
from poses.file_digests import FileDigests
from poses.files import Reading, StoredClip
from poses.interpolation import FILL_GAPS_VERSION, MAX_INTERPOLATED_GAP
from poses.pack import Items, Pack, cached_pack, digest
from poses.rates import same_rate
from poses.statistics import Statistics, data_set_key, prepared_reading, statistics_path
from runtime.console import progress_bar
from runtime.errors import UserError
from runtime.processes import shared_map, writes_caches

SPLIT_VERSION = 4  # of what is read from a clip's files; raised when the same files give other numbers


def load_split(
    data_dir: Path,
    split: str,
    cache_dir: Path | None = None,
    skip_bad: bool = False,
    num_workers: int = 0,
    reading: Reading | None = None,
) -> Pack:
    """The pack of a split's clips: pose [T,214] float32 and seen [T,214] uint8; made at the first call.

    The pack is found again by the texts, by the names and contents of the files it was made from, and by how they are
    read: `reading`, by default as data_preparation.py read them. Damaged clips are all named in one UserError; with
    `skip_bad` they are named and left out. The number of worker processes changes only the speed. `info` of the pack
    holds `fps`, None if unknown, `notes` on how the files were read: by note its clips, frames and first clip,
    `content`, which differs where the poses of two packs do, and what is wrong with the clips that were `left_out`.
    """
    data_dir = Path(data_dir)
    reading = reading or prepared_reading(data_dir, cache_dir)
    cache_dir = cache_dir or data_dir / "cache"
    digests = FileDigests(cache_dir / f"files-{split}-{data_set_key(data_dir)}")
    reader = _SplitReader(data_dir, split, reading, digests, skip_bad, num_workers)
    made_from = reader.made_from()
    try:
        pack = cached_pack(cache_dir, split, SPLIT_VERSION, made_from, reader.items, reader.info)
    except _ReadAgain:
        pack = cached_pack(cache_dir, split, SPLIT_VERSION, made_from, reader.items, reader.info)
    if writes_caches():
        digests.save()
    if reader.problems:
        print(f"left out {len(reader.problems)} damaged clips of {split}:", *reader.problems, sep="\n  ")
    elif left_out := pack.info.get("left_out"):
        print(f"left out {len(left_out)} damaged clips of {split}, such as {left_out[0]}")
    return pack


def load_statistics(data_dir: Path, cache_dir: Path | None, train: Pack) -> Statistics:
    """The statistics of a data set's train clips; raises UserError if they were made from other clips."""
    path = statistics_path(data_dir, cache_dir)
    statistics = Statistics.load(path)
    made_from = statistics.info.get("train")
    if made_from is None:
        print(f"{path}: does not say which clips it was made from; if train has changed, run data_preparation.py again")
    elif made_from != train.info.get("content"):
        raise UserError(
            f"{path}: made from other train clips than {data_dir} holds now; run data_preparation.py --data_dir "
            f"{data_dir} again"
        )
    return statistics


def are_of_other_clips(statistics: Statistics, data_dir: Path, cache_dir: Path | None, train: Pack) -> bool:
    """Whether statistics, such as a checkpoint's, were made from other clips than train's, or from train's clips read
    with other settings.

    False if neither they nor the data set's own say what they were made from. A changed text makes no other clip.
    """
    content, made_from = train.info.get("content"), statistics.info.get("train")
    if made_from == content:
        return False
    path = statistics_path(data_dir, cache_dir)
    if not path.is_file():
        return made_from is not None
    own = Statistics.load(path)
    return own.info.get("train", content) != content or own.fingerprint != statistics.fingerprint


class _ReadAgain(Exception):
    """Asks to read the split from its first clip, without clips that only the others showed to be damaged."""


class _SplitReader:
    """Reads the clips of a split in order. `info` and `problems` are filled while `items` is read to its end."""

    def __init__(
        self, data_dir: Path, split: str, reading: Reading, digests: FileDigests, skip_bad: bool, num_workers: int
    ) -> None:
        self.data_dir, self.split, self.reading = data_dir, split, reading
        self.skip_bad, self.num_workers = skip_bad, num_workers
        self.texts = files.list_clips(data_dir, split)
        self.listing = {clip_id: _digests_of(digests, data_dir / split, clip_id) for clip_id in self.texts}
        self.read_as = {
            "reading": asdict(reading),
            "fill_gaps": FILL_GAPS_VERSION,
            "max_interpolated_gap": MAX_INTERPOLATED_GAP,
        }
        if reading.fps is not None:
            self.read_as["ends"] = "left out at the new rate"  # an earlier version kept frames there that saw nothing
        self.info: dict[str, object] = {}
        self.problems: list[str] = []  # what is wrong with each damaged clip
        self.doubtful: dict[str, str] = {}  # the same, by ID, of those that only the other clips showed to be damaged

    def made_from(self) -> dict[str, object]:
        """What the pack depends on, as plain values."""
        listed = [[clip_id, text, self.listing[clip_id]] for clip_id, text in self.texts.items()]
        return {"clips": len(self.texts), "listing": digest(listed), "skip_bad": self.skip_bad, **self.read_as}

    def items(self) -> Items:
        """The clips that are not damaged. Raises UserError for damaged ones that are not skipped, and `_ReadAgain`."""
        facts = _SplitFacts()
        self.problems.clear()
        clips = shared_map(_read_clip, self.texts, self.num_workers, self.data_dir, self.split, self.reading)
        shown = progress_bar(self.texts.items(), f"packing {self.split}", "clip")
        for (clip_id, text), clip in zip(shown, clips, strict=True):
            if isinstance(clip, str) or clip_id in self.doubtful:
                self.problems.append(self.doubtful.get(clip_id, clip))
                self.listing.pop(clip_id, None)
            else:
                facts.add(clip)
                yield clip_id, text, {"pose": clip.pose, "seen": clip.seen.astype(np.uint8)}
        cut_off = facts.doubtful()
        if cut_off and self.skip_bad:
            self.doubtful |= cut_off
            raise _ReadAgain
        self.problems.extend(cut_off.values())
        if self.problems and (not self.skip_bad or len(self.problems) == len(self.texts)):
            named = "\n  ".join(self.problems)
            raise UserError(
                f"{len(self.problems)} of {len(self.texts)} clips of {self.split} are damaged (leave them out: "
                f"--skip_bad):\n  {named}"
            )
        folder = self.data_dir / self.split
        facts.require_visible(folder)
        content = digest([SPLIT_VERSION, self.read_as, list(self.listing.items())])
        self.info.update(fps=facts.one_rate(folder), notes=facts.notes, content=content, left_out=self.problems)


class _SplitFacts:
    """What the clips of a split state together: their rates, the notes on reading them, and whether hands are seen."""

    def __init__(self) -> None:
        self.rates: dict[float, list[str]] = {}
        self.without_rate: list[str] = []  # IDs
        self.clips, self.shows_hands = 0, False
        self.notes: dict[str, dict] = {}
        self.nmm_rates: Counter[float] = Counter()
        self.doubts: dict[str, tuple[float, str]] = {}  # the rate of the NMMs and the doubt, by clip

    def add(self, clip: StoredClip) -> None:
        self.clips += 1
        self.shows_hands |= bool(clip.seen[:, layout.HANDS].any())
        self.nmm_rates[clip.nmm_rate] += 1
        if clip.doubt:
            self.doubts[clip.id] = clip.nmm_rate, clip.doubt
        if clip.fps is None:
            self.without_rate.append(clip.id)
        else:
            rate = next((rate for rate in self.rates if same_rate(rate, clip.fps)), clip.fps)
            self.rates.setdefault(rate, []).append(clip.id)
        for note, frames in clip.notes.items():
            noted = self.notes.setdefault(note, {"clips": 0, "frames": 0, "first": clip.id})
            noted["clips"] += 1
            noted["frames"] += frames

    def doubtful(self) -> dict[str, str]:
        """Clips whose two files have lengths of a ratio that most clips do not share: one file was cut off."""
        alike = {
            rate: sum(count for other, count in self.nmm_rates.items() if same_rate(rate, other))
            for rate in {rate for rate, _ in self.doubts.values()}
        }
        return {clip_id: doubt for clip_id, (rate, doubt) in self.doubts.items() if alike[rate] <= self.clips / 2}

    def require_visible(self, folder: Path) -> None:
        """Raises UserError if visibility hides nose and shoulders of most clips, or the hands of most and no hand is
        seen."""
        for hidden in (files.HIDDEN_TRUNK, files.HIDDEN_HANDS):
            clips = self.notes.get(f"frames have {hidden}", {"clips": 0})["clips"]
            if clips > self.clips / 2 and not (hidden == files.HIDDEN_HANDS and self.shows_hands):
                raise UserError(f"{folder}: {clips} of {self.clips} clips have {hidden}")

    def one_rate(self, folder: Path) -> float | None:
        """The frames per second of all clips that state them, None if none does; raises UserError if they differ."""
        if len(self.rates) > 1:
            rates = ", ".join(f"{rate:g} ({len(ids)} clips, such as {ids[0]})" for rate, ids in self.rates.items())
            raise UserError(
                f"{folder}: its clips are of several rates, {rates} frames per second; bring them to one with "
                "data_preparation.py --fps"
            )
        rate = next(iter(self.rates), None)
        if rate and self.without_rate:
            note = f"no 'fps' in a file, so {rate:g} is taken, as the others say"
            self.notes[note] = {"clips": len(self.without_rate), "frames": 0, "first": self.without_rate[0]}
        return rate


def _read_clip(clip_id: str, data_dir: Path, split: str, reading: Reading) -> StoredClip | str:
    """The clip, or what is wrong with its files."""
    try:
        return files.read_clip(data_dir, split, clip_id, reading=reading)
    except UserError as error:
        return str(error)


def _digests_of(digests: FileDigests, folder: Path, clip_id: str) -> list:
    """The sizes and digests of a clip's files in the folder of its split."""
    return [digests.digest(folder / "poses" / f"{clip_id}.npz"), digests.digest(folder / "nmms" / f"{clip_id}.pkl")]
