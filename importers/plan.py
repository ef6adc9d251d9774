"""Which recordings become clips of which split, with which text; and the flags that say so."""

import argparse
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from importers.texts import SPLIT_NAMES, clip_name, read_texts
from poses.files import SPLITS
from poses.rates import frames_per_second
from runtime.arguments import positive_int, refuse_without
from runtime.console import say
from runtime.errors import UserError
from runtime.files import is_undecoded, write_whole
from runtime.untrusted import escaped, read_json

MADE_BY = "made_by.json"  # in a data set's folder: the script and the flags that its clips were made with

VIDEO_ENDINGS = (
    ".mp4",
    ".mov",
    ".m4v",
    ".avi",
    ".mkv",
    ".webm",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".flv",
    ".3gp",
    ".mts",
    ".ogv",
    ".gif",
)

SHARES = (0.8, 0.1, 0.1)  # of train, dev and test, where nothing says the clips' splits
_WORDS = re.compile("[a-z]+")
LONGEST_ID = 240  # bytes: with the ending of its files, as long as a file's name may be


@dataclass(frozen=True)
class Source:
    """A recording on disk: what to read, and how. `part`: the byte where it begins, of recordings that share a file."""

    path: Path
    kind: str
    name: str  # its path within the folder that was given, which names it in messages
    part: int = 0


@dataclass(frozen=True)
class PlannedClip:
    """A recording that becomes a clip; text None: no file says what is signed."""

    id: str
    source: Source
    split: str = ""  # until it is decided
    text: str | None = None
    signer: str | None = None


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("clips")
    group.add_argument("--output_dir", type=Path, required=True, help="the data set's folder, new or to be continued")
    group.add_argument(
        "--texts",
        nargs="+",
        default=[],
        metavar="[SPLIT=]FILE",
        help="what is signed: one file, or one per split, such as train=a.csv dev=b.csv test=c.csv; "
        "ID|text lines, PHOENIX's *.corpus.csv, How2Sign's .csv, or a table with a first line of column names",
    )
    group.add_argument("--text_column", help="the table's column of texts (default: translation, sentence, text, ...)")
    group.add_argument("--id_column", help="the table's column of IDs (default: id, name, sentence_name, ...)")
    group.add_argument("--signer_column", help="the table's column of who signs, for SPLIT.signers.txt (default: none)")
    group.add_argument(
        "--split",
        type=_split,
        metavar="NAME|A,B,C",
        help="train, dev or test for all clips; or the shares of the three, where a clip's ID decides its split "
        "(default: as the table's column split or subset says, or else the recordings' folders train, dev or val, and "
        "test; without these 0.8,0.1,0.1; ignored if --texts names the splits)",
    )
    group.add_argument(
        "--ids",
        choices=("name", "path"),
        default="name",
        help="what names a clip: its file, or its path within the folder, as in hello_001 (default name)",
    )
    group.add_argument(
        "--fps",
        type=_rate,
        metavar="NUMBER|keep",
        help="resample all clips to this rate, in frames per second; keep: leave each at its own "
        "(default: as recorded, and clips of different rates are refused)",
    )
    group.add_argument("--source_fps", type=frames_per_second, help="rate of recordings whose files do not state one")
    group.add_argument(
        "--num_workers", type=positive_int, default=1, help="processes that convert recordings (default 1)"
    )
    group.add_argument(
        "--skip_bad", action="store_true", help="leave out recordings that can't be read, without an error"
    )


def _rate(text: str) -> float | str:
    return text if text == "keep" else frames_per_second(text)


