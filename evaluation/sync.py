"""Synchrony of hands and face: correlation and lag of their motion energies, and what chance gives.

Clips are smoothed before their energies are taken. A detector's noise is most of the motion from frame to frame of a
real face, and is unrelated to the motion of the hands: unsmoothed, the calmer clip seems the more synchronous one.
"""

import math
from collections.abc import Sequence

import numpy as np

from evaluation.clips import Array, Clip
from poses import layout
from poses.motion import face_energy, hand_energy, mean_where, smoothed

MAX_LAG = 10  # frames
BLURRED = 4  # energies left out at each end: smoothing repeats the end frames, so hands and face would move together
NULL_SHUFFLES = 20  # of a clip's face in time, for what sync metrics give by chance


def nmm_scale(references: Sequence[Clip]) -> Array:
    """Standard deviation of each NMM number over the references' seen frames, [64]: the unit of `face_energy`."""
    numbers = np.concatenate([reference.pose[:, layout.NMM] for reference in references]).astype(np.float64)
    seen = np.concatenate([reference.seen[:, layout.NMM] for reference in references])
    mean = mean_where(numbers, seen, axis=0)
    deviation = numbers - mean
    scale = np.sqrt(np.nan_to_num(mean_where(deviation**2, seen, axis=0)))
    constant = scale <= 1e-6 * np.nan_to_num(np.abs(mean))  # rounding is no motion
    return np.where(constant, 0.0, scale)


def smooth_energies(clip: Clip, scale: Array) -> tuple[Array, Array]:
    """Motion energies of hands and face of a clip that is smoothed, both [N]; scale [64]: of `nmm_scale`.

    N is T-1 without BLURRED at each end, or without a sixth of a short clip.
    """
    pose = smoothed(clip.filled())
    end = min(BLURRED, (len(pose) - 1) // 6)
    kept = slice(end, max(0, len(pose) - 1 - end))
    return hand_energy(pose, clip.seen)[kept], face_energy(pose, clip.seen, scale)[kept]


def _centred(hands: Array, face: Array) -> tuple[Array, Array] | None:
    """Both signals minus their means, 0 where either is unknown; None where one is constant or too short to tell."""
    known = np.isfinite(hands) & np.isfinite(face)
    if known.sum() < 3:
        return None
    centred = []
    for signal in (hands, face):
        if signal[known].std() <= 1e-6 * np.abs(signal[known]).max():
            return None
        centred.append(np.where(known, signal - signal[known].mean(), 0.0))
    return centred[0], centred[1]


def sync_correlation(hands: Array, face: Array) -> float | None:
    """Pearson correlation of two energies [T-1]; None where one of them is constant."""
    signals = _centred(hands, face)
    if signals is None:
        return None
    hands, face = signals
    return float(hands @ face / math.sqrt((hands @ hands) * (face @ face)))


def sync_lag(hands: Array, face: Array, max_lag: int = MAX_LAG) -> int | None:
    """|lag|, frames, within ±max_lag, that maximises the cross-correlation of two energies; None if one is constant."""
    signals = _centred(hands, face)
    if signals is None:
        return None
    hands, face = signals
    centre = len(hands) - 1
    correlation = np.correlate(face, hands, mode="full")  # of lags -centre..centre
    lags = sorted(range(-min(max_lag, centre), min(max_lag, centre) + 1), key=abs)
    return abs(max(lags, key=lambda lag: correlation[centre + lag]))  # of equal ones the least


def sync_null(hands: Array, face: Array) -> tuple[float, float]:
    """Mean correlation and lag of the hands with the face shuffled in time: what no synchrony at all would score."""
    rng = np.random.default_rng(0)
    shuffled = [(hands, rng.permutation(face)) for _ in range(NULL_SHUFFLES)]
    correlations = np.array([sync_correlation(*pair) for pair in shuffled], np.float64)
    lags = np.array([sync_lag(*pair) for pair in shuffled], np.float64)
    return tuple(float(mean_where(values, np.isfinite(values))) for values in (correlations, lags))


def with_reference_face(prediction: Clip, reference: Clip, scale: Array) -> tuple[Clip, Array]:
    """The prediction and the scale [64] of the face's numbers, so that its face energy is of its reference's numbers.

    Numbers that the reference lacks get scale 0. Numbers that only the prediction lacks stand still in it, as an absent
    hand does.
    """
    in_reference = reference.seen[:, layout.NMM].any(0)
    lacking = in_reference & ~prediction.seen[:, layout.NMM].any(0)
    if lacking.any() and prediction.seen.any():
        pose, seen = prediction.pose.copy(), prediction.seen.copy()
        pose[:, layout.NMM][:, lacking] = 0.0
        face_seen = seen[:, layout.NMM].any(1, keepdims=True)
        seen[:, layout.NMM] |= lacking & (face_seen | ~face_seen.any())  # a face that is never seen stands still
        prediction = Clip(pose, seen)
    return prediction, np.where(in_reference, scale, 0.0)


def sync_scores(prediction: Clip, reference: Clip, scale: Array) -> dict[str, object]:
    """Correlation and lag of a clip, of its reference, and of the clip with its face shuffled in time, [3] each; and
    the faces' mean energies [2], times the reference's frames. scale [64]: of `nmm_scale`."""
    prediction, scale = with_reference_face(prediction, reference, scale)
    energies = [smooth_energies(clip, scale) for clip in (prediction, reference)]
    null_correlation, null_lag = sync_null(*energies[0])
    face_speeds = [float(mean_where(face, np.isfinite(face))) for _, face in energies]
    if len(prediction.pose) == 1 and prediction.seen.any():
        face_speeds[0] = 0.0  # a picture stands still
    return {
        "sync_correlation": [*(sync_correlation(*pair) for pair in energies), null_correlation],
        "sync_lag": [*(sync_lag(*pair) for pair in energies), null_lag],
        "face_speeds": len(reference.pose) * np.array(face_speeds),
    }
