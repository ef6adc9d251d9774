"""Rows and comparisons: every metric of the registry with its interval, of one run or of two."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from evaluation.clips import Array, Scores
from evaluation.intervals import Estimate, resample, with_interval
from evaluation.registry import REMARKS, estimates


def summarise(scores: Scores) -> dict[str, float | int | None]:
    """One row of the report from the values of its clips: KEY, KEY_low, KEY_high, None where undefined."""
    counts = resample(len(scores["dtw"]))
    row: dict[str, float | int | None] = {}
    for name, estimate in estimates(scores).items():
        value, low, high = with_interval(estimate.at, counts[: estimate.resamples], estimate.centred)
        low = None if low is None else max(estimate.lowest, low)
        row |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return row | {remark.key: int(remark.count(scores[remark.reads])) for remark in REMARKS}


def mean_estimates(runs: Sequence[Scores]) -> dict[str, Estimate]:
    """Every metric's mean over several runs on the same clips, say of several seeds; an interval is over the clips."""
    each = [estimates(scores) for scores in runs]

    def mean(name: str) -> Estimate:
        def at(counts: Array) -> Array:
            return np.mean([found[name].at(counts) for found in each], axis=0)

        return dataclasses.replace(each[0][name], at=at)

    return {name: mean(name) for name in each[0] if all(name in found for found in each)}


def compare(ours: Sequence[Scores], theirs: Sequence[Scores]) -> dict[str, dict[str, float | None]]:
    """For every metric of both: a, b, and a - b with its paired interval, from the same clips in the same order.

    Each side is one run, or one of each seed: then the means are compared, and the interval is wide enough for another
    draw of clips and of seeds: the variance over clips and that between the seeds' differences, over their number, add.
    """
    a, b = ([estimates(scores) for scores in side] for side in (ours, theirs))
    counts = resample(len(ours[0]["dtw"]))
    everything = np.ones((1, counts.shape[1]))
    table = {}
    for name, estimate in a[0].items():
        if name not in b[0]:
            continue

        def values(side: list[dict[str, Estimate]], chosen: Array, name: str = name) -> Array:
            return np.stack([found[name].at(chosen) for found in side])  # [S,R]

        def difference(chosen: Array, values: Callable[..., Array] = values) -> Array:
            return (values(a, chosen) - values(b, chosen)).mean(0)

        value, low, high = with_interval(difference, counts[: estimate.resamples], estimate.centred)
        first, second = values(a, everything)[:, 0], values(b, everything)[:, 0]
        if len(a) > 1 and low is not None:
            between_seeds = np.var(first - second, ddof=1) / len(a)
            half = 1.96 * math.sqrt(((high - low) / (2 * 1.96)) ** 2 + between_seeds)
            low, high = value - half, value + half
        means = (float(each.mean()) for each in (first, second))
        first, second = (mean if math.isfinite(mean) else None for mean in means)
        table[name] = {"a": first, "b": second, "difference": value, "low": low, "high": high}
    return table
