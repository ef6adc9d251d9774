"""Stage 0: check a data set, pack it for fast reading, and write the train statistics that normalise poses.

    python data_preparation.py --data_dir data/phoenix14t

Writes DATA_DIR/normalization_stats.npz (mean and std of each of the 214 numbers, from train alone) and
DATA_DIR/cache/ (each split in memory-mapped files). If DATA_DIR is read-only, --cache_dir holds both.
Prints what units, axes and sides the keypoints seem to have, and names clips that differ from the rest.
"""

import argparse
import functools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from poses import geometry
from poses.files import RESAMPLED, SPLITS, UNSTATED, VISIBILITY_THRESHOLD, Reading
from poses.geometry import Facts, Geometry
from poses.likeness import MOST_LINES, Compared, Likeness, Words, of_one_recording, on_mirrors
from poses.overlaps import Overlaps
from poses.pack import Pack
from poses.rates import frames_per_second, shared_rate
from poses.splits import load_split
from poses.statistics import compute_statistics, save_statistics
from poses.texts import (
    ALL_NUMBERS,
    NO_WORD,
    are_numbers,
    is_garbled,
    list_signers,
    require_signers,
    says_something,
    signers_path,
    text_key,
    words_of,
)
from poses.timing import Timing
from runtime import errors
from runtime.arguments import add_data_arguments, fraction, make_parser, natural_int
from runtime.console import say
from runtime.errors import UserError
from runtime.untrusted import escaped

_HTML = re.compile(r"&(#\d+|#x[0-9a-f]+|[a-z]+);|</?[a-z][a-z0-9]*\s*/?>", re.IGNORECASE)  # entities and tags
DATA_DIR = "data"  # the default of --data_dir
ENOUGH_TEXTS = 20  # whose lengths go together with those of their clips by no chance
GO_TOGETHER = 0.5  # correlation of the lengths of texts and clips, as real sentences have it (DGS: 0.68 to 0.77)
FEW_WORDS = 0.25  # of a split's words that occur in train (German: 0.74; beside English 0.14, beside glosses 0.2)
ENOUGH_TRAIN_TEXTS = 100  # in which most words of a language occur
NAMED_SIGNERS = 20  # that a line names


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_data_arguments(parser, default=DATA_DIR)
    parser.add_argument("--num_workers", type=natural_int, default=4, help="processes that read clips (default 4)")
    parser.add_argument(
        "--visibility_threshold",
        type=fraction,
        default=VISIBILITY_THRESHOLD,
        help=f"keypoints of lower visibility count as unseen (default {VISIBILITY_THRESHOLD})",
    )
    parser.add_argument("--fps", type=frames_per_second, help="resample clips to this rate (default: as they are)")
    return parser.parse_args()


def one_rate(packs: dict[str, Pack]) -> float | None:
    """The frames per second of all splits, None if no clip states them; raises UserError if they differ."""
    rates = {split: pack.info["fps"] for split, pack in packs.items() if pack.info.get("fps")}
    silent = " and ".join(split for split, pack in packs.items() if not pack.info.get("fps"))
    if rates and silent:
        rate = next(iter(rates.values()))
        print(f"{silent}: no file says its frames per second; they are taken to be at {rate:g}, as the others are")
    return shared_rate(rates, "splits", "bring them to one")


def notes(packs: dict[str, Pack]) -> Iterator[str]:
    """One sentence for each kind of note made when the clips were read, with the number of clips and frames."""
    kinds: dict[str, list[dict]] = {}
    for pack in packs.values():
        for note, counts in pack.info.get("notes", {}).items():
            kinds.setdefault(note, []).append(counts)
    for note, counts in kinds.items():
        clips, frames = (sum(count[name] for count in counts) for name in ("clips", "frames"))
        counted, noun = f"{frames} " if frames else "", "clip" if clips == 1 else "clips"
        yield f"{counted}{note} ({clips} {noun}, such as {counts[0]['first']})"


def require_stated_rates(packs: dict[str, Pack]) -> None:
    """Raises UserError if --fps resamples some clips and takes others, which state no rate, to be at it already."""
    kinds = [note for pack in packs.values() for note in pack.info.get("notes", {})]
    if any(UNSTATED in note for note in kinds) and any(RESAMPLED in note for note in kinds):
        raise UserError(
            "--fps: some clips state no fps, and others another rate than this one; write 'fps' into each clip, since "
            "those without would keep their frames"
        )


