"""Who is in a video, by the faces in some of its frames, and the part of the picture that shows one of them alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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


def choose(people: Sequence[Person], which: str) -> Person:
    """The person at the `left` or `right` of the picture, or with the `largest` face."""
    if which == "largest":
        return max(people, key=lambda person: person.size)
    return people[0] if which == "left" else people[-1]


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
