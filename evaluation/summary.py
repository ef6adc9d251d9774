"""Rows and comparisons: every metric of the registry with its interval, of one run or of two."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from evaluation.clips import Array, Scores
from evaluation.distribution import LATENTS
from evaluation.intervals import Estimate, bootstrap_counts
from evaluation.registry import BETTER, HIGHER, LOWER, NEAR_0, NEAR_1, NEAR_REFERENCE, count_remarks, estimates

ROUNDING = 1e-6  # of the larger value: the same clips as .npy and .pose differ by less


def summarise(scores: Scores) -> dict[str, float | int | None]:
    """One row of the report from the values of its clips: KEY, KEY_low, KEY_high, None where undefined; and REMARKS."""
    counts = bootstrap_counts(len(scores["dtw"]))
    row: dict[str, float | int | None] = {}
    for name, estimate in estimates(scores).items():
        value, low, high = estimate.with_interval(counts)
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

        lowest = -math.inf if others else each[0][name].lowest  # a difference may be below 0
        num_clips = min(found[name].num_clips for found in each + others)
        return dataclasses.replace(each[0][name], at=at, num_clips=num_clips, lowest=lowest)

    return {name: mean(name) for name in each[0] if all(name in found for found in each + others)}


def compare(ours: Sequence[Scores], theirs: Sequence[Scores]) -> dict[str, dict[str, float | None]]:
    """For every metric of both: a, b, and a - b with its paired interval, from the same clips in the same order.

    Each side is one run, or one run per seed. With several seeds the means are compared, and the interval allows for
    another draw of clips and of seeds: its variance is that over clips, plus that between the seeds' differences
    divided by their number. Two or three seeds tell little of their own variance, so the interval is Student's t's,
    with the degrees of freedom of Welch and Satterthwaite. A clip for which a value of one side is undefined counts for
    neither.
    """
    ours, theirs = common_clips(ours, theirs)
    a, b = ([estimates(scores) for scores in side] for side in (ours, theirs))
    num_clips = len(ours[0]["dtw"])
    counts = bootstrap_counts(num_clips)
    table = {}
    for name, difference in mean_estimates(ours, theirs).items():
        value, low, high = difference.with_interval(counts)
        first, second = (np.array([found[name].of_all(num_clips) for found in side]) for side in (a, b))
        if len(a) > 1 and low is not None:
            over_clips, between_seeds = ((high - low) / (2 * 1.96)) ** 2, np.var(first - second, ddof=1) / len(a)
            half = _t_quantile(over_clips, between_seeds, len(a) - 1) * math.sqrt(over_clips + between_seeds)
            low, high = value - half, value + half
        means = (float(each.mean()) for each in (first, second))
        first, second = (mean if math.isfinite(mean) else None for mean in means)
        table[name] = {"a": first, "b": second, "difference": value, "low": low, "high": high}
    return table


def differs(line: Mapping[str, float | None]) -> bool:
    """Whether the interval of a difference, as `compare` gives it, excludes 0, and the difference exceeds rounding."""
    if line["low"] is None or line["low"] <= 0 <= line["high"]:
        return False
    return abs(line["difference"]) >= ROUNDING * max(abs(line["a"]), abs(line["b"]))


def verdict(name: str, line: Mapping[str, float | None], table: Mapping[str, Mapping[str, float | None]]) -> str:
    """What a line of `compare` says: "A better", "B better", or only "differs"; "" where it shows no difference.

    table: all lines, by metric; what a metric should be near to may be its reference's value there.
    """
    if not differs(line):
        return ""
    better, reference = BETTER.get(name), table.get(f"{name}_reference")
    if better in (LOWER, HIGHER):
        return "A better" if (line["difference"] > 0) == (better == HIGHER) else "B better"
    target = {NEAR_0: 0.0, NEAR_1: 1.0}.get(better)
    if better == NEAR_REFERENCE and reference is not None and reference["a"] == reference["b"]:
        target = reference["a"]
    if target is None or (line["a"] - target) * (line["b"] - target) < 0:  # on both sides of the target
        return "differs"
    return "A better" if abs(line["a"] - target) < abs(line["b"] - target) else "B better"


def common_clips(*sides: Sequence[Scores]) -> list[list[Scores]]:
    """The runs' values, with NaN for every clip for which one of the runs has no value; latents as they are."""
    runs = [scores for side in sides for scores in side]
    num_clips, undefined = len(runs[0]["dtw"]), {}
    for name, values in runs[0].items():
        if name in LATENTS or not all(name in scores for scores in runs):
            continue
        if values.dtype.kind == "f" and len(values) == num_clips:
            rows = [np.isnan(scores[name]).reshape(num_clips, -1).any(1) for scores in runs]
            undefined[name] = np.logical_or.reduce(rows)
    return [[{**scores, **_without(scores, undefined)} for scores in side] for side in sides]


def _without(scores: Scores, undefined: dict[str, Array]) -> Scores:
    kept = {}
    for name, rows in undefined.items():
        kept[name] = scores[name].copy()
        kept[name][rows] = np.nan
    return kept


def _t_quantile(over_clips: float, between_seeds: float, freedom: int) -> float:
    """The 97.5 % quantile for the sum of a variance that is known and one estimated with `freedom` degrees."""
    from scipy.special import stdtrit  # here: visualize.py reads the list of metrics, and starts faster

    if not between_seeds:
        return 1.96
    return float(stdtrit(freedom * ((over_clips + between_seeds) / between_seeds) ** 2, 0.975))
