"""Letter recognition in fingerspelt clips: is each letter of an unseen word signed, in its place?

    python benchmarks/letters.py --data_dir demo/data --split test --predictions_dir runs/evaluation/predictions_test

DATA_DIR/spelling.json says where each letter stands in a real clip (`demo_data.py` writes it). A generated clip is
aligned to its word's real clip by DTW, cut at the real clip's letter boundaries, and each piece is given the letter of
the nearest single-letter train clip (DTW of arms and hands, the measure of `recognition`). Prints JSON: the share of
right letters of the clips and, as the ceiling, of the real clips; chance is one over the number of letters.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from evaluation.clips import ClipAndWeight
from evaluation.metrics import align
from evaluation.recognition import sign_distances
from poses import layout
from poses.splits import load_split
from runtime import errors

MARGIN = 2  # frames of transition left out on either side of a letter's piece


def pieces_of(generated: np.ndarray, real: np.ndarray, segments: list) -> list[slice]:
    """The generated clip's frames for each segment [letter, start, end] of the real one, along their DTW path."""
    hand = layout.keypoint_dims(layout.ARMS_AND_HANDS)
    path = align(generated[:, hand].astype(np.float64), real[:, hand].astype(np.float64))
    pieces = []
    for _, start, end in segments:
        inside = path[(path[:, 1] >= start + MARGIN) & (path[:, 1] < max(end - MARGIN, start + MARGIN + 1)), 0]
        pieces.append(slice(inside.min(), inside.max() + 1))
    return pieces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--cache_dir", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--predictions_dir", type=Path, required=True)
    args = parser.parse_args()
    spelling = json.loads((args.data_dir / "spelling.json").read_text(encoding="utf-8"))
    train, split = (load_split(args.data_dir, name, args.cache_dir) for name in ("train", args.split))

    templates: dict[str, ClipAndWeight] = {}  # by prefix (a language, if the texts have one) and letter
    for index, text in enumerate(train.texts):
        segments = spelling.get(train.ids[index], [])
        if len(segments) == 1:
            _, start, end = segments[0]
            templates[text] = (train.field("pose", index)[start:end], train.field("seen", index)[start:end])
    right = {"generated": [], "real": []}
    for index, clip_id in enumerate(split.ids):
        segments = spelling[clip_id]
        prefix = split.texts[index][: -len(" ".join(letter for letter, _, _ in segments))]
        names = [name for name in templates if name.startswith(prefix)]
        real = np.array(split.field("pose", index))
        generated = np.load(args.predictions_dir / f"{clip_id}.npy")
        for kind, clip in (("generated", generated), ("real", real)):
            seen = split.field("seen", index) if kind == "real" else np.ones_like(clip)
            queries = [(clip[piece], seen[piece]) for piece in pieces_of(clip, real, segments)]
            distances = sign_distances(queries, [templates[name] for name in names])
            found = [names[column][len(prefix) :] for column in distances.argmin(1)]
            right[kind].append([a == letter for a, (letter, _, _) in zip(found, segments, strict=True)])
    report = {f"{kind}_letters": float(np.mean(np.concatenate(clips))) for kind, clips in right.items()}
    report |= {f"{kind}_words": float(np.mean([all(clip) for clip in clips])) for kind, clips in right.items()}
    print(json.dumps({"clips": len(split), "letters": sum(map(len, right["real"])), **report}, indent=2))


if __name__ == "__main__":
    errors.run(main)
