"""Mean and spread of the train poses, in one pass and constant memory, with what they were made from."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from poses import layout
from poses.files import Reading
from runtime.errors import UserError
from runtime.files import write_whole
from runtime.untrusted import NpzArchive, Refusal, parse_json

STATISTICS_FILE = "normalization_stats.npz"
_ARRAYS = {"mean": layout.POSE_DIM, "std": layout.POSE_DIM, "hand_mean": layout.HANDS_DIM, "hand_std": layout.HANDS_DIM}


def statistics_path(data_dir: Path, cache_dir: Path | None = None) -> Path:
    """Where a data set's statistics lie: in its folder, or in the cache if the folder could not be written to."""
    cached = cached_statistics_path(data_dir, cache_dir) if cache_dir else None
    return cached if cached and cached.is_file() else data_dir / STATISTICS_FILE


def cached_statistics_path(data_dir: Path, cache_dir: Path) -> Path:
    """One cache may serve several data sets, so the name tells them apart."""
    return cache_dir / f"{hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:8]}-{STATISTICS_FILE}"


def save_statistics(statistics: "Statistics", data_dir: Path, cache_dir: Path | None = None) -> Path:
    """Write them to the data set's folder, or to the cache if that folder is read-only; returns the path."""
    if cache_dir is None:
        path = data_dir / STATISTICS_FILE
    elif os.access(data_dir, os.W_OK):
        path = data_dir / STATISTICS_FILE
        cached_statistics_path(data_dir, cache_dir).unlink(missing_ok=True)
    else:
        path = cached_statistics_path(data_dir, cache_dir)
    statistics.save(path)
    return path


def prepared_reading(data_dir: Path, cache_dir: Path | None = None) -> Reading:
    """How data_preparation.py read a data set's files; the default before it has run."""
    path = statistics_path(data_dir, cache_dir)
    if not path.is_file():
        return Reading()
    info = Statistics.load(path).info
    threshold, fps = info.get("visibility_threshold", 0.0), info.get("resampled_to_fps")  # older ones knew no threshold
    if not isinstance(threshold, int | float) or not isinstance(fps, int | float | None):
        raise UserError(f"{path}: not readable statistics; run data_preparation.py again")
    return Reading(threshold, fps)


def hands_minus_wrists(pose: np.ndarray) -> np.ndarray:
    """Both hands' keypoints relative to the body's wrist of the same side, [...,84], from a pose [...,214]."""
    return pose[..., layout.HANDS] - pose[..., layout.WRIST_DIMS]


