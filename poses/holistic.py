"""Reading `.pose` files of MediaPipe Holistic, as pose-format and this project write them."""

import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from poses import layout
from poses.face import NUM_FACE, NUM_FACE_WITH_IRIS, has_depth, is_flat, nmm_from_face_mesh
from poses.writing import BODY_NAMES, FACE_NUMBERS, HAND_NAMES
from runtime.errors import UserError
from runtime.untrusted import MAX_ARRAY_BYTES, read_regular

LEAST_SHOULDERS = 0.01  # image units: shoulders nearer to each other are in another unit
WITH_FRACTIONS = 0.15  # between the versions 0.1, whose rates are whole numbers, and 0.2
WHOLE_RATES = {23.0: 24000 / 1001, 29.0: 30000 / 1001, 59.0: 60000 / 1001}  # what version 0.1 cut off of these rates
EMPTY = "zero frames, no person or no point; leave the file out or record it again"

# The components of a full Holistic file, with the numbers of points that each may have.
COMPONENTS = {
    "POSE_LANDMARKS": (layout.NUM_BODY,),
    "FACE_LANDMARKS": (NUM_FACE, NUM_FACE_WITH_IRIS),
    "LEFT_HAND_LANDMARKS": (layout.NUM_HAND,),
    "RIGHT_HAND_LANDMARKS": (layout.NUM_HAND,),
}


USUAL_NAMES = {  # the points of a component in MediaPipe's order; those of a face have numbers for names
    "POSE_LANDMARKS": BODY_NAMES,
    "LEFT_HAND_LANDMARKS": HAND_NAMES,
    "RIGHT_HAND_LANDMARKS": HAND_NAMES,
}


def lacking(sizes: Mapping[str, int]) -> list[str]:
    """The components that are missing or reduced in a file with components of these sizes.

    A file of our own holds the face numbers themselves, so that it needs no mesh.
    """
    own = sizes.get(FACE_NUMBERS) == layout.NMM_DIM
    needed = {name: full for name, full in COMPONENTS.items() if not (own and name == "FACE_LANDMARKS")}
    return [name for name, full in needed.items() if sizes.get(name) not in full]


@dataclass(frozen=True)
class PoseRecording:
    """One `.pose` file: keypoints [T,75,2] in image units (0..1), visibility [T,75] (0..1), nmm [T,64] in the order of
    `layout.NMM_FEATURES`, NaN where the face was not seen, all float32; fps (frames per second)."""

    keypoints: np.ndarray
    visibility: np.ndarray
    nmm: np.ndarray
    fps: float


@dataclass(frozen=True)
class PosePoints:
    """What a `.pose` file holds: the names of each component's points, and where these lie among all N.

    points [T,P,N,C] and confidence [T,P,N] of the P people that some frame shows (one person if no frame shows any).
    size: (width, height) of the picture in pixels. fps: 0 if unknown. header_size, header_fps: what the header says.
    """

    names: dict[str, list[str]]
    places: dict[str, slice]
    points: np.ndarray
    confidence: np.ndarray
    size: np.ndarray
    header_size: tuple[int, int]
    fps: float
    header_fps: float

    def of_one(self, who: np.ndarray) -> "PosePoints":
        """The points of one person; who [T]: that person's number in each frame."""
        frames = np.arange(len(who))
        return replace(self, points=self.points[frames, who][:, None], confidence=self.confidence[frames, who][:, None])

    @property
    def num_people(self) -> int:
        return self.points.shape[1]


def _usual_order(component: str, names: list[str]) -> list[int]:
    """The indices that bring a component's points, called `names`, into MediaPipe's order; their own order if the names
    are not MediaPipe's."""
    usual = USUAL_NAMES.get(component) or [str(number) for number in range(len(names))]
    place_of = {name: place for place, name in enumerate(names)}
    if len(place_of) != len(names) or place_of.keys() != set(usual):
        return list(range(len(names)))
    return [place_of[name] for name in usual]


def read_pose_points(path: Path, size: tuple[int, int] | None = None) -> PosePoints:
    """The points of a `.pose` file (v0.1 or v0.2); raises UserError if it is damaged.

    size: (width, height) of the picture in pixels, where it is not what the file's header says.
    """
    from pose_format import Pose  # here, so that the mesh features need no .pose library

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = Pose.read(read_regular(path, MAX_ARRAY_BYTES))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (struct.error, ValueError, IndexError, KeyError, TypeError, NotImplementedError, MemoryError, OverflowError):
        raise UserError(f"{path}: not a readable .pose file (truncated, or another format?); fetch it again") from None
    except ZeroDivisionError:  # v0.1 states no number of frames: it is the file's size divided by people and points
        raise UserError(f"{path}: {EMPTY}") from None
    if file.body.data.ndim != 4 or 0 in file.body.data.shape[:3]:
        raise UserError(f"{path}: {EMPTY}")
    header_size = (file.header.dimensions.width, file.header.dimensions.height)
    picture = np.array(size or header_size)
    if (picture <= 0).any():
        raise UserError(
            f"{path}: its header gives an image of {picture[0]} x {picture[1]} pixels; export it again "
            "(or import it with --width and --height)"
        )
    names = {component.name: list(component.points) for component in file.header.components}
    if len(names) < len(file.header.components):
        raise UserError(f"{path}: a component stands in its header twice, so whose points are whose can't be told")
    ends = np.cumsum([0, *map(len, names.values())]).tolist()
    places = {name: slice(start, end) for name, start, end in zip(names, ends[:-1], ends[1:], strict=True)}
    points, confidence = np.ma.getdata(file.body.data), np.nan_to_num(np.asarray(file.body.confidence))
    order = np.arange(points.shape[2])
    for name, place in places.items():
        usual = _usual_order(name, names[name])
        order[place], names[name] = order[place][usual], [names[name][point] for point in usual]
    points, confidence = points[:, :, order], confidence[:, :, order]
    known = np.isfinite(points[..., :2]).all(-1)
    if face := places.get("FACE_LANDMARKS"):  # whose numbers need the depth, too
        known[..., face] = np.isfinite(points[..., face, :]).all(-1)
    points, confidence = np.nan_to_num(points, posinf=0, neginf=0), np.where(known, confidence, 0)
    people = np.flatnonzero((confidence > 0).any((0, 2)))  # a file may have more places for people than it shows
    people = people if len(people) else [0]
    points, confidence = points[:, people], confidence[:, people]
    header_fps = float(file.body.fps)
    fps = WHOLE_RATES.get(header_fps, header_fps) if file.header.version < WITH_FRACTIONS else header_fps
    return PosePoints(names, places, points, confidence, picture, header_size, fps, header_fps)


