"""Draw clips side by side, generated ones and real ones, as a video and as a contact sheet of frames.

    python visualize.py --clips "real=data/test/poses/ID.npz" "flow, 4 steps=output_pose.npy" --output clips.mp4 \\
        --sheet clips.png --captions data/spelling.json

A clip is LABEL=PATH or PATH alone: a .npy as the inference scripts write it, [T,214]; a .npz of a data set, with its
NMM pickle in nmms/ beside poses/; or a full MediaPipe Holistic .pose file. --captions holds what is signed when,
ID -> [[text, first frame, end frame], ...], as demo_data.py writes it; it is shown under the clips whose file is
called ID.
"""

import argparse
from pathlib import Path

import numpy as np

from poses.files import read_pose
from poses.render import contact_sheet, video
from runtime import errors
from runtime.arguments import make_parser, positive_float, positive_int
from runtime.errors import UserError
from runtime.untrusted import read_json


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--clips", nargs="+", required=True, metavar="LABEL=PATH", help="in the order shown")
    parser.add_argument("--output", type=Path, help="a video, .mp4")
    parser.add_argument("--sheet", type=Path, help="a picture, .png: a row a clip, frames evenly spaced in time")
    parser.add_argument("--fps", type=positive_float, default=25.0, help="frames a second of the video (default 25)")
    parser.add_argument("--aspect", type=positive_float, default=1.0, help="the recording's width / height (default 1)")
    parser.add_argument("--num_frames", type=positive_int, default=12, help="frames a row of the sheet (default 12)")
    parser.add_argument("--captions", type=Path, help="a JSON file that says what is signed when")
    args = parser.parse_args()
    if args.output is None and args.sheet is None:
        parser.error("nothing to draw; pass --output VIDEO.mp4, --sheet PICTURE.png or both")
    for flag, path, ending in (("--output", args.output, ".mp4"), ("--sheet", args.sheet, ".png")):
        if path is not None and path.suffix != ending:
            parser.error(f"{flag} {path}: must end in {ending}")
    return args


def read_captions(path: Path, clip_id: str, length: int) -> list[str] | None:
    """A caption for each of `length` frames, '' between two of them, or None where the file does not name the clip."""
    try:
        segments = read_json(path).get(clip_id)
        captions = [""] * length
        for text, start, end in segments or []:
            if not 0 <= start <= end:
                raise ValueError
            captions[start:end] = [str(text)] * (min(end, length) - start)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; demo_data.py writes spelling.json beside its splits") from None
    except (ValueError, TypeError, AttributeError):
        raise UserError(f"{path}: not JSON of the form {{ID: [[text, first frame, end frame], ...]}}") from None
    return captions if segments is not None else None


def main() -> None:
    args = parse_arguments()
    labels, paths = [], []
    for clip in args.clips:
        label, equals, path = clip.rpartition("=")
        paths.append(Path(path))
        labels.append(label if equals else Path(path).stem)
    poses = [np.where(clip.seen, clip.pose, np.nan) for clip in map(read_pose, paths)]
    captions = None
    if args.captions is not None:
        captions = [read_captions(args.captions, path.stem, len(pose)) for path, pose in zip(paths, poses, strict=True)]
    named = list(zip(labels, poses, strict=True))
    if args.sheet is not None:
        contact_sheet(named, args.sheet, args.num_frames, captions, args.aspect)
        print(f"wrote {args.sheet}")
    if args.output is not None:
        video(named, args.output, args.fps, captions, args.aspect)
        print(f"wrote {args.output}")


if __name__ == "__main__":
    errors.run(main)
