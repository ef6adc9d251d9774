"""Letter recognition in fingerspelt clips: is each letter of an unseen word signed, in its place?

    python benchmarks/letters.py --data_dir demo/data --split test --predictions_dir runs/evaluation/predictions_test

DATA_DIR/spelling.json says where each letter stands in a real clip (`demo_data.py` writes it). A generated clip is
aligned to its word's real clip by DTW, cut at the real clip's letter boundaries, and each piece is given the letter of
the nearest single-letter train clip (DTW of arms and hands, the measure of `recognition`). Prints JSON: the share of
right letters of the clips and, as the ceiling, of the real clips; chance is one over the number of letters.
"""

import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from evaluation.clips import Clip, clip_of, read_references
from evaluation.metrics import align
from evaluation.predictions import read_predictions
from evaluation.recognition import sign_distances
from poses import layout
from poses.files import SPLITS
from poses.splits import load_split
from runtime import errors
from runtime.arguments import add_data_arguments, make_parser
from runtime.errors import UserError

MARGIN = 2  # frames of transition left out on either side of a letter's piece


def pieces_of(clip: Clip, real: Clip, segments: list) -> list[Clip]:
    """The clip's piece for each segment [letter, start, end] of the real one, along their DTW path."""
    hand = layout.keypoint_dims(layout.ARMS_AND_HANDS)
    path = align(clip.pose[:, hand].astype(np.float64), real.pose[:, hand].astype(np.float64))
    pieces = []
    for _, start, end in segments:
        inside = path[(path[:, 1] >= start + MARGIN) & (path[:, 1] < max(end - MARGIN, start + MARGIN + 1)), 0]
        pieces.append(clip[inside.min() : inside.max() + 1])
    return pieces


def main() -> None:
    parser = make_parser(__doc__)
    add_data_arguments(parser)
    parser.add_argument("--split", choices=SPLITS, default="test", help="the split that was generated (default test)")
    parser.add_argument("--predictions_dir", type=Path, required=True, help="ID.npy or ID.pose for every clip of it")
    args = parser.parse_args()
    path = args.data_dir / "spelling.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file; demo_data.py writes it with the clips")
    spelling = json.loads(path.read_text(encoding="utf-8"))
    train, split = (load_split(args.data_dir, name, args.cache_dir, args.skip_bad) for name in ("train", args.split))

    templates: dict[str, Clip] = {}  # by prefix (a language, if the texts have one) and letter
    for index, text in enumerate(train.texts):
        segments = spelling.get(train.ids[index], [])
        if len(segments) == 1:
            _, start, end = segments[0]
            templates[text] = clip_of(train, index)[start:end]
    references = read_references(split)
    right = {"generated": [], "real": []}
    for reference, generated in zip(references, read_predictions(args.predictions_dir, references), strict=True):
        segments = spelling[reference.id]
        prefix = reference.text[: -len(" ".join(letter for letter, _, _ in segments))]
        names = [name for name in templates if name.startswith(prefix)]
        for kind, clip in (("generated", generated), ("real", reference)):
            distances = sign_distances(pieces_of(clip, reference, segments), [templates[name] for name in names])
            found = [names[column][len(prefix) :] for column in distances.argmin(1)]
            right[kind].append([a == letter for a, (letter, _, _) in zip(found, segments, strict=True)])
    report = {f"{kind}_letters": float(np.mean(np.concatenate(clips))) for kind, clips in right.items()}
    report |= {f"{kind}_words": float(np.mean([all(clip) for clip in clips])) for kind, clips in right.items()}
    print(json.dumps({"clips": len(split), "letters": sum(map(len, right["real"])), **report}, indent=2))


if __name__ == "__main__":
    errors.run(main)
