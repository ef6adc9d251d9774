"""A metric over clips and its 95 % interval over clips, by bootstrap.

Almost every metric is a formula of sums over clips: a mean is a sum over a count, a corpus BLEU a formula of counts of
n-grams. So a bootstrap is one matrix product, counts [R,N] of R resamples by statistics [N,K] of N clips, and the same
counts for two models make the comparison a paired one.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluation.clips import Array
from evaluation.distribution import frechet_distance, moments

RESAMPLES, SEED = 1000, 0
FRECHET_RESAMPLES = 200
LEVEL = (2.5, 97.5)  # percentiles
# Share of resamples: what one clip defines is defined in at most 0.75 of them, what two define in 0.86 or more.
LEAST_DEFINED = 0.8


@dataclass(frozen=True)
class Estimate:
    """A metric as a function of which clips are drawn.

    at: the metric of each of R draws, [R], NaN where undefined; given counts [R,N], how often a draw takes each clip.
    centred: the interval is the metric ± 1.96 standard deviations of the resamples. The default is their percentiles,
    which do not suit a distance between distributions, since resampling can only enlarge it.
    lowest: where the metric's range begins, and so the interval at the earliest.
    groups [N]: the number of each clip's group, -1 for none. The interval is then over groups, drawn as wholes.
    """

    at: Callable[[Array], Array]
    resamples: int = RESAMPLES
    centred: bool = False
    lowest: float = -math.inf
    groups: Array | None = None

    def of_all(self, num_clips: int) -> float:
        """The metric of all clips, each taken once."""
        return float(self.at(np.ones((1, num_clips)))[0])

    def with_interval(self, counts: Array) -> tuple[float | None, ...]:
        """The metric of all clips, and its interval from resamples `counts`; None where undefined.

        One clip has no interval, and neither has a metric that only one clip or group defines.
        """
        value = self.of_all(counts.shape[1])
        if not math.isfinite(value):
            return None, None, None
        counts = counts[: self.resamples]
        num_drawn = counts.shape[1] if self.groups is None else self.groups.max() + 1
        if self.groups is not None:
            counts = np.where(self.groups < 0, 0.0, bootstrap_counts(num_drawn, len(counts))[:, self.groups])
        samples = self.at(counts)
        known = np.isfinite(samples)
        samples = samples[known]
        if not len(samples) or num_drawn == 1 or (known.mean() < LEAST_DEFINED and np.ptp(samples) == 0):
            return value, None, None
        low, high = np.percentile(samples, LEVEL).tolist()
        if self.centred:
            low, high = (value + sign * 1.96 * float(samples.std()) for sign in (-1, 1))
        return value, max(self.lowest, low), high


def from_sums(statistics: Array, formula: Callable[[Array], Array]) -> Estimate:
    """`formula` [R,K] -> [R] of the sums over clips of `statistics` [N,K]."""
    return Estimate(lambda counts: formula(counts @ statistics))


def _ratio(sums: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], np.nan)


def mean_of(values: Array) -> Estimate:
    """The mean of values [N] over the clips where they are defined."""
    known = np.isfinite(values)
    return from_sums(np.stack([np.where(known, values, 0.0), known], axis=1), _ratio)


def ratio_of(values: Array) -> Estimate:
    """The sum of the first over the sum of the second of values [N,2]: no still clip can blow up a ratio of sums."""
    known = np.isfinite(values).all(1, keepdims=True)
    return from_sums(np.where(known, values, 0.0), _ratio)


def ratio_by_text(values: Array) -> Estimate:
    """`ratio_of` the first two of values [N,3], with an interval over texts, whose numbers are the third.

    For distances between the clips of a text: two clips share theirs, so they are not two draws.
    """
    groups = np.full(len(values), -1)
    known = np.isfinite(values).all(1)
    groups[known] = np.unique(values[known, 2], return_inverse=True)[1]
    return dataclasses.replace(ratio_of(values[:, :2]), groups=groups if known.any() else None)


def bleu_of(order: int) -> Callable[[Array], Estimate]:
    return lambda counts: from_sums(counts, bleu_formula(order))


def bleu_formula(order: int) -> Callable[[Array], Array]:
    """Corpus BLEU of n-grams up to `order` (Papineni et al. 2002, no smoothing) from sums [R,12].

    Columns: for n = 1..4 the n-grams in common, those of the hypothesis, those of the reference. NaN where no
    reference is of `order` words: single words have no BLEU-4, not one of 0.
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


def chrf_of(counts: Array) -> Estimate:
    return from_sums(counts, chrf_formula)


def chrf_formula(sums: Array) -> Array:
    """chrF2, 0-1, from sums [R,3*6]: characters of the hypothesis, of the reference and in common, for 1..6-grams.

    NaN where no reference has a character.
    """
    hypothesis, reference, common = np.moveaxis(sums.reshape(len(sums), -1, 3), 2, 0)
    counted = (hypothesis > 0) & (reference > 0)
    orders = np.maximum(counted.sum(1), 1)
    precision = np.where(counted, common / np.maximum(hypothesis, 1), 0.0).sum(1) / orders
    recall = np.where(counted, common / np.maximum(reference, 1), 0.0).sum(1) / orders
    weighted = 4 * precision + recall  # beta = 2: recall counts twice
    chrf = np.where(weighted > 0, 5 * precision * recall / np.maximum(weighted, 1e-16), 0.0)
    return np.where(reference[:, 0] > 0, chrf, np.nan)


def frechet_of(latents: Array, clip: Array, reference_latents: Array, reference_clip: Array) -> Estimate:
    """The Fréchet distance between two sets of latents [n,D], each with the clip that a latent is of [n].

    NaN for a draw of clips that have no latents.
    """
    sets = (latents, clip.astype(int)), (reference_latents, reference_clip.astype(int))

    def at(counts: Array) -> Array:
        distances = np.full(len(counts), np.nan)
        drawn = np.all([counts[:, np.unique(clip)].any(1) for _, clip in sets], axis=0)
        if drawn.any():
            (means, covariances), (real_means, real_covariances) = (moments(z, clip, counts[drawn]) for z, clip in sets)
            draws = zip(means, covariances, real_means, real_covariances, strict=True)
            distances[drawn] = [frechet_distance((m, c), (real_m, real_c)) for m, c, real_m, real_c in draws]
        return distances

    return Estimate(at, FRECHET_RESAMPLES, centred=True, lowest=0.0)


def bootstrap_counts(num_clips: int, resamples: int = RESAMPLES) -> Array:
    """How often each clip is taken in each of `resamples` draws with replacement, [R,N]."""
    return np.random.default_rng(SEED).multinomial(num_clips, np.full(num_clips, 1 / num_clips), resamples) * 1.0