def _split(text: str) -> str | tuple[float, ...]:
    if text in SPLITS:
        return text
    try:
        shares = tuple(float(share) for share in text.split(","))
    except ValueError:
        shares = ()
    if len(shares) != len(SPLITS) or not all(0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
        raise argparse.ArgumentTypeError(f"'{text}' is neither train, dev, test nor three shares such as 0.8,0.1,0.1")
    return shares


def files_in(folder: Path, endings: tuple[str, ...], output_dir: Path | None, skip_bad: bool) -> list[Path]:
    """Every file in a folder and the folders in it, in order of their paths, without `output_dir` and what is hidden:
    the .git of a git-annex or DataLad data set holds each file a second time, to which the visible one is a link.

    A link to a folder that lies elsewhere is followed, and each folder is looked through once. Links that lead nowhere,
    to files of these endings or to folders, and folders that can't be read are a UserError; with `skip_bad` they are
    left out, and a line says so.
    """
    found, waiting = [], [str(folder)]
    closed: list[OSError] = []
    seen = {os.path.realpath(output_dir)} - {os.path.realpath(folder)} if output_dir else set()
    while waiting:
        for place, folders, names in os.walk(waiting.pop(0), onerror=closed.append):
            if os.path.realpath(place) in seen:
                folders.clear()
                continue
            seen.add(os.path.realpath(place))
            folders[:] = [name for name in folders if not name.startswith(".")]  # os.walk goes into these
            waiting += [path for name in sorted(folders) if os.path.islink(path := os.path.join(place, name))]
            found += [Path(place) / name for name in names if not name.startswith(".")]
    files = {path for path in found if path.is_file()}
    lost = sorted(path for path in found if path not in files and path.is_symlink() and not path.exists())
    lost = [path for path in lost if path.suffix.lower() in ("", *endings)]
    problems = []
    if closed:
        name = escaped(os.path.relpath(closed[0].filename, folder))
        problem = f"{len(closed)} folders can't be read, such as {name} ({closed[0].strerror})"
        problems.append((problem, "check their permissions"))
    if lost:
        problem = f"{len(lost)} links lead nowhere, such as {escaped(lost[0].relative_to(folder))}"
        problems.append((problem, "fetch their content, for example with git annex get, datalad get or dvc pull"))
    for problem, advice in problems:
        if not skip_bad:
            raise UserError(f"{folder}: {problem}; {advice}, or pass --skip_bad")
        print(f"{problem}; they are left out: {advice}")
    return sorted(files)


def name_sources(sources: Iterable[Source], endings: tuple[str, ...], ids: str) -> dict[str, Source]:
    """The recordings, sorted by clip ID. Raises UserError if two have the same ID, or one that no file can have."""
    named: dict[str, Source] = {}
    for source in sources:
        clip_id = clip_name(source.name, endings, by_path=ids == "path")
        if clip_id in named:
            other = named[clip_id]
            problem = f"{other.name} and {source.name} would both be called '{clip_id}'"
            if other.name == source.name:
                paths = " and ".join(dict.fromkeys([str(other.path), str(source.path)]))
                problem = f"{paths}: '{clip_id}' is named twice"
            by_path = {clip_name(one.name, endings, by_path=True) for one in (other, source)}
            helps = ids != "path" and len(by_path) > 1
            advice = "pass --ids path, which names clips after their path" if helps else "rename one of them"
            raise UserError(f"{problem}; {advice}")
        if unfit := _unfit(clip_id, source.name):
            raise UserError(
                f"{source.path}: the name '{escaped(source.name)}' can't be a clip's, as {unfit}; rename it"
            )
        named[clip_id] = source
    return dict(sorted(named.items()))


def _unfit(clip_id: str, name: str) -> str | None:
    """Why a recording's name can't be kept, or its clip ID name files; None if they can."""
    if is_undecoded(name):
        return "it is not UTF-8 (latin-1?)"
    if not clip_id:
        return "no ID is left of it"
    if len(os.fsencode(clip_id)) > LONGEST_ID:
        return f"it has more than {LONGEST_ID} bytes, too many for a file's name"
    odd = next((letter for letter in clip_id if letter == "|" or not letter.isprintable()), None)
    return None if odd is None else f"it holds {odd!a}"


def parse_planned(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The flags of an importer; those of a table are refused without one."""
    args = parser.parse_args()
    refuse_without("--texts", bool(args.texts), ("--text_column", "--id_column", "--signer_column"), parser, args)
    return args


def plan_clips(
    named: dict[str, Source], args: argparse.Namespace, endings: tuple[str, ...], texts: dict[str, str] | None = None
) -> list[PlannedClip]:
    """The clips to make, in order of their IDs; says which recordings have no text and which texts no recording.

    texts: what the recordings' own files say, where --texts is not given.
    """
    clips = [PlannedClip(clip_id, source, text=(texts or {}).get(clip_id)) for clip_id, source in named.items()]
    if args.texts:
        clips = _with_texts(clips, args, endings)
    if not all(clip.split for clip in clips):
        splits = _splits_of_folders(clips) if args.split is None else {}
        if not splits and args.split is None:
            shares = ",".join(f"{share:g}" for share in SHARES)
            say(f"no folder, file or column says the splits, so the clips' IDs decide them: --split {shares}")
        splits = splits or assign_splits([clip.id for clip in clips], args.split or SHARES, args.output_dir)
        clips = [replace(clip, split=splits[clip.id]) for clip in clips]
    return clips


def _splits_of_folders(clips: list[PlannedClip]) -> dict[str, str]:
    """The split of each clip by the first folder, or else the .skels file, that is called like one; {} if none is.

    If none is, a split within a name tells it too, as in train_rgb_front_clips, where it tells two splits apart. Raises
    UserError if names say the split of some clips only.
    """
    places: dict[str, tuple[str, ...]] = {}
    for clip in clips:
        folders = PurePosixPath(clip.source.name.replace("\\", "/")).parts[:-1]
        places[clip.id] = (*folders, clip.source.path.stem) if clip.source.kind == "skels" else folders
    splits = _splits_named({name: [[place.lower()] for place in of_clip] for name, of_clip in places.items()})
    if not splits:
        words = {name: [_WORDS.findall(place.lower()) for place in of_clip] for name, of_clip in places.items()}
        splits = _splits_named(words)
        splits = splits if len({*splits.values()}) > 1 else {}
    other = next((clip for clip in clips if clip.id not in splits), None)
    if splits and other is not None:
        one = next(clip for clip in clips if clip.id in splits)
        raise UserError(
            f"{len(splits)} of {len(clips)} recordings, such as {escaped(one.source.name)}, are in a folder or file "
            f"that is called like a split, and others, such as {escaped(other.source.name)}, are not; pass --split, "
            "for example --split 0.8,0.1,0.1, or put each recording into train, dev or test"
        )
    if splits:
        counts = Counter(splits.values())
        counted = ", ".join(f"{counts[split]} {split}" for split in SPLITS if counts[split])
        say(f"splits as the recordings' folders or files are called: {counted} (--split says otherwise)")
    return splits


def _splits_named(words: dict[str, list[list[str]]]) -> dict[str, str]:
    """The split of each clip: that of its first folder whose words name exactly one split."""
    found: dict[str, str] = {}
    for name, of_places in words.items():
        named = ({SPLIT_NAMES[word] for word in place if word in SPLIT_NAMES} for place in of_places)
        split = next((of_place.pop() for of_place in named if len(of_place) == 1), None)
        if split is not None:
            found[name] = split
    return found


def _with_texts(clips: list[PlannedClip], args: argparse.Namespace, endings: tuple[str, ...]) -> list[PlannedClip]:
    """The clips that have a text, with it and with the split of its file or, without --split, of its row ('': none)."""
    labels: dict[str, tuple[str, str, str | None]] = {}  # split, text and signer, by clip ID
    known = {clip.id for clip in clips}

    def clip_named(name: str) -> str:
        """The clip that a table's cell means, whether or not there is a recording of it."""
        clip_id = clip_name(name, endings, by_path=args.ids == "path")
        stem, dot, ending = clip_id.rpartition(".")
        of_video = clip_id not in known and stem in known and dot + ending.lower() in VIDEO_ENDINGS
        return stem if of_video else clip_id  # a table may name the videos that the poses were made of

    def recording_of(name: str) -> str | None:
        clip_id = clip_named(name)
        return clip_id if clip_id in known else None

    given = [_named_file(name) for name in args.texts]
    if len({split for split, _ in given}) < len(given) or (len(given) > 1 and any(not split for split, _ in given)):
        raise UserError("--texts takes one file, or one file per split, such as train=a.csv dev=b.csv test=c.csv")
    for split_of_file, path in given:
        texts, splits, signers = read_texts(path, args.text_column, args.id_column, args.signer_column, recording_of)
        if split_of_file or args.split is not None:
            splits = {}
        elif splits:
            say(f"{path}: splits from its column of splits (--split says otherwise)")
        for name, text in texts.items():
            split = _known_split(splits[name], name, path) if splits else split_of_file
            clip_id, found = clip_named(name), (split, text, signers.get(name))
            if labels.setdefault(clip_id, found) != found:
                raise UserError(
                    f"{path}: '{clip_id}' has another text, another split or another signer too; IDs must be unique"
                )
    names = ("split", "text", "signer")
    kept = [replace(clip, **dict(zip(names, labels[clip.id], strict=True))) for clip in clips if clip.id in labels]
    files = ", ".join(str(path) for _, path in given)
    if not labels:
        raise UserError(f"{files}: names its columns and holds no text")
    without = sorted({clip.id for clip in clips} - labels.keys())
    missing = sorted(labels.keys() - {clip.id for clip in clips})
    if not kept:
        raise UserError(
            f"{files}: none of its {len(labels)} IDs, such as '{missing[0]}', is a recording's, such as '{without[0]}'"
        )
    if without:
        print(f"{len(without)} recordings have no text in {files} and are not taken, such as '{escaped(without[0])}'")
    if missing:
        print(f"{len(missing)} texts of {files} have no recording, such as '{escaped(missing[0])}'")
    return kept


def _known_split(split: str, name: str, path: Path) -> str:
    if split.lower() not in SPLIT_NAMES:
        raise UserError(
            f"{path}: the split of '{escaped(name)}' is '{escaped(split)}'; write train, dev or test there, or pass "
            "--split"
        )
    return SPLIT_NAMES[split.lower()]


def _named_file(name: str) -> tuple[str, Path]:
    """'dev=b.csv' → ('dev', b.csv); a name without a split → ('', the name)."""
    split, equals, path = name.partition("=")
    return (split, Path(path)) if equals and split in SPLITS else ("", Path(name))


def assign_splits(ids: list[str], split: str | tuple[float, ...], output_dir: Path) -> dict[str, str]:
    """The split of each clip. With shares, a clip that is written already keeps its split, and a hash of the ID decides
    for the others, so that a clip's split is the same when clips are added. Only a split that would get no clip takes
    one from the largest split: the one whose hash is nearest to its range."""
    if isinstance(split, str):
        return dict.fromkeys(ids, split)
    places = {clip_id: int(hashlib.sha256(clip_id.encode()).hexdigest()[:12], 16) / 16**12 for clip_id in ids}
    bounds = [sum(split[:number]) for number in range(len(split) + 1)]
    chosen = {
        clip_id: next(SPLITS[n] for n in reversed(range(3)) if split[n] > 0 and (place >= bounds[n] or not bounds[n]))
        for clip_id, place in places.items()
    }
    written = {clip_id: found[0] for clip_id in ids if (found := _splits_that_hold(clip_id, output_dir))}
    if kept := sum(chosen[clip_id] != name for clip_id, name in written.items()):
        say(f"{kept} clips stay in the split that they are written in, where --split says another")
    chosen |= written
    for number, name in enumerate(SPLITS):
        if split[number] > 0 and name not in chosen.values():
            counts = Counter(chosen.values())
            free = [clip_id for clip_id in ids if clip_id not in written and counts[chosen[clip_id]] > 1]
            if not free:
                some = f", of which {len(written)} are written already," if written else ""
                raise UserError(f"{len(ids)} clips{some} are too few for three splits; pass --split train, dev or test")
            givers = {chosen[clip_id] for clip_id in free}
            largest = max((other for other in SPLITS if other in givers), key=counts.__getitem__)
            middle = (bounds[number] + bounds[number + 1]) / 2
            candidates = [clip_id for clip_id in free if chosen[clip_id] == largest]
            chosen[min(candidates, key=lambda clip_id: abs(places[clip_id] - middle))] = name
    return chosen


def _splits_that_hold(clip_id: str, output_dir: Path) -> list[str]:
    """The splits of a data set that a clip is written in."""
    return [split for split in SPLITS if (output_dir / split / "poses" / f"{clip_id}.npz").exists()]


def mark_made_by(output_dir: Path, script: str, flags: dict, clips: list[PlannedClip]) -> None:
    """Mark a data set's folder as made by this script with these flags; raises UserError if other ones made it."""
    path, mine = output_dir / MADE_BY, {"script": script, **flags}
    if path.is_file():
        try:
            found = read_json(path)
        except UserError:
            raise UserError(f"{path}: not JSON; choose another --output_dir") from None
        made = any(next((output_dir / split / "poses").glob("*.npz"), None) for split in SPLITS)
        same = found == mine
        if isinstance(found, dict) and found.get("source_fps", 0) is None:  # its clips state their own rates
            same = {**found, "source_fps": mine.get("source_fps")} == mine
        if made and not same:
            raise UserError(
                f"{output_dir}: its clips were made with {_command(found)}, not with {_command(mine)}; "
                "use the same flags or another --output_dir"
            )
    elif any((output_dir / split).exists() for split in SPLITS):
        raise UserError(f"{output_dir}: holds a data set that {script} did not make; choose another --output_dir")
    for clip in clips:
        for split in _splits_that_hold(clip.id, output_dir):
            if split != clip.split:
                raise UserError(
                    f"{output_dir}: '{clip.id}' is in {split} already, and would now go to {clip.split}; "
                    "use the same --texts and --split, or another --output_dir"
                )
    with write_whole(path, "w") as file:
        json.dump(mine, file)


def _command(made_by: object) -> str:
    if not isinstance(made_by, dict):
        return "flags that can't be read"
    flags = [f"--{name} {value}" for name, value in made_by.items() if name != "script" and value is not None]
    return " ".join([str(made_by.get("script")), *flags])