def on_signers(data_dir: Path, signers: dict[str, Counter[str]], learnt: set[str]) -> Iterator[str]:
    """Notes on who signs each split; raises UserError if train names its signers and another split does not.

    learnt: the signers who have a train clip with a text.
    """
    spelt: dict[str, set[str]] = {}
    for name in sorted(set().union(*signers.values())):
        spelt.setdefault(text_key(name), set()).add(name)
    for names in spelt.values():
        if len(names) > 1:
            named = " and ".join(sorted(names))
            yield f"signers: {named} are learnt as different people; is this one name in several spellings?"
    if others := sorted(signers["train"].keys() - learnt):
        yield f"train: no clip of {', '.join(others)} has a text; they will be signed as the mean of the other signers"
    for split in ("dev", "test"):
        require_signers(data_dir, split, bool(signers[split]), bool(signers["train"]))
        if not signers["train"] and signers_path(data_dir, split).is_file():
            yield f"{split}.signers.txt is there, but no train.signers.txt: who signs is not learnt"
        elif unknown := sorted(signers[split].keys() - signers["train"].keys()):
            yield f"{split}: train has no clip of {', '.join(unknown)}, who will be signed as the mean of its signers"


def on_texts(split: str, texts: list[str]) -> Iterator[str]:
    """Notes on texts of a split, none of them empty, that may not be what is signed."""
    if marked := [text for text in texts if _HTML.search(text)]:
        yield f"{split}: {len(marked)} texts hold HTML, such as '{escaped(marked[0])}', which is learnt as it stands"
    if garbled := [text for text in texts if is_garbled(text)]:
        advice = "which were read in another encoding before, or lost; write these texts again in UTF-8"
        yield f"{split}: {len(garbled)} texts hold garbled letters, such as '{escaped(garbled[0])}', {advice}"
    if nothing := [text for text in texts if text.lower() in NO_WORD]:
        advice = "as programs write for nothing; leave them empty if nothing is signed"
        yield f"{split}: {len(nothing)} texts are '{nothing[0]}', {advice}"
    if are_numbers(texts):
        yield f"{split}: {ALL_NUMBERS}"


def on_vocabulary(split: str, texts: list[str], train_texts: list[str]) -> str | None:
    """Says that hardly any word of a split's texts occurs in train's, or only in other capitals."""
    own, known = ([word for text in some for word in words_of(text)] for some in (texts, train_texts))
    if len(own) < ENOUGH_TEXTS or len(train_texts) < ENOUGH_TRAIN_TEXTS:
        return None
    known, lower = {*known}, {word.lower() for word in known}
    share, alike = np.mean([[word.lower() in lower, word in known] for word in own], axis=0)
    if share < FEW_WORDS:
        return (
            f"{split}: {share:.0%} of its words occur in the texts of train: are they of another language, or glosses "
            "beside sentences?"
        )
    if alike < share / 2:
        odd = next(word for word in own if word not in known and word.lower() in lower)
        return f"{split}: most of its words, such as '{odd}', occur in train with other capitals only; write them alike"
    return None


def shifted_texts(texts: list[str], frames: np.ndarray) -> int | None:
    """By how many lines the texts are shifted against the clips, in the order of the IDs: 1 if a clip's text stands one
    line below its place, -1 if one line above. None if nothing shows a shift.

    Long texts take long. If the lengths of texts and clips correlate a few lines off, but not line by line, each clip
    has the text of a neighbour. frames [N]: of the clips.
    """
    letters, frames = np.log1p([len(text) for text in texts]), np.log(frames)
    if len(texts) < ENOUGH_TEXTS or min(np.ptp(letters), np.ptp(frames)) == 0:
        return None
    shifts = [0, *(way * lines for lines in range(1, MOST_LINES + 1) for way in (1, -1))]
    found = [float(np.corrcoef(np.roll(letters, -shift), frames)[0, 1]) for shift in shifts]
    best = int(np.argmax(found))
    return shifts[best] if found[best] >= GO_TOGETHER and found[0] <= found[best] / 2 else None


