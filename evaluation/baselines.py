"""What every report shows beside a model: clips that were made without it, and texts that are wrong on purpose."""

from collections import Counter
from collections.abc import Sequence
from itertools import cycle

import numpy as np

from evaluation.clips import Clip, Reference, clip_of
from poses.pack import Pack
from poses.statistics import mean_pose
from poses.texts import says_something, text_key
from runtime.errors import UserError


def baseline_clips(
    train: Pack, references: list[Reference], seed: int, *, on_train: bool = False
) -> dict[str, list[Clip]]:
    """One clip for each reference, by the name of its row: the mean pose of train, standing still for the reference's
    length; a random train clip; and `nearest_text_clips`, where any reference and any train clip has a text.

    on_train: the references are of train, so each is compared with another clip than itself.
    """
    mean = mean_pose((train.field("pose", n), train.field("seen", n).astype(bool)) for n in range(len(train)))
    clips = {
        "mean_pose": [Clip.generated(np.tile(mean, (len(r.pose), 1))) for r in references],
        "random_clip": random_clips(train, references, seed, on_train=on_train),
    }
    if any(says_something(r.text) for r in references) and any(map(says_something, train.texts)):
        clips["nearest_text"] = nearest_text_clips(train, references, seed, on_train=on_train)
    return clips


def _own_indices(train: Pack, references: list[Reference], on_train: bool) -> list[int | None]:
    """Where each reference itself stands in train; None if it is of another split."""
    index_of = {name: index for index, name in enumerate(train.ids)} if on_train else {}
    return [index_of.get(reference.id) for reference in references]


def random_clips(train: Pack, references: list[Reference], seed: int, *, on_train: bool = False) -> list[Clip]:
    """A random train clip for each reference; `Clip.of_nothing` if train has no other clip."""
    others = len(train) - on_train
    if not others:
        return [Clip.of_nothing(len(reference.pose)) for reference in references]
    drawn = np.random.default_rng([seed, 0]).integers(others, size=len(references)).tolist()
    pairs = zip(drawn, _own_indices(train, references, on_train), strict=True)
    return [clip_of(train, index + (own is not None and index >= own)) for index, own in pairs]


def nearest_text_clips(train: Pack, references: list[Reference], seed: int, *, on_train: bool = False) -> list[Clip]:
    """For each reference one of the train clips whose text is nearest to its own. The clips of a text take turns in
    random order, so none is used again before all of them were.

    A reference without a text gets `Clip.of_nothing`, and a train clip without a text is never used.
    on_train: a clip is never its own nearest, so one that is alone with its text gets a clip of the next nearest text.
    """
    rng = np.random.default_rng([seed, 1])
    clips_of: dict[str, list[int]] = {}
    for index, text in enumerate(train.texts):
        if says_something(text):
            clips_of.setdefault(text_key(text), []).append(index)
    nearest_of, takes, chosen = NearestTexts(list(clips_of)), {}, []
    for reference, own in zip(references, _own_indices(train, references, on_train), strict=True):
        text = text_key(reference.text)
        alone = own is not None and clips_of.get(text) == [own]
        if not says_something(reference.text) or (alone and len(clips_of) == 1):
            chosen.append(Clip.of_nothing(len(reference.pose)))
            continue
        nearest = nearest_of(text, without=text if alone else None)
        if nearest not in takes:
            takes[nearest] = cycle(rng.permutation(clips_of[nearest]).tolist())
        take = next(takes[nearest])
        chosen.append(clip_of(train, take if take != own else next(takes[nearest])))
    return chosen


class NearestTexts:
    """Finds the text with most character trigrams in common, by the Sørensen-Dice coefficient of the two bags."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts, bags = texts, [_trigrams(text) for text in texts]
        self.sizes = np.array([bag.total() for bag in bags])
        found: dict[str, list[tuple[int, int]]] = {}
        for number, bag in enumerate(bags):
            for trigram, count in bag.items():
                found.setdefault(trigram, []).append((number, count))
        self.holding = {trigram: np.array(pairs).T for trigram, pairs in found.items()}  # texts, and how often: [2,n]

    def __call__(self, text: str, without: str | None = None) -> str:
        """The nearest text, other than `without`; of equally near ones, the first."""
        common, bag = np.zeros(len(self.texts)), _trigrams(text)
        for trigram, count in bag.items():
            if trigram in self.holding:
                numbers, counts = self.holding[trigram]
                common[numbers] += np.minimum(counts, count)
        nearness = 2 * common / (self.sizes + bag.total())
        if without is not None:
            nearness[self.texts.index(without)] = -1.0
        return self.texts[int(np.argmax(nearness))]


def _trigrams(text: str) -> Counter[str]:
    text = f"  {text} "
    return Counter(text[i : i + 3] for i in range(len(text) - 2))


def shuffled_texts(texts: list[str], seed: int) -> list[str]:
    """A wrong text for each: the distinct texts (`text_key`) stand in a random ring, and each gets its successor.

    A text that says nothing stays as it is.
    """
    written = {text_key(text): text for text in reversed(texts) if says_something(text)}  # as it is first written
    ring = np.random.default_rng([seed, 2]).permutation(sorted(written)).tolist()
    if len(ring) < 2:
        raise UserError(
            "--shuffle_texts: the clips of the split have one text or none, so no wrong one exists; leave it out"
        )
    successor = dict(zip(ring, ring[1:] + ring[:1], strict=True))
    return [written[successor[text_key(text)]] if says_something(text) else text for text in texts]
