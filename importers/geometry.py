"""The unit of coordinates, the upward direction, and the left and right hand: recognised, converted, or refused."""

import numpy as np

from poses import layout
from poses.geometry import CONTRADICTS, JUMP, MARGIN, hands_on_arms, lies, with_noses
from runtime.errors import UserError

UNITS = {
    "unit": "0..1 across the picture",
    "pixels": "pixels of a picture of --width x --height",
    "signed": "-1..1 across the picture",
    "shoulders": "centred between the shoulders, in any scale",
}
SHOULDER_PLACE, SHOULDER_WIDTH = (0.5, 0.4), 0.25  # of a square picture: where a body centred on its shoulders is put
BESIDE = 0.2  # share of points with a number below 0, from which pixels are taken as relative to the body
WIDEST = 0.8  # of the picture: shoulders farther apart are in another unit
TOGETHER = 5  # points of a body that have one place by no chance, even in whole pixels
TRUNK = [layout.NOSE, *layout.SHOULDERS]
WRISTS = [layout.LEFT_WRIST, layout.RIGHT_WRIST]


def recognise_units(points: np.ndarray, seen: np.ndarray) -> str:
    """The unit (a key of UNITS) that keypoints [T,75,2], seen [T,75] bool, look to be in.

    Judged by the shoulders, and the nose where it was seen. UserError where no frame saw both shoulders.
    """
    middle, width = _shoulders(points, seen)
    if (np.abs(middle) < 0.1 * width).mean() > 0.9:
        return "shoulders"
    if width > 3:  # shoulders three pictures apart: the numbers are pixels
        return "pixels"
    lowest = min(float(np.median(points[seen[:, k], k], axis=0).min()) for k in TRUNK if seen[:, k].any())
    return "signed" if lowest < -0.1 else "unit"


