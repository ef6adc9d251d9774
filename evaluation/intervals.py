"""From the values of clips to the figures of a row, each with its 95 % interval over clips.

Almost every figure is a formula of sums over clips: a mean is a sum over a count, a corpus BLEU a formula of counts of
n-grams. So a bootstrap is one matrix product, counts [R,N] of R resamples by statistics [N,K] of N clips, and the same
counts for two models make the comparison a paired one.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.distribution import frechet_distance, moments

Array = np.ndarray
Scores = dict[str, Array]  # the values of the clips, {name: [N] or [N,K]}, NaN where undefined

RESAMPLES, SEED = 1000, 0
FRECHET_RESAMPLES = 200
LEVEL = (2.5, 97.5)  # percentiles

# Means over the clips where they are defined, by the name of figure and of values.
MEANS = ("dtw", "dtw_mje", "dtw_mje_body", "dtw_mje_left_hand", "dtw_mje_right_hand", "mse", "mse_manual", "mse_nmm",
         "recognition", "recognition_top5", "bone_length_variation", "implausible_hands", "copied_frames",
         "rouge_l")  # fmt: skip
# A sum over a sum, from values [N,2]. The ratio of means, not the mean of ratios: no still clip can blow it up.
RATIOS = {"motion_ratio": "hand_speeds", "face_motion_ratio": "face_speeds", "speed_ratio": "speeds",
          "jerk_ratio": "jerks", "diversity": "spreads", "train_distance_ratio": "train_distances",
          "wer": "word_errors"}  # fmt: skip
SYNC = ("sync_correlation", "sync_lag")  # values [N,3]: prediction, reference, prediction with its face shuffled
COUNTS = ("sync_undefined", "mse_aligned")


@dataclass(frozen=True)
class Figure:
    """at: counts [R,N], how often each clip is taken, to the R figures [R], NaN where undefined.

    centred: the interval is the figure ± 1.96 of the resamples' standard deviation, not their percentiles; for a
    distance between distributions, which resampling can only enlarge.
    """

    at: Callable[[Array], Array]
    resamples: int = RESAMPLES
    centred: bool = False


def from_sums(statistics: Array, formula: Callable[[Array], Array]) -> Figure:
    """A figure that is `formula` [R,K] -> [R] of the sums over clips of `statistics` [N,K]."""
    return Figure(lambda counts: formula(counts @ statistics))


def _ratio(sums: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], np.nan)


def mean_of(values: Array) -> Figure:
    known = np.isfinite(values)
    return from_sums(np.stack([np.where(known, values, 0.0), known], axis=1), _ratio)


def ratio_of(values: Array) -> Figure:
    known = np.isfinite(values).all(1, keepdims=True)
    return from_sums(np.where(known, values, 0.0), _ratio)


def bleu_formula(order: int) -> Callable[[Array], Array]:
    """Corpus BLEU of n-grams up to `order` (Papineni et al. 2002, no smoothing) from sums [R,12].

    Columns: for n = 1..4 the n-grams in common, those of the hypothesis, those of the reference. NaN where no
    reference is of `order` words: the BLEU-4 of single words is not 0, there is none.
    """

    def formula(sums: Array) -> Array:
        matches, totals, wanted = (sums[:, start : start + order] for start in (0, 4, 8))
        hypothesis, reference = totals[:, 0], wanted[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = np.where(matches > 0, np.log(matches / totals), -np.inf).mean(1)
            brevity = np.minimum(0.0, 1 - reference / hypothesis)
            bleu = np.where(hypothesis > 0, np.exp(precision + brevity), 0.0)
        return np.where(wanted[:, -1] > 0, bleu, np.nan)

    return formula


def chrf_formula(sums: Array) -> Array:
    """chrF2, 0-1, from sums [R,3*6]: characters of the hypothesis, of the reference and in common, for 1..6-grams."""
    hypothesis, reference, common = np.moveaxis(sums.reshape(len(sums), -1, 3), 2, 0)
    counted = (hypothesis > 0) & (reference > 0)
    orders = np.maximum(counted.sum(1), 1)
    precision = np.where(counted, common / np.maximum(hypothesis, 1), 0.0).sum(1) / orders
    recall = np.where(counted, common / np.maximum(reference, 1), 0.0).sum(1) / orders
    weighted = 4 * precision + recall  # beta = 2: recall counts twice
    return np.where(weighted > 0, 5 * precision * recall / np.maximum(weighted, 1e-16), 0.0)


def _frechet(scores: Scores) -> Figure:
    sets = [(scores[name], scores[f"{name}_clip"].astype(int)) for name in ("latents", "reference_latents")]

    def at(counts: Array) -> Array:
        (means, covariances), (real_means, real_covariances) = (moments(z, clip, counts) for z, clip in sets)
        draws = zip(means, covariances, real_means, real_covariances, strict=True)
        return np.array([frechet_distance((m, c), (real_m, real_c)) for m, c, real_m, real_c in draws])

    return Figure(at, FRECHET_RESAMPLES, centred=True)


def figures(scores: Scores) -> dict[str, Figure]:
    """Every figure that these values give, by its key in the report."""
    found = {name: mean_of(scores[name]) for name in MEANS if name in scores}
    found |= {name: ratio_of(scores[values]) for name, values in RATIOS.items() if values in scores}
    for name in SYNC:
        if name in scores:
            own, reference, null = scores[name].T
            found[name], found[f"{name}_reference"] = mean_of(own), mean_of(reference)
            found[f"{name}_difference"], found[f"{name}_null"] = mean_of(own - reference), mean_of(null)
    if "bleu_counts" in scores:
        found |= {f"bleu{n}": from_sums(scores["bleu_counts"], bleu_formula(n)) for n in range(1, 5)}
    if "chrf_counts" in scores:
        found["chrf"] = from_sums(scores["chrf_counts"], chrf_formula)
    if "latents" in scores:
        found["frechet"] = _frechet(scores)
    return found


def mean_figures(runs: Sequence[Scores]) -> dict[str, Figure]:
    """Every figure's mean over several runs on the same clips, say of several seeds; an interval is over the clips."""
    each = [figures(scores) for scores in runs]

    def mean(name: str) -> Figure:
        def at(counts: Array) -> Array:
            return np.mean([found[name].at(counts) for found in each], axis=0)

        return dataclasses.replace(each[0][name], at=at)

    return {name: mean(name) for name in each[0] if all(name in found for found in each)}


