"""Whether hands and head pose of a split's clips show the same moments, and the same clips, as the bodies.

The body shows both motions, too: its wrists move with the hands' roots, and its nose and ears turn with the head pose.
Files of different sources may be cut at different frames, or be of different clips, without any error.
"""

from collections.abc import Iterator

import numpy as np

from poses import layout

MOST_LAG = 20  # frames by which the parts of a clip are shifted against each other
LEAST_LAG = 3  # frames: no two detectors see one motion so far apart (real clips: 0 to 1)
SAME = 0.4  # correlation of two signals that show one motion (real clips: 0.41 to 1)
OTHER = 0.15  # correlation, at any lag, of two signals that show different motions
ENOUGH_CLIPS = 5  # clips that move; fewer may correlate by chance
LEAST_MOTION = 0.02  # standard deviation in a clip, shoulder widths or radians: less is a detector's noise

HEAD = "head pose"
ANGLES = ("yaw", "pitch", "roll")
_WRISTS = {"left": layout.LEFT_WRIST, "right": layout.RIGHT_WRIST}
_ROOTS = {side: hand.start + layout.HAND_ROOT for side, hand in layout.HAND_KEYPOINTS.items()}
_HEAD_ROLLS = ((layout.LEFT_EYE_OUTER, layout.RIGHT_EYE_OUTER), (layout.LEFT_EAR, layout.RIGHT_EAR))
_LAGS = np.arange(-MOST_LAG, MOST_LAG + 1)


class Timing:
    """Clips of one split are added one by one; memory does not grow."""

    def __init__(self) -> None:
        # By part: the products of the body's N signals and the part's N at each lag, and the energies of both.
        self._products = {name: np.zeros((len(_LAGS), size, size)) for name, size in _PARTS.items()}
        self._energy = {name: np.zeros((2, size, size)) for name, size in _PARTS.items()}
        self._clips = dict.fromkeys(_PARTS, 0)

    def add(self, pose: np.ndarray, seen: np.ndarray) -> None:
        """pose [T,214], seen [T,214] bool."""
        points, known = layout.frame_to_keypoints(pose), layout.frame_to_keypoints(seen)[..., 0]
        both = known[:, layout.LEFT_SHOULDER] & known[:, layout.RIGHT_SHOULDER]
        across = points[both, layout.LEFT_SHOULDER] - points[both, layout.RIGHT_SHOULDER]
        width = float(np.hypot(*across.T).mean()) if both.any() else 0.0
        if width == 0:
            return
        for side in layout.HAND_KEYPOINTS:
            wrist, root = _WRISTS[side], _ROOTS[side]
            shown = (known[:, wrist] & known[:, root])[:, None]
            self._add(f"{side} hand", *(np.where(shown, points[:, place] / width, np.nan) for place in (wrist, root)))
        turned = np.where(seen[:, layout.HEAD_POSE], pose[:, layout.HEAD_POSE], np.nan)
        self._add(HEAD, head_turns(points, known) / [width, width, 1.0], turned)

    def _add(self, part: str, body: np.ndarray, own: np.ndarray) -> None:
        """body, own [T,N]: signals that show one motion, NaN where unseen."""
        centred, moves = [], True
        for signals in (body, own):
            known = np.isfinite(signals)
            count = np.maximum(known.sum(0), 1)
            signals = np.where(known, signals, 0.0)
            signals = np.where(known, signals - signals.sum(0) / count, 0.0)
            moves &= bool((np.sqrt((signals**2).sum(0) / count) > LEAST_MOTION).any())
            centred.append(signals)
        if not moves:
            return
        length = 1 << (len(body) + MOST_LAG).bit_length()  # quick to transform
        first, second = (np.fft.rfft(signals, length, axis=0) for signals in centred)
        product = np.fft.irfft(np.conj(first)[:, :, None] * second[:, None], length, axis=0)
        self._products[part] += product[_LAGS % length]
        self._energy[part] += [np.broadcast_to((s**2).sum(0), product.shape[1:]) for s in centred]
        self._clips[part] += 1

    def correlations(self, part: str) -> np.ndarray:
        """How a part's signals correlate with the body's [lags,N,N]: [.., n, m] of the body's n with the part's m."""
        body, own = self._energy[part]
        scale = np.sqrt(body.T * own)
        return np.divide(self._products[part], scale, out=np.full(self._products[part].shape, np.nan), where=scale > 0)

    def notes(self) -> Iterator[str]:
        """A note on each part that is not of the body's moment, or not of its clip."""
        for part, clips in self._clips.items():
            correlations = self.correlations(part)
            own = np.diagonal(correlations, axis1=1, axis2=2)  # [lags,N]
            if clips < ENOUGH_CLIPS or np.isnan(own).all():
                continue
            by_lag = np.nanmean(own, axis=1)
            best = int(by_lag.argmax())
            lag, at_best, at_once = int(_LAGS[best]), by_lag[best], by_lag[MOST_LAG]
            source = "the keypoints' head" if part == HEAD else "the body's wrist"
            turned = list(_turned_otherwise(correlations[MOST_LAG])) if part == HEAD else []
            if at_best >= SAME and abs(lag) >= LEAST_LAG:
                yield (
                    f"the {part} moves {abs(lag)} frames {'after' if lag > 0 else 'before'} {source} (correlation "
                    f"{at_best:.2f}, {at_once:.2f} without a shift): were their files cut at different frames?"
                )
            elif turned:
                yield (
                    f"the {part} does not turn as {source} does (correlation of {', '.join(turned)}): are its angles "
                    "yaw, pitch and roll, do they grow as docs/data.md says, and does time run the same way?"
                )
            elif at_best < OTHER:
                yield (
                    f"the {part} does not move as {source} does (correlation {at_once:.2f}): is it of other clips, or "
                    "of another order of time?"
                )


_PARTS = {**{f"{side} hand": 2 for side in layout.HAND_KEYPOINTS}, HEAD: len(ANGLES)}


def head_turns(points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """How the head turns, [T,3], from points [T,75,2], known [T,75]; NaN where unseen.

    The nose's distance from the ears' middle to the side and downwards, in image units, and the angle of the eyes or
    ears, in radians.
    """
    ears = points[:, [layout.LEFT_EAR, layout.RIGHT_EAR]].mean(1)
    faces = known[:, [layout.NOSE, layout.LEFT_EAR, layout.RIGHT_EAR]].all(1)
    roll = np.full(len(points), np.nan)
    for left, right in _HEAD_ROLLS:
        both = known[:, left] & known[:, right] & np.isnan(roll)
        across = points[both, left] - points[both, right]
        roll[both] = np.arctan2(across[:, 1], across[:, 0])
    return np.column_stack([np.where(faces[:, None], points[:, layout.NOSE] - ears, np.nan), roll])


def _turned_otherwise(correlations: np.ndarray) -> Iterator[str]:
    """The angles that go against the body's angle, or with another angle of the body; correlations [3,3]."""
    for index, (name, row) in enumerate(zip(ANGLES, correlations, strict=True)):
        own, others = row[index], np.abs(np.delete(row, index))
        if own <= -SAME or (own < OTHER and np.nanmax(others, initial=0.0) > SAME + OTHER):
            yield f"{name} {own:.2f}"
