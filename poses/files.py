"""Reading a data set's files. The data layout is README's "Your own data".

DATA_DIR/{train,dev,test}/poses/ID.npz   keypoints [T,75,2], optional visibility [T,75]
DATA_DIR/{train,dev,test}/nmms/ID.pkl    dict: facial_aus [T,17], head_pose [T,3], eye_gaze [T,4], mouth_shape [T,20,2]
DATA_DIR/{split}.txt                     ID|text a line, UTF-8
"""

import io
import pickle
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from poses import layout
from poses.face import NUM_FACE, NUM_FACE_WITH_IRIS, nmm_from_face_mesh
from poses.interpolation import fill_gaps
from runtime.errors import UserError

SPLITS = ("train", "dev", "test")


@dataclass
class Clip:
    """One clip: pose [T,214] float32 with its gaps filled, seen [T,214] bool (False carries weight 0 everywhere)."""

    id: str
    text: str
    pose: np.ndarray
    seen: np.ndarray


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles containers of numpy arrays and nothing else: any other global is refused before it is called."""

    ALLOWED = frozenset(
        {("numpy", "ndarray"), ("numpy", "dtype")}
        | {(f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")}
        | {(f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")}
        | {("_codecs", "encode")}
    )

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self.ALLOWED:
            raise UserError(f"it holds {module}.{name}, which is more than arrays; refused without being executed")
        return super().find_class(module, name)


def load_array_pickle(path: Path) -> object:
    """Load a pickle that may hold arrays, numbers, strings and containers of them; anything else is a UserError."""
    try:
        return _ArrayUnpickler(io.BytesIO(path.read_bytes())).load()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; every pose file needs its NMM file of the same name") from None
    except Exception:  # a damaged pickle raises almost anything
        raise UserError(f"{path}: not a readable pickle (truncated?); write it again") from None


def read_nmm(path: Path) -> np.ndarray:
    """The NMM numbers of a clip, [T,64] float32, from its pickle."""
    content = load_array_pickle(path)
    if not isinstance(content, dict):
        raise UserError(
            f"{path}: holds a {type(content).__name__}; expected a dict with {', '.join(layout.NMM_FEATURES)}"
        )
    parts = []
    for key, shape in layout.NMM_FEATURES.items():
        if key not in content:
            raise UserError(f"{path}: has no '{key}'; expected {', '.join(layout.NMM_FEATURES)}")
        try:
            value = np.asarray(content[key], dtype=np.float32)
        except (TypeError, ValueError):
            raise UserError(f"{path}: '{key}' is not numbers; expected an array [T,{_shape(shape)}]") from None
        if value.shape[1:] != shape or value.ndim != len(shape) + 1:
            raise UserError(f"{path}: '{key}' is [{_shape(value.shape)}]; expected [T,{_shape(shape)}]")
        parts.append(value.reshape(len(value), -1))
    if len({len(part) for part in parts}) > 1:
        raise UserError(f"{path}: its features differ in length, {', '.join(str(len(part)) for part in parts)} frames")
    return np.concatenate(parts, axis=1)


def read_keypoints(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints [T,75,2] float32 and seen [T,75] bool of a pose file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if "keypoints" not in archive:
                raise UserError(f"{path}: has no 'keypoints' (it has {', '.join(archive.files) or 'nothing'})")
            keypoints = archive["keypoints"]
            visibility = archive.get("visibility")
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception:  # a damaged archive raises almost anything: of zip, of zlib, of numpy
        raise UserError(f"{path}: not a readable .npz of arrays (truncated?); write it again") from None
    if keypoints.ndim != 3 or keypoints.shape[1:] != (layout.NUM_KEYPOINTS, 2) or keypoints.dtype.kind not in "fiu":
        raise UserError(
            f"{path}: 'keypoints' is {keypoints.dtype} [{_shape(keypoints.shape)}]; expected float [T,75,2]"
        )
    if visibility is None:
        visibility = np.ones(keypoints.shape[:2], np.float32)
    if visibility.shape != keypoints.shape[:2] or visibility.dtype.kind not in "fiub":
        raise UserError(f"{path}: 'visibility' is [{_shape(visibility.shape)}]; expected [{len(keypoints)},75]")
    if len(keypoints) == 0:
        raise UserError(f"{path}: zero frames; remove the clip or record it again")
    keypoints = keypoints.astype(np.float32)
    seen = np.isfinite(keypoints).all(2) & np.isfinite(visibility) & (visibility > 0)
    for hand in layout.HAND_KEYPOINTS.values():
        seen[:, hand] &= (keypoints[:, hand] != 0).any((1, 2))[:, None]
    return keypoints, seen


def read_clip(data_dir: Path, split: str, clip_id: str, text: str = "") -> Clip:
    """Read one clip, its gaps filled. Raises UserError naming the file that is damaged."""
    folder = data_dir / split
    pose_path, nmm_path = folder / "poses" / f"{clip_id}.npz", folder / "nmms" / f"{clip_id}.pkl"
    keypoints, seen = read_keypoints(pose_path)
    nmm = read_nmm(nmm_path)
    if len(nmm) == 0:
        raise UserError(f"{nmm_path}: zero frames; remove the clip or record it again")
    length = min(len(keypoints), len(nmm))
    if length < 0.5 * max(len(keypoints), len(nmm)):
        raise UserError(
            f"{nmm_path}: {len(nmm)} frames against {len(keypoints)} of {pose_path.name}; they are not one clip"
        )
    keypoints, seen = fill_gaps(keypoints[:length], seen[:length])
    nmm, nmm_seen = fill_gaps(nmm[:length], np.isfinite(nmm[:length]))
    if not seen.any():
        raise UserError(f"{pose_path}: no keypoint is seen in any frame (all NaN, zero or visibility 0)")
    pose = layout.keypoints_to_frame(keypoints, nmm)
    return Clip(clip_id, text, pose, np.concatenate([np.repeat(seen, 2, axis=1), nmm_seen], axis=1))


def read_pose(path: Path) -> Clip:
    """A clip from one file: a .npy [T,214] as the inference scripts write it, a data set's .npz, or a .pose file."""
    if path.suffix == ".npz":
        if path.parent.name != "poses":
            raise UserError(f"{path}: a data set's clip lies at DATA_DIR/SPLIT/poses/ID.npz; give its path there")
        split_dir = path.parent.parent
        return read_clip(split_dir.parent, split_dir.name, path.stem)
    if path.suffix == ".pose":
        recording = read_pose_file(path)
        keypoints, seen = fill_gaps(recording.keypoints, recording.visibility > 0)
        if not seen.any():
            raise UserError(f"{path}: no keypoint has a confidence above 0; export it again")
        nmm_seen = np.repeat(recording.face_seen[:, None], layout.NMM_DIM, axis=1)
        pose = layout.keypoints_to_frame(keypoints, recording.nmm)
        return Clip(path.stem, "", pose, np.concatenate([np.repeat(seen, 2, axis=1), nmm_seen], axis=1))
    if path.suffix != ".npy":
        raise UserError(f"{path}: none of .npy, .npz and .pose; give a generated clip or one of a data set")
    try:
        pose = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; inference.py and inference_latent_flow.py write one") from None
    except (ValueError, EOFError, OSError):
        raise UserError(f"{path}: not a readable .npy of numbers (truncated?); write it again") from None
    if pose.ndim != 2 or pose.shape[1] != layout.POSE_DIM or not len(pose) or pose.dtype.kind not in "fiu":
        raise UserError(
            f"{path}: {pose.dtype} [{_shape(pose.shape)}]; expected float [T,{layout.POSE_DIM}], T at least 1"
        )
    return Clip(path.stem, "", pose.astype(np.float32), np.isfinite(pose))