def resample(num_clips: int, resamples: int = RESAMPLES, seed: int = SEED) -> Array:
    """How often each clip is taken in each of `resamples` draws with replacement, [R,N]."""
    return np.random.default_rng(seed).multinomial(num_clips, np.full(num_clips, 1 / num_clips), resamples) * 1.0


def with_interval(at: Callable[[Array], Array], counts: Array, centred: bool) -> tuple[float | None, ...]:
    """The figure of all clips once, and its interval from resamples `counts`; None where undefined."""
    value = float(at(np.ones((1, counts.shape[1])))[0])
    if not math.isfinite(value):
        return None, None, None
    samples = at(counts)
    samples = samples[np.isfinite(samples)]
    if not len(samples):
        return value, None, None
    if centred:
        return value, value - 1.96 * float(samples.std()), value + 1.96 * float(samples.std())
    low, high = np.percentile(samples, LEVEL)
    return value, float(low), float(high)


def summarise(scores: Scores) -> dict[str, float | int | None]:
    """One row of the report from the values of its clips: KEY, KEY_low, KEY_high, None where undefined."""
    num_clips = len(scores["dtw"])
    counts = resample(num_clips)
    row: dict[str, float | int | None] = {}
    for name, figure in figures(scores).items():
        value, low, high = with_interval(figure.at, counts[: figure.resamples], figure.centred)
        if name == "frechet" and low is not None:
            low = max(0.0, low)
        row |= {name: value, f"{name}_low": low, f"{name}_high": high}
    row["sync_undefined"] = int(np.isnan(scores["sync_correlation"][:, 0]).sum())
    row["mse_aligned"] = int(scores["mse_aligned"].sum())
    return row


def compare(ours: Sequence[Scores], theirs: Sequence[Scores]) -> dict[str, dict[str, float | None]]:
    """For every figure of both: a, b, and a - b with its paired interval, from the same clips in the same order.

    Each side is one run, or one of each seed: then the means are compared, and the interval is wide enough for another
    draw of clips and of seeds: the variance over clips and that between the seeds' differences, over their number, add.
    """
    a, b = ([figures(scores) for scores in side] for side in (ours, theirs))
    counts = resample(len(ours[0]["dtw"]))
    everything = np.ones((1, counts.shape[1]))
    table = {}
    for name, figure in a[0].items():
        if name not in b[0]:
            continue

        def values(side: list[dict[str, Figure]], chosen: Array, name: str = name) -> Array:
            return np.stack([found[name].at(chosen) for found in side])  # [S,R]

        def difference(chosen: Array, values: Callable[..., Array] = values) -> Array:
            return (values(a, chosen) - values(b, chosen)).mean(0)

        value, low, high = with_interval(difference, counts[: figure.resamples], figure.centred)
        first, second = values(a, everything)[:, 0], values(b, everything)[:, 0]
        if len(a) > 1 and low is not None:
            between_seeds = np.var(first - second, ddof=1) / len(a)
            half = 1.96 * math.sqrt(((high - low) / (2 * 1.96)) ** 2 + between_seeds)
            low, high = value - half, value + half
        means = (float(each.mean()) for each in (first, second))
        first, second = (mean if math.isfinite(mean) else None for mean in means)
        table[name] = {"a": first, "b": second, "difference": value, "low": low, "high": high}
    return table
