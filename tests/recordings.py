"""A made-up signer, recordings of it as other tools write them, and what import_data.py made of them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from importers.plan import Source, name_sources
from importers.skeletons import BODY_25, COCO_WHOLE_BODY, OPENPOSE_18
from poses import layout
from poses.face import NUM_FACE
from poses.files import load_array_pickle

if TYPE_CHECKING:
    from pose_format import Pose  # `make test-video` has none

FRAMES = 12
SIZE = np.array([1280, 720])  # of the picture, where points are in pixels


def signer(frames: int = FRAMES, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints [T,75,2] and a face mesh [T,468,3], in image units: upright, each hand on its own wrist, moving."""
    rng = np.random.default_rng(seed)
    body = np.tile(rng.uniform(0.45, 0.55, (layout.NUM_BODY, 2)), (frames, 1, 1))
    body[:, :11, 1] -= 0.25  # the head
    places = {
        layout.NOSE: (0.5, 0.25),
        layout.LEFT_SHOULDER: (0.62, 0.45),
        layout.RIGHT_SHOULDER: (0.38, 0.45),
        layout.LEFT_ELBOW: (0.68, 0.65),
        layout.RIGHT_ELBOW: (0.32, 0.65),
        layout.LEFT_WRIST: (0.65, 0.5),
        layout.RIGHT_WRIST: (0.35, 0.5),
    }
    for point, place in places.items():
        body[:, point] = place
    sway = 0.05 * np.sin(np.linspace(0, 3, frames))
    body[:, [layout.LEFT_WRIST, layout.RIGHT_WRIST], 1] += sway[:, None]
    hand = np.concatenate([[[0.0, 0.0]], rng.uniform(-0.04, 0.04, (layout.NUM_HAND - 1, 2))])
    left = body[:, layout.LEFT_WRIST, None] + hand
    right = body[:, layout.RIGHT_WRIST, None] + hand * [-1, 1]
    face = np.concatenate([rng.uniform(-0.05, 0.05, (NUM_FACE, 2)), rng.uniform(-0.02, 0.02, (NUM_FACE, 1))], axis=1)
    face[1, :2] = 0
    mesh = face + np.concatenate([body[:, layout.NOSE], np.zeros((frames, 1))], axis=1)[:, None]
    return np.concatenate([body, left, right], axis=1), mesh


def scored(points: np.ndarray, score: float = 0.9) -> np.ndarray:
    """Points [...,2] with a score as their third number."""
    return np.concatenate([points, np.full((*points.shape[:-1], 1), score)], axis=-1)


def with_depth(points: np.ndarray) -> np.ndarray:
    """Points [...,2] with a depth as their third number, which is negative for some."""
    depth = np.linspace(-0.1, 0.1, points.shape[-2])
    return np.concatenate([points, np.broadcast_to(depth, points.shape[:-1])[..., None]], axis=-1)


POINTS, FACE = signer()
HOLISTIC = np.concatenate([with_depth(POINTS[:, :33]), FACE, with_depth(POINTS[:, 33:])], axis=1)  # MediaPipe's order
CENTRE = POINTS[:, layout.SHOULDERS].mean(1, keepdims=True)
IN_UNITS = {  # the same points in the units of --units
    "pixels": POINTS * SIZE,
    "signed": POINTS * 2 - 1,
    "shoulders": (POINTS - CENTRE) / 0.24,
}


def their_points(points: np.ndarray, table: dict[int, int], size: int) -> np.ndarray:
    """Body points [...,33,C] in the order of another skeleton, [...,size,C]; zeros for what we do not have."""
    theirs = np.zeros((*points.shape[:-2], size, points.shape[-1]))
    theirs[..., list(table.values()), :] = points[..., list(table), :]
    return theirs


def openpose_person(points: np.ndarray) -> dict:
    """One person of an OpenPose frame from points [75,3] in pixels."""
    return {
        "pose_keypoints_2d": their_points(points[:33], BODY_25, 25).ravel().tolist(),
        "face_keypoints_2d": [],
        "hand_left_keypoints_2d": points[layout.LEFT_HAND_KEYPOINTS].ravel().tolist(),
        "hand_right_keypoints_2d": points[layout.RIGHT_HAND_KEYPOINTS].ravel().tolist(),
    }


