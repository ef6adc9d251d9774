"""Stage 0: check a data set, pack it for fast reading, and write the train statistics that normalise poses.

    python data_preparation.py --data_dir data/phoenix14t

Writes DATA_DIR/normalization_stats.npz (mean and std of each of the 214 numbers, from train alone) and
DATA_DIR/cache/ (each split in memory-mapped files). If DATA_DIR is read-only, --cache_dir holds both.
Prints what units, axes and sides the keypoints seem to have, and names clips that differ from the rest.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from poses import geometry
from poses.examination import Examination, facts_by_split, odd_clips, require_geometry
from poses.files import RESAMPLED, SPLITS, UNSTATED, VISIBILITY_THRESHOLD, Reading
from poses.geometry import Facts
from poses.pack import Pack
from poses.rates import frames_per_second, shared_rate
from poses.splits import load_split
from poses.statistics import compute_statistics, save_statistics
from poses.text_notes import notes_on_signers, notes_on_split
from poses.texts import list_signers, says_something, some_of, text_key
from runtime import errors
from runtime.arguments import add_data_arguments, fraction, make_parser, natural_int
from runtime.console import say
from runtime.errors import UserError

DATA_DIR = "data"  # the default of --data_dir


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


def notes_on_reading(packs: dict[str, Pack]) -> Iterator[str]:
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
        for sentence in notes_on_split(split, packs, found.compared):
            print(sentence)
        named = list_signers(data_dir, split, pack.ids) if split == "train" or signers["train"] else {}
        signers[split] = Counter(named.values())
        if split == "train" and named:
            learnt = {named[name] for name, text in zip(pack.ids, pack.texts, strict=True) if says_something(text)}
        if signers[split]:
            print(f"{split}: signed by {some_of([f'{name} ({n} clips)' for name, n in signers[split].most_common()])}")
    for sentence in notes_on_signers(data_dir, signers, learnt):
        print(sentence)
    for sentence in notes_on_reading(packs):
        print(sentence)
    require_stated_rates(packs)


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
    for sentence in odd_clips(found, facts, of_split, [*list_signers(data_dir, "train", packs["train"].ids).values()]):
        print(sentence)
    path = save_statistics(statistics, data_dir, args.cache_dir)
    print(f"wrote {path} (fingerprint {statistics.fingerprint})")


if __name__ == "__main__":
    errors.run(main)
