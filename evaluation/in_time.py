"""Synchrony of hands and face as a classifier sees it: can it tell a face that is in time from one that is not?

A window of the hands goes with a window of the face of the same clip, which starts with it or at another instant. A
small network learns on train to tell the two apart (models/in_time.py). On real clips that it never saw its AUC says
whether the data hold a signal at all: 0.5 is none. All signals are smoothed first: the noise that a detector puts into
hands and face at once is no synchrony.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.clips import Array, Clip, clip_of
from evaluation.sync import MAX_LAG
from models.in_time import InTime
from poses import layout
from poses.motion import WRISTS_AND_HANDS, keypoints_seen, shoulder_frame
from poses.pack import Items, Pack, cached_pack
from poses.statistics import Statistics
from runtime.console import progress_bar
from runtime.errors import UserError
from runtime.processes import shared_map

WINDOW = 16  # frames that are compared
LEAST_OFFSET = 5  # frames between a start that is in time and one that is not
MAX_STARTS = 48  # windows of a clip that are scored, spread over it
BATCH, ROUNDS, STEPS, CLIPS = 128, 12, 125, 256  # steps of a round, on as many clips, which alone are in memory
SMOOTHING = np.array([1, 4, 6, 4, 1]) / 16
VERSION = 1  # raised when the same clips train another classifier
HANDS_DIM, FACE_DIM = 4 * len(WRISTS_AND_HANDS), 2 * layout.NMM_DIM
Signals = tuple[Tensor, Tensor]  # of a clip: hands [C,T] and face [C',T]
Pairs = tuple[Array, Array, Array]  # the clip, the start of the hands and that of the face, of each pair


def signals(clip: Clip, std: Array, face: slice = layout.NMM) -> Signals | None:
    """What is seen of the hands, and of the face, and how it changes; None where there are no shoulders or no face.

    Hands in shoulder widths from the shoulders, the face's numbers in units of `std` [214] from the clip's mean.
    """
    points = shoulder_frame(clip.pose, clip.seen)
    if points is None or not clip.seen[:, face].any():
        return None
    hands = np.where(keypoints_seen(clip.seen)[:, WRISTS_AND_HANDS, None], points[:, WRISTS_AND_HANDS], 0.0)
    numbers = (clip.pose[:, face] - clip.pose[:, face].mean(0)) / std[face]
    of_face = np.where(clip.seen[:, face], numbers, 0.0)
    return _with_change(hands.reshape(len(hands), -1)), _with_change(of_face)


def _with_change(values: Array) -> Tensor:
    """Values [T,C], smoothed, and their change from frame to frame, as [2C,T]."""
    reach = len(SMOOTHING) // 2
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    smooth = sum(weight * padded[i : i + len(values)] for i, weight in enumerate(SMOOTHING))
    change = np.diff(smooth, axis=0, prepend=smooth[:1])
    return torch.from_numpy(np.concatenate([smooth, 5 * change], axis=1).T.astype(np.float32))


def read_signals(pack: Pack, indices: Sequence[int], std: Array, face: slice = layout.NMM) -> list[Signals]:
    """Of clips of a pack, those that are long enough and have both."""
    found = (signals(clip_of(pack, index), std, face) for index in indices)
    return [pair for pair in found if pair is not None and pair[0].shape[1] >= WINDOW + LEAST_OFFSET]


def draw(lengths: Array, rng: np.random.Generator, clips: Array) -> tuple[Pairs, Array]:
    """Of each clip a pair that is in time (label 1) and one that is not (0)."""
    last = lengths[clips] - WINDOW
    start = (rng.random(len(clips)) * (last + 1)).astype(int)
    other = np.array([_elsewhere(*place, rng) for place in zip(start, last, strict=True)])
    possible = other >= 0
    clips, start, other = (part[possible] for part in (clips, start, other))
    pairs = (np.tile(clips, 2), np.tile(start, 2), np.concatenate([start, other]))
    return pairs, np.repeat([1.0, 0.0], len(clips))


def _elsewhere(start: int, last: int, rng: np.random.Generator) -> int:
    """A start from 0 to `last` that is out of time with `start`; -1 where there is none."""
    starts = [at for at in range(last + 1) if abs(at - start) >= LEAST_OFFSET]
    return int(rng.choice(starts)) if starts else -1


def windows(of_clips: Sequence[Tensor], clips: Array, starts: Array) -> Tensor:
    return torch.stack([of_clips[clip][:, start : start + WINDOW] for clip, start in zip(clips, starts, strict=True)])


@contextmanager
def _one_thread() -> Iterator[None]:
    """On one thread a sum is the same on every call."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train_classifier(train: Pack, std: Array, seed: int = 0, face: slice = layout.NMM, control: bool = False) -> InTime:
    """A classifier of the clips of train; control: of faces that are another clip's, so that nothing is in time."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)
        net = InTime(HANDS_DIM, 2 * (face.stop - face.start))
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, ROUNDS * STEPS)
        for _ in progress_bar(range(ROUNDS), "learning synchrony", "round"):
            clips = read_signals(train, rng.permutation(len(train))[:CLIPS], std, face)
            if len(clips) < 2:
                least = WINDOW + LEAST_OFFSET
                raise UserError(f"hardly a clip of train has hands, a face and {least} frames; nothing tells synchrony")
            hands, faces = of_another(clips) if control else zip(*clips, strict=True)
            lengths = np.array([min(h.shape[1], f.shape[1]) for h, f in zip(hands, faces, strict=True)])
            for _ in range(STEPS):
                (clip, start, other), labels = draw(lengths, rng, rng.integers(len(clips), size=BATCH // 2))
                logits = net(windows(hands, clip, start), windows(faces, clip, other))
                loss = F.binary_cross_entropy_with_logits(logits, torch.from_numpy(labels).float())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return net.eval().requires_grad_(False)


def of_another(clips: Sequence[Signals]) -> tuple[list[Tensor], list[Tensor]]:
    """The hands of each clip, and the face of one that is about as long."""
    order = sorted(range(len(clips)), key=lambda index: clips[index][0].shape[1])
    following = dict(zip(order, [*order[1:], order[-2]], strict=True))
    return [hands for hands, _ in clips], [clips[following[index]][1] for index in range(len(clips))]


def kept_classifier(train: Pack, statistics: Statistics, cache_dir: Path) -> InTime:
    """The classifier of train, trained at the first call and found again by the clips and the statistics."""
    net = InTime(HANDS_DIM, FACE_DIM)
    made_from = {"clips": train.folder.name, "statistics": statistics.fingerprint}

    def items() -> Items:
        weights = train_classifier(train, statistics.std).state_dict()
        yield "classifier", "", {name: value.reshape(len(value), -1).numpy() for name, value in weights.items()}

    pack = cached_pack(cache_dir, "in-time", VERSION, made_from, items)
    try:
        kept = {name: torch.tensor(pack.field(name, 0)).reshape(w.shape) for name, w in net.state_dict().items()}
    except (KeyError, RuntimeError):
        raise UserError(f"{pack.folder}: a damaged cache; delete this folder, and it is made again") from None
    net.load_state_dict(kept)
    return net.eval().requires_grad_(False)


@torch.no_grad()
def logits_of(net: InTime, pair: Signals) -> tuple[Array, Array]:
    """The starts [S] that are scored of a clip, and the logit that hands from one and a face from another are in
    time, [S,S]."""
    hands, face = pair
    last = min(hands.shape[1], face.shape[1]) - WINDOW
    starts = np.unique(np.linspace(0, last, min(MAX_STARTS, last + 1)).round().astype(int))
    zeros = np.zeros(len(starts), int)
    with _one_thread():
        h, f = net.hands(windows([hands], zeros, starts)), net.face(windows([face], zeros, starts))  # [S,H,W]
        return starts, torch.stack([net.compare(row.expand_as(f), f) for row in h]).numpy()


def confidence_and_offset(starts: Array, logits: Array) -> tuple[float, float]:
    """How often a window that is in time has a higher logit than one that is not, and the best |lag|, frames.

    starts [S], logits [S,S] as `logits_of` gives them. Every window of the hands counts alike.
    """
    lag = starts[None] - starts[:, None]  # [S,S]
    ours, elsewhere = np.diag(logits)[:, None], np.abs(lag) >= LEAST_OFFSET
    wins = np.where(elsewhere, (ours > logits) + 0.5 * (ours == logits), 0.0).sum(1)
    counted = elsewhere.sum(1)
    confidence = float((wins[counted > 0] / counted[counted > 0]).mean())
    near = {value: float(logits[lag == value].mean()) for value in np.unique(lag[np.abs(lag) <= MAX_LAG])}
    return confidence, float(abs(max(sorted(near, key=abs), key=near.__getitem__)))


class SyncJudge:
    """Scores clips by the classifier of a data set; std [214]: of its statistics."""

    def __init__(self, net: InTime, std: Array) -> None:
        self.net, self.std = net, std

    def score(self, clips: Sequence[Clip]) -> Array:
        """Confidence and offset of each clip, [N,2], NaN where it cannot tell: too short, without face or shoulders."""
        return np.array(list(shared_map(self._score, clips, 0)), np.float64).reshape(len(clips), 2)

    def _score(self, clip: Clip) -> tuple[float, float]:
        pair = signals(clip, self.std)
        if pair is None or len(clip.pose) < WINDOW + LEAST_OFFSET:
            return math.nan, math.nan
        return confidence_and_offset(*logits_of(self.net, pair))