def image_units(
    points: np.ndarray, seen: np.ndarray, units: str | None, usual: str, size: tuple[int, int] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Scale [2] and offset [2] that bring keypoints [T,75,2] into image units (0..1): points * scale + offset.

    units: what --units says; None: the coordinates must look like `usual`, the format's own unit. size: (width, height)
    of the picture, for pixels. Raises UserError if the coordinates do not look like their unit.
    """
    found, expected = recognise_units(points, seen), units or usual
    centred = ("signed", "shoulders")  # told apart by the body's place alone, which is no proof
    agreed = found == expected or (found in centred and expected in centred)
    if units == "shoulders" and found in ("unit", "pixels"):  # a centred body may have any unit
        beside = float((points[seen] < 0).any(1).mean())  # share of the points that lie outside any picture
        agreed = _shoulders(points, seen)[1] > WIDEST and (found == "unit" or beside > BESIDE)
    if not agreed and (units is None or expected in centred or "pixels" in (found, expected)):
        advice = {"pixels": "pass --units pixels --width W --height H", "unit": "pass --units unit"}.get(
            found, "pass --units signed, or --units shoulders where each frame is centred on the body"
        )
        raise UserError(
            f"its coordinates look like {found} ({UNITS[found]}), not {expected} ({UNITS[expected]}); {advice}"
        )
    if expected == "signed":
        return np.full(2, 0.5), np.full(2, 0.5)
    if expected == "shoulders":
        middle, width = _shoulders(points, seen)
        scale = np.full(2, SHOULDER_WIDTH / width)
        return scale, SHOULDER_PLACE - scale * np.median(middle, axis=0)
    if expected == "unit":
        return np.ones(2), np.zeros(2)
    if size is None:
        raise UserError("its coordinates are pixels, and it tells no size of the picture; pass --width and --height")
    return 1 / np.array(size, dtype=np.float64), np.zeros(2)


def require_upright(points: np.ndarray, seen: np.ndarray) -> None:
    """UserError where the clip's keypoints [T,75,2] stand on their head."""
    points, seen = with_noses(points, seen)
    middle, _ = _shoulders(points, seen)
    both = seen[:, layout.SHOULDERS].all(1)
    nose = points[both, layout.NOSE][seen[both, layout.NOSE]]
    below = nose[:, 1] > middle[seen[both, layout.NOSE], 1]
    if len(nose) and below.mean() > 0.5 and not _lying(points, seen):
        raise UserError(
            f"the nose lies below the shoulders in {below.mean():.0%} of the frames: y points upwards, or the picture "
            "is upside down; y must point downwards"
        )


def check_body(points: np.ndarray, seen: np.ndarray, swapped: bool = False) -> None:
    """UserError where the clip's keypoints [T,75,2] stand on their head, or each hand hangs on the other arm.

    swapped: --swap_hands has exchanged the hands.
    """
    require_upright(points, seen)
    _, width = _shoulders(points, seen)
    with_wrists = seen & seen[:, WRISTS].all(1)[:, None]
    facts = hands_on_arms(points, with_wrists, np.full(len(points), width), np.zeros(1, int))
    if facts["exchanged"][0] >= CONTRADICTS:
        advice = "exchanged; pass --swap_hands"
        if swapped:
            advice = "exchanged by --swap_hands; leave it out, or bring in recordings that need it by themselves"
        raise UserError(f"each hand lies at the other arm's wrist: left and right are {advice}")


def notes_on_body(points: np.ndarray, seen: np.ndarray) -> list[str]:
    """Notes on what is odd about a clip's body without proving a mistake; points [T,75,2], seen [T,75]."""
    notes = []
    if _outside(points, seen):
        notes.append("the nose or a shoulder lies outside the picture; are --width, --height and --units right?")
    notes += notes_on_posture(points, seen)
    if (together := _in_one_place(points, seen)) >= TOGETHER:
        notes.append(
            f"{together} points of the body lie in one and the same place in most frames; are they unseen points that "
            "a crop or an offset has moved? Mark them as unseen (0, -1 or NaN)"
        )
    return notes


def notes_on_posture(points: np.ndarray, seen: np.ndarray) -> list[str]:
    """Notes on a body that lies or jumps, which a video may show, too; points [T,75,2], seen [T,75]."""
    notes = []
    if _lying(points, seen):
        notes.append(
            "the shoulders are above one another and the nose is beside them; are x and y exchanged, or the picture "
            "turned?"
        )
    middle, width = _shoulders(points, seen)
    frames = np.flatnonzero(seen[:, layout.SHOULDERS].all(1))
    jumps = (np.linalg.norm(np.diff(middle, axis=0), axis=1) > JUMP * width) & (np.diff(frames) == 1)
    if jumps.any():
        notes.append(
            f"the body jumps by more than a shoulder width from one frame to the next ({jumps.sum()} times); does the "
            "person change, or is a part cut out?"
        )
    return notes


def _in_one_place(points: np.ndarray, seen: np.ndarray) -> int:
    """The largest number of the body's points that have the same coordinates, as the median over the frames."""
    x, y = np.moveaxis(points[:, layout.BODY_KEYPOINTS], -1, 0)
    place = np.where(seen[:, layout.BODY_KEYPOINTS], x + 1j * y, np.nan)  # [T,33]; NaN equals nothing
    same = place[:, :, None] == place[:, None]  # [T,33,33]
    return int(np.median(same.sum(2).max(1)))


def _outside(points: np.ndarray, seen: np.ndarray) -> bool:
    """Whether the nose or a shoulder, by the median of the frames that saw it, lies outside the picture."""
    shown = [k for k in TRUNK if seen[:, k].any()]
    return any((np.abs(np.median(points[seen[:, k], k], axis=0) - 0.5) > 0.5 + MARGIN).any() for k in shown)


def _lying(points: np.ndarray, seen: np.ndarray) -> bool:
    """Whether the body lies in most of the frames that show both shoulders and the nose."""
    head = seen[:, TRUNK].all(1)
    return bool(head.any() and lies(points[head]).mean() > 0.5)


def swap_hands(values: np.ndarray) -> np.ndarray:
    """Keypoints, or what was seen of them, [T,75,...] with the two hands exchanged."""
    parts = np.split(values, [layout.LEFT_HAND_KEYPOINTS.start, layout.RIGHT_HAND_KEYPOINTS.start], axis=1)
    return np.concatenate([parts[0], parts[2], parts[1]], axis=1)


def require_person(seen: np.ndarray) -> None:
    """UserError where a clip has no frames, or no point of it was seen; seen [T,N] bool."""
    if not len(seen):
        raise UserError("it holds no frames")
    if not seen.any():
        raise UserError(f"no person is seen in any of its {len(seen)} frames")


def _shoulders(points: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, float]:
    """The shoulders' middle [N,2] in the frames that saw both, and their median distance."""
    require_person(seen)
    both = seen[:, layout.SHOULDERS].all(1)
    if not both.any():
        raise UserError("no frame sees both shoulders, so its coordinates can't be judged; leave it out")
    pair = points[both][:, layout.SHOULDERS]
    width = float(np.median(np.linalg.norm(pair[:, 0] - pair[:, 1], axis=1)))
    return pair.mean(1), max(width, 1e-9)
