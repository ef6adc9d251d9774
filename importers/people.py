"""Who is in a recording, whom to follow, and the part of the picture that shows one of them alone."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from importers.geometry import TRUNK, WRISTS
from poses import layout

WHOM = ("signing", "left", "right", "largest")  # whom --person follows, where there are several
PERSISTENT = 0.5  # of the looks that show anyone: who is in fewer is a passer-by, or no person at all
REACH = 1.5  # face sizes that a face moves at most from one look to the next
LOOK_EVERY = 6  # frames between looks at moving hands: from frame to frame they hardly move more than noise
BODY_REACH = 0.5  # heights that a body moves at most from one frame to the next
ANOTHER = 0.1  # of the looks, each with one person: a track of so many looks elsewhere is somebody else
MARGIN = 1.0  # face sizes that are cut away around another person's face


@dataclass(frozen=True)
class Person:
    """Where someone is over the whole recording, in pixels: the median middle (x, y) and size of the person's boxes;
    and the track of these boxes: (look, number of the box in that look)."""

    middle: np.ndarray
    size: float
    track: list[tuple[int, int]] = field(default_factory=list)


def find_people(looks: Sequence[np.ndarray], reach: float = REACH, persistent: float = PERSISTENT) -> list[Person]:
    """The people of a recording, from left to right. looks: for each look the boxes [N,4] (x, y, width, height) of the
    people's faces, or of another part that everybody has.

    From look to look the nearest boxes are the same person's, each box one person's, at most `reach` sizes apart.
    """
    tracks: list[list[tuple[int, int]]] = []
    last: list[np.ndarray] = []  # the middle of each track's last box
    for look, boxes in enumerate(looks):
        middles, sizes = boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:].max(1, initial=0)
        apart = np.array([[np.linalg.norm(middle - place) for place in last] for middle in middles])
        taken: dict[int, int] = {}  # the track of each box
        for box, track in sorted(np.ndindex(apart.shape), key=lambda pair: apart[pair]) if apart.size else ():
            if box not in taken and track not in taken.values() and apart[box, track] < reach * sizes[box]:
                taken[box] = track
        for box, middle in enumerate(middles):
            track = taken.get(box, len(tracks))
            if track == len(tracks):
                tracks.append([])
                last.append(middle)
            tracks[track].append((look, box))
            last[track] = middle
    needed = persistent * sum(len(boxes) > 0 for boxes in looks)
    people = []
    for track in tracks:
        if len(track) >= needed:
            boxes = np.stack([looks[look][box] for look, box in track])
            middle = np.median(boxes[:, :2] + boxes[:, 2:] / 2, axis=0)
            people.append(Person(middle, float(np.median(boxes[:, 2:].max(1))), track))
    return sorted(people, key=lambda person: person.middle[0])


def choose(people: Sequence[Person], which: str, movement: Callable[[Person], float]) -> Person:
    """The person at the `left` or `right` of the picture, the `largest`, or the one whose hands move most.

    movement: how much someone's hands move; asked for `signing` alone. Of equals the largest is taken.
    """
    if which == "signing":
        return max(people, key=lambda person: (movement(person), person.size))
    if which == "largest":
        return max(people, key=lambda person: person.size)
    return people[0] if which == "left" else people[-1]


def _boxes(found: np.ndarray) -> np.ndarray:
    """A box for each person [N,75,3] of a frame, [N,4]: as high and wide as what is seen is high, about the trunk."""
    boxes = []
    for one in found:
        middle = one[TRUNK][one[TRUNK, 2] > 0, :2].mean(0)
        height = np.ptp(one[one[:, 2] > 0, 1])
        boxes.append([*(middle - height / 2), height, height])
    return np.array(boxes).reshape(-1, 4)


def through_time(people: Sequence[np.ndarray], frames: np.ndarray, track: Sequence[tuple[int, int]]) -> np.ndarray:
    """The keypoints [T,75,3] of one of the people of `follow_keypoints`, unseen where the track has none."""
    points = np.zeros((int(frames[-1]) + 1, layout.NUM_KEYPOINTS, 3))
    for look, number in track:
        points[frames[look]] = people[look][number]
    return points


def follow_keypoints(
    people: Sequence[np.ndarray], frames: np.ndarray, person: str
) -> tuple[list[tuple[int, int]], int]:
    """The track of one person, (look, number of the person in it), and how many people there are.

    people: for each look the people [N,75,3] (x, y, score) whose trunk is seen; frames: each look's frame. A detector
    that keeps one person per look may change from one person to another.
    """
    boxes, most = [_boxes(found) for found in people], max(map(len, people))
    found_people = find_people(boxes, BODY_REACH, ANOTHER if most < 2 else PERSISTENT)
    if most < 2 and len(found_people) < 2:
        return [(look, 0) for look, found in enumerate(people) if len(found)], most

    def movement(one: Person) -> float:
        looks = through_time(people, frames, one.track)[::LOOK_EVERY]
        return hand_movement(looks[..., :2], looks[..., 2] > 0)

    chosen = choose(found_people or find_people(boxes, BODY_REACH, 0.0), person, movement)
    return chosen.track, max(most, len(found_people))


def note_on_people(count: int, which: str) -> str:
    """What the report says of a recording of several people."""
    followed = "one whose hands move most" if which == "signing" else f"{which} one"
    return f"{count} people; the {followed} was followed (--person)"


def shows_trunk(found: np.ndarray) -> np.ndarray:
    """Which of the people [N,75,3] (x, y, score) of a look show a nose or a shoulder, by which they are followed."""
    return (found[:, TRUNK, 2] > 0).any(1)


def notes_on_hands_alone(people: Iterable[np.ndarray]) -> list[str]:
    """Says in how many looks, each [N,75,3] (x, y, score), somebody's hand is seen but nobody's trunk: nobody is
    followed there, so the hand is lost."""
    alone = sum((found[:, layout.NUM_BODY :, 2] > 0).any() and not shows_trunk(found).any() for found in people)
    if not alone:
        return []
    return [f"frames that show a hand, but neither nose nor shoulders, and count as unseen: {alone}"]


def hand_movement(points: np.ndarray, visible: np.ndarray) -> float:
    """How far the wrists move from the body from one look to the next, on average over the looks.

    points [N,75,2] in units in which both axes are alike, visible [N,75] bool. The unit is the width of the shoulders,
    or the distance of the nose from them where that is more, as it is from the side. An unseen wrist counts as still.
    """
    facing = visible[:, layout.SHOULDERS].all(1)
    if not facing.any():
        return 0.0
    middle = points[:, layout.SHOULDERS].mean(1)
    width = np.linalg.norm(points[:, layout.LEFT_SHOULDER] - points[:, layout.RIGHT_SHOULDER], axis=-1)
    height = np.linalg.norm(points[:, layout.NOSE] - middle, axis=-1) * visible[:, layout.NOSE]
    wrists, shown = points[:, WRISTS] - middle[:, None], visible[:, WRISTS] & facing[:, None]
    steps = np.linalg.norm(np.diff(wrists, axis=0), axis=-1) * (shown[1:] & shown[:-1])
    unit = np.median(np.maximum(width, height)[facing])
    return float(steps.sum() / max(1, len(steps)) / unit) if unit > 0 else 0.0


def window(person: Person, people: Sequence[Person], width: int, height: int) -> tuple[int, int, int, int]:
    """The part of a picture (left, top, right, bottom, in pixels) that shows the person and no other's face."""
    box = np.array([[0.0, 0.0], [float(width), float(height)]])
    for other in people:
        if other is not person:
            way = other.middle - person.middle
            axis = int(np.abs(way).argmax())
            # Up to the other's face, so that hands that reach over stay in the picture, but half-way at least.
            cut = max(abs(way[axis]) / 2, abs(way[axis]) - MARGIN * other.size)
            side = 1 if way[axis] > 0 else 0
            place = person.middle[axis] + np.sign(way[axis]) * cut
            box[side, axis] = min(box[1, axis], place) if side else max(box[0, axis], place)
    (left, top), (right, bottom) = box.round().astype(int)
    return int(left), int(top), int(right), int(bottom)
