"""Draw clips side by side, generated ones and real ones, as a video and as a contact sheet of frames.

    python visualize.py --clips "real=data/test/poses/ID.npz" "flow, 4 steps=output_pose.npy" --output clips.mp4 \\
        --sheet clips.png --captions data/spelling.json

A clip is LABEL=PATH or PATH alone: a .npy as the inference scripts write it, [T,214]; a .npz of a data set, with its
NMM pickle in nmms/ beside poses/; or a full MediaPipe Holistic .pose file. --captions holds what is signed when,
ID -> [[text, first frame, end frame], ...], as demo_data.py writes it; it is shown under the clips whose file is
called ID. The video runs at the clips' own frames a second: those of a .npz, of a .pose, of the .json beside a .npy.
"""

import argparse
from pathlib import Path

import numpy as np

from poses.files import Clip, read_pose, same_rate
from poses.render import contact_sheet, video
from runtime import errors
from runtime.arguments import make_parser, positive_float, positive_int
from runtime.errors import UserError
from runtime.untrusted import read_json

DEFAULT_FPS = 25.0  # where no clip says


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--clips", nargs="+", required=True, metavar="LABEL=PATH", help="in the order shown")
    parser.add_argument("--output", type=Path, help="a video, .mp4")
    parser.add_argument("--sheet", type=Path, help="a picture, .png: a row a clip, frames evenly spaced in time")
    parser.add_argument(
        "--fps", type=positive_float, help=f"frames a second of the video (default: the clips', or {DEFAULT_FPS:g})"
    )
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


def label_and_path(clip: str) -> tuple[str, Path]:
    """LABEL=PATH or PATH, either of which may itself hold =; a file that is there decides."""
    parts = clip.split("=")
    for start in range(len(parts)):
        path = Path("=".join(parts[start:]))
        if path.is_file():
            return "=".join(parts[:start]) or path.stem, path
    label, _, path = clip.rpartition("=")
    return label or Path(path).stem, Path(path)


def video_fps(clips: list[Clip], paths: list[Path]) -> float:
    """The frames a second of all clips that say; a UserError where they differ."""
    known = {path: clip.fps for clip, path in zip(clips, paths, strict=True) if clip.fps is not None}
    first = next(iter(known.values()), None)
    if first is None:
        print(f"no clip says its frames a second, so the video has {DEFAULT_FPS:g}; --fps sets others")
        return DEFAULT_FPS
    if not all(same_rate(fps, first) for fps in known.values()):
        rates = ", ".join(f"{path} {fps:g}" for path, fps in known.items())
        raise UserError(f"the clips are of several rates, {rates} frames a second; choose one with --fps")
    return first


def main() -> None:
    args = parse_arguments()
    labels, paths = zip(*map(label_and_path, args.clips), strict=True)
    clips = list(map(read_pose, paths))
    fps = (args.fps or video_fps(clips, paths)) if args.output else None
    poses = [np.where(clip.seen, clip.pose, np.nan) for clip in clips]
    captions = None
    if args.captions is not None:
        captions = [read_captions(args.captions, path.stem, len(pose)) for path, pose in zip(paths, poses, strict=True)]
    named = list(zip(labels, poses, strict=True))
    if args.sheet is not None:
        contact_sheet(named, args.sheet, args.num_frames, captions, args.aspect)
        print(f"wrote {args.sheet}")
    if args.output is not None:
        video(named, args.output, fps, captions, args.aspect)
        print(f"wrote {args.output}")


if __name__ == "__main__":
    errors.run(main)
