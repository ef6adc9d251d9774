"""Make a data set from poses of other tools: .pose files, MediaPipe arrays, OpenPose, DWPose, MMPose, .skels.

    python import_data.py --input poses/ --texts texts.txt --output_dir data/mine --fps 25
    python import_data.py --input openpose/ --texts train=train.csv dev=dev.csv test=test.csv --source_fps 24 \\
        --width 1280 --height 720 --output_dir data/how2sign

Every recording in the folder, and in the folders in it, becomes a clip of the data layout (docs/data.md). A
clip that exists already is skipped, so the same command continues a run that was stopped. What was not seen stays
unseen: a recording without a face has no face in the data, not one of zeros. docs/own_data.md describes each format.
"""

import argparse
import functools
import os
from collections import Counter, defaultdict
from pathlib import Path

from importers.conversion import convert
from importers.formats import (
    ENDINGS,
    FORMATS,
    ReadingFlags,
    content_of_source,
    find_sources,
    read_recording,
    skels_texts,
)
from importers.geometry import UNITS
from importers.people import WHOM
from importers.plan import Source, add_plan_arguments, mark_made_by, name_sources, parse_planned, plan_clips
from runtime import errors
from runtime.arguments import make_parser, positive_int
from runtime.console import say
from runtime.errors import UserError


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--input", type=Path, required=True, help="the folder of the recordings")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="read only this format: " + "; ".join(f"{name}: {meaning}" for name, meaning in FORMATS.items()),
    )
    parser.add_argument(
        "--units",
        choices=UNITS,
        help="unit of the coordinates, if it is not the format's own: "
        + "; ".join(f"{name}: {meaning}" for name, meaning in UNITS.items()),
    )
    parser.add_argument("--width", type=positive_int, help="width of the recorded picture, in pixels")
    parser.add_argument("--height", type=positive_int, help="height of the recorded picture, in pixels")
    parser.add_argument(
        "--person",
        choices=WHOM,
        default="signing",
        help="whom to follow if a frame has several people; signing: whose hands move most; left, right: the person on "
        "that side of the picture; largest: the tallest (default signing)",
    )
    parser.add_argument("--swap_hands", action="store_true", help="exchange the left and the right hand")
    add_plan_arguments(parser)
    args = parse_planned(parser)
    if (args.width is None) != (args.height is None):
        parser.error("--width and --height go together")
    return args


def texts_beside(named: dict[str, Source]) -> dict[str, str]:
    """The texts that .skels files have beside them, by clip ID."""
    of_file: dict[Path, list[tuple[int, str]]] = defaultdict(list)
    for clip_id, source in named.items():
        if source.kind == "skels":
            of_file[source.path].append((source.part, clip_id))
    texts: dict[str, str] = {}
    for path, clips in of_file.items():
        lines = skels_texts(path, len(clips))
        if lines is not None:
            texts |= zip((clip_id for _, clip_id in sorted(clips)), lines, strict=True)
    return texts


def main() -> None:
    args = parse_arguments()
    if os.path.realpath(args.input) == os.path.realpath(args.output_dir):
        raise UserError(f"--output_dir {args.output_dir}: is --input, too; choose another folder for the data set")
    sources = [*find_sources(args.input, args.format, args.output_dir, args.skip_bad)]
    if not sources:
        wanted = FORMATS[args.format] if args.format else ", ".join(ENDINGS)
        endings = Counter(path.suffix for path in args.input.rglob("*") if path.is_file() and path.suffix)
        held = "".join(f", but {count} files {ending}" for ending, count in endings.most_common(1))
        raise UserError(f"{args.input}: holds no recording ({wanted}){held}")
    kinds = sorted({source.kind for source in sources})
    if len(kinds) > 1:
        raise UserError(f"{args.input}: holds recordings of several formats; choose with --format {' or '.join(kinds)}")
    named = name_sources(sources, ENDINGS, args.ids)
    say(f"{args.input}: {len(named)} recordings ({FORMATS[kinds[0]]})")
    clips = plan_clips(named, args, ENDINGS, None if args.texts else texts_beside(named))
    size = (args.width, args.height) if args.width else None
    reading = ReadingFlags(args.units, size, args.source_fps, args.person, args.swap_hands)
    flags = {name: getattr(args, name) for name in ("fps", "source_fps", "units", "width", "height", "person", "ids")}
    mark_made_by(args.output_dir, "import_data.py", {**flags, "swap_hands": args.swap_hands or None}, clips)
    convert(clips, functools.partial(read_recording, reading=reading), content_of_source, args)


if __name__ == "__main__":
    errors.run(main)
