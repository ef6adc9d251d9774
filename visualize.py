"""Look at clips, generated ones beside real ones: as a page to play and sort them, a video, a GIF or a sheet of frames.

    python visualize.py --evaluation runs/evaluation_predictor --data_dir data/phoenix14t --output page.html
    python visualize.py --data_dir data/phoenix14t --split test --output test.html
    python visualize.py --clips "real=data/test/poses/ID.npz" "flow, 4 steps=output_pose.npy" --output clips.mp4 \\
        --sheet clips.png --captions data/spelling.json

A page, .html, is one file that opens in any browser. From folders of evaluate.py --save_predictions it shows every clip
of the split beside its reference, with its metrics, the worst first; from a data set, the clips of a split.

A clip is LABEL=PATH or PATH alone: a .npy as the inference scripts write it, [T,214]; a .npz of a data set, with its
NMM pickle in nmms/ beside poses/; or a full MediaPipe Holistic .pose file. --captions holds what is signed when,
ID -> [[text, first frame, end frame], ...] in frames of the file, as demo_data.py writes it; it is shown under the
clips whose file is called ID. Clips play at their own frames per second: those of a .npz, of a .pose, or of the .json
beside a .npy. They are drawn at the proportions of the picture that a .pose states, if --aspect gives no others.
"""

import argparse
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluation.clip_values import Values, add_values, all_measures, choose_clips, require_scored, split_of
from evaluation.clips import Clip, reference_of
from evaluation.predictions import prediction_path, read_prediction
from evaluation.report import REFERENCE
from evaluation.sync import nmm_scale
from poses.captions import Captions, each_frame, in_clip_frames, read_captions
from poses.files import SPLITS, Reading, StoredClip, list_clips, read_clip, read_pose
from poses.holistic import read_pose_points
from poses.page import MEASURES, Entry, PageClip, write_page
from poses.presence import shown_span
from poses.rates import rate_parser, shared_rate
from poses.render import contact_sheet, gif, video, without_glyph
from poses.statistics import prepared_reading
from poses.writing import DEFAULT_FPS
from runtime import errors
from runtime.arguments import (
    add_cache_argument,
    make_parser,
    number_parser,
    positive_float,
    positive_int,
    refuse_without,
)
from runtime.console import say
from runtime.errors import UserError
from runtime.untrusted import read_json

MOVING = {".mp4": video, ".gif": gif}
MOST_COLUMNS = 200  # of a sheet: a picture of 32,000 pixels
SLOWEST_SHOWN = 0.1  # frames per second: ten seconds of a picture
columns = number_parser(int, "a positive whole number", lambda value: value >= 1, MOST_COLUMNS)


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--clips", nargs="+", metavar="LABEL=PATH", help="clips to show side by side, in this order")
    parser.add_argument(
        "--evaluation",
        nargs="+",
        metavar="LABEL=DIR",
        help="output folders of evaluate.py --save_predictions, of one split",
    )
    parser.add_argument("--data_dir", type=Path, help="the data set of --evaluation, or one to show by itself")
    add_cache_argument(parser)
    parser.add_argument("--split", choices=SPLITS, help="the split to show (default: that of --evaluation, else dev)")
    parser.add_argument("--output", type=Path, help="a page, .html; with --clips also a video, .mp4 or .gif")
    parser.add_argument("--sheet", type=Path, help="a picture, .png: one row per clip, frames evenly spaced in time")
    parser.add_argument(
        "--sort", metavar="METRIC", help="metric that the page first sorts by (default dtw, or as listed)"
    )
    parser.add_argument(
        "--num_clips",
        type=positive_int,
        default=200,
        help="maximum clips on the page, the worst by --sort (default 200)",
    )
    parser.add_argument(
        "--fps",
        type=rate_parser(SLOWEST_SHOWN),
        help=f"frames per second to play at (default: the clips', or {DEFAULT_FPS:g})",
    )
    parser.add_argument(
        "--aspect", type=positive_float, help="the recording's width / height (default: that of the .pose files, or 1)"
    )
    parser.add_argument(
        "--num_frames",
        type=columns,
        default=12,
        help=f"frames in a row of the sheet, at most {MOST_COLUMNS} (default 12)",
    )
    parser.add_argument("--captions", type=Path, help="a JSON file that says what is signed when")
    args = parser.parse_args()
    if args.output is None and args.sheet is None:
        parser.error("nothing to draw; pass --output, --sheet PICTURE.png or both")
    if args.clips and (args.evaluation or args.data_dir):
        parser.error("--clips goes without --evaluation and --data_dir; leave one out")
    if args.evaluation and args.data_dir is None:
        parser.error("--evaluation needs --data_dir, where the references are; add it")
    if not args.clips and args.data_dir is None:
        parser.error("nothing to show; pass --clips, --evaluation or --data_dir")
    endings = (".html", *MOVING) if args.clips else (".html",)
    for flag, path, ends in (("--output", args.output, endings), ("--sheet", args.sheet, (".png",))):
        if path is not None and path.suffix not in ends:
            parser.error(f"{flag} {path}: must end in {' or '.join(ends)}")
    if args.sheet is not None and not args.clips:
        parser.error("--sheet draws --clips; name the clips, or leave --sheet out")
    refuse_without("--evaluation or --data_dir", not args.clips, ("--split", "--sort", "--num_clips"), parser, args)
    refuse_without("--sheet", args.sheet is not None, ("--num_frames",), parser, args)
    refuse_without("--output", args.output is not None, ("--fps",), parser, args)
    return args


