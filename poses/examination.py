"""What is found in the clips of a data set while they are read, and which of them are odd."""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from poses import geometry
from poses.files import SPLITS
from poses.geometry import Facts, Geometry
from poses.likeness import Compared, Likeness, of_one_recording, on_mirrors
from poses.overlaps import Overlaps
from poses.pack import Pack
from poses.timing import Timing
from runtime.errors import UserError


class Examination:
    """What is found in clips while they are read: their geometry, whether their parts are of one moment, by split, how
    alike they are, and which clips equal or overlap another one.

    repeated: by the splits of the two, the names of the later clips and of those that they equal.
    """

    def __init__(self) -> None:
        self.geometry, self.overlaps, self.likeness = Geometry(), Overlaps(), Likeness()
        self.timing = {split: Timing() for split in SPLITS}
        self.repeated: dict[tuple[str, str], list[tuple[str, str]]] = {}
        self._first: dict[int, tuple[str, str]] = {}  # split and name of the first clip, by the hash of its pose

    def clips(self, split: str, pack: Pack) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Examine every clip of a split, and pass on its pose [T,214] and seen [T,214]; call it for train first."""
        for number, (clip_id, item) in enumerate(zip(pack.ids, pack.stream(), strict=True)):
            pose, seen = item["pose"], item["seen"].astype(bool)
            name = f"{split}/{clip_id}"
            self.geometry.add(name, pose, seen)
            self.overlaps.add(pose, seen)
            self.likeness.add(split, number, len(pack), pose, seen)
            self.timing[split].add(pose, seen)
            earlier, first = self._first.setdefault(hash(pose.tobytes()), (split, name))
            if first != name:
                self.repeated.setdefault((earlier, split), []).append((name, first))
            yield pose, seen

    @functools.cached_property
    def compared(self) -> dict[str, Compared]:
        """The clips of each split beside those of train; asked when all have been read."""
        return {split: self.likeness.compared(split) for split in SPLITS}

    def of_one_recording(self, split: str) -> list[tuple[str, str]]:
        """The names of clips of a split, and of the train clips that show the same recording without being equal or
        overlapping."""
        found = *self.repeated.values(), *self.overlapping.values()
        told = {later for pairs in found for later, *_ in pairs}
        ids = {name: [one for one in self.geometry.ids if one.startswith(f"{name}/")] for name in (split, "train")}
        pairs = of_one_recording(split, self.likeness, self.compared[split])
        return [(ids[split][own], ids["train"][other]) for own, other in pairs if ids[split][own] not in told]

    @functools.cached_property
    def overlapping(self) -> dict[tuple[str, str], list[tuple[str, str, int]]]:
        """The clips of different splits that overlap without being equal, the later one first, and the frames that they
        share; by the splits of the two, as `repeated`. Asked when all have been read."""
        equal = {pair for pairs in self.repeated.values() for pair in pairs}
        found: dict[tuple[str, str], list[tuple[str, str, int]]] = {}
        for first, later, shared in self.overlaps.pairs():
            pair = self.geometry.ids[later], self.geometry.ids[first]
            splits = tuple(name.partition("/")[0] for name in reversed(pair))
            if splits[0] != splits[1] and pair not in equal:
                found.setdefault(splits, []).append((*pair, shared))
        return found


def facts_by_split(facts: Facts, names: list[str]) -> dict[str, Facts]:
    """The facts of each split's clips, which are named SPLIT/ID: one may be written in another way than the rest."""
    splits = np.array([name.partition("/")[0] for name in names])
    return {split: {fact: values[splits == split] for fact, values in facts.items()} for split in SPLITS}


def require_geometry(data_dir: Path, facts: Facts, of_split: dict[str, Facts]) -> None:
    """Raises UserError if the clips of the data set, or of one split, contradict the layout."""
    for where, part in {data_dir: facts, **{data_dir / split: part for split, part in of_split.items()}}.items():
        if wrong := geometry.refusal(part):
            raise UserError(f"{where}: {wrong}")


def odd_clips(found: Examination, facts: Facts, of_split: dict[str, Facts], signers: list[str]) -> Iterator[str]:
    """A sentence for each way in which clips differ from the rest, or equal or overlap another one."""
    for sentence in geometry.differing(found.geometry.ids, facts):
        yield f"differs: {sentence}"
    for sentence in geometry.face_units(facts):
        yield f"differs: {sentence}"
    if sentence := on_mirrors("train", found.likeness, found.compared["train"], signers):
        yield f"differs: {sentence}"
    for split in ("dev", "test"):
        parts = split, of_split[split], of_split["train"]
        mirrors = on_mirrors(split, found.likeness, found.compared[split])
        sides = [mirrors] if mirrors else geometry.other_side(*parts)
        others = (*geometry.other_parts(*parts), *geometry.other_shape(*parts), *geometry.other_pace(*parts))
        for sentence in (*others, *sides):
            yield f"differs: {sentence}"
    for split, timing in found.timing.items():
        for sentence in timing.notes():
            yield f"{split}: {sentence}"
    for (earlier, split), names in found.repeated.items():
        where = f"are in {split} twice" if split == earlier else f"of {split} also occur in {earlier}"
        meanings = {"train": "; their scores mean nothing", "dev": "; dev chooses the model that test scores"}
        meaning = "" if split == earlier else meanings[earlier]
        yield f"{len(names)} clips {where}, such as {' and '.join(names[0])}{meaning}"
    for (earlier, split), pairs in found.overlapping.items():
        clips, (name, other, shared) = {later for later, *_ in pairs}, pairs[0]
        yield (
            f"{len(clips)} clips of {split} overlap with clips of {earlier}, such as {name} and {other} in {shared} "
            "frames; give all clips of one recording to one split"
        )
    for split in ("dev", "test"):
        if pairs := found.of_one_recording(split):
            yield (
                f"{len(pairs)} clips of {split} move just as clips of train do, such as {' and '.join(pairs[0])}: one "
                "recording at another rate or size, mirrored, or detected again? Give it to one split"
            )
