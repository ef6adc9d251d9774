"""What stands beside a model in every report: clips that know nothing of it, and texts that are wrong on purpose."""

from collections import Counter

import numpy as np

from evaluation.clips import Clip, Reference, clip_of
from poses.pack import Pack
from poses.statistics import Statistics
from runtime.errors import UserError


def baseline_clips(
    train: Pack, references: list[Reference], statistics: Statistics, seed: int
) -> dict[str, list[Clip]]:
    """One clip for each reference, by the name of its row: the mean pose of train, standing still for the reference's
    length; a random train clip; and `nearest_text_clips`."""
    drawn = np.random.default_rng([seed, 0]).integers(len(train), size=len(references)).tolist()
    return {
        "mean_pose": [Clip.generated(np.tile(statistics.mean, (len(r.pose), 1))) for r in references],
        "random_clip": [clip_of(train, index) for index in drawn],
        "nearest_text": nearest_text_clips(train, references, seed),
    }


def nearest_text_clips(train: Pack, references: list[Reference], seed: int) -> list[Clip]:
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
    return [clip_of(train, index) for index in chosen]


def _trigrams(text: str) -> Counter[str]:
    text = f"  {text.lower()} "
    return Counter(text[i : i + 3] for i in range(len(text) - 2))


def _dice(a: Counter[str], b: Counter[str]) -> float:
    """Sørensen-Dice coefficient of two bags, 1 for equal ones."""
    return 2 * (a & b).total() / max(1, a.total() + b.total())


def shuffled_texts(texts: list[str], seed: int) -> list[str]:
    """A wrong text for each: the distinct texts stand in a random ring, and each clip gets its text's successor."""
    ring = np.random.default_rng([seed, 2]).permutation(sorted(set(texts))).tolist()
    if len(ring) < 2:
        raise UserError("--shuffle_texts: all clips of the split have one text, so no wrong one exists; leave it out")
    successor = dict(zip(ring, ring[1:] + ring[:1], strict=True))
    return [successor[text] for text in texts]
