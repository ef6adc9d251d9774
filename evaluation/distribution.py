"""Metrics of clips together: the Fréchet distance in latent space, and the diversity of clips of one text."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from evaluation.clips import Array, Clip, Scores
from evaluation.recognition import sign_distances
from poses.texts import says_something, text_key
from runtime.processes import shared_map

LATENTS = ("latents", "latents_clip", "reference_latents", "reference_latents_clip")  # values of `latent_scores`
BLOCK = 64  # clips whose second moments are held at once
LARGE_GROUP = 64  # clips of one text; the processes share the pairs of a larger group, and smaller ones as wholes


def moments(z: Array, clip: Array, counts: Array) -> tuple[Array, Array]:
    """Means [R,D] and covariances [R,D,D] of latents z [n,D], in R draws that take each clip counts [R,N] times.

    clip [n] says, in ascending order, which clip a latent is of. A draw's moments are sums of the clips' own moments,
    so R draws cost little more than one.
    """
    num_clips, dim = counts.shape[1], z.shape[1]
    z = z.astype(np.float64)
    centre = z.mean(0)  # sums of squares about it lose no digits
    z = z - centre
    bounds = np.searchsorted(clip, np.arange(num_clips + 1))
    sums = np.stack([z[start:stop].sum(0) for start, stop in pairwise(bounds)])  # [N,D]
    squares = np.zeros((len(counts), dim * dim))
    for first in range(0, num_clips, BLOCK):
        edges = bounds[first : first + BLOCK + 1]
        own = np.stack([(z[start:stop].T @ z[start:stop]).ravel() for start, stop in pairwise(edges)])
        squares += counts[:, first : first + BLOCK] @ own
    total = (counts @ np.diff(bounds))[:, None]  # [R,1]
    mean = counts @ sums / total
    covariance = squares.reshape(-1, dim, dim)
    covariance -= total[..., None] * mean[:, :, None] * mean[:, None, :]
    covariance /= np.maximum(total[..., None] - 1, 1)
    return centre + mean, covariance


def frechet_distance(a: tuple[Array, Array], b: tuple[Array, Array]) -> float:
    """|m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) of means [D] and covariances [D,D] (Heusel et al. 2017).

    The trace of the root is that of the symmetric (A C_b A)^(1/2) with A = C_a^(1/2), so eigenvalues of symmetric
    matrices suffice, and a covariance of too few samples (of less than full rank) needs no offset.
    """
    from scipy.linalg import eigh  # here, so that visualize.py, which reads the list of metrics, starts faster

    values, vectors = eigh(a[1], driver="evd")
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(eigh(root @ b[1] @ root, eigvals_only=True, driver="evd").clip(min=0)).sum()
    distance = ((a[0] - b[0]) ** 2).sum() + np.trace(a[1]) + np.trace(b[1]) - 2 * cross
    return float(max(0.0, distance))


def latent_scores(latents: Sequence[Array], reference_latents: Sequence[Array]) -> Scores:
    """The values of `frechet`: every latent of every clip [n,D], and the number of its clip [n].

    It uses single latents, not means over clips: 107 clips would give 107 means for 32 and more dimensions, but they
    have eight times as many latents, and a mean hides whether a clip moves. A latent of stride s > 1 covers s frames,
    so it contains motion, too. With few clips the distance is biased upwards: read it beside random_clip.
    """
    scores = {}
    for name, clips in (("latents", latents), ("reference_latents", reference_latents)):
        scores[name] = np.concatenate(clips)
        scores[f"{name}_clip"] = np.repeat(np.arange(len(clips)), [len(z) for z in clips])
    return scores


def spread(clips: Sequence[Clip], texts: Sequence[str], num_workers: int = 0) -> Array:
    """Mean sign distance of each clip to the other clips of its text, [N].

    NaN where there is no text, where no other clip has it, or where nothing can be compared.
    """
    of_text: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        if says_something(text):
            of_text.setdefault(text_key(text), []).append(index)
    groups = [members for members in of_text.values() if len(members) > 1]
    large = [members for members in groups if len(members) > LARGE_GROUP]
    small = [members for members in groups if len(members) <= LARGE_GROUP]
    values = np.full(len(clips), np.nan)
    for members in large:
        values[members] = _to_others([clips[index] for index in members], num_workers)
    tasks = ([clips[index] for index in members] for members in small)
    for members, means in zip(small, shared_map(_to_others, tasks, num_workers), strict=True):
        values[members] = means
    return values


def _to_others(clips: Sequence[Clip], num_workers: int = 0) -> Array:
    """Mean sign distance of each clip to the others, [N], NaN where none is comparable."""
    distances = sign_distances(clips, clips, num_workers)
    known = np.isfinite(distances) & ~np.eye(len(clips), dtype=bool)
    count = known.sum(1)
    total = np.where(known, distances, 0.0).sum(1)
    return np.divide(total, count, out=np.full(len(clips), np.nan), where=count > 0)
