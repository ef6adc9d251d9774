"""Do hands and face move together at all? Whether a classifier can tell a face that is in time from one that is not.

    python benchmarks/synchrony.py --data_dir data/mine

A window of the hands goes with a window of the face of the same clip, which starts with it or at another instant. A
small network learns on train to tell the two apart; its AUC on test is that of clips it never saw: 0.5 says that this
data set holds no signal that guidance by synchrony could follow, 1 that a glance suffices (after the offset classifiers
of lip reading: Chung & Zisserman 2016, "Out of time"). `head` and `mouth` see that part of the face alone. `control`
takes the face from another clip, at the same instants: what it finds is no synchrony. Prints JSON.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from poses import layout
from poses.motion import WRISTS_AND_HANDS, keypoints_seen, shoulder_frame
from poses.pack import Pack
from poses.splits import load_split, load_statistics
from runtime import errors
from runtime.arguments import add_data_arguments, make_parser, positive_int
from runtime.errors import UserError

LEAST_OFFSET = 5  # frames between a start that is in time and one that is not
FACES = {"face": layout.NMM, "head": layout.HEAD_POSE, "mouth": layout.MOUTH_SHAPE, "control": layout.NMM}
BATCH, STEPS, WIDTH = 128, 1500, 64
Signals = tuple[list[Tensor], list[Tensor]]  # hands and faces of a split
Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]  # the clip, the start of the hands and that of the face, of each pair


def signals(pack: Pack, std: np.ndarray, face: slice) -> Signals:
    """Hands [C,T] and face [C,T] of each clip: what is seen of them, and how it changes; clips without shoulders: none.

    Hands in shoulder widths from the shoulders, faces in standard deviations from the clip's mean.
    """
    hands, faces = [], []
    for index in range(len(pack)):
        pose, seen = pack.field("pose", index), pack.field("seen", index).astype(bool)
        points = shoulder_frame(pose, seen)
        if points is None:
            points = np.zeros((len(pose), layout.NUM_KEYPOINTS, 2))
        shown = keypoints_seen(seen)[:, WRISTS_AND_HANDS, None]
        values = (pose[:, face] - pose[:, face].mean(0)) / std[face]
        for found, of_clip in (
            (hands, np.where(shown, points[:, WRISTS_AND_HANDS], 0.0).reshape(len(pose), -1)),
            (faces, np.where(seen[:, face], values, 0.0)),
        ):
            change = np.diff(of_clip, axis=0, prepend=of_clip[:1])
            found.append(torch.from_numpy(np.concatenate([of_clip, 5 * change], axis=1).T.astype(np.float32)))
    return hands, faces


def elsewhere(start: int, last: int, rng: np.random.Generator) -> int:
    """A start from 0 to `last` that is out of time with `start`; -1 where there is none."""
    starts = [at for at in range(last + 1) if abs(at - start) >= LEAST_OFFSET]
    return int(rng.choice(starts)) if starts else -1


def draw(lengths: np.ndarray, window: int, rng: np.random.Generator, clips: np.ndarray) -> tuple[Pairs, np.ndarray]:
    """Of each clip a pair that is in time (label 1) and one that is not (0)."""
    last = lengths[clips] - window
    start = (rng.random(len(clips)) * (last + 1)).astype(int)
    other = np.array([elsewhere(*place, rng) for place in zip(start, last, strict=True)])
    possible = other >= 0
    clips, start, other = (part[possible] for part in (clips, start, other))
    pairs = (np.tile(clips, 2), np.tile(start, 2), np.concatenate([start, other]))
    return pairs, np.repeat([1.0, 0.0], len(clips))


class InTime(nn.Module):
    """Windows of hands [B,C,W] and face [B,C',W] -> the logit that they are in time [B]."""

    def __init__(self, hands: int, face: int) -> None:
        super().__init__()
        self.hands, self.face = (
            nn.Sequential(
                nn.Dropout(0.2),
                nn.Conv1d(channels, WIDTH, 3, padding=1),
                nn.GELU(),
                nn.Conv1d(WIDTH, WIDTH, 3, padding=1),
                nn.GELU(),
            )
            for channels in (hands, face)
        )
        self.out = nn.Sequential(nn.Dropout(0.3), nn.Linear(3 * WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 1))

    def forward(self, hands: Tensor, face: Tensor) -> Tensor:
        h, f = self.hands(hands), self.face(face)  # [B,H,W] each
        return self.out(torch.cat([(h * f).mean(2), h.mean(2), f.mean(2)], dim=1)).squeeze(1)


def windows(of_clips: Sequence[Tensor], clips: np.ndarray, starts: np.ndarray, window: int) -> Tensor:
    return torch.stack([of_clips[c][:, s : s + window] for c, s in zip(clips, starts, strict=True)])


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """The probability that a pair in time has the higher score."""
    positive, negative = scores[labels == 1], np.sort(scores[labels == 0])
    below, up_to = (np.searchsorted(negative, positive, side) for side in ("left", "right"))
    return float((below + up_to).mean() / 2 / len(negative))


def held_out_auc(
    train: Signals, test: Signals, window: int, seed: int, *, control: bool = False
) -> tuple[float, list[float]]:
    """The AUC on `test` of a network trained on `train`, and its 95 % interval over the clips.

    control: the faces are those of another clip.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    lengths = [np.array([clip.shape[1] for clip in hands]) for hands, _ in (train, test)]
    usable = [np.flatnonzero(of_split >= window + LEAST_OFFSET) for of_split in lengths]
    if min(map(len, usable)) < 2:
        raise UserError(f"hardly a clip of {window + LEAST_OFFSET} frames in train or test; choose a smaller --window")
    face_of = [np.arange(len(of_split)) for of_split in lengths]
    for of_clip, of_split, some in zip(face_of, lengths, usable, strict=True) if control else ():
        order = some[np.argsort(of_split[some], kind="stable")]  # the next clip is about as long
        of_clip[order] = np.append(order[1:], order[-2])

    def inputs(split: Signals, which: int, pairs: Pairs) -> tuple[Tensor, Tensor]:
        clips, start, other = pairs
        others = face_of[which][clips]
        other = np.minimum(other, lengths[which][others] - window)
        return windows(split[0], clips, start, window), windows(split[1], others, other, window)

    net = InTime(train[0][0].shape[0], train[1][0].shape[0])
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        pairs, labels = draw(lengths[0], window, rng, rng.choice(usable[0], BATCH // 2))
        loss = F.binary_cross_entropy_with_logits(net(*inputs(train, 0, pairs)), torch.from_numpy(labels).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    net.eval()
    pairs, labels = draw(lengths[1], window, np.random.default_rng(0), np.repeat(usable[1], 10))
    with torch.no_grad():
        scores = np.concatenate(
            [
                net(*inputs(test, 1, tuple(part[i : i + 512] for part in pairs))).numpy()
                for i in range(0, len(labels), 512)
            ]
        )
    rows = {clip: np.flatnonzero(pairs[0] == clip) for clip in usable[1]}
    drawn = [np.concatenate([rows[clip] for clip in rng.choice(usable[1], len(usable[1]))]) for _ in range(200)]
    interval = np.quantile([auc(scores[some], labels[some]) for some in drawn], [0.025, 0.975])
    return auc(scores, labels), interval.tolist()


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_data_arguments(parser)
    parser.add_argument("--window", type=positive_int, default=16, help="frames that are compared (default 16)")
    parser.add_argument("--seeds", type=positive_int, default=3, help="networks of each kind (default 3)")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    packs = [load_split(args.data_dir, split, args.cache_dir, args.skip_bad) for split in ("train", "test")]
    std = load_statistics(args.data_dir, args.cache_dir, packs[0]).std
    report = {}
    for name, face in FACES.items():
        splits = [signals(pack, std, face) for pack in packs]
        found = [held_out_auc(*splits, args.window, seed, control=name == "control") for seed in range(args.seeds)]
        report[name] = {
            "auc": round(float(np.mean([value for value, _ in found])), 3),
            "interval": [round(float(np.mean([ends[side] for _, ends in found])), 3) for side in (0, 1)],
        }
    print(json.dumps({"data": str(args.data_dir), "window": args.window, "seeds": args.seeds, **report}, indent=2))


if __name__ == "__main__":
    errors.run(main)
