"""Do hands and face move together at all? Whether a classifier can tell a face that is in time from one that is not.

    python benchmarks/synchrony.py --data_dir data/mine

The classifier is that of the metric `sync_confidence` (evaluation/sync_classifier.py). Its AUC on test is that of clips
it never saw: 0.5 says that this data set holds no signal that sync guidance could follow, 1 that a glance
suffices. `head` and `mouth` see that part of the face alone. `control` takes the face from another clip, at the same
instants: what it finds is no synchrony. Prints JSON.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from evaluation.sync_classifier import Signals, draw, read_signals, train_classifier, windows, with_other_faces
from models.sync_classifier import SyncClassifier
from poses import layout
from poses.splits import load_split, load_statistics
from runtime import errors
from runtime.arguments import add_data_arguments, make_parser, positive_int
from runtime.errors import UserError

FACES = {"face": layout.NMM, "head": layout.HEAD_POSE, "mouth": layout.MOUTH_SHAPE, "control": layout.NMM}
PAIRS_OF_CLIP, RESAMPLED = 10, 200


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """The probability that a pair in time has the higher score."""
    positive, negative = scores[labels == 1], np.sort(scores[labels == 0])
    below, up_to = (np.searchsorted(negative, positive, side) for side in ("left", "right"))
    return float((below + up_to).mean() / 2 / len(negative))


@torch.no_grad()
def held_out_auc(net: SyncClassifier, clips: Sequence[Signals], *, control: bool) -> tuple[float, list[float]]:
    """The AUC on clips that the classifier never saw, and its 95 % interval over the clips."""
    rng = np.random.default_rng(0)
    hands, faces = with_other_faces(clips) if control else zip(*clips, strict=True)
    lengths = np.array([min(h.shape[1], f.shape[1]) for h, f in zip(hands, faces, strict=True)])
    (clip, start, other), labels = draw(lengths, rng, np.repeat(np.arange(len(clips)), PAIRS_OF_CLIP))
    chunks = [slice(i, i + 512) for i in range(0, len(labels), 512)]
    scores = np.concatenate(
        [net(windows(hands, clip[some], start[some]), windows(faces, clip[some], other[some])) for some in chunks]
    )
    rows = [np.flatnonzero(clip == index) for index in range(len(clips))]
    drawn = [np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))]) for _ in range(RESAMPLED)]
    interval = np.quantile([auc(scores[some], labels[some]) for some in drawn], [0.025, 0.975])
    return auc(scores, labels), interval.tolist()


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_data_arguments(parser)
    parser.add_argument("--seeds", type=positive_int, default=3, help="networks of each kind (default 3)")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    train, test = (load_split(args.data_dir, split, args.cache_dir, args.skip_bad) for split in ("train", "test"))
    std = load_statistics(args.data_dir, args.cache_dir, train).std
    report = {}
    for name, face in FACES.items():
        control, clips = name == "control", list(read_signals(test, range(len(test)), std, face))
        learnable = len(list(islice(read_signals(train, range(len(train)), std, face), 2))) == 2
        if len(clips) < 2 or not learnable:
            report[name] = None  # the data have none of it
            continue
        nets = [train_classifier(train, std, seed, face, control) for seed in range(args.seeds)]
        found = [held_out_auc(net, clips, control=control) for net in nets]
        report[name] = {
            "auc": round(float(np.mean([value for value, _ in found])), 3),
            "interval": [round(float(np.mean([ends[side] for _, ends in found])), 3) for side in (0, 1)],
        }
    if not any(report.values()):
        raise UserError(
            "hardly a clip of train, or of test, has hands and a face for long enough; there is nothing to tell "
            "synchrony by"
        )
    print(json.dumps({"data": str(args.data_dir), "seeds": args.seeds, **report}, indent=2))


if __name__ == "__main__":
    errors.run(main)
