"""Bones, hands and copies: clips that break one of them, and only that figure says so."""

from pathlib import Path

import numpy as np
import pytest
from test_metrics import make_clip

from evaluation import naturalness, recognition
from evaluation.clips import Clip, Reference, clip_of
from poses import layout
from poses.motion import HAND_AND_WRIST
from poses.pack import Pack, write_pack


def make_signer(seed: int, frames: int = 30) -> np.ndarray:
    """A clip [T,214] whose arms move while every bone of a hand keeps its length and the hands stay on the wrists."""
    pose = make_clip(seed, frames)
    points = layout.frame_to_keypoints(pose).copy()
    shape = np.random.default_rng(99).normal(scale=0.02, size=(layout.NUM_HAND, 2))
    shape[layout.HAND_ROOT] = 0
    for hand, wrist in HAND_AND_WRIST:
        points[:, hand] = points[:, wrist, None] + shape
    return layout.keypoints_to_frame(points, pose[:, layout.NMM])


def make_pack(folder: Path, count: int = 8) -> Pack:
    clips = [make_signer(n) for n in range(count)]
    return write_pack(
        folder / "pack",
        ((str(n), "a", {"pose": np.float32(c), "seen": np.ones(c.shape, np.uint8)}) for n, c in enumerate(clips)),
    )


def make_references(count: int = 40) -> list[Reference]:
    clips = [make_signer(100 + n) for n in range(count)]
    return [Reference(clip, np.ones(clip.shape, bool), str(n), "a") for n, clip in enumerate(clips)]


def without(pose: np.ndarray, *dims: slice) -> Clip:
    """The clip as if it had never seen these numbers."""
    clip = Clip.generated(pose)
    for part in dims:
        clip.seen[:, part] = False
    return clip


def test_stiff_bones_do_not_vary_and_stretched_ones_do():
    pose = make_signer(0)
    hand = without(pose, layout.BODY, layout.RIGHT_HAND)
    assert naturalness.bone_length_variation(hand, hand) == pytest.approx(0, abs=1e-9)
    points = layout.frame_to_keypoints(pose).copy()
    scale = np.where(np.arange(len(points)) % 2, 1.1, 0.9)[:, None, None]
    points[:, layout.LEFT_HAND_KEYPOINTS] *= scale
    stretched = without(layout.keypoints_to_frame(points, pose[:, layout.NMM]), layout.BODY, layout.RIGHT_HAND)
    assert naturalness.bone_length_variation(stretched, hand) == pytest.approx(0.1)
    both = without(stretched.pose, layout.BODY)  # the right hand is stiff
    assert naturalness.bone_length_variation(both, hand) == pytest.approx(0.05)
    both.seen[10:, layout.LEFT_HAND] = False  # and shown in three times as many frames
    assert naturalness.bone_length_variation(both, hand) == pytest.approx(0.025)
    assert np.isnan(naturalness.bone_length_variation(without(pose, layout.MANUAL), hand))


def test_where_train_has_no_hand_nothing_says_which_hand_is_plausible(tmp_path):
    clip = make_references(1)[0]
    assert np.isfinite(naturalness.implausible_hands(clip, naturalness.hand_limits(make_pack(tmp_path))))
    assert np.isnan(naturalness.implausible_hands(clip, np.full(2, np.inf)))


def test_a_hand_off_its_arm_is_implausible_and_one_never_seen_is_not(tmp_path):
    limits = naturalness.hand_limits(make_pack(tmp_path))
    pose = make_signer(50)

    def share(clip: np.ndarray, *never_seen: slice) -> float:
        return naturalness.implausible_hands(without(clip, *never_seen), limits)

    assert share(pose) == 0
    away = pose.copy()
    away[:15, layout.LEFT_HAND] += 0.3
    assert share(away) == 0.5
    large = pose.copy()
    points = layout.frame_to_keypoints(large).copy()
    points[:, layout.RIGHT_HAND_KEYPOINTS] += 2 * (
        points[:, layout.RIGHT_HAND_KEYPOINTS] - points[:, [layout.RIGHT_WRIST]]
    )
    large = layout.keypoints_to_frame(points, pose[:, layout.NMM])
    assert share(large) == 1
    assert share(away, layout.LEFT_HAND) == 0
    assert np.isnan(share(away, layout.HANDS))