def list_clips(data_dir: Path, split: str) -> dict[str, str]:
    """The texts of a split's clips by ID, sorted by ID; an absent text file gives empty texts, with a warning."""
    folder = data_dir / split / "poses"
    if not data_dir.is_dir():
        raise UserError(f"{data_dir}: no such folder; pass the data set's folder with --data_dir")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; a data set holds train, dev and test, each with poses/ and nmms/")
    ids = sorted(path.stem for path in folder.glob("*.npz"))
    if not ids:
        raise UserError(f"{folder}: no .npz file; the {split} split is empty")
    text_path = data_dir / f"{split}.txt"
    if not text_path.is_file():
        print(f"warning: {text_path} is missing, so the texts of {split} are empty")
        return dict.fromkeys(ids, "")
    texts: dict[str, str] = {}
    try:
        lines = text_path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise UserError(f"{text_path}: not UTF-8; convert it, for example with iconv") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        clip_id, bar, text = line.partition("|")
        clip_id = clip_id.strip()
        if not bar:
            raise UserError(f"{text_path}:{number}: no '|'; each line is ID|text")
        if clip_id in texts:
            raise UserError(f"{text_path}:{number}: the ID '{clip_id}' stands there twice; IDs must be unique")
        texts[clip_id] = text.strip()
    unknown = sorted(texts.keys() - set(ids))
    if unknown:
        raise UserError(
            f"{text_path}: text for {len(unknown)} unknown clips, such as '{unknown[0]}', absent from {folder}"
        )
    without = sorted(set(ids) - texts.keys())
    if without:
        raise UserError(f"{text_path}: no line for {len(without)} clips of {folder}, such as '{without[0]}'")
    return {clip_id: texts[clip_id] for clip_id in ids}


