"""How alike clips move, whatever their place, size, rate and length: hands are compared at a few moments of each clip.

So clips of one recording are found though they differ in every number, videos that were mirrored beside others, and
texts of words that are not those of their clips. No clip is judged alone: what is told is true of many, or of two that
are alike as no two takes are.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from poses import layout
from poses.interpolation import resample
from poses.motion import HAND_AND_WRIST, keypoints_seen, mean_where, shoulder_frame
from poses.presence import HALF
from poses.texts import text_key

MOMENTS = 24  # of a clip, evenly spaced, at which it is compared
LEAST_KNOWN = 0.3  # share of the numbers of two clips that both know
MOST_CLIPS = 5000  # of a split that are compared, evenly chosen
ROWS = 512  # clips that are compared at once

# Of one recording are clips whose distance is a small part of what they move, and whose steps from moment to moment
# correlate as no two takes do (real takes that are as near: 0.977 at most; one recording, fitted twice: 0.991). At no
# moment is a hand far from the other's (fitted twice: 0.2 of what the clip moves; spelled words of one letter more or
# less: 0.31).
NEAR, SAME_STEPS, FARTHEST = 0.15, 0.985, 0.25
LEAST_SPREAD = 0.1  # shoulder widths: clips that stand still are all alike
# Share of the clips that are nearer to another one once they are mirrored: of a mirrored split, of a mixed one. Real
# clips: at most 0.17, as both hands of many signs do the same.
MIRRORED, MIXED = 0.7, 0.3
ENOUGH_OF_SPLIT, ENOUGH_OF_TRAIN = 10, 100  # clips that tell whether they are
MOST_LINES = 3  # by which texts may have slipped
CERTAIN = 3.0  # standard errors by which the lines below or above fit better (real words: -3.2 at most)
LEAST_TEXTS = 5  # that a nearest clip may have
TAKES = 0.5  # share of train's clips with another take of their text: these are words, and no sentences

_PLACES = [layout.HAND_ROOT, *(finger[-1] for finger in layout.FINGERS.values())]


def signature(pose: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Wrist and fingertips of both hands at MOMENTS of a clip (pose, seen [T,214]), [MOMENTS,2,6,2], shoulder widths
    from the shoulders; a hand that is not seen is at its wrist. NaN where that was not seen either."""
    points = shoulder_frame(pose, seen)
    if points is None:
        return np.full((MOMENTS, 2, len(_PLACES), 2), np.nan, np.float32)
    known, hands = keypoints_seen(seen), []
    for hand, wrist in HAND_AND_WRIST:
        present = known[:, hand].mean(1) >= HALF
        at_wrist = np.where(known[:, wrist, None], points[:, wrist], np.nan)
        hands.append(np.where(present[:, None, None], points[:, hand][:, _PLACES], at_wrist[:, None]))
    return resample(np.stack(hands, axis=1), MOMENTS).astype(np.float32)


def mirrored(signatures: np.ndarray) -> np.ndarray:
    """Signatures [N,MOMENTS,2,6,2] of the same clips seen in a mirror."""
    return signatures[:, :, ::-1] * np.array([-1, 1], np.float32)


