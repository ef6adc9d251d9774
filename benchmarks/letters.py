"""Letter recognition in fingerspelt clips: is each letter of an unseen word signed, in its place?

    python benchmarks/letters.py --data_dir demo/data --split test --predictions_dir runs/evaluation/predictions_test

A text is its letters with spaces between, perhaps after a word that names the alphabet ("ase s u n"); each letter alone
is a clip of train. DATA_DIR/spelling.json, which demo_data.py writes, says where each letter stands in a real clip.
Without it, the word's letters from train are laid end to end, and DTW finds them in the real clip. A generated clip is
aligned to its word's real clip by DTW, cut at the real clip's letter boundaries, and each piece is given the letter of
the nearest single-letter train clip (DTW of arms and hands, the measure of `recognition`). Prints JSON: the share of
right letters of the clips and, as the ceiling, of the real clips; chance is one over the number of letters.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from evaluation.clips import Array, Clip, clip_of, read_references
from evaluation.metrics import align
from evaluation.prediction_warnings import warnings_on
from evaluation.predictions import read_predictions
from evaluation.recognition import sign_distances
from poses import layout
from poses.captions import Captions, in_clip_frames, read_captions
from poses.files import SPLITS, Reading, read_clip
from poses.pack import Pack
from poses.splits import load_split
from poses.statistics import prepared_reading
from poses.texts import says_something
from runtime import errors
from runtime.arguments import add_data_arguments, make_parser
from runtime.errors import UserError

SPELLING = "spelling.json"
MARGIN = 2  # frames of transition left out on either side of a letter's piece, fewer where it has hardly more
Segment = tuple[str, int, int]  # a letter, its first frame, and the frame after its last


def hands_of(clip: Clip) -> Array:
    """What letters are told apart by, [T,D]."""
    return clip.pose[:, layout.keypoint_dims(layout.ARMS_AND_HANDS)].astype(np.float64)


def pieces_of(clip: Clip, real: Clip, segments: list[Segment]) -> list[Clip]:
    """The clip's piece for each segment of the real one, along their DTW path."""
    path = align(hands_of(clip), hands_of(real))
    pieces = []
    for _, start, end in segments:
        margin = min(MARGIN, (end - start - 1) // 2)
        inside = path[(path[:, 1] >= start + margin) & (path[:, 1] < end - margin), 0]
        pieces.append(clip[inside.min() : inside.max() + 1])
    return pieces


def letters_alone(train: Pack) -> dict[str, Clip]:
    """The clips of train that are one letter, by their texts: those of the fewest words, but of one."""
    counts = [len(text.split()) for text in train.texts]
    fewest = min((count for count in counts if count), default=None)
    if fewest is None:
        raise UserError("no clip of train has a text, so there are no letters to tell apart")
    return {train.texts[i]: clip_of(train, i) for i, count in enumerate(counts) if count == fewest}


def places_of(
    spelling: Mapping[str, Captions], data_dir: Path, split: str, clip_id: str, reading: Reading, count: int
) -> Captions:
    """Where the `count` letters of a clip stand in it as it is read: it may begin later than its file, or have another
    rate. Raises UserError if `spelling` has another number of letters there."""
    clip = read_clip(data_dir, split, clip_id, reading=reading)
    moved = in_clip_frames(spelling[clip_id], clip.start, clip.step)
    if len(moved) != count:
        counts = f"{len(moved)} letters there, and {count} in its text"
        raise UserError(f"{data_dir / SPELLING}: '{clip_id}' has {counts}; correct the file, or remove it")
    last = len(clip.pose)
    return [(name, min(start, last - 1), min(max(end, start + 1), last)) for name, start, end in moved]


def spelt(text: str, alone: Mapping[str, Clip]) -> list[str]:
    """The texts of the letters of a word: "ase s u n" -> ["ase s", "ase u", "ase n"]."""
    words = text.split()
    first = len(next(iter(alone)).split()) - 1  # words before the letters
    names = [" ".join([*words[:first], letter]) for letter in words[first:]]
    if not names:
        raise UserError(f"'{text}': holds no letter; a letter alone is '{next(iter(alone))}'")
    if missing := [name for name in names if name not in alone]:
        raise UserError(f"'{text}': no clip of train is the letter '{missing[0]}' alone; letters can't be told apart")
    return names


def find_letters(real: Clip, names: list[str], alone: Mapping[str, Clip]) -> list[Segment]:
    """Where each letter stands in a real clip, by its DTW path to the letters' own clips, end to end."""
    parts = [hands_of(alone[name]) for name in names]
    ends = np.cumsum([len(part) for part in parts])
    path = align(hands_of(real), np.concatenate(parts))
    segments = []
    for name, end, part in zip(names, ends, parts, strict=True):
        frames = path[(path[:, 1] >= end - len(part)) & (path[:, 1] < end), 0]
        segments.append((name, int(frames.min()), int(frames.max()) + 1))
    return segments


def main() -> None:
    parser = make_parser(__doc__)
    add_data_arguments(parser)
    parser.add_argument("--split", choices=SPLITS, default="test", help="the split that was generated (default test)")
    parser.add_argument("--predictions_dir", type=Path, required=True, help="ID.npy or ID.pose for every clip of it")
    args = parser.parse_args()
    train, split = (load_split(args.data_dir, name, args.cache_dir, args.skip_bad) for name in ("train", args.split))
    path = args.data_dir / SPELLING
    spelling = read_captions(path) if path.is_file() else {}
    reading = prepared_reading(args.data_dir, args.cache_dir)
    if not spelling:
        print(
            f"{path}: no such file, so the letters are found by aligning real clips with their letters", file=sys.stderr
        )

    alone = letters_alone(train)
    for clip_id, text in zip(train.ids, train.texts, strict=True):
        if text in alone and clip_id in spelling:  # without the way up and down
            ((_, start, end),) = places_of(spelling, args.data_dir, "train", clip_id, reading, count=1)
            alone[text] = alone[text][start:end]
    references = [reference for reference in read_references(split) if says_something(reference.text)]
    if len(references) < len(split):
        print(f"{len(split) - len(references)} clips of {args.split} have no text and are left out", file=sys.stderr)
    right = {"generated": [], "real": []}
    predictions = read_predictions(args.predictions_dir, references, split.info.get("fps"), reading)
    for warning in warnings_on(predictions, references):
        print(f"warning: {args.predictions_dir}: {warning}", file=sys.stderr)
    for reference, generated in zip(references, predictions, strict=True):
        names = spelt(reference.text, alone)
        if reference.id in spelling:
            places = places_of(spelling, args.data_dir, args.split, reference.id, reading, len(names))
            segments = [(name, *place) for name, (_, *place) in zip(names, places, strict=True)]
        else:
            segments = find_letters(reference, names, alone)
        prefix = names[0].split()[:-1]
        candidates = [name for name in alone if name.split()[:-1] == prefix]
        for kind, clip in (("generated", generated), ("real", reference)):
            distances = sign_distances(pieces_of(clip, reference, segments), [alone[name] for name in candidates])
            nearest = zip(distances.argmin(1), distances.min(1), names, strict=True)
            right[kind].append([candidates[column] == name and np.isfinite(least) for column, least, name in nearest])
    report = {f"{kind}_letters": float(np.mean(np.concatenate(clips))) for kind, clips in right.items()}
    report |= {f"{kind}_words": float(np.mean([all(clip) for clip in clips])) for kind, clips in right.items()}
    print(json.dumps({"clips": len(references), "letters": sum(map(len, right["real"])), **report}, indent=2))


if __name__ == "__main__":
    errors.run(main)
