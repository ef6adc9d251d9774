"""Make a data set from videos: MediaPipe Holistic finds body, hands and face in every frame.

    make .venv-video
    .venv-video/bin/python extract_features.py --videos videos/ --texts texts.txt --output_dir data/mine --num_workers 8

Every video in the folder, and in the folders in it, becomes a clip of the data layout (docs/data.md), and so
does every folder of pictures (PHOENIX-2014-T's layout; --source_fps says at which rate they were taken). A clip that
exists already is skipped, so the same command continues a run that was stopped. On several machines, such as a SLURM
array:

    ... extract_features.py ... --shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT      # tasks 1, 2, ...

At the end, one more call without --shard checks that every clip exists, and reports on all of them.
"""

import argparse
import functools
from pathlib import Path

from importers.conversion import convert
from importers.detector import require_packages, silence_native_logs
from importers.people import WHOM
from importers.plan import (
    VIDEO_ENDINGS,
    Source,
    add_plan_arguments,
    mark_made_by,
    name_sources,
    parse_planned,
    plan_clips,
)
from importers.video import PICTURE_ENDINGS, content_of_source, find_sources, header_rate, read_recording
from poses.rates import same_rate
from runtime import errors
from runtime.arguments import make_parser
from runtime.console import say
from runtime.errors import UserError
from runtime.parallel import parallel_map


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--videos", type=Path, required=True, help="the folder of the videos, or of folders of frames")
    parser.add_argument(
        "--person",
        choices=WHOM,
        default="signing",
        help="whom to follow if several people are in the picture; signing: whose hands move most; left, right: the "
        "person on that side; largest: by the face (default signing)",
    )
    parser.add_argument("--shard", type=_shard, default=(1, 1), metavar="I/N", help="the Ith of N parts of the clips")
    add_plan_arguments(parser)
    return parse_planned(parser)


def _shard(text: str) -> tuple[int, int]:
    number, slash, count = text.partition("/")
    if not slash or not number.isdigit() or not count.isdigit() or not 1 <= int(number) <= int(count):
        raise argparse.ArgumentTypeError(f"'{text}' is not I/N, such as 1/8, 2/8, ... 8/8")
    return int(number), int(count)


def check_rates(sources: list[Source], source_fps: float | None, num_workers: int) -> None:
    """Raises UserError if the videos' headers state different rates, before the long work begins."""
    rates = dict(zip(sources, parallel_map(header_rate, sources, num_workers, source_fps), strict=True))
    rates = {source: rate for source, rate in rates.items() if rate is not None}
    if rates:
        slow, fast = min(rates, key=rates.__getitem__), max(rates, key=rates.__getitem__)
        if not same_rate(rates[slow], rates[fast]):
            raise UserError(
                f"the videos have different rates: {slow.name} {rates[slow]:.4g}, {fast.name} {rates[fast]:.4g} frames "
                "per second; pass --fps with the rate to bring them to, or --fps keep"
            )


def main() -> None:
    args = parse_arguments()
    require_packages()
    silence_native_logs()
    sources, others = find_sources(args.videos, args.output_dir, args.skip_bad)
    if not sources:
        raise UserError(f"{args.videos}: holds no video ({', '.join(VIDEO_ENDINGS)}) and no folder of pictures")
    ignored = ", ".join(f"{count} {ending}" for ending, count in sorted(others.items()))
    say(f"{args.videos}: {len(sources)} recordings" + (f"; other files are left alone: {ignored}" if others else ""))
    endings = (*VIDEO_ENDINGS, *PICTURE_ENDINGS)
    clips = plan_clips(name_sources(sources, endings, args.ids), args, endings)
    if args.fps is None:
        check_rates([clip.source for clip in clips], args.source_fps, args.num_workers)
    flags = {name: getattr(args, name) for name in ("fps", "source_fps", "person", "ids")}
    mark_made_by(args.output_dir, "extract_features.py", flags, clips)
    read = functools.partial(read_recording, person=args.person, source_fps=args.source_fps)
    convert(clips, read, content_of_source, args, args.shard)


if __name__ == "__main__":
    errors.run(main)
