"""Frames that no camera and no detector gives, as damaged or converted recordings have them.

A few such frames may occur by chance, and are not reported.
"""

import numpy as np

from poses import layout
from poses.presence import ARTICULATORS

REPEATED = 5  # frames at the end that repeat the one before: no camera gives so many
EQUAL_SHARE = 0.1  # of a clip's frames that equal the one before: more are worth a note
STILL = (
    "that stands exactly still while the body moves; if its last or usual place is written where it was not seen, mark "
    "it as unseen (0, -1 or NaN)"
)
STIFF = (
    "have a hand that moves as one stiff piece; if a usual shape is written at the wrist where no hand was seen, mark "
    "it as unseen (0, -1 or NaN)"
)
ROUNDING = 1e-5  # image units: moving a shape changes its points' distances by less
BENT = 2e-3  # image units: a hand whose points move more against its root has changed its shape
STRETCHED = (
    "reach exactly as far to each side as the one before, as if each were stretched to one box; write all frames of a "
    "clip in one scale, 0 to 1 across the picture"
)
BOXED = (
    "have a hand that reaches exactly as far as the frame before, but has another shape, as if it were scaled to a box "
    "of its own; write hands in the scale of the picture"
)


def odd_frames(keypoints: np.ndarray, seen: np.ndarray) -> dict[str, int]:
    """Notes on odd frames of keypoints [T,75,2], seen [T,75], each with their number."""
    at_end, before = repeated_frames(keypoints, seen)
    notes = {
        "frames at the end repeat the one before, as padding does; cut them off, or they are learnt": at_end,
        "frames equal the one before them: repeated by a converter, or a picture that stood still": before,
        f"frames {STRETCHED}": _stretched_frames(keypoints, seen),
        f"frames {STIFF}": _stiff_frames(keypoints, seen),
        f"frames {BOXED}": _boxed_frames(keypoints, seen),
    }
    return {note: count for note, count in notes.items() if count}


def repeated_frames(keypoints: np.ndarray, seen: np.ndarray) -> tuple[int, int]:
    """How many frames of keypoints [T,75,2], seen [T,75], equal the frame before: at the end, and before the end.

    0 for as few as a camera may give.
    """
    keypoints = np.where(seen[..., None], keypoints, 0)
    equal = (keypoints[1:] == keypoints[:-1]).all((1, 2)) & keypoints[1:].any((1, 2))
    at_end = int(equal[::-1].cumprod().sum())
    before = int(equal.sum()) - at_end
    return at_end if at_end > REPEATED else 0, _unless_few(before, len(keypoints))


def still_parts(pose: np.ndarray, seen: np.ndarray) -> dict[str, int]:
    """Notes on the frames of a clip (pose and seen [T,214]) in which a hand, or the face, has the numbers of the frame
    before although the body moves. No signer keeps so still, and no detector.
    """
    both, same = seen[1:] & seen[:-1], pose[1:] == pose[:-1]
    moves = (both & ~same)[:, layout.BODY].any(1)
    notes = {}
    for part, place in ARTICULATORS.items():
        shown = both[:, place]
        still = int((moves & shown.any(1) & (same[:, place] | ~shown).all(1)).sum())
        notes[f"frames have a {part} {STILL}"] = _unless_few(still, len(pose))
    return {note: count for note, count in notes.items() if count}


def _stretched_frames(keypoints: np.ndarray, seen: np.ndarray) -> int:
    """How many frames of keypoints [T,75,2], seen [T,75], move but reach exactly as far to each side as before.

    Each was scaled by its own points. 0 for as few as may do so by chance.
    """
    # numpy is slow over an axis before a short one
    by_axis = np.ascontiguousarray(keypoints.transpose(2, 0, 1))  # [2,T,75]
    low, high = np.where(seen, by_axis, np.inf).min(2), np.where(seen, by_axis, -np.inf).max(2)  # [2,T] each
    box = np.concatenate([low, high]).T  # [T,4]
    moves = ((keypoints[1:] != keypoints[:-1]).any(2) & seen[1:] & seen[:-1]).any(1)
    stretched = int((moves & (box[1:] == box[:-1]).all(1)).sum())
    return _unless_few(stretched, len(seen))


def _stiff_frames(keypoints: np.ndarray, seen: np.ndarray) -> int:
    """In how many frames of keypoints [T,75,2], seen [T,75], a hand has moved without changing its shape.

    0 for as few as may do so by chance.
    """
    stiff = []  # [T-1] bool for each hand
    for place in layout.HAND_KEYPOINTS.values():
        moves = np.diff(keypoints[:, place], axis=0)  # [T-1,21,2]
        shown = seen[1:, place] & seen[:-1, place]  # [T-1,21]
        bends = np.abs(moves - moves[:, layout.HAND_ROOT, None]).max(2)  # [T-1,21]
        whole = shown.all(1) & (np.abs(moves[:, layout.HAND_ROOT]).max(1) > ROUNDING)
        stiff.append(whole & (bends.max(1) <= ROUNDING))
    return _unless_few(int(np.any(stiff, axis=0).sum()), len(keypoints))


def _boxed_frames(keypoints: np.ndarray, seen: np.ndarray) -> int:
    """In how many frames of keypoints [T,75,2], seen [T,75], a hand has changed its shape, but not its longer side.

    0 unless it is so in most frames in which a hand changes its shape.
    """
    boxed = []  # of each hand
    for place in layout.HAND_KEYPOINTS.values():
        hand, shown = keypoints[:, place], seen[:, place].all(1)
        bends = np.abs(np.diff(hand - hand[:, [layout.HAND_ROOT]], axis=0)).max((1, 2)) > BENT
        bends &= shown[1:] & shown[:-1]
        still = bends & (np.abs(np.diff(np.ptp(hand, axis=1).max(1))) <= ROUNDING)
        boxed.append(int(still.sum()) if 2 * still.sum() > bends.sum() else 0)
    return _unless_few(max(boxed), len(keypoints))


def _unless_few(count: int, frames: int) -> int:
    """The number of odd frames in a clip of `frames` frames; 0 if chance may give so few."""
    return count if count > max(REPEATED, EQUAL_SHARE * frames) else 0