def test_copies_are_found_and_real_clips_score_the_stated_share(tmp_path):
    train, references = make_pack(tmp_path), make_references()
    frames = naturalness.TrainFrames(train, references)
    scores = frames.scores(frames.real_distances)
    assert scores["copied_frames"].mean() == pytest.approx(naturalness.COPY_QUANTILE, abs=0.005)
    assert scores["train_distances"].mean() > 0.01  # in shoulder widths
    copy = np.array(train.field("pose", 3))
    moved = copy.copy()
    moved[:, layout.MANUAL] = moved[:, layout.MANUAL] * 1.5 + 0.1  # nearer the camera, elsewhere
    half = np.concatenate([copy[:15], make_signer(200, 15)])
    made = [Clip.generated(pose) for pose in (copy, moved, half)]
    scores = frames.scores(frames.nearest_distances(made + references[3:]))
    assert scores["copied_frames"][:3] == pytest.approx([1, 1, 0.5])
    assert scores["train_distances"][0, 0] == pytest.approx(0, abs=1e-3)


def test_every_train_frame_is_looked_at_however_many_there_are(tmp_path, monkeypatch: pytest.MonkeyPatch):
    train, references = make_pack(tmp_path), make_references()
    kept = naturalness.TrainFrames(train, references)
    monkeypatch.setattr(naturalness, "KEPT_FRAMES", 1)
    monkeypatch.setattr(naturalness, "PART_FRAMES", 50)
    read = naturalness.TrainFrames(train, references)
    assert len(read.places) > 1
    assert [index for clips in read.places for index in clips] == list(range(len(train)))
    np.testing.assert_allclose(np.concatenate(read.real_distances), np.concatenate(kept.real_distances), rtol=1e-6)
    clips = [Clip.generated(np.array(train.field("pose", n % len(train)))) for n in range(len(references))]
    assert (read.scores(read.nearest_distances(clips))["copied_frames"] == 1).all()


def test_the_nearest_frame_is_that_of_plain_distances(tmp_path):
    train, clip = make_pack(tmp_path), without(make_signer(300), layout.LEFT_HAND)
    (found,) = naturalness.TrainFrames(train, make_references(2)).nearest_distances([clip])
    points, _, known, _ = recognition.arms_and_hands(clip)
    gallery = np.concatenate([recognition.arms_and_hands(clip_of(train, i)).points for i in range(len(train))])
    chosen = np.linspace(0, len(points) - 1, naturalness.COPY_FRAMES).round().astype(int)
    assert known.all()  # the left hand is at its wrist
    for frame, distance in zip(chosen, found, strict=True):
        plain = np.sqrt(((gallery - points[frame]) ** 2).sum(-1).mean(1)).min()
        assert distance == pytest.approx(plain, rel=1e-3)


def test_a_copy_among_frames_that_hardly_differ_has_no_distance(tmp_path):
    """They differ by less than the product of all frames is rounded by."""
    clip, rng = make_signer(0), np.random.default_rng(0)
    takes = [np.float32(clip + 1e-6 * rng.normal(size=clip.shape)) for _ in range(4)]
    named = ((str(n), "a", {"pose": take, "seen": np.ones(take.shape, np.uint8)}) for n, take in enumerate(takes))
    train = write_pack(tmp_path / "pack", named)
    copies = [clip_of(train, index) for index in range(len(train))]
    for found in naturalness.TrainFrames(train, copies).real_distances:
        assert not found.any()
