"""Linear interpolation in time: between frames, to another length, and over the frames that were not seen."""

import numpy as np

MAX_INTERPOLATED_GAP = 5  # frames; what was unseen for longer is filled too, but does not count as seen
FILL_GAPS_VERSION, RESAMPLE_VERSION = 1, 1  # raised when `fill_gaps` or `resample` gives other values


def between(before: np.ndarray, after: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Values between `before` (interpolation weight 0) and `after` (weight 1)."""
    return (1 - weight) * before + weight * after


def frames_around(moments: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The frames before and after each moment of a clip of `length` frames, and the interpolation weight of the later.

    Moments are in frames. Those outside the clip are moved to its nearest end.
    """
    moments = np.clip(moments, 0, length - 1)
    before = np.floor(moments).astype(int)
    return before, np.minimum(before + 1, length - 1), moments - before


def at_moments(values: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Values [T,...] at moments [N], in frames, which may lie between two frames: [N,...]."""
    before, after, weight = frames_around(moments, len(values))
    return between(values[before], values[after], weight.astype(np.float32).reshape(-1, *[1] * (values.ndim - 1)))


def seen_at_moments(seen: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """seen [T,...] bool -> at moments [N], [N,...] bool: between two frames only what both of them saw."""
    return at_moments(seen.astype(np.float32), moments) == 1.0


def resample(values: np.ndarray, length: int) -> np.ndarray:
    """Stretch or squeeze values [T,...] to `length` frames, both ends kept."""
    return at_moments(values, np.linspace(0, len(values) - 1, length))


def resample_seen(seen: np.ndarray, length: int) -> np.ndarray:
    """seen [T,...] bool -> [length,...] bool, for values that `resample` brings to `length` frames."""
    return seen_at_moments(seen, np.linspace(0, len(seen) - 1, length))


def fill_gaps(values: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fill unseen entries of values [T,K,...] (seen [T,K]) by linear interpolation in time, ends held.

    Gaps of at most MAX_INTERPOLATED_GAP frames between two seen frames then count as seen. Where an entry was never
    seen in the clip its values are zeros.
    """
    values, seen = values.copy(), seen.copy()
    columns = np.flatnonzero(~seen.all(0))
    alike: dict[bytes, list[int]] = {}  # columns by when they were seen: a hand's keypoints share one pattern
    for column, pattern in zip(columns.tolist(), np.ascontiguousarray(seen[:, columns].T), strict=True):
        alike.setdefault(pattern.tobytes(), []).append(column)
    for columns in alike.values():
        known, gaps = np.flatnonzero(seen[:, columns[0]]), np.flatnonzero(~seen[:, columns[0]])
        if len(known) == 0:
            values[:, columns] = 0.0
            continue
        position = np.searchsorted(known, gaps)
        before, after = known[(position - 1).clip(min=0)], known[position.clip(max=len(known) - 1)]
        weight = ((gaps - before) / np.maximum(after - before, 1)).clip(0, 1).astype(values.dtype)
        part = values[:, columns]
        filled = between(part[before], part[after], weight.reshape(-1, *[1] * (values.ndim - 1)))
        values[np.ix_(gaps, columns)] = filled
        short = (before < gaps) & (gaps < after) & (after - before - 1 <= MAX_INTERPOLATED_GAP)
        seen[np.ix_(gaps[short], columns)] = True
    return values, seen
