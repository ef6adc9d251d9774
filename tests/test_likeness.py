"""Clips that are alike tell of mirrored videos, of one recording in two splits, and of texts of other clips."""

from collections.abc import Callable
from pathlib import Path

import commands
import numpy as np
import pytest
from made_up import write_clip

from poses import layout
from poses.interpolation import at_moments
from poses.likeness import Compared, Likeness, Words, of_one_recording, on_mirrors
from poses.motion import HAND_AND_WRIST

FRAMES, WORDS = 24, 12
SIDES = np.array([0.15, -0.15])  # of the left and the right, from the middle


def take(word: int, rng: np.random.Generator) -> np.ndarray:
    """Keypoints [T,75,2] of a word, which mostly the right hand signs, a little otherwise each time."""
    points = np.tile([0.5, 0.2], (FRAMES, layout.NUM_KEYPOINTS, 1))
    points[:, layout.SHOULDERS] = np.stack([0.5 + SIDES, [0.4, 0.4]], axis=1)
    shape, time = np.random.default_rng(word), np.linspace(0, 2 * np.pi, FRAMES)
    waves = np.stack([wave(times * time) for wave in (np.sin, np.cos) for times in (1, 2, 3)], axis=1)
    for side, (hand, wrist) in enumerate(HAND_AND_WRIST):
        moved = waves @ ((0.02 + 0.06 * side) * shape.normal(size=(6, 2)) + 0.02 * rng.normal(size=(6, 2)))
        points[:, wrist] = np.array([0.5 + SIDES[side], 0.6]) + moved
        points[:, hand] = points[:, [wrist]] + 0.02 * shape.normal(size=(layout.NUM_HAND, 2))
    return points


def in_mirror(points: np.ndarray) -> np.ndarray:
    """The same motion of a left-handed signer."""
    out = np.array([1, 0]) + points * [-1, 1]
    left, right = layout.HAND_KEYPOINTS.values()
    order = np.arange(layout.NUM_KEYPOINTS)
    order[left], order[right] = np.arange(layout.NUM_KEYPOINTS)[right], np.arange(layout.NUM_KEYPOINTS)[left]
    for one in (layout.LEFT_SHOULDER, layout.LEFT_WRIST):
        order[[one, one + 1]] = [one + 1, one]
    return out[:, order]


def pose_of(points: np.ndarray) -> np.ndarray:
    return layout.keypoints_to_frame(points, np.zeros((len(points), layout.NMM_DIM)))


def compare(split: str, **clips: list[np.ndarray]) -> tuple[str, Likeness, Compared]:
    """The clips of one of these splits, compared with train's; keypoints [T,75,2] of each clip."""
    found = Likeness()
    for name, some in clips.items():
        for number, points in enumerate(some):
            found.add(name, number, len(some), pose_of(points), np.ones((len(points), layout.POSE_DIM), bool))
    return split, found, found.compared(split)


def takes(count: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [take(word, rng) for word in ORDER[:count]]


ORDER = np.random.default_rng(0).integers(WORDS, size=120)  # a fixed order would only rename words that slip
TEXTS = [f"word {word}" for word in ORDER]


def test_right_handed_takes_are_not_mirrored():
    assert on_mirrors(*compare("train", train=takes(120, 0))) is None
    assert on_mirrors(*compare("dev", train=takes(120, 0), dev=takes(24, 1))) is None


def test_a_mirrored_split_is_told():
    dev = [in_mirror(points) for points in takes(24, 1)]
    told = on_mirrors(*compare("dev", train=takes(120, 0), dev=dev))
    assert "of the clips of dev are more like those of train once they are mirrored: videos" in told
    assert on_mirrors(*compare("dev", train=takes(120, 0), dev=dev[:9])) is None  # few clips tell nothing


def test_mirrored_clips_among_others_are_told():
    mixed = [in_mirror(points) if number % 10 < 3 else points for number, points in enumerate(takes(120, 0))]
    assert "of the clips of train are more like another one once they are mirrored" in on_mirrors(
        *compare("train", train=mixed)
    )


def test_a_mirrored_signer_is_named():
    signers = ["Anna" if number < 20 else "Ben" if number < 70 else "Cem" for number in range(120)]
    clips = [in_mirror(points) if who == "Anna" else points for who, points in zip(signers, takes(120, 0), strict=True)]
    assert on_mirrors(*compare("train", train=clips), signers).startswith("clips of Anna are more like those of other")
    assert on_mirrors(*compare("train", train=takes(120, 0)), signers) is None


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "cropped": lambda points: 0.8 * points + 0.1,
    "detected again": lambda points: points + 0.001 * np.random.default_rng(0).normal(size=points.shape),
    "at 30 frames per second": lambda points: at_moments(points, np.arange(28) * 23 / 27),
    "mirrored": in_mirror,
}


