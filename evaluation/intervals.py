"""The 95 % interval of a metric over clips, by bootstrap. `formulas.py` has the metrics' formulas.

Almost every metric is a formula of sums over clips: a mean is a sum over a count, a corpus BLEU a formula of counts of
n-grams. So a bootstrap is one matrix product, counts [R,N] of R resamples by statistics [N,K] of N clips. The same
resamples serve both sides of a comparison, which makes its intervals paired.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluation.clips import Array

RESAMPLES, SEED = 1000, 0
LEVEL = (2.5, 97.5)  # percentiles
# Share of resamples. A metric that one clip defines is defined in at most 0.75 of them; if two define it, in 0.86 or
# more.
LEAST_DEFINED = 0.8


@dataclass(frozen=True)
class Estimate:
    """A metric as a function of which clips are drawn.

    at: the metric of each of R draws, [R], NaN where undefined; given counts [R,N], how often a draw takes each clip.
    centred: the interval is the metric ± 1.96 standard deviations of the resamples. The default is their percentiles,
    which do not suit a distance between distributions, since resampling can only enlarge it.
    lowest: the metric's least possible value, below which no interval reaches.
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


def bootstrap_counts(num_clips: int, resamples: int = RESAMPLES) -> Array:
    """How often each clip is taken in each of `resamples` draws with replacement, [R,N]."""
    return np.random.default_rng(SEED).multinomial(num_clips, np.full(num_clips, 1 / num_clips), resamples) * 1.0
