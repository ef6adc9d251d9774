"""Which hands are present in each frame of a clip, and whether the face is.

An absent hand or face is no data: it has no weight in training, is not drawn, and is zeros in a generated pose
[T,214].
"""

from itertools import groupby

import numpy as np

from poses import layout
from poses.interpolation import MAX_INTERPOLATED_GAP

ARTICULATORS = {"left hand": layout.LEFT_HAND, "right hand": layout.RIGHT_HAND, "face": layout.NMM}
NUM_ARTICULATORS = len(ARTICULATORS)
HALF = 0.5  # share of a hand's numbers that must be seen for the hand to be present
COLLAPSED = 0.01  # image units: a hand no larger than this was not found
MISSING = -1.0  # some programs write what they did not find as -1
PRESENCE_VERSION = 1  # raised when `presence` gives other values

# For each number of a frame the articulator that it belongs to, [214]; the body's belong to one that is always there.
ALWAYS = NUM_ARTICULATORS
ARTICULATOR_OF = np.full(layout.POSE_DIM, ALWAYS)
for _index, _place in enumerate(ARTICULATORS.values()):
    ARTICULATOR_OF[_place] = _index


def steady(present: np.ndarray) -> np.ndarray:
    """Presence [T,A] bool without flicker.

    An absence between two frames that show an articulator is filled if it is as short as the gaps of `fill_gaps`. An
    equally short appearance between two absences counts as a detector's mistake.
    """
    present = present.copy()
    for column in present.T:  # a view of `present`
        for short_state in (False, True):
            start, runs = 0, [(state, len(list(run))) for state, run in groupby(column.tolist())]
            for number, (state, length) in enumerate(runs):
                inside = 0 < number < len(runs) - 1
                if inside and state == short_state and length <= MAX_INTERPOLATED_GAP:
                    column[start : start + length] = not state
                start += length
    return present


def shown_span(seen: np.ndarray) -> slice:
    """The frames from the first to the last that show anything, of a clip's seen numbers [T,N]; all if none does."""
    shown = np.flatnonzero(seen.any(1))
    return slice(int(shown[0]), int(shown[-1]) + 1) if len(shown) else slice(0, len(seen))


def presence(seen: np.ndarray) -> np.ndarray:
    """The articulators that are present [T,3] bool, in the order of ARTICULATORS, from a clip's seen numbers [T,214].

    A hand is present if at least half of it was seen, the face if any of it was, since few tools measure all of it.
    """
    left, right, face = (seen[:, place].mean(1) for place in ARTICULATORS.values())
    return steady(np.stack([left >= HALF, right >= HALF, face > 0], axis=1))


def decoded_presence(decoded: np.ndarray) -> np.ndarray:
    """Presence [T,A] bool from a decoder's numbers [T,A], which are near 1 for present and near 0 for absent."""
    return steady(decoded > 0.5)


def collapsed(points: np.ndarray, size: float = COLLAPSED) -> np.ndarray:
    """In which frames all of the points [T,K,D] lie within `size` of each other, [T] bool; NaN lies nowhere.

    Some programs put a hand that they did not find at its wrist, or at a corner of the picture.
    """
    with np.errstate(invalid="ignore"):
        return np.ptp(points, axis=1).max(-1) <= size


def placed(points: np.ndarray) -> np.ndarray:
    """Which points [...,2] have a place, [...] bool: NaN, (0, 0) and (-1, -1) say that there is none."""
    return np.isfinite(points).all(-1) & (points != 0).any(-1) & (points != MISSING).any(-1)


def shown_keypoints(keypoints: np.ndarray) -> np.ndarray:
    """Which keypoints [T,75,2] are shown, [T,75] bool: those that have a place, and are of no hand that is shrunk to a
    point."""
    shown = placed(keypoints)
    for hand in layout.HAND_KEYPOINTS.values():
        shown[:, hand] &= ~collapsed(keypoints[:, hand])[:, None]
    return shown


def unmeasured(feature: np.ndarray) -> np.ndarray:
    """In which frames a feature of the face [T,N] was not measured, [T] bool: all zeros (or NaN), or all -1."""
    return ((feature == 0) | np.isnan(feature)).all(1) | (feature == MISSING).all(1)


def by_number(present: np.ndarray) -> np.ndarray:
    """Presence [T,3] of the articulators -> of each number of a frame, [T,214] bool; the body is always present."""
    return np.concatenate([present, np.ones((len(present), 1), bool)], axis=1)[:, ARTICULATOR_OF]


def without_absent(pose: np.ndarray, present: np.ndarray) -> np.ndarray:
    """A pose [T,214] in data units with zeros where an articulator is absent (present [T,3] bool)."""
    return np.where(by_number(present), pose, np.zeros((), pose.dtype))


def shown_numbers(pose: np.ndarray) -> np.ndarray:
    """What a pose [T,214] of a file shows, [T,214] bool, by the rules of a data set's own files.

    Keypoints by `shown_keypoints`. In a frame whose features of the face are all zeros or all -1 the face is absent; a
    feature that has no other values in any frame was not measured.
    """
    points, nmm = layout.frame_to_keypoints(pose), pose[:, layout.NMM]
    features = [pose[:, place] for place in layout.NMM_SLICES.values()]
    measured = np.stack([~unmeasured(part) for part in features], axis=1)  # [T,4]
    ever = np.repeat(measured.any(0), [part.shape[1] for part in features])
    face = measured.any(1, keepdims=True) & ever & np.isfinite(nmm)
    return np.concatenate([np.repeat(shown_keypoints(points), 2, axis=1), face], axis=1)
