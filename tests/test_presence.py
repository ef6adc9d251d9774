"""Which hands are there: what counts as absence, and how it leaves and comes back as zeros."""

from pathlib import Path

import numpy as np
import pytest
from made_up import write_clip as write_made_up

from evaluation.clips import Clip
from poses import layout
from poses.figure import visible_points
from poses.files import read_clip
from poses.presence import (
    ARTICULATORS,
    NUM_ARTICULATORS,
    by_number,
    decoded_presence,
    presence,
    shown_numbers,
    steady,
    without_absent,
)
from poses.single_clips import read_single_clip
from poses.writing import write_clip


def runs(text: str) -> np.ndarray:
    """Presence [T,1] of a line of '#' (there) and '.' (absent)."""
    return np.array([[sign == "#"] for sign in text])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("##########", "##########"),
        ("##..#...##########", "##################"),  # short gaps, as a detector has them
        ("##......##", "##......##"),  # six frames: the hand was gone
        (".......##.......", "................"),  # two frames of something that is no hand
        ("......######......", "......######......"),
        ("##........", "##........"),  # at the ends a hand may just have left, or be about to come
        ("........##", "........##"),
        ("..##", "..##"),
        ("#", "#"),
    ],
)
def test_a_hand_comes_and_goes_without_flicker(given: str, expected: str):
    np.testing.assert_array_equal(steady(runs(given)), runs(expected))


def test_each_articulator_has_its_own_presence():
    seen = np.ones((8, layout.POSE_DIM), bool)
    seen[:, layout.LEFT_HAND] = False
    seen[:4, layout.RIGHT_HAND] = False
    assert presence(seen).tolist() == [[False, False, True]] * 4 + [[False, True, True]] * 4
    seen[:, layout.RIGHT_HAND] = True
    seen[:, layout.RIGHT_HAND.start : layout.RIGHT_HAND.start + 20] = False  # 22 of 42 numbers are left
    assert presence(seen)[:, 1].all()
    seen[:, layout.RIGHT_HAND.start + 20 : layout.RIGHT_HAND.start + 24] = False
    assert not presence(seen)[:, 1].any()
    seen[:, layout.NMM] = False
    seen[:, layout.HEAD_POSE] = True  # all that was measured of the face
    assert presence(seen)[:, 2].all()


def test_every_number_belongs_to_its_articulator_and_the_body_is_there():
    for index, place in enumerate(ARTICULATORS.values()):
        only = np.zeros((1, NUM_ARTICULATORS), bool)
        only[0, index] = True
        expected = np.zeros(layout.POSE_DIM, bool)
        expected[layout.BODY] = expected[place] = True
        np.testing.assert_array_equal(by_number(only)[0], expected)


def test_what_is_absent_is_zeros_and_is_read_as_unseen(data_dir: Path, tmp_path: Path):
    pose = read_single_clip(sorted((data_dir / "train" / "poses").glob("*.npz"))[0]).pose
    pose[pose == 0] = np.random.default_rng(0).uniform(0.3, 0.7, (pose == 0).sum())
    present = np.ones((len(pose), NUM_ARTICULATORS), bool)
    present[: len(pose) // 2, 0] = present[:, 2] = False
    clip = without_absent(pose, present)
    assert not clip[: len(pose) // 2, layout.LEFT_HAND].any()
    assert not clip[:, layout.NMM].any()
    np.testing.assert_array_equal(clip[by_number(present)], pose[by_number(present)])
    np.testing.assert_array_equal(shown_numbers(clip), by_number(present))
    for name in ("clip.npy", "clip.pose"):
        write_clip(tmp_path / name, clip, 25.0)
        read = read_single_clip(tmp_path / name)
        np.testing.assert_array_equal(read.seen, by_number(present), err_msg=name)
        np.testing.assert_allclose(read.pose[by_number(present)], clip[by_number(present)], atol=1e-4, err_msg=name)


def test_a_decoder_that_hesitates_does_not_flicker():
    probability = np.array([0.9] * 6 + [0.4, 0.6, 0.4] + [0.9] * 6)[:, None]
    assert decoded_presence(probability).all()


def test_a_file_is_shown_as_it_is_scored(data_dir: Path, tmp_path: Path):
    """One rule for pictures, pages and metrics: a hand in one point and keypoints at (0, 0) are absent for all."""
    pose = read_single_clip(sorted((data_dir / "train" / "poses").glob("*.npz"))[0]).pose
    pose[pose == 0] = 0.5
    pose[:3, layout.RIGHT_HAND] = 0.4  # in one point
    legs = slice(2 * layout.LEFT_HIP, layout.BODY.stop)
    pose[:, legs] = 0
    np.save(tmp_path / "clip.npy", pose)
    read, scored = read_single_clip(tmp_path / "clip.npy"), Clip.generated(pose)
    assert not read.seen[:3, layout.RIGHT_HAND].any()
    assert not read.seen[:, legs].any()
    drawn = np.isfinite(visible_points(pose, 1.0)).all(-1)
    np.testing.assert_array_equal(drawn, read.seen[:, : 2 * layout.NUM_KEYPOINTS : 2])
    np.testing.assert_array_equal(scored.seen[6:], read.seen[6:])  # a gap of three frames may be filled


@pytest.mark.parametrize("mark", [0.0, -1.0])
def test_a_face_is_absent_in_a_generated_clip_by_the_marks_of_a_data_set(mark: float, tmp_path: Path):
    rng = np.random.default_rng(0)
    write_made_up(tmp_path, "train", "a", 20, rng)
    real = read_clip(tmp_path, "train", "a")
    nmm = real.pose[:, layout.NMM].copy()
    nmm[8:15], nmm[:, slice(20, 24)] = mark, mark  # no face for seven frames, and gaze was never measured
    features = np.split(nmm, np.cumsum([part.stop - part.start for part in layout.FACE_SLICES])[:-1], axis=1)
    shapes = layout.NMM_FEATURES.items()
    arrays = {key: part.reshape(-1, *shape) for (key, shape), part in zip(shapes, features, strict=True)}
    write_made_up(tmp_path, "train", "a", 20, rng, keypoints=layout.frame_to_keypoints(real.pose), **arrays)
    pose = np.concatenate([real.pose[:, layout.MANUAL], nmm], axis=1)
    expected = np.ones(pose.shape, bool)
    expected[8:15, layout.NMM] = expected[:, layout.EYE_GAZE] = False
    for seen in (read_clip(tmp_path, "train", "a").seen, shown_numbers(pose), Clip.generated(pose).seen):
        np.testing.assert_array_equal(seen, expected)