def label_and_path(clip: str) -> tuple[str, Path]:
    """LABEL=PATH or PATH, either of which may itself hold =; a file or folder that is there decides."""
    parts = clip.split("=")
    for start in range(len(parts)):
        path = Path("=".join(parts[start:]))
        if os.path.exists(path):  # False for a label that is too long for a file's name, too
            return "=".join(parts[:start]) or path.resolve().stem, path
    label, _, path = clip.rpartition("=")
    return label or Path(path).stem, Path(path)


def reading_of(path: Path, cache_dir: Path | None) -> Reading | None:
    """How data_preparation.py read the data set of the clip at `path`; None for a clip outside a data set."""
    return prepared_reading(path.parent.parent.parent, cache_dir) if path.suffix == ".npz" else None


def captions_of(clip: StoredClip, captions: Mapping[str, Captions]) -> Captions | None:
    """A clip's captions, in frames of the clip as it was read; None if it has none."""
    return in_clip_frames(captions[clip.id], clip.start, clip.step) if clip.id in captions else None


def shared_fps(clips: Iterable[StoredClip], names: Iterable[object]) -> float | None:
    """The frames per second of all clips that state them, None if none does; raises UserError if they differ."""
    known = {name: clip.fps for clip, name in zip(clips, names, strict=True) if clip.fps is not None}
    return shared_rate(known, "clips", "choose one")


def shared_aspect(paths: Iterable[Path], given: float | None) -> float:
    """The width / height at which all clips are drawn: `given`, else what .pose files among them state, else 1.

    Prints what it takes from a file, or does not take. Raises UserError if the files differ.
    """
    sizes = {path: read_pose_points(path).header_size for path in paths if path.suffix == ".pose"}
    if not sizes:
        return given or 1.0
    named = ", ".join(f"{path} {width} x {height}" for path, (width, height) in sizes.items())
    aspects = [width / height for width, height in sizes.values()]
    aspect = given or aspects[0]
    if all(math.isclose(aspect, other, rel_tol=0.01) for other in aspects):
        if given is None and aspect != 1:
            print(f"drawn at the width / height that .pose files state, {aspect:.3g}; --aspect sets another")
    elif given is None:
        raise UserError(f"the clips are of several proportions, {named}; choose one with --aspect, as 1.78")
    else:
        print(f"drawn at --aspect {given:g}, although .pose files state other pictures: {named}")
    return aspect


def as_scored(clip: StoredClip) -> StoredClip:
    """A clip as `evaluate.py` reads it: a hand that counts as absent is unseen, and short gaps are filled."""
    scored = Clip.real(clip.pose, clip.seen)
    return replace(clip, pose=scored.pose, seen=scored.seen)


def trimmed(clip: StoredClip) -> StoredClip:
    """Without the frames at its ends that show nothing, which are not scored."""
    frames = shown_span(clip.seen)
    start = clip.start + frames.start * clip.step
    return replace(clip, pose=clip.pose[frames], seen=clip.seen[frames], start=start)


# ---- clips by name ---------------------------------------------------------------------------------------------------