def slip_of(split: str, lines: int, sign: str) -> str:
    """Says that a split's texts are shifted by so many lines (see `shifted_texts`); sign: what then is as it should."""
    side = f"{'line' if abs(lines) == 1 else 'lines'} {'below' if lines > 0 else 'above'}"
    return (
        f"{split}: {sign} if each clip has the text {abs(lines)} {side} its own, and not as they are: has {split}.txt "
        "slipped?"
    )


def on_words(split: str, packs: dict[str, Pack], found: "Examination") -> str | None:
    """Says that the clips of a split are not like the train clips of their texts, where the texts are words."""
    words = {
        name: Words(name, packs[name].texts, packs["train"].texts, found.compared[name]) for name in {split, "train"}
    }
    if lines := words[split].slipped():
        return slip_of(split, lines, "more clips are like the train clips of their text")
    if words[split].are_chance() and (split == "train" or not words["train"].are_chance()):
        return (
            f"{split}: clips are no more like train clips of their own text than like others: has each the text of "
            "another clip?"
        )
    return None


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
        found = *self.repeated.values(), *self.overlapping().values()
        told = {later for pairs in found for later, *_ in pairs}
        ids = {name: [one for one in self.geometry.ids if one.startswith(f"{name}/")] for name in (split, "train")}
        pairs = of_one_recording(split, self.likeness, self.compared[split])
        return [(ids[split][own], ids["train"][other]) for own, other in pairs if ids[split][own] not in told]

    def overlapping(self) -> dict[tuple[str, str], list[tuple[str, str, int]]]:
        """The clips of different splits that overlap without being equal, the later one first, and the frames that they
        share; by the splits of the two, as `repeated`."""
        equal = {pair for pairs in self.repeated.values() for pair in pairs}
        found: dict[tuple[str, str], list[tuple[str, str, int]]] = {}
        for first, later, shared in self.overlaps.pairs():
            pair = self.geometry.ids[later], self.geometry.ids[first]
            splits = tuple(name.partition("/")[0] for name in reversed(pair))
            if splits[0] != splits[1] and pair not in equal:
                found.setdefault(splits, []).append((*pair, shared))
        return found


def say_clips(data_dir: Path, packs: dict[str, Pack], found: Examination) -> None:
    """Print how many clips, texts, frames and signers each split has, and what a user should know of them."""
    signers: dict[str, Counter[str]] = {}
    learnt: set[str] = set()  # signers who have a train clip with a text
    for split, pack in packs.items():
        lengths, texts = pack.lengths("pose"), [text for text in pack.texts if says_something(text)]
        say(
            f"{split}: {len(pack)} clips, {len({*map(text_key, texts)})} texts, "
            f"{lengths.sum()} frames ({lengths.min()}-{lengths.max()} per clip)"
        )
        if len(texts) < len(pack):
            print(f"{split}: {len(pack) - len(texts)} clips have an empty text, which no metric of texts counts")
        for sentence in (*on_texts(split, texts), on_vocabulary(split, texts, packs["train"].texts)):
            if sentence:
                print(sentence)
        if lines := shifted_texts(pack.texts, lengths):
            print(slip_of(split, lines, "the lengths of texts and clips go together"))
        if sentence := on_words(split, packs, found):
            print(sentence)
        named = list_signers(data_dir, split, pack.ids) if split == "train" or signers["train"] else {}
        signers[split] = Counter(named.values())
        if split == "train" and named:
            learnt = {named[name] for name, text in zip(pack.ids, pack.texts, strict=True) if says_something(text)}
        if signers[split]:
            counted = [f"{name} ({count} clips)" for name, count in signers[split].most_common(NAMED_SIGNERS)]
            more = len(signers[split]) - len(counted)
            print(f"{split}: signed by {', '.join(counted)}{f' and {more} others' if more else ''}")
    for sentence in on_signers(data_dir, signers, learnt):
        print(sentence)
    for note in notes(packs):
        print(note)
    require_stated_rates(packs)


def facts_by_split(facts: Facts, names: list[str]) -> dict[str, Facts]:
    """The facts of each split's clips, which are named SPLIT/ID: one may be written in another way than the rest."""
    splits = np.array([name.partition("/")[0] for name in names])
    return {split: {fact: values[splits == split] for fact, values in facts.items()} for split in SPLITS}