def write_openpose(folder: Path, people: list[np.ndarray], skip: tuple[int, ...] = ()) -> None:
    """A folder of OpenPose frames; people: points [T,75,2] in pixels of each."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame in range(len(people[0])):
        if frame not in skip:
            content = {"version": 1.3, "people": [openpose_person(scored(points[frame])) for points in people]}
            (folder / f"clip_{frame:012d}_keypoints.json").write_text(json.dumps(content))


def write_dwpose(folder: Path, points: np.ndarray) -> None:
    """A folder of DWPose frames from points [T,75,2] in image units."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame, point in enumerate(points):
        body = their_points(point[:33], OPENPOSE_18, 18)
        person = {
            "body_keypoints": body.tolist(),
            "body_scores": [float(n) if body[n].any() else -1.0 for n in range(18)],
            "face_keypoints": np.zeros((68, 2)).tolist(),
            "face_scores": [0.0] * 68,
        }
        for side, hand in (("left", layout.LEFT_HAND_KEYPOINTS), ("right", layout.RIGHT_HAND_KEYPOINTS)):
            person |= {f"{side}_hand_keypoints": point[hand].tolist(), f"{side}_hand_scores": [0.8] * 21}
        (folder / f"frame_{frame:08d}.json").write_text(json.dumps({"num_persons": 1, "person_0": person}))


def whole_body(points: np.ndarray) -> np.ndarray:
    """COCO's whole body [T,133,2] from points [T,75,2]."""
    body = their_points(points[:, :33], COCO_WHOLE_BODY, 23)
    face = np.zeros((len(points), 68, 2))
    return np.concatenate(
        [body, face, points[:, layout.LEFT_HAND_KEYPOINTS], points[:, layout.RIGHT_HAND_KEYPOINTS]], axis=1
    )


def skels_line(points: np.ndarray) -> str:
    """A line of Progressive Transformers' .skels: points [T,75,2] around the neck, a third as large as shoulders."""
    shoulders = points[:, layout.SHOULDERS]
    width = np.linalg.norm(shoulders[0, 0] - shoulders[0, 1])
    own = (points - shoulders.mean(1, keepdims=True)) / (3 * width)
    body = own[:, [0, 0, 11, 13, 15, 12, 14, 16]]
    body[:, 1] = 0
    joints = np.concatenate([body, own[:, layout.RIGHT_HAND_KEYPOINTS], own[:, layout.LEFT_HAND_KEYPOINTS]], axis=1)
    frames = np.concatenate([with_depth(joints).reshape(len(points), -1), np.zeros((len(points), 1))], axis=1)
    return " ".join(f"{number:.7f}" for number in frames.ravel())


def write_text(path: Path, content: str) -> Path:
    """Write a text file, and the folders that it lies in; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def sources(*names: str) -> dict[str, Source]:
    """Videos of these names by their clips' IDs."""
    return name_sources([Source(Path(name), "video", name) for name in names], (".mp4",), "name")


def mmpose_frames(points: np.ndarray, score: float = 0.9) -> list[dict]:
    """The frames of an MMPose file, of one person each, from points [T,75,2] in pixels."""
    people = ({"keypoints": one.tolist(), "keypoint_scores": [score] * 133} for one in whole_body(points))
    return [{"instances": [person]} for person in people]


def write_array_frames(folder: Path, points: np.ndarray) -> None:
    """A folder with an array of each frame."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(scored(points)):
        np.save(folder / f"{number:03d}.npy", frame)


def write_pose_file(path: Path, pose: "Pose") -> None:
    """Write a `.pose` file."""
    with open(path, "wb") as file:
        pose.write(file)


def read_keypoints(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints [T,75,2] and seen [T,75] of a clip's file, as they are written."""
    with np.load(path) as archive:
        return archive["keypoints"], archive["visibility"] > 0


def read_nmm(path: Path) -> np.ndarray:
    """NMM numbers [T,64] of a clip's file, as they are written."""
    content = load_array_pickle(path)
    return np.concatenate([content[key].reshape(len(content[key]), -1) for key in layout.NMM_FEATURES], axis=1)


def keypoints(folder: Path, clip: str = "clip") -> tuple[np.ndarray, np.ndarray]:
    """Keypoints [T,75,2] and seen [T,75] of a train clip of a data set."""
    return read_keypoints(folder / "train" / "poses" / f"{clip}.npz")


def nmm(folder: Path, clip: str = "clip") -> np.ndarray:
    """NMM numbers [T,64] of a train clip of a data set."""
    return read_nmm(folder / "train" / "nmms" / f"{clip}.pkl")


def clip_ids(folder: Path, split: str = "train") -> set[str]:
    """The IDs of a split's clips."""
    return {path.stem for path in folder.glob(f"{split}/poses/*")}


def report_of(folder: Path) -> str:
    """What import_data.py reported of the data set that it wrote."""
    return (folder / "report.txt").read_text()


def shared_with(table: dict[int, int]) -> list[int]:
    """Our keypoints that another skeleton has too."""
    return [*table, *range(layout.NUM_BODY, layout.NUM_KEYPOINTS)]
