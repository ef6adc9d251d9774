"""Clips that a user names by LABEL=PATH: what they are called, and what their files say besides the poses."""

import math
import os
from collections.abc import Iterable
from pathlib import Path

from poses.files import Reading, StoredClip, list_clips
from poses.holistic import read_pose_points
from poses.rates import shared_rate
from poses.statistics import prepared_reading
from runtime.errors import UserError
from runtime.untrusted import read_json


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
