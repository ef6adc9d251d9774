"""`.pose` files of MediaPipe Holistic, full or reduced to fewer points of body and face."""

import struct
import warnings
from pathlib import Path

import numpy as np

from importers.recording import Recording, make_recording
from poses import face, layout
from poses.files import lacking, read_pose_file
from poses.writing import BODY_NAMES
from runtime.errors import UserError

# What each number of the face is measured from: a reduced file that keeps all of these still has its numbers.
NEEDED = sorted(
    {value for name, value in vars(face).items() if name.isupper() and isinstance(value, int) and name[:4] != "NUM_"}
    - {face.LEFT_IRIS, face.RIGHT_IRIS}
    | set(face.OUTER_LIP)
)
FLAT = 0.05  # a mesh whose depth is below this share of its width has z in pictures, x and y in pixels


def read_pose_recording(path: Path) -> Recording:
    """The recording of a `.pose` file; its fps is 0 where the file tells none. UserError where it has no body."""
    header, points, confidence, fps = _open(path)
    found = {component.name: component.points for component in header.components}
    depth = _depth_scale(found, points, confidence, header.dimensions.width)
    aspect = header.dimensions.width / header.dimensions.height
    notes = [] if depth == 1.0 else ["depth of the face in pictures, as most converters write it; brought to pixels"]
    if not lacking({name: len(names) for name, names in found.items()}):
        full = read_pose_file(path, z_scale=depth)
        nmm = np.where(full.face_seen[:, None], full.nmm, np.nan)
        return make_recording(full.keypoints, full.visibility, nmm, full.fps, tuple(notes), aspect)

    start, places = 0, {}
    for name, names in found.items():
        places[name] = slice(start, start + len(names))
        start += len(names)
    keypoints = np.zeros((len(points), layout.NUM_KEYPOINTS, 2))
    visibility = np.zeros((len(points), layout.NUM_KEYPOINTS))
    body = found.get("POSE_LANDMARKS", [])
    if not {"LEFT_SHOULDER", "RIGHT_SHOULDER"} <= set(body):
        raise UserError(f"has no MediaPipe body with shoulders; its components are {', '.join(found)}")
    size = np.array([header.dimensions.width, header.dimensions.height])
    targets = {"POSE_LANDMARKS": [BODY_NAMES.index(name) if name in BODY_NAMES else None for name in body]}
    hands = {"LEFT_HAND_LANDMARKS": layout.LEFT_HAND_KEYPOINTS, "RIGHT_HAND_LANDMARKS": layout.RIGHT_HAND_KEYPOINTS}
    for name, hand in hands.items():
        if len(found.get(name, ())) == layout.NUM_HAND:
            targets[name] = list(range(hand.start, hand.stop))
        else:
            notes.append(f"{name} has {len(found.get(name, ()))} points instead of 21, and counts as unseen")
    for name, target in targets.items():
        sources = [place for place, at in zip(range(start)[places[name]], target, strict=True) if at is not None]
        target = [at for at in target if at is not None]
        keypoints[:, target] = points[:, sources, :2] / size
        visibility[:, target] = confidence[:, sources]
    missing = layout.NUM_BODY - len(set(body) & set(BODY_NAMES))
    if missing:
        notes.append(f"reduced body: {missing} of 33 points are not in the file, and count as unseen")
    nmm = None
    mesh_names = found.get("FACE_LANDMARKS", [])
    if {str(number) for number in NEEDED} <= set(mesh_names):
        nmm = _reduced_face(
            mesh_names, points[:, places["FACE_LANDMARKS"]], confidence[:, places["FACE_LANDMARKS"]], depth
        )
        notes.append(f"reduced face: {len(mesh_names)} of 468 points, all that the face's numbers need")
    else:
        notes.append(f"FACE_LANDMARKS has {len(mesh_names)} points, too few: the face counts as unseen")
    return make_recording(keypoints, visibility, nmm, fps, tuple(notes), aspect)


def _open(path: Path) -> tuple:
    """Header, points [T,N,C] and confidence [T,N] of the first person, and fps."""
    from pose_format import Pose

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = Pose.read(path.read_bytes())
    except (struct.error, ValueError, IndexError, KeyError, TypeError, NotImplementedError, MemoryError, OverflowError):
        raise UserError("not a readable .pose file (truncated, or another format?); fetch it again") from None
    if file.body.data.ndim != 4 or 0 in file.body.data.shape[:2]:
        raise UserError("zero frames or no person; leave the file out or record it again")
    if file.header.dimensions.width <= 0 or file.header.dimensions.height <= 0:
        raise UserError("its header gives a picture without a size; export it again")
    points = np.nan_to_num(np.ma.getdata(file.body.data)[:, 0])
    confidence = np.nan_to_num(np.asarray(file.body.confidence)[:, 0])
    return file.header, points, confidence, float(file.body.fps)


def _depth_scale(found: dict, points: np.ndarray, confidence: np.ndarray, width: int) -> float:
    """What brings the mesh's z into the unit of its x: the picture's width where z is in pictures, else 1."""
    names = list(found)
    if "FACE_LANDMARKS" not in names:
        return 1.0
    start = sum(len(found[name]) for name in names[: names.index("FACE_LANDMARKS")])
    place = slice(start, start + len(found["FACE_LANDMARKS"]))
    there = (confidence[:, place] > 0).all(1)
    mesh = points[there, place]
    if not mesh.size or mesh.shape[-1] < 3:
        return 1.0
    across, deep = np.ptp(mesh[..., 0], axis=1).mean(), np.ptp(mesh[..., 2], axis=1).mean()
    return float(width) if deep < FLAT * across else 1.0


def _reduced_face(names: list[str], mesh: np.ndarray, confidence: np.ndarray, depth: float) -> np.ndarray:
    """NMM numbers [T,64] of a face of which only some points are there."""
    full = np.zeros((len(mesh), face.NUM_FACE, 3))
    kept = [number for number, name in enumerate(names) if name.isdigit() and int(name) < face.NUM_FACE]
    full[:, [int(names[number]) for number in kept]] = mesh[:, kept, :3] * np.array([1.0, 1.0, depth])
    there = (confidence[:, kept] > 0).all(1)
    return np.where(there[:, None], face.nmm_from_face_mesh(full), np.nan)
