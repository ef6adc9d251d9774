"""DTWp: dynamic time warping of each keypoint of the hands, as the toolkit pose-evaluation computes it.

Of the automatic figures of Jiang et al. (2025, "Meaningful Pose-Based Sign Language Evaluation") it is one of the two
that agree best with the judgement of Deaf signers; the other is the likelihood of the text that is read back. The
numbers are those that the toolkit gives for clips which `--format pose` writes, so they are comparable with others'.
"""

from collections.abc import Iterator

import numpy as np
from dtaidistance import dtw_ndim

from evaluation.clips import Array, Clip
from poses import layout
from poses.motion import keypoints_seen
from poses.writing import IMAGE_SIZE

FILL = 10.0  # x, y and depth, pixels, of a keypoint that is not there; all others have the depth 0
AROUND = 5  # frames kept before a hand is raised and after it is lowered

_ARMS = ((layout.LEFT_WRIST, layout.LEFT_ELBOW), (layout.RIGHT_WRIST, layout.RIGHT_ELBOW))


def signing_span(clip: Clip) -> slice:
    """The frames in which a wrist is above its elbow, from the first to the last, and AROUND more at both ends.

    An arm adds no frame before the first or after the last that sees its wrist. If no wrist is ever above its elbow:
    all frames.
    """
    y, seen = layout.frame_to_keypoints(clip.pose)[..., 1], keypoints_seen(clip.seen)
    spans = []
    for wrist, elbow in _ARMS:
        raised = np.flatnonzero(seen[:, wrist] & seen[:, elbow] & (y[:, wrist] < y[:, elbow]))
        if len(raised):
            shown = np.flatnonzero(seen[:, wrist])
            spans.append((max(shown[0], raised[0] - AROUND), min(shown[-1] + 1, raised[-1] + 1 + AROUND)))
    starts, stops = zip(*spans, strict=True) if spans else ([0], [len(y)])
    return slice(int(min(starts)), int(max(stops)))


def _trajectories(clip: Clip) -> Iterator[Array]:
    """Each keypoint of the hands, [T',3], in pixels."""
    clip = clip[signing_span(clip)]
    points = layout.frame_to_keypoints(clip.pose)[:, layout.NUM_BODY :] * np.array(IMAGE_SIZE, np.float64)
    points = np.pad(points, ((0, 0), (0, 0), (0, 1)))
    points[~keypoints_seen(clip.seen)[:, layout.NUM_BODY :]] = FILL
    return iter(np.ascontiguousarray(points.transpose(1, 0, 2)))


def dtwp(prediction: Clip, reference: Clip) -> float:
    """The mean over the keypoints of both hands of their DTW distance: the root of the least sum of squared distances,
    in pixels of a picture of IMAGE_SIZE, not divided by the path's length. NaN where a clip saw nothing."""
    if not prediction.seen.any() or not reference.seen.any():
        return np.nan
    distances = []
    for a, b in zip(_trajectories(prediction), _trajectories(reference), strict=True):
        lacking = (a[:, 2] == FILL).all() and (b[:, 2] == FILL).all()
        distances.append(0.0 if lacking else dtw_ndim.distance_fast(a, b))
    return float(np.mean(distances))
