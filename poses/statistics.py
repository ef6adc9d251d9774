"""Mean and spread of the train poses, in one pass and constant memory, with what they were made from."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from poses import layout
from poses.body_frame import PLACE_DIM, SHOULDER_DIMS, into_frame, place_of
from poses.files import Reading
from poses.rates import is_rate, same_rate
from runtime.errors import UserError
from runtime.files import write_whole
from runtime.untrusted import NpzArchive, Refusal, parse_json

STATISTICS_FILE = "normalization_stats.npz"
_ARRAYS = {"mean": layout.POSE_DIM, "std": layout.POSE_DIM, "hand_mean": layout.HANDS_DIM, "hand_std": layout.HANDS_DIM}
_FRAMED = {**_ARRAYS, "place_mean": PLACE_DIM, "place_std": PLACE_DIM}
LEAST_FRAMED_STD = 0.05  # shoulder widths: what a keypoint moves less is mostly the detector's noise


def statistics_path(data_dir: Path, cache_dir: Path | None = None) -> Path:
    """The path of a data set's statistics: in its folder, or in the cache if the folder is read-only."""
    cached = cached_statistics_path(data_dir, cache_dir) if cache_dir else None
    return cached if cached and cached.is_file() else data_dir / STATISTICS_FILE


def cached_statistics_path(data_dir: Path, cache_dir: Path) -> Path:
    """One cache may serve several data sets, so the name tells them apart."""
    return cache_dir / f"{data_set_key(data_dir)}-{STATISTICS_FILE}"


def data_set_key(data_dir: Path) -> str:
    """Digits that tell data sets of one cache apart, by where they are."""
    return hashlib.sha256(os.path.realpath(data_dir).encode()).hexdigest()[:8]


def save_statistics(statistics: "Statistics", data_dir: Path, cache_dir: Path | None = None) -> Path:
    """Write statistics to the data set's folder, or to the cache if that folder is read-only; returns the path."""
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
class FramedStatistics:
    """The numbers of `Statistics` for poses in their clips' own body frames (`poses.body_frame`); and place_mean,
    place_std [3] of the frames' places over the clips."""

    mean: np.ndarray
    std: np.ndarray
    hand_mean: np.ndarray
    hand_std: np.ndarray
    place_mean: np.ndarray
    place_std: np.ndarray


