"""DTWp on clips whose answer is known by hand.

Once, on ten pairs of real clips written as .pose files, it gave the numbers of the toolkit to 3 parts in 10^10.
"""

import numpy as np
import pytest
from test_metrics import make_clip

from evaluation.clips import Clip
from evaluation.dtwp import AROUND, FILL, dtwp, signing_span
from poses import layout

FRAMES = 16


def standing(frames: int = FRAMES) -> np.ndarray:
    """A pose that stands still, its wrists above its elbows."""
    pose = np.repeat(make_clip(0, 1), frames, axis=0)
    points = layout.frame_to_keypoints(pose)
    points[:, [layout.LEFT_WRIST, layout.RIGHT_WRIST]] = (0.5, 0.3)
    points[:, [layout.LEFT_ELBOW, layout.RIGHT_ELBOW]] = (0.5, 0.6)
    return layout.keypoints_to_frame(points, pose[:, layout.NMM])


def test_it_is_the_root_of_summed_squares_in_pixels_and_not_a_mean_over_frames():
    pose = standing()
    moved = pose.copy()
    moved[:, layout.HANDS] += np.tile([0.003, 0.004], 2 * layout.NUM_HAND)
    moved[:, layout.BODY] += 0.1  # hands alone count
    assert dtwp(Clip.generated(pose), Clip.generated(pose)) == 0
    assert dtwp(Clip.generated(moved), Clip.generated(pose)) == pytest.approx(5 * np.sqrt(FRAMES))
    slow = np.repeat(pose, 2, axis=0)
    assert dtwp(Clip.generated(slow), Clip.generated(pose)) == 0


def test_a_hand_that_is_missing_lies_at_a_corner_of_the_picture():
    pose = standing()
    one_handed = pose.copy()
    one_handed[:, layout.LEFT_HAND] = 0
    points = 1000 * pose[0, layout.LEFT_HAND].reshape(-1, 2)
    apart = np.sqrt(((points - FILL) ** 2).sum(1) + FILL**2)
    expected = np.sqrt(FRAMES) * apart.sum() / (2 * layout.NUM_HAND)
    both, one_handed = Clip.generated(pose), Clip.generated(one_handed)
    assert dtwp(one_handed, both) == pytest.approx(expected)
    assert dtwp(both, one_handed) == pytest.approx(expected)
    assert dtwp(one_handed, one_handed) == 0


def test_what_lies_before_and_after_the_signing_is_cut_off():
    pose = standing(60)
    wrists = layout.keypoint_dims(np.array([layout.LEFT_WRIST, layout.RIGHT_WRIST]))
    for frames in (slice(0, 20), slice(40, 60)):
        pose[frames, wrists[1::2]] = 0.9  # below the elbows
        pose[frames, layout.HANDS] += 0.3
    clip = Clip.generated(pose)
    assert signing_span(clip) == slice(20 - AROUND, 40 + AROUND)
    assert signing_span(Clip.generated(standing())) == slice(0, FRAMES)
    lowered = standing()
    lowered[:, wrists[1::2]] = 0.9
    assert signing_span(Clip.generated(lowered)) == slice(0, FRAMES)
    clip.seen[:23, wrists[:2]] = clip.seen[36:, wrists[:2]] = False
    clip.seen[:, wrists[2:]] = False
    assert signing_span(clip) == slice(23, 36)  # no frame without the wrist
    assert np.isnan(dtwp(Clip.of_nothing(4), clip))