@pytest.mark.parametrize("name", CHANGES)
def test_one_recording_in_two_splits_is_told(name: str):
    train = takes(120, 0)
    dev = [*takes(10, 1), CHANGES[name](train[40])]
    assert of_one_recording(*compare("dev", train=train, dev=dev)) == [(10, 40)]


def test_words_that_share_all_but_a_letter_are_not_of_one_recording():
    train = takes(120, 0)
    other = train[40].copy()
    right = layout.RIGHT_HAND_KEYPOINTS
    other[10:13, right] += 0.05 * np.random.default_rng(0).normal(size=(1, layout.NUM_HAND, 2))
    assert of_one_recording(*compare("dev", train=train, dev=[other])) == []


def test_clips_without_fingers_are_not_told_to_be_of_one_recording():
    train = takes(120, 0)
    for points in train:
        for hand, wrist in HAND_AND_WRIST:
            points[:, hand] = points[:, [wrist]]
    assert of_one_recording(*compare("dev", train=train, dev=[CHANGES["cropped"](train[40])])) == []


@pytest.mark.parametrize("lines", [1, -1, 3])
@pytest.mark.parametrize("split", ["train", "dev"])
def test_words_whose_texts_slipped_are_told(split: str, lines: int):
    _, _, compared = compare(split, train=takes(120, 0), dev=takes(60, 1))
    own = TEXTS[: len(compared.number)]
    assert Words(split, own, TEXTS, compared).slipped() is None
    slipped = [own[(number + lines) % len(own)] for number in range(len(own))]
    assert Words(split, slipped, slipped if split == "train" else TEXTS, compared).slipped() == -lines


def test_words_with_the_texts_of_others_are_told():
    _, _, compared = compare("train", train=takes(120, 0))
    mixed = [*np.random.default_rng(0).permutation(TEXTS)]
    assert Words("train", mixed, mixed, compared).are_chance()
    assert Words("train", mixed, mixed, compared).slipped() is None
    assert not Words("train", TEXTS, TEXTS, compared).are_chance()
    sentences = [f"sentence {number}" for number in range(120)]
    assert not Words("train", sentences, sentences, compared).are_chance()


def test_clips_without_shoulders_tell_nothing():
    hidden = [np.where(np.isin(np.arange(75), layout.SHOULDERS)[:, None], 0.5, points) for points in takes(120, 0)]
    _, found, compared = compare("train", train=hidden)
    assert on_mirrors("train", found, compared) is None
    assert of_one_recording("train", found, compared) == []
    assert not Words("train", TEXTS, TEXTS, compared).are_chance()


def test_the_preparation_tells_it(tmp_path: Path, capsys: pytest.CaptureFixture):
    rng, train = np.random.default_rng(0), takes(120, 0)
    dev, test = [in_mirror(points) for points in takes(24, 1)], [*takes(11, 2), 0.8 * train[40] + 0.1]
    for split, clips in {"train": train, "dev": dev, "test": test}.items():
        for number, points in enumerate(clips):
            write_clip(tmp_path, split, f"{number:03}", FRAMES, rng, keypoints=points.astype(np.float32))
        lines = [f"{number:03}|{TEXTS[number - (split == 'train')]}\n" for number in range(len(clips))]
        (tmp_path / f"{split}.txt").write_text("".join(lines))
    commands.call("data_preparation", "--num_workers 0", D=tmp_path)
    said = capsys.readouterr().out
    assert "train: more clips are like the train clips of their text if each clip has the text 1 line below" in said
    assert "of the clips of dev are more like those of train once they are mirrored" in said
    assert "1 clips of test move just as clips of train do, such as test/011 and train/040: one recording" in said
    assert "of the clips of train are more like" not in said