def _shape(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))


# The components of a full Holistic file, with the numbers of points that each may have.
COMPONENTS = {
    "POSE_LANDMARKS": (layout.NUM_BODY,),
    "FACE_LANDMARKS": (NUM_FACE, NUM_FACE_WITH_IRIS),
    "LEFT_HAND_LANDMARKS": (layout.NUM_HAND,),
    "RIGHT_HAND_LANDMARKS": (layout.NUM_HAND,),
}


@dataclass(frozen=True)
class PoseRecording:
    """One `.pose` file: keypoints [T,75,2] in image units (0..1), visibility [T,75] (0..1), nmm [T,64] in the order of
    `layout.NMM_FEATURES`, face_seen [T] bool (False: nmm interpolated in time; no face at all: zeros), fps in frames a
    second. All float32 but face_seen."""

    keypoints: np.ndarray
    visibility: np.ndarray
    nmm: np.ndarray
    face_seen: np.ndarray
    fps: float


def read_pose_file(path: Path, z_scale: float = 1.0) -> PoseRecording:
    """Read the first person of a full MediaPipe Holistic `.pose` file (v0.1 or v0.2).

    What was not found, such as a hand, is zeros with visibility 0. `z_scale` multiplies the mesh's z, which the usual
    converter leaves in image widths where x and y are pixels: with 1 (z as the file has it) yaw and pitch of such
    files are near 0; the width of the recorded image, where it is known, gives the true angles.
    """
    from pose_format import Pose  # here, so that the mesh features need no .pose library

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = Pose.read(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (struct.error, ValueError, IndexError, KeyError, TypeError, NotImplementedError, MemoryError, OverflowError):
        raise UserError(f"{path}: not a readable .pose file (truncated, or another format?); fetch it again") from None
    start, places, sizes = 0, {}, {}
    for component in file.header.components:
        sizes[component.name] = len(component.points)
        places[component.name] = slice(start, start + len(component.points))
        start += len(component.points)
    wrong = [name for name, full in COMPONENTS.items() if sizes.get(name) not in full]
    if wrong:
        wrong = [f"{name} (it has {sizes.get(name, 0)} points)" for name in wrong]
        raise UserError(
            f"{path}: not a full MediaPipe Holistic file: missing or reduced are {', '.join(wrong)}; "
            "use the unreduced file, with 33 body, 468 or 478 face and 21 + 21 hand points"
        )
    if file.body.data.ndim != 4 or 0 in file.body.data.shape[:2]:
        raise UserError(f"{path}: zero frames or no person; leave the file out or record it again")
    points = np.nan_to_num(np.ma.getdata(file.body.data)[:, 0])  # [T,points,3 or more]
    confidence = np.nan_to_num(np.asarray(file.body.confidence)[:, 0])
    manual = [places[name] for name in COMPONENTS if name != "FACE_LANDMARKS"]
    size = np.array([file.header.dimensions.width, file.header.dimensions.height])
    if (size <= 0).any():
        raise UserError(f"{path}: its header gives an image of {size[0]} x {size[1]} pixels; export it again")
    visibility = np.concatenate([confidence[:, place] for place in manual], axis=1).clip(0, 1)
    keypoints = np.concatenate([points[:, place, :2] / size for place in manual], axis=1) * (visibility[..., None] > 0)
    face = points[:, places["FACE_LANDMARKS"], :3] * np.array([1.0, 1.0, z_scale])
    nmm = nmm_from_face_mesh(face)
    face_seen = (confidence[:, places["FACE_LANDMARKS"]] > 0).all(axis=1) & np.isfinite(nmm).all(axis=1)
    return PoseRecording(
        keypoints.astype(np.float32),
        visibility.astype(np.float32),
        fill_gaps(nmm, np.repeat(face_seen[:, None], layout.NMM_DIM, axis=1))[0],
        face_seen,
        float(file.body.fps),
    )
