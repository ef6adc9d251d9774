"""Synchrony of hands and face by a classifier: can it tell a face that is in time from one that is not?

A window of the hands is paired with a window of the face of the same clip, which starts at the same frame or at another
one. A small network learns on train to tell the two cases apart (models/sync_classifier.py). How often it is right on
real clips that it never saw says whether the data hold a signal at all; half of the time is chance. All signals are
smoothed first, because a detector's noise appears in hands and face at once and is no synchrony.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.clips import Array, Clip, clip_of
from evaluation.sync import MAX_LAG
from models.sync_classifier import SyncClassifier
from poses import layout
from poses.motion import WRISTS_AND_HANDS, keypoints_seen, mean_where, shoulder_frame
from poses.pack import Items, Pack, cached_pack
from poses.statistics import Statistics
from runtime.console import progress_bar
from runtime.errors import UserError
from runtime.processes import shared_map

WINDOW = 16  # frames that are compared
LEAST_OFFSET = 5  # frames between a start that is in time and one that is not
LEAST_FRAMES = WINDOW + LEAST_OFFSET  # shorter clips cannot be scored
MAX_STARTS = 48  # windows of the hands that are scored, spread over the clip
BATCH = 128  # pairs per training step
ROUNDS, STEPS = 12, 125  # steps per round
CLIPS = 256  # per round; only their signals are in memory
SMOOTHING = np.array([1, 4, 6, 4, 1]) / 16
STILL = 1e-4  # spread of a signal, in its own unit, below which nothing moves
VERSION = 2  # raise it when the same clips would train another classifier
HANDS_DIM, FACE_DIM = 4 * len(WRISTS_AND_HANDS), 2 * layout.NMM_DIM
Signals = tuple[Tensor, Tensor]  # of a clip: hands [C,T] and face [C',T]
Pairs = tuple[Array, Array, Array]  # of each pair the clip, the start of the hands and the start of the face


def signals(clip: Clip, std: Array, face: slice = layout.NMM) -> Signals | None:
    """The positions and changes of hands and face in a clip, 0 where they are absent.

    Hands are in shoulder widths from the shoulders, the face's numbers in units of `std` [214] from the clip's mean.
    None for a clip that cannot be scored: it is too short, lacks shoulders, hands or face, or hands or face never move.
    """
    pose = clip.filled().astype(np.float64)
    points = shoulder_frame(pose, clip.seen)
    if points is None or len(pose) < LEAST_FRAMES:
        return None
    shown = keypoints_seen(clip.seen)[:, WRISTS_AND_HANDS, None]
    hands = np.where(shown, points[:, WRISTS_AND_HANDS], 0.0).reshape(len(pose), -1)
    seen, numbers = clip.seen[:, face], pose[:, face]
    known = seen & (std[face] > 0)
    faces = np.where(known, (numbers - mean_where(numbers, seen, axis=0)) / np.where(known, std[face], 1.0), 0.0)
    if max(hands.std(0)) < STILL or max(faces.std(0)) < STILL:
        return None
    return _with_change(hands), _with_change(faces)


def _with_change(values: Array) -> Tensor:
    """Values [T,C], smoothed, and their change from frame to frame, as [2C,T]."""
    reach = len(SMOOTHING) // 2
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    smooth = sum(weight * padded[i : i + len(values)] for i, weight in enumerate(SMOOTHING))
    change = np.diff(smooth, axis=0, prepend=smooth[:1])
    return torch.from_numpy(np.concatenate([smooth, 5 * change], axis=1).T.astype(np.float32))


def read_signals(pack: Pack, indices: Sequence[int], std: Array, face: slice = layout.NMM) -> Iterator[Signals]:
    """The signals of those clips of a pack that can be scored, in order."""
    found = (signals(clip_of(pack, index), std, face) for index in indices)
    return (pair for pair in found if pair is not None)


def draw(lengths: Array, rng: np.random.Generator, clips: Array) -> tuple[Pairs, Array]:
    """For each clip a pair that is in time (label 1) and one that is not (label 0)."""
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
    """Windows of signals [C,T]: of clip clips[n] from frame starts[n] on, [N,C,WINDOW]."""
    return torch.stack([of_clips[clip][:, start : start + WINDOW] for clip, start in zip(clips, starts, strict=True)])


@contextmanager
def _one_thread() -> Iterator[None]:
    """With one thread, the result does not depend on how many PyTorch may take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train_classifier(
    train: Pack, std: Array, seed: int = 0, face: slice = layout.NMM, control: bool = False
) -> SyncClassifier:
    """A classifier trained on the clips of train; control: each face is another clip's, so that nothing is in time.

    Raises UserError if train has fewer than two clips that can be scored.
    """
    rng = np.random.default_rng(seed)
    long_enough = np.flatnonzero(train.lengths("pose") >= LEAST_FRAMES)
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)
        net = SyncClassifier(HANDS_DIM, 2 * (face.stop - face.start))
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, ROUNDS * STEPS)
        for _ in progress_bar(range(ROUNDS), "learning synchrony", "round"):
            _train_round(
                net, optimizer, schedule, read_signals(train, rng.permutation(long_enough), std, face), rng, control
            )
    return net.eval().requires_grad_(False)