def nearest(signatures: np.ndarray, others: np.ndarray, excluded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each of `signatures` [N,...] the nearest of `others` [M,...]: its number, and how far it is, shoulder widths.

    excluded [N,M] bool: pairs that are not compared. The distance is infinite where nothing can be compared.
    """
    flat, others = signatures.reshape(len(signatures), -1), others.reshape(len(others), -1)
    known, others_known = ((~np.isnan(one)).astype(np.float32) for one in (flat, others))
    flat, others = np.nan_to_num(flat), np.nan_to_num(others)
    numbers, distances = [], []
    for start in range(0, len(flat), ROWS):
        rows = slice(start, start + ROWS)
        shared = known[rows] @ others_known.T
        squares = flat[rows] ** 2 @ others_known.T - 2 * flat[rows] @ others.T + known[rows] @ (others**2).T
        apart = np.sqrt(squares.clip(min=0) / np.maximum(shared, 1))
        apart[shared < LEAST_KNOWN * flat.shape[1]] = np.inf
        apart[excluded[rows]] = np.inf
        numbers.append(apart.argmin(1))
        distances.append(apart.min(1))
    return np.concatenate(numbers), np.concatenate(distances)


@dataclass(frozen=True)
class Compared:
    """Clips `number` [N] of a split, and the train clip that is nearest to each as it is, and once it is mirrored.

    among [M]: the train clips that they were compared with.
    """

    number: np.ndarray
    among: np.ndarray
    nearest: np.ndarray
    distance: np.ndarray
    mirrored_nearest: np.ndarray
    mirrored_distance: np.ndarray

    @property
    def mirrored(self) -> np.ndarray:
        """Which clips are nearer to a train clip once they are mirrored, [N] bool."""
        return self.mirrored_distance < self.distance

    @property
    def nearer(self) -> np.ndarray:
        """The train clip that is nearest to each clip, mirrored or not, [N]."""
        return np.where(self.mirrored, self.mirrored_nearest, self.nearest)

    @property
    def nearer_distance(self) -> np.ndarray:
        """How far it is, [N]; infinite if nothing can be compared."""
        return np.minimum(self.distance, self.mirrored_distance)


class Likeness:
    """Clips are added one by one; then those of a split are compared with those of train. Memory does not grow beyond
    MOST_CLIPS of a split."""

    def __init__(self) -> None:
        self._added: dict[str, dict[int, np.ndarray]] = {}  # by split and number

    def add(self, split: str, number: int, count: int, pose: np.ndarray, seen: np.ndarray) -> None:
        """Clip `number` of a split's `count`: pose [T,214], seen [T,214] bool."""
        if number % math.ceil(count / MOST_CLIPS) == 0:
            self._added.setdefault(split, {})[number] = signature(pose, seen)

    def signatures(self, split: str, numbers: np.ndarray) -> np.ndarray:
        return np.stack([self._added[split][number] for number in numbers.tolist()])

    def compared(self, split: str, of: np.ndarray | None = None, among: np.ndarray | None = None) -> Compared:
        """The clips `of` a split, compared with the clips `among` train; by default all that were added."""
        of = np.array([*self._added[split]]) if of is None else of
        among = np.array([*self._added["train"]]) if among is None else among
        own, train = self.signatures(split, of), self.signatures("train", among)
        itself = (of[:, None] == among) & (split == "train")
        number, distance = nearest(own, train, itself)
        in_mirror, mirrored_distance = nearest(mirrored(own), train, itself)
        return Compared(of, among, among[number], distance, among[in_mirror], mirrored_distance)


def on_mirrors(split: str, likeness: Likeness, compared: Compared, signers: Sequence[str] = ()) -> str | None:
    """Says that clips of a split are mirrored against most of train's. signers: of all train clips, where known."""
    meaning = "videos that were mirrored, or signers who are left-handed?"
    share = f"{compared.mirrored.mean():.0%} of the clips of {split} are"
    if split != "train":
        is_mirrored = len(compared.number) >= ENOUGH_OF_SPLIT and compared.mirrored.mean() >= MIRRORED
        return f"{share} more like those of train once they are mirrored: {meaning}" if is_mirrored else None
    who, odd = np.array(signers)[compared.number] if signers else np.array([]), []
    for name in np.unique(who):
        own, others = compared.number[who == name], compared.number[who != name]
        enough = len(own) >= ENOUGH_OF_SPLIT and len(others)
        if enough and likeness.compared("train", own, others).mirrored.mean() >= MIRRORED:
            odd.append(str(name))
    if odd:
        return f"clips of {', '.join(odd)} are more like those of other signers once they are mirrored: {meaning}"
    is_mixed = len(compared.number) >= ENOUGH_OF_TRAIN and compared.mirrored.mean() >= MIXED
    return f"{share} more like another one once they are mirrored: {meaning}" if is_mixed else None


def of_one_recording(split: str, likeness: Likeness, compared: Compared) -> list[tuple[int, int]]:
    """Clips of a split and the clips of train that equal them but for rate, place, size, noise or a mirror; by their
    numbers."""
    in_mirror, train = compared.mirrored, compared.nearer
    own, others = likeness.signatures(split, compared.number), likeness.signatures("train", train)
    own[in_mirror] = mirrored(own[in_mirror])
    with_fingers = np.nan_to_num(np.ptp(own, axis=3)).any((2, 3)).mean(1) >= HALF  # wrists alone are often alike
    both = np.isfinite(own) & np.isfinite(others)
    apart = np.sqrt(mean_where((own - others) ** 2, both, axis=(3, 4)))  # [N,MOMENTS,2], of each hand
    own, others = own.reshape(*own.shape[:2], -1), others.reshape(*own.shape[:2], -1)  # [N,MOMENTS,24]
    known = np.isfinite(own) & np.isfinite(others)
    spread = np.sqrt(mean_where((own - mean_where(own, known, axis=1)[:, None]) ** 2, known, axis=(1, 2)))
    steps, their_steps = (np.nan_to_num(np.diff(np.where(known, one, np.nan), axis=1)) for one in (own, others))
    energy = np.sqrt((steps**2).sum((1, 2)) * (their_steps**2).sum((1, 2)))
    alike = (steps * their_steps).sum((1, 2)) > SAME_STEPS * energy
    throughout = np.nan_to_num(apart).max((1, 2)) < FARTHEST * spread  # words may share all letters but one
    near = alike & throughout & with_fingers & (spread > LEAST_SPREAD) & (compared.nearer_distance < NEAR * spread)
    return [*zip(compared.number[near].tolist(), train[near].tolist(), strict=True)]


class Words:
    """Whether the clips of a split have the texts of the train clips that they are most like."""

    def __init__(self, split: str, texts: Sequence[str], train_texts: Sequence[str], compared: Compared) -> None:
        self._own, self._train = (np.array([*map(text_key, some)]) for some in (texts, train_texts))
        self._compared, self._slip_together = compared, split == "train"
        self._judged = np.isfinite(compared.nearer_distance)

    def _hits(self, lines: int = 0) -> np.ndarray:
        """Of each clip, whether it has the text of its nearest one, where each text stands so many lines too low."""
        train = np.roll(self._train, -lines) if self._slip_together else self._train
        own = np.roll(self._own, -lines)[self._compared.number]
        return (own == train[self._compared.nearer]) & (own != "") & self._judged

    def slipped(self) -> int | None:
        """By how many lines the texts are shifted, as `shifted_texts` of data_preparation.py has it; None if nothing
        shows a shift."""
        now, found = self._hits(), {}
        for lines in (way * count for count in range(1, MOST_LINES + 1) for way in (1, -1)):
            then = self._hits(lines)
            found[lines] = ((then & ~now).sum() - (now & ~then).sum()) / np.sqrt(max(1, (then ^ now).sum()))
        best = max(found, key=found.get)
        return best if found[best] >= CERTAIN else None

    def are_chance(self) -> bool:
        """Whether so few clips have the text of their nearest one that chance explains it, where train has takes."""
        takes = Counter(self._train[self._compared.among].tolist())
        own = self._own[self._compared.number].tolist()
        others = np.array([takes[text] - self._slip_together if text else 0 for text in own]) * self._judged
        chance = float(others.sum() / len(self._compared.among))
        enough = (others > 0).sum() >= ENOUGH_OF_TRAIN and (others > 0).mean() >= TAKES and len(takes) >= LEAST_TEXTS
        return bool(enough and self._hits().sum() <= chance + 2 * np.sqrt(chance))
