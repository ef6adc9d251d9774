"""What stands beside a model in every report: clips that know nothing of it, and texts that are wrong on purpose."""

from collections import Counter

import numpy as np

from evaluation.clips import Clip, Reference, clip_of
from poses.pack import Pack
from poses.statistics import Statistics
from poses.texts import says_something, text_key
from runtime.errors import UserError


def baseline_clips(
    train: Pack, references: list[Reference], statistics: Statistics, seed: int
) -> dict[str, list[Clip]]:
    """One clip for each reference, by the name of its row: the mean pose of train, standing still for the reference's
    length; a random train clip; and `nearest_text_clips`, where any reference and any train clip has a text."""
    drawn = np.random.default_rng([seed, 0]).integers(len(train), size=len(references)).tolist()
    clips = {
        "mean_pose": [Clip.generated(np.tile(statistics.mean, (len(r.pose), 1))) for r in references],
        "random_clip": [clip_of(train, index) for index in drawn],
    }
    if any(says_something(r.text) for r in references) and any(map(says_something, train.texts)):
        clips["nearest_text"] = nearest_text_clips(train, references, seed)
    return clips


def nearest_text_clips(train: Pack, references: list[Reference], seed: int) -> list[Clip]:
    """A random one of the train clips whose text is nearest to the reference's: most character trigrams in common.

    A reference without a text has no nearest one (`Clip.of_nothing`), and a train clip without a text is none.
    """
    rng = np.random.default_rng([seed, 1])
    clips_of: dict[str, list[int]] = {}
    for index, text in enumerate(train.texts):
        if says_something(text):
            clips_of.setdefault(text_key(text), []).append(index)
    known = {text: _trigrams(text) for text in clips_of}
    chosen = []
    for reference in references:
        if not says_something(reference.text):
            chosen.append(Clip.of_nothing(len(reference.pose)))
            continue
        wanted = _trigrams(text_key(reference.text))
        nearest = max(known, key=lambda text: _dice(wanted, known[text]))
        chosen.append(clip_of(train, clips_of[nearest][rng.integers(len(clips_of[nearest]))]))
    return chosen


def _trigrams(text: str) -> Counter[str]:
    text = f"  {text} "
    return Counter(text[i : i + 3] for i in range(len(text) - 2))


def _dice(a: Counter[str], b: Counter[str]) -> float:
    """Sørensen-Dice coefficient of two bags, 1 for equal ones."""
    return 2 * (a & b).total() / max(1, a.total() + b.total())


def shuffled_texts(texts: list[str], seed: int) -> list[str]:
    """A wrong text for each: the distinct texts (`text_key`) stand in a random ring, and each gets its successor.

    Where there is no text, none is wrong: such a clip keeps what it has.
    """
    written = {text_key(text): text for text in reversed(texts) if says_something(text)}  # as it stands there first
    ring = np.random.default_rng([seed, 2]).permutation(sorted(written)).tolist()
    if len(ring) < 2:
        raise UserError(
            "--shuffle_texts: the clips of the split have one text or none, so no wrong one exists; leave it out"
        )
    successor = dict(zip(ring, ring[1:] + ring[:1], strict=True))
    return [written[successor[text_key(text)]] if says_something(text) else text for text in texts]
