"""What stands beside a model in every report: clips that know nothing of it."""

from collections import Counter

import numpy as np

from evaluation.clips import Reference
from poses.pack import Pack
from poses.statistics import Statistics

Clips = tuple[list[np.ndarray], list[np.ndarray]]  # poses [T,214], weights [T,214]


def mean_poses(statistics: Statistics, references: list[Reference]) -> list[np.ndarray]:
    """The mean pose of train, standing still for each reference's length."""
    return [np.tile(statistics.mean, (len(reference.pose), 1)) for reference in references]


def random_clips(train: Pack, references: list[Reference], seed: int) -> Clips:
    """A random train clip for each reference."""
    rng = np.random.default_rng([seed, 0])
    return _clips(train, rng.integers(len(train), size=len(references)).tolist())


def nearest_text_clips(train: Pack, references: list[Reference], seed: int) -> Clips:
    """A random one of the train clips whose text is nearest to the reference's: most character trigrams in common."""
    rng = np.random.default_rng([seed, 1])
    clips_of: dict[str, list[int]] = {}
    for index, text in enumerate(train.texts):
        clips_of.setdefault(text, []).append(index)
    known = {text: _trigrams(text) for text in clips_of}
    chosen = []
    for reference in references:
        wanted = _trigrams(reference.text)
        nearest = max(known, key=lambda text: _dice(wanted, known[text]))
        chosen.append(clips_of[nearest][rng.integers(len(clips_of[nearest]))])
    return _clips(train, chosen)


def _clips(pack: Pack, indices: list[int]) -> Clips:
    poses = [np.array(pack.field("pose", index)) for index in indices]
    return poses, [pack.field("seen", index).astype(np.float32) for index in indices]


def _trigrams(text: str) -> Counter[str]:
    text = f"  {text.lower()} "
    return Counter(text[i : i + 3] for i in range(len(text) - 2))


def _dice(a: Counter[str], b: Counter[str]) -> float:
    """Sørensen-Dice coefficient of two bags, 1 for equal ones."""
    return 2 * (a & b).total() / max(1, a.total() + b.total())