def _train_round(
    net: SyncClassifier,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    stream: Iterator[Signals],
    rng: np.random.Generator,
    control: bool,
) -> None:
    """STEPS steps on the first CLIPS clips of a stream."""
    clips = list(islice(stream, CLIPS))
    if len(clips) < 2:
        raise UserError(
            f"synchrony cannot be learnt: hardly a clip of train has {LEAST_FRAMES} frames, shoulders, and hands and a "
            "face that move; use other data, or leave --sync_confidence out"
        )
    hands, faces = with_other_faces(clips) if control else zip(*clips, strict=True)
    lengths = np.array([min(h.shape[1], f.shape[1]) for h, f in zip(hands, faces, strict=True)])
    for _ in range(STEPS):
        (clip, start, other), labels = draw(lengths, rng, rng.integers(len(clips), size=BATCH // 2))
        logits = net(windows(hands, clip, start), windows(faces, clip, other))
        loss = F.binary_cross_entropy_with_logits(logits, torch.from_numpy(labels).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def with_other_faces(clips: Sequence[Signals]) -> tuple[list[Tensor], list[Tensor]]:
    """The hands of each clip, and the face of another clip that is about as long."""
    order = sorted(range(len(clips)), key=lambda index: clips[index][0].shape[1])
    following = dict(zip(order, [*order[1:], order[-2]], strict=True))
    return [hands for hands, _ in clips], [clips[following[index]][1] for index in range(len(clips))]


def kept_classifier(train: Pack, statistics: Statistics, cache_dir: Path) -> SyncClassifier:
    """The classifier of train: trained at the first call, then read from the cache of these clips and statistics.

    Of several processes one trains it.
    """
    net = SyncClassifier(HANDS_DIM, FACE_DIM)
    made_from = {"clips": train.folder.name, "statistics": statistics.fingerprint}

    def weights(_: None) -> dict[str, Array]:
        trained = train_classifier(train, statistics.std).state_dict()
        return {name: value.reshape(len(value), -1).numpy() for name, value in trained.items()}

    def items() -> Items:
        yield from (("classifier", "", made) for made in shared_map(weights, [None], 0))

    pack = cached_pack(cache_dir, "in-time", VERSION, made_from, items)
    try:
        kept = {name: torch.tensor(pack.field(name, 0)).reshape(w.shape) for name, w in net.state_dict().items()}
        sound = all(bool(value.isfinite().all()) for value in kept.values())
    except (KeyError, IndexError, ValueError, RuntimeError):
        sound = False
    if not sound:
        raise UserError(f"{pack.folder}: a damaged cache; delete this folder, and it is made again")
    net.load_state_dict(kept)
    return net.eval().requires_grad_(False)


@torch.no_grad()
def logits_of(net: SyncClassifier, pair: Signals) -> tuple[Array, Array, Array]:
    """For a clip: the starts [S] of the hands' windows, the starts [K] of the face's, and the logit of each pair [S,K].

    At most MAX_STARTS windows of the hands, spread over the clip; the faces at these starts and up to MAX_LAG around.
    """
    hands, face = pair
    last = min(hands.shape[1], face.shape[1]) - WINDOW
    starts = np.unique(np.linspace(0, last, min(MAX_STARTS, last + 1)).round().astype(int))
    around = np.unique(starts[:, None] + np.arange(-MAX_LAG, MAX_LAG + 1))
    others = around[(around >= 0) & (around <= last)]
    with _one_thread():
        h = net.hands(windows([hands], np.zeros(len(starts), int), starts))  # [S,H,W]
        f = net.face(windows([face], np.zeros(len(others), int), others))  # [K,H,W]
        return starts, others, torch.stack([net.compare(row.expand_as(f), f) for row in h]).double().numpy()


def confidence_and_offset(starts: Array, others: Array, logits: Array) -> tuple[float, float]:
    """How often a window that is in time has a higher logit than one that is not, and the best |lag|, frames.

    starts [S], others [K], logits [S,K] as `logits_of` gives them. All windows of the hands have equal weight. A lag
    counts if at least half of them have a face window there; among equal lags the shortest is taken.
    """
    lag = others[None] - starts[:, None]  # [S,K]
    ours, elsewhere = logits[lag == 0][:, None], np.abs(lag) >= LEAST_OFFSET
    wins = np.where(elsewhere, (ours > logits) + 0.5 * (ours == logits), 0.0).sum(1)
    counted = elsewhere.sum(1)
    confidence = float((wins[counted > 0] / counted[counted > 0]).mean())
    at_lag = {value: logits[lag == value] for value in range(-MAX_LAG, MAX_LAG + 1)}
    means = {value: found.mean() for value, found in at_lag.items() if len(found) >= len(starts) / 2}
    return confidence, float(abs(max(sorted(means, key=abs), key=means.__getitem__)))


class SyncJudge:
    """Scores clips with the classifier of a data set; std [214]: from its statistics."""

    def __init__(self, net: SyncClassifier, std: Array) -> None:
        self.net, self.std = net, std

    def score(self, clips: Sequence[Clip]) -> Array:
        """Confidence and offset of each clip, [N,2], NaN for a clip that cannot be scored."""
        return np.array(list(shared_map(self._score, clips, 0)), np.float64).reshape(len(clips), 2)

    def _score(self, clip: Clip) -> tuple[float, float]:
        pair = signals(clip, self.std)
        return (math.nan, math.nan) if pair is None else confidence_and_offset(*logits_of(self.net, pair))