def say_geometry(facts: Facts, fps: float | None) -> None:
    """Print what was measured of all clips, and what can't be judged."""
    say("geometry, the median clip (all clips):", *geometry.report(facts), sep="\n  ")
    say(f"  frames per second: {f'{fps:g}' if fps else 'not given'}")
    if not np.isfinite(facts["width"]).any():
        print(
            "warning: no clip shows both shoulders (keypoints 11 and 12), so units, axes and sides can't be judged; "
            "are keypoints 0 to 32 the body?"
        )
    elif np.isfinite(facts["large"]).any() and not np.isfinite([facts["left wrist"], facts["right wrist"]]).any():
        print(
            "warning: clips show hands, but none shows a wrist (keypoints 15 and 16), so the order of the body's "
            "keypoints can't be judged; is it MediaPipe's?"
        )


def require_geometry(data_dir: Path, facts: Facts, of_split: dict[str, Facts]) -> None:
    """Raises UserError if the clips of the data set, or of one split, contradict the layout."""
    for where, part in {data_dir: facts, **{data_dir / split: part for split, part in of_split.items()}}.items():
        if wrong := geometry.refusal(part):
            raise UserError(f"{where}: {wrong}")


def say_odd_clips(found: Examination, facts: Facts, of_split: dict[str, Facts], signers: list[str]) -> None:
    """Name the clips that differ from the rest, and those that equal another one."""
    for sentence in geometry.differing(found.geometry.ids, facts):
        print(f"differs: {sentence}")
    for sentence in geometry.face_units(facts):
        print(f"differs: {sentence}")
    if sentence := on_mirrors("train", found.likeness, found.compared["train"], signers):
        print(f"differs: {sentence}")
    for split in ("dev", "test"):
        parts = split, of_split[split], of_split["train"]
        mirrors = on_mirrors(split, found.likeness, found.compared[split])
        sides = [mirrors] if mirrors else geometry.other_side(*parts)
        others = (*geometry.other_parts(*parts), *geometry.other_shape(*parts), *geometry.other_pace(*parts))
        for sentence in (*others, *sides):
            print(f"differs: {sentence}")
    for split, timing in found.timing.items():
        for sentence in timing.notes():
            print(f"{split}: {sentence}")
    for (earlier, split), names in found.repeated.items():
        where = f"are in {split} twice" if split == earlier else f"of {split} also occur in {earlier}"
        meanings = {"train": "; their scores mean nothing", "dev": "; dev chooses the model that test scores"}
        meaning = "" if split == earlier else meanings[earlier]
        print(f"{len(names)} clips {where}, such as {' and '.join(names[0])}{meaning}")
    for (earlier, split), pairs in found.overlapping().items():
        clips, (name, other, shared) = {later for later, *_ in pairs}, pairs[0]
        print(
            f"{len(clips)} clips of {split} overlap with clips of {earlier}, such as {name} and {other} in {shared} "
            "frames; give all clips of one recording to one split"
        )
    for split in ("dev", "test"):
        if pairs := found.of_one_recording(split):
            print(
                f"{len(pairs)} clips of {split} move just as clips of train do, such as {' and '.join(pairs[0])}: one "
                "recording at another rate or size, mirrored, or detected again? Give it to one split"
            )


def main() -> None:
    args = parse_arguments()
    data_dir, reading = Path(args.data_dir), Reading(args.visibility_threshold, args.fps)

    packs = {
        split: load_split(data_dir, split, args.cache_dir, args.skip_bad, args.num_workers, reading) for split in SPLITS
    }
    fps = one_rate(packs)
    settings = {"split": "train", "train": packs["train"].info["content"], "skip_bad": args.skip_bad, "fps": fps}
    settings |= {"visibility_threshold": reading.visibility_threshold, "resampled_to_fps": reading.fps}
    found = Examination()
    statistics = compute_statistics(found.clips("train", packs["train"]), settings)
    for split in ("dev", "test"):
        for _ in found.clips(split, packs[split]):
            pass
    say_clips(data_dir, packs, found)
    facts = found.geometry.facts()
    of_split = facts_by_split(facts, found.geometry.ids)
    say_geometry(facts, fps)
    require_geometry(data_dir, facts, of_split)
    say_odd_clips(found, facts, of_split, [*list_signers(data_dir, "train", packs["train"].ids).values()])
    path = save_statistics(statistics, data_dir, args.cache_dir)
    print(f"wrote {path} (fingerprint {statistics.fingerprint})")


if __name__ == "__main__":
    errors.run(main)