@dataclass
class Statistics:
    """What normalises a pose: mean, std [214]; and of the hands relative to the wrists: hand_mean, hand_std [84].

    Unseen numbers have no weight. A dimension that never moves, or was never seen, has std 1.
    """

    mean: np.ndarray
    std: np.ndarray
    hand_mean: np.ndarray
    hand_std: np.ndarray
    info: dict  # clips, frames, settings
    framed: FramedStatistics | None = None  # None: made by a version that knew no body frame

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that differ where the data do; `framed` follows from the same clips."""
        return _fingerprint(self, _ARRAYS)

    @property
    def mean_frames(self) -> float | None:
        """The frames of the mean train clip; None where `info` does not tell."""
        clips, frames = (self.info.get(name) for name in ("clips", "frames"))
        return frames / clips if type(clips) is int and type(frames) is int and clips > 0 else None

    @property
    def moves(self) -> np.ndarray:
        """Which numbers change in train, [214] bool."""
        return self.std != 1

    @property
    def shown(self) -> np.ndarray:
        """Which numbers some train clip shows, [214] bool."""
        return (self.mean != 0) | (self.std != 1)

    def normalize(self, pose: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
        """Pose [T,214] in data units -> normalised; a dimension unseen in the whole clip becomes 0, the mean."""
        normalized = (pose - self.mean) / self.std
        if seen is not None:
            normalized[:, ~seen.any(0)] = 0.0
        return normalized.astype(np.float32)

    def denormalize(self, pose: np.ndarray) -> np.ndarray:
        """Normalised pose [...,214] -> float32 in data units."""
        return (pose * self.std + self.mean).astype(np.float32)

    def to_dict(self) -> dict:
        """Plain lists, for a checkpoint."""
        content = {name: _plain(getattr(self, name)) for name in _ARRAYS} | {"info": self.info}
        if self.framed is not None:
            content["framed"] = {name: _plain(getattr(self.framed, name)) for name in _FRAMED}
        return content

    @classmethod
    def from_dict(cls, content: object) -> "Statistics":
        """From what `to_dict` gives; a ValueError says what is wrong."""
        if not isinstance(content, dict) or not content.keys() >= {*_ARRAYS, "info"}:
            raise ValueError("its statistics are incomplete")
        if not isinstance(content["info"], dict):
            raise ValueError("its statistics do not say what they were made from")
        if (fps := content["info"].get("fps")) is not None and not is_rate(fps):
            raise ValueError("its statistics state a frame rate that no clip has")
        framed = content.get("framed")
        if framed is not None:
            if not isinstance(framed, dict) or not framed.keys() >= _FRAMED.keys():
                raise ValueError("its statistics of the body frame are incomplete")
            framed = FramedStatistics(**_checked(framed, _FRAMED, "framed "))
        return cls(**_checked(content, _ARRAYS), info=content["info"], framed=framed)

    def save(self, path: Path) -> None:
        arrays = {name: getattr(self, name) for name in _ARRAYS} | {"fingerprint": np.array(self.fingerprint)}
        if self.framed is not None:
            arrays |= {f"framed_{name}": getattr(self.framed, name) for name in _FRAMED}
            arrays["framed_fingerprint"] = np.array(_fingerprint(self.framed, _FRAMED))
        with write_whole(path) as file:
            np.savez(file, **arrays, info=np.array(json.dumps(self.info)))

    def require_rate(self, fps: float | None, data_dir: Path) -> None:
        """Raises UserError if the data have another rate, `fps`, than the clips these statistics were made from."""
        learnt = self.info.get("fps")
        if fps and learnt and not same_rate(fps, learnt):
            raise UserError(
                f"{data_dir}: {fps:g} frames per second, but the checkpoint learnt from {learnt:g}; resample the data "
                f"with data_preparation.py --fps {learnt:g}"
            )

    @classmethod
    def load(cls, path: Path) -> "Statistics":
        if not path.is_file():
            raise UserError(f"{path}: no such file; run data_preparation.py --data_dir {path.parent} first")
        try:
            with NpzArchive(path) as archive:
                content = {name: archive[name] for name in _ARRAYS}
                info, kept = parse_json(str(archive["info"])), [str(archive["fingerprint"])]
                if "framed_fingerprint" in archive:
                    content["framed"] = {name: archive[f"framed_{name}"] for name in _FRAMED}
                    kept.append(str(archive["framed_fingerprint"]))
        except (UserError, Refusal, KeyError):
            raise UserError(f"{path}: not readable statistics; run data_preparation.py again") from None
        try:
            statistics = cls.from_dict({**content, "info": info})
        except ValueError as error:
            raise UserError(f"{path}: {error}; run data_preparation.py again") from None
        framed = [] if statistics.framed is None else [_fingerprint(statistics.framed, _FRAMED)]
        if [statistics.fingerprint, *framed] != kept:
            raise UserError(f"{path}: its numbers are not those of its fingerprint; run data_preparation.py again")
        return statistics


def _plain(values: np.ndarray) -> list[float]:
    return np.asarray(values, np.float32).tolist()


def _fingerprint(statistics: Statistics | FramedStatistics, names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(np.asarray(getattr(statistics, name), np.float32).tobytes())
    return digest.hexdigest()[:12]


def _checked(content: dict, widths: dict[str, int], prefix: str = "") -> dict[str, np.ndarray]:
    """The arrays of these names and widths; a ValueError names one that is wrong."""
    arrays = {}
    for name, width in widths.items():
        try:
            values = np.asarray(content[name])
        except ValueError:  # lists of different lengths
            values = np.zeros(0)
        with np.errstate(over="ignore"):
            arrays[name] = values.astype(np.float32) if values.dtype.kind in "fiu" else np.zeros(0, np.float32)
        if arrays[name].shape != (width,) or not np.isfinite(arrays[name]).all():
            raise ValueError(f"'{prefix}{name}' is not {width} finite numbers")
        if name.endswith("std") and not (arrays[name] > 0).all():
            raise ValueError(f"'{prefix}{name}' holds a spread that is not positive")
    return arrays


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
        std = np.sqrt(self.m2 / np.maximum(self.count, 1)).astype(np.float32)
        std[std == 1] = np.nextafter(np.float32(1), np.float32(2))  # standardised data move, too
        return self.mean.astype(np.float32), np.where(std < 1e-6, np.float32(1), std)


class _PoseMoments:
    """Streaming moments of poses, and of their hands relative to the wrists."""

    def __init__(self) -> None:
        self.pose, self.hand = _Moments(layout.POSE_DIM), _Moments(layout.HANDS_DIM)

    def add(self, pose: np.ndarray, seen: np.ndarray) -> None:
        self.pose.add(pose, seen)
        self.hand.add(hands_minus_wrists(pose), seen[:, layout.HANDS] & seen[:, layout.WRIST_DIMS])

    def mean_std(self) -> list[np.ndarray]:
        return [*self.pose.mean_std(), *self.hand.mean_std()]


def mean_pose(clips: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The mean [214] of the seen numbers of (pose [T,214], seen [T,214]) pairs, as in `compute_statistics`."""
    moments = _Moments(layout.POSE_DIM)
    for pose, seen in clips:
        moments.add(pose.astype(np.float64), seen)
    return moments.mean.astype(np.float32)


def compute_statistics(clips: Iterable[tuple[np.ndarray, np.ndarray]], settings: dict) -> Statistics:
    """Statistics of (pose [T,214], seen [T,214]) pairs, read once."""
    plain, framed, places = _PoseMoments(), _PoseMoments(), _Moments(PLACE_DIM)
    num_clips = num_frames = 0
    for pose, seen in clips:
        pose = pose.astype(np.float64)
        plain.add(pose, seen)
        if seen[:, SHOULDER_DIMS].any(0).all():
            place = place_of(pose)
            framed.add(into_frame(pose, place), seen)
            places.add(place[None], np.ones((1, PLACE_DIM), bool))
        num_clips, num_frames = num_clips + 1, num_frames + len(pose)
    info = {"clips": num_clips, "frames": num_frames, **settings}
    framed_statistics = FramedStatistics(*framed.mean_std(), *places.mean_std())
    framed_statistics.std[layout.MANUAL] = framed_statistics.std[layout.MANUAL].clip(min=LEAST_FRAMED_STD)
    return Statistics(*plain.mean_std(), info=info, framed=framed_statistics)
