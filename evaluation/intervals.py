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
# All n clips lie on one side of the middle of what they are drawn from with a probability of 2^(1-n). So resamples of
# five clips, which never leave their range, miss it more than once in 20 times.
LEAST_CLIPS = 6


@dataclass(frozen=True)
class Estimate:
    """A metric as a function of which clips are drawn.

    at: the metric of each of R draws, [R], NaN where undefined; given counts [R,N], how often a draw takes each clip.
    num_clips: how many clips have a value of it.
    centred: the interval is the metric ± `deviations` of the resamples. The default is their percentiles, which do not
    suit a distance between distributions, since resampling can only enlarge it.
    lowest: the metric's least possible value, below which no interval reaches.
    groups [N]: the number of each clip's group, -1 for none. The interval is then over groups, drawn as wholes.
    """

    at: Callable[[Array], Array]
    num_clips: int
    resamples: int = RESAMPLES
    centred: bool = False
    lowest: float = -math.inf
    groups: Array | None = None

    def of_all(self, num_clips: int) -> float:
        """The metric of all clips, each taken once."""
        return float(self.at(np.ones((1, num_clips)))[0])

    def with_interval(self, counts: Array) -> tuple[float | None, ...]:
        """The metric of all clips, and its interval from resamples `counts`; None where undefined.

        A metric that fewer than LEAST_CLIPS clips or groups define has no interval.
        """
        value = self.of_all(counts.shape[1])
        if not math.isfinite(value):
            return None, None, None
        num_drawn = self.num_clips if self.groups is None else self.groups.max() + 1
        if num_drawn < LEAST_CLIPS:
            return value, None, None
        counts = counts[: self.resamples]
        if self.groups is not None:
            counts = np.where(self.groups < 0, 0.0, bootstrap_counts(num_drawn, len(counts))[:, self.groups])
        samples, width = self.at(counts), deviations(num_drawn)
        samples = samples[np.isfinite(samples)]
        low, high = np.percentile(samples, _percentiles(width)).tolist()
        if self.centred:
            low, high = (value + sign * width * float(samples.std()) for sign in (-1, 1))
        return value, max(self.lowest, low), high


def deviations(num_drawn: int) -> float:
    """Standard deviations of the resamples of so many clips from a metric to the end of its interval.

    1.96 of many. Resamples of few clips vary less than other clips would: Student's t allows for it, and so does the
    factor (Hesterberg 2015, "What Teachers Should Know About the Bootstrap").
    """
    from scipy.special import stdtrit  # here: visualize.py reads the list of metrics, and starts faster

    return float(stdtrit(num_drawn - 1, 0.975)) * math.sqrt(num_drawn / (num_drawn - 1))


def _percentiles(width: float) -> tuple[float, float]:
    """The percentiles of a normal distribution so many standard deviations from its middle."""
    tail = 50 * math.erfc(width / math.sqrt(2))
    return tail, 100 - tail


def from_sums(statistics: Array, formula: Callable[[Array], Array]) -> Estimate:
    """`formula` [R,K] -> [R] of the sums over clips of `statistics` [N,K]."""
    return Estimate(lambda counts: formula(counts @ statistics), int(np.isfinite(formula(statistics)).sum()))


def bootstrap_counts(num_clips: int, resamples: int = RESAMPLES) -> Array:
    """How often each clip is taken in each of `resamples` draws with replacement, [R,N]."""
    return np.random.default_rng(SEED).multinomial(num_clips, np.full(num_clips, 1 / num_clips), resamples) * 1.0