def show_clips(args: argparse.Namespace) -> None:
    labels, paths = zip(*map(label_and_path, args.clips), strict=True)
    clips = [as_scored(read_pose(path, reading_of(path, args.cache_dir))) for path in paths]
    for path, clip in zip(paths, clips, strict=True):
        if not clip.seen.any():
            print(f"{path}: nothing is seen in any frame, so its picture is empty")
    captions = read_captions(args.captions) if args.captions else {}
    captions_of_clips = [captions_of(clip, captions) for clip in clips]
    if args.output is not None:
        fps = args.fps or shared_fps(clips, paths)
        if fps is None:
            print(
                f"no clip says its frames per second, so {args.output.name} plays at {DEFAULT_FPS:g}; --fps sets others"
            )
            fps = DEFAULT_FPS
    named = [(label, np.where(clip.seen, clip.pose, np.nan)) for label, clip in zip(labels, clips, strict=True)]
    texts = [each_frame(own, len(clip.pose)) for own, clip in zip(captions_of_clips, clips, strict=True)]
    aspect = shared_aspect(paths, args.aspect)
    if args.sheet is not None or args.output.suffix in MOVING:
        written = [*labels, *(text for own in captions_of_clips for text, *_ in own or ())]
        if boxes := without_glyph(written):
            print(f"the pictures' font lacks {len(boxes)} letters, such as '{boxes[0]}'; a page, .html, shows them")
    if args.sheet is not None:
        contact_sheet(named, args.sheet, args.num_frames, texts, aspect)
        (say if args.output else print)(f"wrote {args.sheet}")
    if args.output is None:
        return
    if args.output.suffix in MOVING:
        MOVING[args.output.suffix](named, args.output, fps, texts, aspect)
    else:
        text = " / ".join(dict.fromkeys(filter(None, map(text_of, paths))))
        shown: dict[str, PageClip] = {}
        for label, clip, own in zip(labels, clips, captions_of_clips, strict=True):
            if label in shown:
                raise UserError(f"two clips are called '{label}'; give each a name of its own: LABEL=PATH")
            shown[label] = PageClip(clip.pose, clip.seen, own or ())
        entry = Entry(", ".join(dict.fromkeys(path.stem for path in paths)), text, fps, shown)
        write_page(args.output, ", ".join(labels), [entry], nmm_scale(clips), aspect=aspect)
    print(f"wrote {args.output}")


def text_of(path: Path) -> str:
    """The text of a clip: from the .json beside a generated one, or of its data set."""
    try:
        if path.suffix == ".npz":
            split_dir = path.parent.parent
            return list_clips(split_dir.parent, split_dir.name)[path.stem]
        record = read_json(path.with_suffix(".json"))
        return str(record.get("text", "")) if isinstance(record, dict) else ""
    except (FileNotFoundError, KeyError):
        return ""


# ---- a data set, alone or with what evaluate.py made of it -----------------------------------------------------------


def show_split(args: argparse.Namespace) -> None:
    folders = dict(map(label_and_path, args.evaluation or []))
    if len(folders) < len(args.evaluation or []) or REFERENCE in folders:
        raise UserError("the folders of --evaluation need different labels, none of them 'reference': LABEL=DIR")
    split = args.split or (split_of(list(folders.values())) if folders else "dev")
    texts = list_clips(args.data_dir, split)
    values: Values = {clip_id: {} for clip_id in texts}
    reading = prepared_reading(args.data_dir, args.cache_dir)
    shown_by_all = set(texts)
    for label, folder in folders.items():
        scored = add_values(values, label, folder, split)
        clips = (read_clip(args.data_dir, split, clip_id, texts[clip_id], reading) for clip_id in scored)
        real = (reference_of(Clip.real(clip.pose, clip.seen).trimmed(), clip.id, clip.text) for clip in clips)
        require_scored(folder, split, real)
        shown_by_all &= set(scored)
    texts = {clip_id: text for clip_id, text in texts.items() if clip_id in shown_by_all}
    measures = [measure for measure in all_measures() if any(measure.key in of_clip for of_clip in values.values())]
    sort = args.sort or ("dtw" if folders else None)
    first = next(iter(folders), REFERENCE)
    ids = choose_clips(list(texts), values, [*measures, *MEASURES], sort, first, args.num_clips)
    captions = read_captions(args.captions) if args.captions else {}

    read = (read_clip(args.data_dir, split, clip_id, texts[clip_id], reading) for clip_id in ids)
    references = {clip.id: trimmed(as_scored(clip)) for clip in read}
    unknown = args.fps is None and not any(clip.fps for clip in references.values())
    if unknown:
        print(f"no clip of {split} says its frames per second, so they play at {DEFAULT_FPS:g}; --fps sets others")
    made = [prediction_path(folder / f"predictions_{split}", ids[0]) for folder in folders.values()]  # a folder has one
    aspect = shared_aspect(made, args.aspect)
    entries = []
    for clip_id, reference in references.items():
        own = captions_of(reference, captions) or ()
        shown = {REFERENCE if folders else "real": PageClip(reference.pose, reference.seen, own)}
        for label, folder in folders.items():
            path = prediction_path(folder / f"predictions_{split}", clip_id)
            clip = read_prediction(path, None if args.fps else reference.fps, reading)
            shown[label] = PageClip(clip.pose, clip.seen)
        fps = args.fps or reference.fps or DEFAULT_FPS
        entries.append(Entry(clip_id, reference.text, fps, shown, values[clip_id]))
    title = f"{', '.join(folders) or args.data_dir.resolve().name}: {split}"
    write_page(args.output, title, entries, nmm_scale(list(references.values())), measures, sort, aspect)
    print(f"wrote {args.output} with {len(entries)} of {len(texts)} clips of {split}")


def main() -> None:
    args = parse_arguments()
    if args.clips:
        show_clips(args)
    else:
        show_split(args)


if __name__ == "__main__":
    errors.run(main)
