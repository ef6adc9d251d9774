"""How the values of clips become a metric: means, ratios, corpus BLEU and chrF, the Fréchet distance.

`registry.py` says which metric has which formula. The text metrics' counts come from `text_metrics.py`. The formulas
are here, because that file imports the field's packages, which take seconds to load, and reading a report needs none.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from evaluation.clips import Array
from evaluation.distribution import frechet_distance, moments
from evaluation.intervals import Estimate, from_sums

FRECHET_RESAMPLES = 200  # each needs the root of a matrix


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
    """`ratio_of` the first two columns of values [N,3], with an interval over texts, numbered by the third column.

    For distances between the clips of a text: two clips share a distance, so they are not two independent draws.
    """
    groups = np.full(len(values), -1)
    known = np.isfinite(values).all(1)
    groups[known] = np.unique(values[known, 2], return_inverse=True)[1]
    return dataclasses.replace(ratio_of(values[:, :2]), groups=groups if known.any() else None)


def bleu_of(order: int) -> Callable[[Array], Estimate]:
    return lambda counts: from_sums(counts, bleu_formula(order))


def bleu_formula(order: int) -> Callable[[Array], Array]:
    """Corpus BLEU of n-grams up to `order` (Papineni et al. 2002, no smoothing) from sums [R,12].

    Columns: for n = 1..4 the n-grams in common, those of the hypothesis, those of the reference. NaN if no reference
    has `order` words: single words have no BLEU-4, which is not a BLEU-4 of 0.
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

    num_clips = len(np.unique(clip))
    return Estimate(at, num_clips, FRECHET_RESAMPLES, centred=True, lowest=0.0)
