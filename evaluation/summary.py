"""Rows and comparisons: every metric of the registry with its interval, of one run or of two."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from evaluation.clips import Array, Scores
from evaluation.intervals import Estimate, bootstrap_counts
from evaluation.registry import count_remarks, estimates


def summarise(scores: Scores) -> dict[str, float | int | None]:
    """One row of the report from the values of its clips: KEY, KEY_low, KEY_high, None where undefined; and REMARKS."""
    counts = bootstrap_counts(len(scores["dtw"]))
    row: dict[str, float | int | None] = {}
    for name, estimate in estimates(scores).items():
        value, low, high = estimate.with_interval(counts)
        low = None if low is None else max(estimate.lowest, low)
        row |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return row | count_remarks(scores)


def mean_estimates(runs: Sequence[Scores], minus: Sequence[Scores] = ()) -> dict[str, Estimate]:
    """Every metric's mean over several runs on the same clips, say of several seeds; an interval is over the clips.

    With `minus`, as many runs, it is the mean difference to those, of the metrics that both have.
    """
    each, others = ([estimates(scores) for scores in side] for side in (runs, minus))

    def mean(name: str) -> Estimate:
        def at(counts: Array) -> Array:
            values = np.stack([found[name].at(counts) for found in each])  # [S,R]
            return (values - np.stack([found[name].at(counts) for found in others]) if others else values).mean(0)

        return dataclasses.replace(each[0][name], at=at)

    return {name: mean(name) for name in each[0] if all(name in found for found in each + others)}


def compare(ours: Sequence[Scores], theirs: Sequence[Scores]) -> dict[str, dict[str, float | None]]:
    """For every metric of both: a, b, and a - b with its paired interval, from the same clips in the same order.

    Each side is one run, or one of each seed: then the means are compared, and the interval is wide enough for another
    draw of clips and of seeds: the variance over clips and that between the seeds' differences, over their number, add.
    """
    a, b = ([estimates(scores) for scores in side] for side in (ours, theirs))
    num_clips = len(ours[0]["dtw"])
    counts = bootstrap_counts(num_clips)
    table = {}
    for name, difference in mean_estimates(ours, theirs).items():
        value, low, high = difference.with_interval(counts)
        first, second = (np.array([found[name].of_all(num_clips) for found in side]) for side in (a, b))
        if len(a) > 1 and low is not None:
            between_seeds = np.var(first - second, ddof=1) / len(a)
            half = 1.96 * math.sqrt(((high - low) / (2 * 1.96)) ** 2 + between_seeds)
            low, high = value - half, value + half
        means = (float(each.mean()) for each in (first, second))
        first, second = (mean if math.isfinite(mean) else None for mean in means)
        table[name] = {"a": first, "b": second, "difference": value, "low": low, "high": high}
    return table
