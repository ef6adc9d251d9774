"""A clip and what was seen of it, as every metric takes it, and the values that metrics give for many clips."""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from poses import layout
from poses.files import fill_gaps
from poses.pack import Pack
from poses.presence import seen_in_generated

Array = np.ndarray
Scores = dict[str, Array]  # the values of the clips by name: [N] or [N,K], NaN where undefined


@dataclass(frozen=True)
class Clip:
    """pose [T,214], denormalised, its gaps filled in time; seen [T,214] bool, False where a number was not seen."""

    pose: Array
    seen: Array

    def __getitem__(self, frames: slice) -> "Clip":
        return Clip(self.pose[frames], self.seen[frames])

    @classmethod
    def generated(cls, pose: Array) -> "Clip":
        """A model's clip, which has every number but those of a hand or a face that it leaves out, as zeros."""
        return cls(pose, seen_in_generated(pose))

    @classmethod
    def of_nothing(cls, length: int) -> "Clip":
        """In place of a clip that does not exist: it saw nothing, so it has no figure."""
        return cls(np.zeros((length, layout.POSE_DIM)), np.zeros((length, layout.POSE_DIM), bool))

    def rebuilt(self) -> "Clip":
        """The same clip in float64, its unseen numbers rebuilt from the seen ones alone (zeros if never seen)."""
        return _Rebuilt(fill_gaps(np.asarray(self.pose, np.float64), self.seen)[0], self.seen)

    def limited_to(self, reference: "Clip") -> "Clip":
        """The same clip as if it had not seen the numbers that `reference` never saw."""
        return Clip(self.pose, self.seen & reference.seen.any(0))


class _Rebuilt(Clip):
    def rebuilt(self) -> Clip:
        return self


@dataclass(frozen=True)
class Reference(Clip):
    """A real clip of the split that is scored."""

    id: str
    text: str


def says_something(text: str) -> bool:
    """Whether a text holds more than space and punctuation: an empty one, or '...', is the truth about no clip."""
    categories = map(unicodedata.category, text)
    return any(category[0] not in "PZ" and category not in ("Cc", "Cf") for category in categories)


def clip_of(pack: Pack, index: int) -> Clip:
    return Clip(pack.field("pose", index), pack.field("seen", index).astype(bool))


def read_references(pack: Pack) -> list[Reference]:
    return [
        Reference(np.array(pack.field("pose", index)), pack.field("seen", index).astype(bool), clip_id, text)
        for index, (clip_id, text) in enumerate(zip(pack.ids, pack.texts, strict=True))
    ]


def stack_values(clips: Iterable[Mapping[str, object]]) -> Scores:
    """Scores of the values that each clip has by name."""
    clips = list(clips)
    return {name: np.array([clip[name] for clip in clips], np.float64) for name in clips[0]}