def depth_scale(file: PosePoints) -> float:
    """The factor that converts the face mesh's z to the unit of its x: the picture's width for z in widths, else 1.

    The usual converter leaves z in image widths although x and y are pixels; yaw and pitch would then be near 0.
    """
    place = file.places.get("FACE_LANDMARKS", slice(0))
    shown = (file.confidence[:, 0, place] > 0).all(1)
    mesh = file.points[shown, 0, place]
    if not has_depth(mesh):
        return 1.0
    return float(file.size[0]) if is_flat(mesh) else 1.0


def full_recording(path: Path, file: PosePoints, z_scale: float | None = None) -> PoseRecording:
    """The first person of a full MediaPipe Holistic file.

    The face numbers come from the component that `write_clip` writes, where it is there, or else from the mesh, whose z
    is multiplied by `z_scale` (default: what `depth_scale` finds). A hand or body that was not found is zeros with
    visibility 0.
    """
    if wrong := lacking({name: len(names) for name, names in file.names.items()}):
        wrong = [f"{name} (it has {len(file.names.get(name, ()))} points)" for name in wrong]
        raise UserError(
            f"{path}: not a full MediaPipe Holistic file: missing or reduced are {', '.join(wrong)}; "
            "use the unreduced file, with 33 body, 468 or 478 face and 21 + 21 hand points"
        )
    points, confidence = file.points[:, 0], file.confidence[:, 0]  # [T,N,C], [T,N]
    manual = [file.places[name] for name in COMPONENTS if name != "FACE_LANDMARKS"]
    visibility = np.concatenate([confidence[:, place] for place in manual], axis=1).clip(0, 1)
    keypoints = np.concatenate([points[:, place, :2] / file.size for place in manual], axis=1)
    if len(file.names.get(FACE_NUMBERS, ())) == layout.NMM_DIM:
        nmm, known, *_ = np.moveaxis(points[:, file.places[FACE_NUMBERS]], -1, 0)
        face_seen = known > 0
        mesh = file.places.get("FACE_LANDMARKS", slice(0))
        if not face_seen.any() and (confidence[:, mesh] > 0).any():
            raise UserError(
                f"{path}: its face numbers, {FACE_NUMBERS}, are lost, though its face is drawn: a program that changed "
                "the file dropped what has confidence 0, as interpolate of pose-format does; change the file again, "
                "after giving that component its Y as confidence"
            )
    elif not has_depth(points[:, file.places["FACE_LANDMARKS"]]):
        nmm, face_seen = np.zeros((len(points), layout.NMM_DIM)), np.zeros((len(points), 1), bool)
    else:
        face = file.places["FACE_LANDMARKS"]
        scale = np.array([1.0, 1.0, depth_scale(file) if z_scale is None else z_scale])
        nmm = nmm_from_face_mesh(points[:, face, :3] * scale)
        face_seen = ((confidence[:, face] > 0).all(axis=1) & np.isfinite(nmm).all(axis=1))[:, None]
    return PoseRecording(
        (keypoints * (visibility[..., None] > 0)).astype(np.float32),
        visibility.astype(np.float32),
        np.where(face_seen, nmm, np.nan).astype(np.float32),
        file.fps,
    )


def read_pose_file(path: Path, z_scale: float | None = None) -> PoseRecording:
    """The recording of a full MediaPipe Holistic `.pose` file of one person, as `full_recording` has it.

    Raises UserError for several people, too, and if the points are not pixels of the picture.
    """
    file = read_pose_points(path)
    if file.num_people > 1:
        raise UserError(f"{path}: shows {file.num_people} people; import_data.py follows one of them")
    recording = full_recording(path, file, z_scale)
    shoulders = layout.SHOULDERS
    pair = recording.keypoints[(recording.visibility[:, shoulders] > 0).all(1)][:, shoulders].astype(np.float64)
    if len(pair) and np.median(np.hypot(*(pair[:, 0] - pair[:, 1]).T)) < LEAST_SHOULDERS:
        raise UserError(
            f"{path}: its points are no pixels of its picture, {file.size[0]} x {file.size[1]}; export it before it is "
            "normalised, or bring it in with import_data.py --units"
        )
    return recording
