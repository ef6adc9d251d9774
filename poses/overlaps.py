"""Clips that were cut from one recording in such a way that they overlap: they share frames, to the last bit."""

from collections import defaultdict

import numpy as np

from poses import layout
from poses.interpolation import MAX_INTERPOLATED_GAP

EDGE = MAX_INTERPOLATED_GAP + 1  # frames at a clip's end, where the other clip fills gaps from frames beyond that end
LEAST_SHARED = 2 * EDGE  # frames that two clips share; consecutive sentences share at most the one frame between them
LEAST_REPORTED = 20  # shared frames that are no chance where few words are joined from letters
MOST_PLACES = 100  # equal frames that are looked at for one frame: a picture that stands still has many
MOST_OTHERS = 20  # clips that overlap a clip and are checked for being of one recording with it
CONTRADICTS = 0.5  # share of common frames that differ, from which the clips are not of one recording

_FACTORS = np.random.default_rng(0).integers(2**63, size=layout.POSE_DIM)


class Overlaps:
    """Clips are added one by one; memory grows by eight bytes per frame."""

    def __init__(self) -> None:
        self._digests: list[np.ndarray] = []  # per clip, a hash of each frame, 0 where nothing was seen

    def add(self, pose: np.ndarray, seen: np.ndarray) -> None:
        """pose [T,214] float32, seen [T,214] bool."""
        bits = np.where(seen, pose, np.float32(0)).view(np.int32)
        self._digests.append((bits * _FACTORS).sum(1))

    def pairs(self) -> list[tuple[int, int, int]]:
        """The clips that overlap, by their numbers, the earlier one first, and how many frames they share.

        Empty if most pairs contradict each other: words that are joined from the same letters share frames, too.
        """
        found = self._find()
        of_clip: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for (first, other), (_, offset) in found.items():
            of_clip[first].append((other, offset))
            of_clip[other].append((first, -offset))
        agree = {clip: self._are_of_one_recording(clip, others[:MOST_OTHERS]) for clip, others in of_clip.items()}
        pairs = [(*pair, shared) for pair, (shared, _) in sorted(found.items()) if all(agree[clip] for clip in pair)]
        return [pair for pair in pairs if pair[-1] >= LEAST_REPORTED] if 2 * len(pairs) > len(found) else []

    def _find(self) -> dict[tuple[int, int], tuple[int, int]]:
        """For each pair of clips that overlap: how many frames they share, and which frame of the second clip is
        frame 0 of the first."""
        digests, starts = np.concatenate(self._digests), np.cumsum([0, *map(len, self._digests)])
        by_digest = np.argsort(digests, kind="stable")
        ordered = digests[by_digest]
        found: dict[tuple[int, int], tuple[int, int]] = {}
        for clip, own in enumerate(self._digests):
            probe = EDGE + int((own[EDGE:] != 0).argmax()) if len(own) >= LEAST_SHARED else 0
            if own[probe] == 0 or not probe:
                continue
            first, last = (int(np.searchsorted(ordered, own[probe], side)) for side in ("left", "right"))
            for place in by_digest[first : min(last, first + MOST_PLACES)].tolist():
                other = int(np.searchsorted(starts, place, "right")) - 1
                offset = place - int(starts[other]) - probe
                begin, end = max(0, -offset), min(len(own), len(self._digests[other]) - offset)
                shared = int((own[begin:end] == self._digests[other][begin + offset : end + offset]).sum())
                if other != clip and shared >= max(LEAST_SHARED, end - begin - 2 * EDGE):
                    pair = min(clip, other), max(clip, other)
                    found[pair] = shared, offset if clip < other else -offset
        return found

    def _are_of_one_recording(self, clip: int, others: list[tuple[int, int]]) -> bool:
        """Whether the clips that overlap `clip` also agree with each other. others: each clip's number, and which of
        its frames is frame 0 of `clip`."""
        recording = dict(enumerate(self._digests[clip].tolist()))
        compared = differ = 0
        for other, offset in others:
            for frame, digest in enumerate(self._digests[other].tolist(), -offset):
                compared += frame in recording
                differ += recording.setdefault(frame, digest) != digest
        return differ < CONTRADICTS * compared
