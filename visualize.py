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
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluation.clip_values import Values, add_values, all_measures, choose_clips, require_scored, split_of
from evaluation.clips import Clip, reference_of
from evaluation.predictions import prediction_path, read_prediction
from evaluation.report import REFERENCE
from evaluation.sync import nmm_scale
from poses.captions import Captions, each_frame, in_clip_frames, read_captions
from poses.files import SPLITS, Reading, StoredClip, list_clips, read_clip
from poses.page import MEASURES, Entry, PageClip, write_page
from poses.presence import shown_span
from poses.rates import rate_parser
from poses.render import contact_sheet, gif, video, without_glyph
from poses.single_clips import label_and_path, read_single_clip, reading_of, shared_aspect, shared_fps, text_of
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
from runtime.files import composed

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
    check_arguments(parser, args)
    return args


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse flags that do not go together, or lack another one."""
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


def captions_of(clip: StoredClip, captions: Mapping[str, Captions]) -> Captions | None:
    """A clip's captions, in frames of the clip as it was read; None if it has none."""
    own = captions.get(composed(clip.id))
    return None if own is None else in_clip_frames(own, clip.start, clip.step)


def captions_of_all(path: Path | None, clips: Sequence[StoredClip]) -> list[Captions | None]:
    """The clips' captions in a file, if it is given; prints whether they seem to be of other clips."""
    captions = read_captions(path) if path else {}
    found = [captions_of(clip, captions) for clip in clips]
    if path and not any(found):
        print(f"{path}: holds no caption of these clips, such as '{clips[0].id}'")
    late = [
        clip.id
        for clip, own in zip(clips, found, strict=True)
        if any(first >= len(clip.pose) for _, first, _ in own or ())
    ]
    if late:
        print(f"{path}: {len(late)} clips, such as '{late[0]}', end before a caption begins; it counts in frames")
    return found


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
    clips = [as_scored(read_single_clip(path, reading_of(path, args.cache_dir))) for path in paths]
    for path, clip in zip(paths, clips, strict=True):
        if not clip.seen.any():
            print(f"{path}: nothing is seen in any frame, so its picture is empty")
    captions = captions_of_all(args.captions, clips)
    fps = (args.fps or shared_fps(clips, paths)) if args.output else None
    if args.output and fps is None:
        print(f"no clip says its frames per second, so {args.output.name} plays at {DEFAULT_FPS:g}; --fps sets others")
        fps = DEFAULT_FPS
    poses = [(label, np.where(clip.seen, clip.pose, np.nan)) for label, clip in zip(labels, clips, strict=True)]
    texts = [each_frame(own, len(clip.pose)) for own, clip in zip(captions, clips, strict=True)]
    aspect = shared_aspect(paths, args.aspect)
    if args.sheet or args.output.suffix in MOVING:
        written = [*labels, *(text for own in captions for text, *_ in own or ())]
        if boxes := without_glyph(written):
            print(f"the pictures' font lacks {len(boxes)} letters, such as '{boxes[0]}'; a page, .html, shows them")
    if args.sheet:
        contact_sheet(poses, args.sheet, args.num_frames, texts, aspect)
        (say if args.output else print)(f"wrote {args.sheet}")
    if args.output is None:
        return
    if args.output.suffix in MOVING:
        MOVING[args.output.suffix](poses, args.output, fps, texts, aspect)
    else:
        entry = entry_of_clips(labels, paths, clips, captions, fps)
        write_page(args.output, ", ".join(labels), [entry], nmm_scale(clips), aspect=aspect)
    print(f"wrote {args.output}")


