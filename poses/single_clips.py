"""Single clips, given by their paths or as LABEL=PATH: what their files hold, and what they are called."""

import math
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from poses import layout
from poses.files import Reading, StoredClip, list_clips, read_clip, stated_fps
from poses.holistic import read_pose_file, read_pose_points
from poses.interpolation import fill_gaps
from poses.presence import shown_keypoints, shown_numbers
from poses.rates import is_rate, shared_rate
from poses.statistics import prepared_reading
from runtime.errors import UserError
from runtime.untrusted import read_json, read_npy


def read_single_clip(path: Path, reading: Reading | None = None) -> StoredClip:
    """A clip from one file: a .npy [T,214] as the inference scripts write it, a data set's .npz, or a .pose file.

    reading: how an .npz or a .pose, which state visibilities, is read. Raises UserError if the file is damaged.
    """
    reading = reading or Reading()
    if path.suffix == ".npz":
        if path.parent.name != "poses":
            raise UserError(f"{path}: a data set's clip lies at DATA_DIR/SPLIT/poses/ID.npz; give its path there")
        split_dir = path.parent.parent
        return read_clip(split_dir.parent, split_dir.name, path.stem, reading=reading)
    if path.suffix == ".pose":
        return _read_holistic(path, reading)
    if path.suffix == ".npy":
        return _read_generated(path)
    raise UserError(f"{path}: none of .npy, .npz and .pose; give a generated clip or one of a data set")


def _read_holistic(path: Path, reading: Reading) -> StoredClip:
    recording = read_pose_file(path)
    visible = (recording.visibility >= reading.visibility_threshold) & (recording.visibility > 0)
    keypoints, seen = fill_gaps(recording.keypoints, visible & shown_keypoints(recording.keypoints))
    if not seen.any():
        unseen = f"all zero, or of confidence 0 or below {reading.visibility_threshold:g}"
        raise UserError(f"{path}: no keypoint is seen in any frame ({unseen}); export it again")
    nmm_seen = np.isfinite(recording.nmm)
    pose = layout.keypoints_to_frame(keypoints, fill_gaps(recording.nmm, nmm_seen)[0])
    seen = np.concatenate([np.repeat(seen, 2, axis=1), nmm_seen], axis=1)
    fps = recording.fps if is_rate(recording.fps) else None  # a rate that no clip can have counts as not stated
    return StoredClip(path.stem, "", pose, seen, fps)


def _read_generated(path: Path) -> StoredClip:
    try:
        pose = read_npy(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; inference.py and inference_latent_flow.py write one") from None
    if pose.ndim != 2 or pose.shape[1] != layout.POSE_DIM or not len(pose) or pose.dtype.kind != "f":
        shape = ",".join(map(str, pose.shape))
        raise UserError(f"{path}: {pose.dtype} [{shape}]; expected float [T,{layout.POSE_DIM}], T at least 1")
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, which callers check
        pose = pose.astype(np.float32)
    return StoredClip(path.stem, "", pose, shown_numbers(pose), _fps_beside(path))


def _fps_beside(path: Path) -> float | None:
    """The frames per second of a generated clip, from the .json that the inference scripts write beside it."""
    beside = path.with_suffix(".json")
    try:
        content = read_json(beside)
    except FileNotFoundError:
        return None
    return stated_fps(beside, content.get("fps")) if isinstance(content, dict) else None


def label_and_path(clip: str) -> tuple[str, Path]:
    """LABEL=PATH or PATH, either of which may itself hold =; a file or folder that is there decides."""
    parts = clip.split("=")
    for start in range(len(parts)):
        path = Path("=".join(parts[start:]))
        if os.path.exists(path):  # False for a label that is too long for a file's name, too
            return "=".join(parts[:start]) or path.resolve().stem, path
    label, _, path = clip.rpartition("=")
    return label or Path(path).stem, Path(path)


def reading_of(path: Path, cache_dir: Path | None) -> Reading | None:
    """How data_preparation.py read the data set of the clip at `path`; None for a clip outside a data set."""
    return prepared_reading(path.parent.parent.parent, cache_dir) if path.suffix == ".npz" else None


def text_of(path: Path) -> str:
    """The text of a clip: from the .json beside a generated one, or of its data set."""
    try:
        if path.suffix == ".npz":
            split_dir = path.parent.parent
            return list_clips(split_dir.parent, split_dir.name)[path.stem]
        record = read_json(path.with_suffix(".json"))
        return str(record.get("text", "")) if isinstance(record, dict) else ""
    except (FileNotFoundError, KeyError):
        return ""


def shared_fps(clips: Iterable[StoredClip], names: Iterable[object]) -> float | None:
    """The frames per second of all clips that state them, None if none does; raises UserError if they differ."""
    known = {name: clip.fps for clip, name in zip(clips, names, strict=True) if clip.fps is not None}
    return shared_rate(known, "clips", "choose one")


def shared_aspect(paths: Iterable[Path], given: float | None) -> float:
    """The width / height at which all clips are drawn: `given`, else what .pose files among them state, else 1.

    Prints what it takes from a file, or does not take. Raises UserError if the files differ.
    """
    sizes = {path: read_pose_points(path).header_size for path in paths if path.suffix == ".pose"}
    if not sizes:
        return given or 1.0
    named = ", ".join(f"{path} {width} x {height}" for path, (width, height) in sizes.items())
    aspects = [width / height for width, height in sizes.values()]
    aspect = given or aspects[0]
    if all(math.isclose(aspect, other, rel_tol=0.01) for other in aspects):
        if given is None and aspect != 1:
            print(f"drawn at the width / height that .pose files state, {aspect:.3g}; --aspect sets another")
    elif given is None:
        raise UserError(f"the clips are of several proportions, {named}; choose one with --aspect, as 1.78")
    else:
        print(f"drawn at --aspect {given:g}, although .pose files state other pictures: {named}")
    return aspect
