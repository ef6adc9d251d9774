"""Who is in a video, by the faces in some of its frames, and the part of the picture that shows one of them alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from poses import layout

WHOM = ("signing", "left", "right", "largest")  # whom --person follows, where there are several
VISIBLE = 0.5  # a wrist less visible than this is a guess, which moves by itself
PERSISTENT = 0.5  # of the frames that were looked at and have a face: a face in fewer is a passer-by, or none at all
REACH = 1.5  # face sizes that a face moves at most from one look to the next
MARGIN = 1.0  # face sizes that are cut away around another person's face


@dataclass(frozen=True)
class Person:
    """Where a person's face is over the whole clip, in pixels: its middle (x, y), its size, and in how many looks."""

    middle: np.ndarray
    size: float
    looks: int


def find_people(looks: Sequence[np.ndarray]) -> list[Person]:
    """The people of a clip, from left to right. looks: the faces of some frames, [N,4] each (x, y, width, height)."""
    tracks: list[list[np.ndarray]] = []
    for faces in looks:
        free = list(range(len(tracks)))
        for face in faces:
            middle, size = face[:2] + face[2:] / 2, max(face[2:])
            distances = {n: np.linalg.norm(tracks[n][-1][:2] + tracks[n][-1][2:] / 2 - middle) for n in free}
            nearest = min(distances, key=distances.__getitem__, default=None)
            if nearest is not None and distances[nearest] < REACH * size:
                tracks[nearest].append(face)
                free.remove(nearest)
            else:
                tracks.append([face])
    needed = PERSISTENT * sum(len(faces) > 0 for faces in looks)
    people = []
    for track in tracks:
        if len(track) >= max(1, needed):
            faces = np.stack(track)
            middle = np.median(faces[:, :2] + faces[:, 2:] / 2, axis=0)
            people.append(Person(middle, float(np.median(faces[:, 2:].max(1))), len(track)))
    return sorted(people, key=lambda person: person.middle[0])


def choose(people: Sequence[Person], which: str, movement: Callable[[Person], float]) -> Person:
    """The person at the `left` or `right` of the picture, with the `largest` face, or whose hands move most.

    movement: how much someone's hands move; asked for `signing` alone.
    """
    if which == "signing":
        return max(people, key=movement)
    if which == "largest":
        return max(people, key=lambda person: person.size)
    return people[0] if which == "left" else people[-1]


def note_on_people(count: int, which: str) -> str:
    """What the report says of a recording of several people."""
    followed = "one whose hands move most" if which == "signing" else f"{which} one"
    return f"{count} people; the {followed} was followed (--person)"


def hand_movement(points: np.ndarray, visibility: np.ndarray) -> float:
    """How far the wrists move from one look to the next, in shoulder widths, on average over the looks.

    points [N,75,2] in units in which both axes are alike, visibility [N,75]. A wrist that is not visible stays.
    """
    shoulders, wrists = [layout.LEFT_SHOULDER, layout.RIGHT_SHOULDER], [layout.LEFT_WRIST, layout.RIGHT_WRIST]
    facing = (visibility[:, shoulders] > VISIBLE).all(1)
    if not facing.any():
        return 0.0
    width = np.median(np.linalg.norm(points[facing, shoulders[0]] - points[facing, shoulders[1]], axis=-1))
    visible = visibility[:, wrists] > VISIBLE
    steps = np.linalg.norm(np.diff(points[:, wrists], axis=0), axis=-1) * (visible[1:] & visible[:-1])
    return float(steps.sum() / max(1, len(steps)) / max(width, 1e-6))


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