def entry_of_clips(
    labels: Sequence[str],
    paths: Sequence[Path],
    clips: Sequence[StoredClip],
    captions: Sequence[Captions | None],
    fps: float,
) -> Entry:
    """What a page of clips named one by one shows: all of them side by side."""
    shown: dict[str, PageClip] = {}
    for label, clip, own in zip(labels, clips, captions, strict=True):
        if label in shown:
            raise UserError(f"two clips are called '{label}'; give each a name of its own: LABEL=PATH")
        shown[label] = PageClip(clip.pose, clip.seen, own or ())
    text = " / ".join(dict.fromkeys(filter(None, map(text_of, paths))))
    return Entry(", ".join(dict.fromkeys(path.stem for path in paths)), text, fps, shown)


# ---- a data set, alone or with what evaluate.py made of it -----------------------------------------------------------


def show_split(args: argparse.Namespace) -> None:
    folders = dict(map(label_and_path, args.evaluation or []))
    if len(folders) < len(args.evaluation or []) or REFERENCE in folders:
        raise UserError("the folders of --evaluation need different labels, none of them 'reference': LABEL=DIR")
    split = args.split or (split_of(list(folders.values())) if folders else "dev")
    reading = prepared_reading(args.data_dir, args.cache_dir)
    texts, values = texts_and_values(args.data_dir, split, folders, reading)
    measures = [measure for measure in all_measures() if any(measure.key in of_clip for of_clip in values.values())]
    sort = args.sort or ("dtw" if folders else None)
    first = next(iter(folders), REFERENCE)
    ids = choose_clips(list(texts), values, [*measures, *MEASURES], sort, first, args.num_clips)

    read = (read_clip(args.data_dir, split, clip_id, texts[clip_id], reading) for clip_id in ids)
    references = {clip.id: trimmed(as_scored(clip)) for clip in read}
    captions = captions_of_all(args.captions, list(references.values()))
    if args.fps is None and not any(clip.fps for clip in references.values()):
        print(f"no clip of {split} says its frames per second, so they play at {DEFAULT_FPS:g}; --fps sets others")
    made = [prediction_path(folder / f"predictions_{split}", ids[0]) for folder in folders.values()]  # a folder has one
    aspect = shared_aspect(made, args.aspect)
    entries = []
    for (clip_id, reference), own in zip(references.items(), captions, strict=True):
        shown = {REFERENCE if folders else "real": PageClip(reference.pose, reference.seen, own or ())}
        for label, folder in folders.items():
            path = prediction_path(folder / f"predictions_{split}", clip_id)
            clip = read_prediction(path, None if args.fps else reference.fps, reading)
            shown[label] = PageClip(clip.pose, clip.seen)
        fps = args.fps or reference.fps or DEFAULT_FPS
        entries.append(Entry(clip_id, reference.text, fps, shown, values[clip_id]))
    title = f"{', '.join(folders) or args.data_dir.resolve().name}: {split}"
    write_page(args.output, title, entries, nmm_scale(list(references.values())), measures, sort, aspect)
    print(f"wrote {args.output} with {len(entries)} of {len(texts)} clips of {split}")


def texts_and_values(
    data_dir: Path, split: str, folders: Mapping[str, Path], reading: Reading
) -> tuple[dict[str, str], Values]:
    """The texts by ID of the clips that all evaluations scored, and the values of all clips.

    Raises UserError if an evaluation scored other clips than the data set has now.
    """
    texts = list_clips(data_dir, split)
    values: Values = {clip_id: {} for clip_id in texts}
    shown_by_all = set(texts)
    for label, folder in folders.items():
        scored = add_values(values, label, folder, split)
        clips = (read_clip(data_dir, split, clip_id, texts[clip_id], reading) for clip_id in scored)
        real = (reference_of(Clip.real(clip.pose, clip.seen).trimmed(), clip.id, clip.text) for clip in clips)
        require_scored(folder, split, real)
        shown_by_all &= set(scored)
    return {clip_id: text for clip_id, text in texts.items() if clip_id in shown_by_all}, values


def main() -> None:
    args = parse_arguments()
    if args.clips:
        show_clips(args)
    else:
        show_split(args)


if __name__ == "__main__":
    errors.run(main)