@dataclass
class Statistics:
    """What normalises a pose: mean, std [214]; and of the hands relative to the wrists: hand_mean, hand_std [84].

    Unseen numbers carry no weight. A dimension that never moves, or was never seen, has std 1.
    """

    mean: np.ndarray
    std: np.ndarray
    hand_mean: np.ndarray
    hand_std: np.ndarray
    info: dict  # clips, frames, settings

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that differ where any number differs."""
        digest = hashlib.sha256()
        for name in _ARRAYS:
            digest.update(np.asarray(getattr(self, name), np.float32).tobytes())
        return digest.hexdigest()[:12]

    def normalize(self, pose: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
        """Pose [T,214] in data units -> normalised; a dimension unseen in the whole clip becomes 0, the mean."""
        normalized = (pose - self.mean) / self.std
        if seen is not None:
            normalized[:, ~seen.any(0)] = 0.0
        return normalized.astype(np.float32)

    def denormalize(self, pose: np.ndarray) -> np.ndarray:
        return (pose * self.std + self.mean).astype(np.float32)

    def to_dict(self) -> dict:
        """Plain lists, for a checkpoint."""
        return {name: np.asarray(getattr(self, name), np.float32).tolist() for name in _ARRAYS} | {"info": self.info}

    @classmethod
    def from_dict(cls, content: object) -> "Statistics":
        """From what `to_dict` gives; a ValueError says what is none of it."""
        if not isinstance(content, dict) or not content.keys() >= {*_ARRAYS, "info"}:
            raise ValueError("its statistics are incomplete")
        if not isinstance(content["info"], dict):
            raise ValueError("its statistics do not say what they were made from")
        arrays = {}
        for name, width in _ARRAYS.items():
            try:
                values = np.asarray(content[name])
            except ValueError:  # lists of different lengths
                values = np.zeros(0)
            with np.errstate(over="ignore"):
                arrays[name] = values.astype(np.float32) if values.dtype.kind in "fiu" else np.zeros(0, np.float32)
            if arrays[name].shape != (width,) or not np.isfinite(arrays[name]).all():
                raise ValueError(f"'{name}' is not {width} finite numbers")
            if name.endswith("std") and not (arrays[name] > 0).all():
                raise ValueError(f"'{name}' holds a spread that is not positive")
        return cls(**arrays, info=content["info"])

    def save(self, path: Path) -> None:
        with write_whole(path) as file:
            arrays = {name: getattr(self, name) for name in _ARRAYS}
            np.savez(file, **arrays, info=np.array(json.dumps(self.info)), fingerprint=np.array(self.fingerprint))

    @classmethod
    def load(cls, path: Path) -> "Statistics":
        if not path.is_file():
            raise UserError(f"{path}: no such file; run data_preparation.py --data_dir {path.parent} first")
        try:
            with NpzArchive(path) as archive:
                content = {name: archive[name] for name in _ARRAYS}
                info, kept = parse_json(str(archive["info"])), str(archive["fingerprint"])
        except (UserError, Refusal, KeyError):
            raise UserError(f"{path}: not readable statistics; run data_preparation.py again") from None
        try:
            statistics = cls.from_dict({**content, "info": info})
        except ValueError as error:
            raise UserError(f"{path}: {error}; run data_preparation.py again") from None
        if statistics.fingerprint != kept:
            raise UserError(f"{path}: its numbers are not those of its fingerprint; run data_preparation.py again")
        return statistics


class _Moments:
    """Streaming weighted mean and variance of each column (Chan et al. 1979), in float64."""

    def __init__(self, width: int) -> None:
        self.count, self.mean, self.m2 = np.zeros(width), np.zeros(width), np.zeros(width)

    def add(self, values: np.ndarray, seen: np.ndarray) -> None:
        count = seen.sum(0)
        safe = np.maximum(count, 1)
        mean = np.where(seen, values, 0.0).sum(0) / safe
        m2 = (np.where(seen, values - mean, 0.0) ** 2).sum(0)
        total = np.maximum(self.count + count, 1)
        delta = mean - self.mean
        self.m2 += m2 + delta**2 * self.count * count / total
        self.mean += delta * count / total
        self.count += count

    def mean_std(self) -> tuple[np.ndarray, np.ndarray]:
        std = np.sqrt(self.m2 / np.maximum(self.count, 1))
        return self.mean.astype(np.float32), np.where(std < 1e-6, 1.0, std).astype(np.float32)


def compute_statistics(clips: Iterable[tuple[np.ndarray, np.ndarray]], settings: dict) -> Statistics:
    """Statistics of (pose [T,214], seen [T,214]) pairs, read once."""
    frame, hand = _Moments(layout.POSE_DIM), _Moments(layout.HANDS_DIM)
    num_clips = num_frames = 0
    for pose, seen in clips:
        pose = pose.astype(np.float64)
        frame.add(pose, seen)
        hand.add(hands_minus_wrists(pose), seen[:, layout.HANDS] & seen[:, layout.WRIST_DIMS])
        num_clips, num_frames = num_clips + 1, num_frames + len(pose)
    info = {"clips": num_clips, "frames": num_frames, **settings}
    return Statistics(*frame.mean_std(), *hand.mean_std(), info=info)
