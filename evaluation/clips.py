"""A clip and what was seen of it, as every metric reads it, and the values that metrics give for many clips."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from poses import layout
from poses.interpolation import fill_gaps
from poses.motion import HAND_AND_WRIST
from poses.pack import Pack
from poses.presence import ARTICULATORS, by_number, presence, shown_numbers, shown_span

Array = np.ndarray
Scores = dict[str, Array]  # the values of the clips by name: [N] or [N,K], NaN where undefined

MIDDLE = 0.5  # of the picture, image units: the place of an absent hand whose wrist its clip never saw


@dataclass(frozen=True)
class Clip:
    """pose [T,214], denormalised, its gaps filled in time; seen [T,214] bool, False where a number was not seen.

    Clips of every source come from `generated` or `real`, which read them alike: a hand or the face is absent in a
    frame (`poses.presence`) if and only if none of its numbers is seen there.
    """

    pose: Array
    seen: Array

    def __getitem__(self, frames: slice) -> "Clip":
        return Clip(self.pose[frames], self.seen[frames])

    @classmethod
    def generated(cls, pose: Array) -> "Clip":
        """A model's clip, in memory or from a file: zeros where something is absent."""
        return cls._of(pose, shown_numbers(pose))

    @classmethod
    def real(cls, pose: Array, seen: Array) -> "Clip":
        """A clip of a data set, read as if a model had generated it: what was not seen is absent.

        A face is seen or not as a whole, with every number that the clip ever saw.
        """
        seen = seen.copy()
        seen[:, layout.NMM] = seen[:, layout.NMM].any(1, keepdims=True) & seen[:, layout.NMM].any(0)
        return cls._of(pose, shown_numbers(np.where(seen, pose, np.zeros((), pose.dtype))))

    @classmethod
    def _of(cls, pose: Array, seen: Array) -> "Clip":
        filled, known = fill_gaps(pose, seen)
        known &= by_number(presence(known))
        return cls(filled if (known & ~seen).any() else pose, known)

    @classmethod
    def of_nothing(cls, length: int) -> "Clip":
        """A placeholder for a clip that does not exist: nothing was seen, so it has no metric values."""
        return cls(np.zeros((length, layout.POSE_DIM)), np.zeros((length, layout.POSE_DIM), bool))

    @property
    def present(self) -> Array:
        """Which of ARTICULATORS are there, [T,3] bool."""
        return np.stack([self.seen[:, place].any(1) for place in ARTICULATORS.values()], axis=1)

    def in_file(self) -> Array:
        """The pose as a file holds it: zeros where something is absent."""
        return np.where(self.seen, self.pose, np.zeros((), self.pose.dtype))

    def trimmed(self) -> "Clip":
        """Without the frames at its ends that show nothing, as the files of a data set are read."""
        return self[shown_span(self.seen)]

    def filled(self) -> Array:
        """The pose, its unseen numbers rebuilt from the seen ones alone (zeros if never seen)."""
        return fill_gaps(self.pose, self.seen)[0]

    def rebuilt(self) -> "RebuiltClip":
        """The same clip in float64, its unseen numbers rebuilt, and absent hands and faces placed (`RebuiltClip`)."""
        pose = fill_gaps(np.asarray(self.pose, np.float64), self.seen)[0]
        placed = np.zeros(self.seen.shape, bool)
        if self.seen.any():
            left, right, face = ~self.present.T
            for (hand, wrist), absent in zip(HAND_AND_WRIST, (left, right), strict=True):
                hand_dims, wrist_dims = layout.keypoint_dims(hand), layout.keypoint_dims(np.array([wrist]))
                place = pose[:, wrist_dims] if self.seen[:, wrist_dims].any() else np.full((len(pose), 2), MIDDLE)
                pose[np.ix_(absent, hand_dims)] = np.tile(place[absent], layout.NUM_HAND)
                placed[np.ix_(absent, hand_dims)] = True
            lacking = face[:, None] | ~self.seen[:, layout.NMM].any(0)  # the face, or a feature that no frame shows
            pose[:, layout.NMM][lacking] = 0.0
            placed[:, layout.NMM] = lacking
        return RebuiltClip(pose, self.seen, placed)


@dataclass(frozen=True)
class RebuiltClip(Clip):
    """A clip as distances read it: all points of an absent hand lie at its arm's wrist, and an absent face is zeros, as
    is a number of the face that the clip never shows.

    placed [T,214] bool: the numbers that were set in this way.

    So if one clip has a hand and the other has none, the distance is about the size of a hand: a missing hand costs,
    and so does a hand that should not be there. A place farther off, such as the shoulders' middle, would make the cost
    depend on where the arm is, which both clips show by their wrists.
    """

    placed: Array

    def rebuilt(self) -> "RebuiltClip":
        return self

    @property
    def known(self) -> Array:
        return self.seen | self.placed

    def compared(self, reference: "RebuiltClip", i: Array, j: Array) -> tuple[Array, Array]:
        """Which numbers count when frames i [P] of this clip are compared with frames j [P] of its reference.

        The numbers that the reference saw are required. So are those of a hand that this clip shows and the reference
        lacks. A hand that both lack does not count. Returns two masks [P,214]: the required numbers that this clip
        knows, and all required numbers.
        """
        required = reference.seen[j]
        hands = layout.HANDS
        required[:, hands] |= reference.placed[:, hands][j] & self.seen[:, hands][i]
        return required & self.known[i], required


@dataclass(frozen=True)
class Reference(Clip):
    """A real clip of the split that is scored."""

    id: str
    text: str


def clip_of(pack: Pack, index: int) -> Clip:
    """A real clip as it is scored, without the frames at its ends that show nothing, such as a part of a hand."""
    return Clip.real(pack.field("pose", index), pack.field("seen", index).astype(bool)).trimmed()


def reference_of(clip: Clip, clip_id: str, text: str) -> Reference:
    """A real clip, as `Clip.real` reads it, with its ID and its text."""
    return Reference(np.array(clip.pose), clip.seen, clip_id, text)


def read_references(pack: Pack) -> list[Reference]:
    named = enumerate(zip(pack.ids, pack.texts, strict=True))
    return [reference_of(clip_of(pack, index), clip_id, text) for index, (clip_id, text) in named]


def references_fingerprint(references: Iterable[Reference]) -> str:
    """Twelve hexadecimal digits that differ where IDs, texts, poses, or what is seen of them do."""
    digest = hashlib.sha256()
    for reference in references:
        digest.update(repr((reference.id, reference.text, reference.pose.shape)).encode())
        digest.update(np.asarray(reference.in_file(), np.float32).tobytes())
        digest.update(np.packbits(reference.seen).tobytes())
    return digest.hexdigest()[:12]


def stack_values(clips: Iterable[Mapping[str, object]]) -> Scores:
    """Scores of the values that each clip has by name."""
    clips = list(clips)
    return {name: np.array([clip[name] for clip in clips], np.float64) for name in clips[0]}
