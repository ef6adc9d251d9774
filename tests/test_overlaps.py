"""Clips of two splits that were cut from one recording and overlap are told; words of the same letters are not."""

from pathlib import Path

import commands
import numpy as np
import pytest
from made_up import write_clip

from importers import spelling
from poses import layout
from poses.holistic import read_pose_file
from poses.overlaps import EDGE, LEAST_REPORTED, Overlaps

LONG = 150  # frames of a recording, which clips are cut from


@pytest.fixture(scope="module")
def recording() -> tuple[np.ndarray, np.ndarray]:
    """Real letters, one after the other: pose [T,214] and seen [T,214]."""
    letters = [read_pose_file(path) for path in sorted((spelling.find_lexicon() / "ase").glob("*.pose"))[:8]]
    keypoints, visibility, nmm = (
        np.concatenate([getattr(letter, name) for letter in letters])[:LONG]
        for name in ("keypoints", "visibility", "nmm")
    )
    seen = np.concatenate([np.repeat(visibility > 0, 2, axis=1), np.isfinite(nmm)], axis=1)
    return layout.keypoints_to_frame(keypoints, np.nan_to_num(nmm)), seen


def pairs(recording: tuple[np.ndarray, np.ndarray], *cuts: slice) -> list[tuple[int, int, int]]:
    found = Overlaps()
    for cut in cuts:
        found.add(recording[0][cut], recording[1][cut])
    return found.pairs()


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        (slice(0, 60), slice(30, 90), 30),
        (slice(30, 90), slice(0, 60), 30),
        (slice(0, 100), slice(40, 80), 40),
        (slice(0, 60), slice(0, 90), 60),
        (slice(0, 60), slice(60 - LEAST_REPORTED, 120), LEAST_REPORTED),
    ],
)
def test_clips_overlap_in_the_frames_that_both_have(first: slice, second: slice, shared: int, recording):
    assert pairs(recording, first, slice(120, 150), second) == [(0, 2, shared)]


def test_sentences_that_meet_in_a_frame_do_not_overlap(recording):
    assert pairs(recording, slice(0, 60), slice(59, 120), slice(118, 150)) == []


def test_gaps_at_the_cuts_hide_no_overlap(recording):
    """Where a clip ends in a gap, the gap is not filled, as it is in the other clip."""
    found = Overlaps()
    for cut in (slice(0, 60), slice(10, 100)):
        pose, seen = recording[0][cut].copy(), recording[1][cut].copy()
        seen[: EDGE - 1, layout.HANDS] = seen[1 - EDGE :, layout.HANDS] = False
        found.add(pose, seen)
    assert found.pairs() == [(0, 1, 50 - 2 * (EDGE - 1))]


def test_one_recording_in_overlapping_windows(recording):
    found = pairs(recording, *(slice(start, start + 40) for start in range(0, LONG - 40, 10)))
    assert {(second - first, shared) for first, second, shared in found} == {(1, 30), (2, 20)}


def test_what_nobody_is_seen_in_overlaps_with_nothing(recording):
    unseen = recording[0], np.zeros_like(recording[1])
    assert pairs(unseen, slice(0, 60), slice(30, 90)) == []


def test_overlapping_clips_of_two_splits_are_told(recording, tmp_path: Path, capsys: pytest.CaptureFixture):
    rng = np.random.default_rng(0)
    keypoints, seen = layout.frame_to_keypoints(recording[0]), recording[1][:, layout.MANUAL][:, ::2]
    cuts = {
        "train": {"a": slice(0, 60), "b": slice(60, 80)},
        "dev": {"c": slice(90, 120)},
        "test": {"d": slice(30, 70)},
    }
    for split, clips in cuts.items():
        for name, cut in clips.items():
            arrays = {"keypoints": keypoints[cut], "visibility": seen[cut].astype(np.float32)}
            nothing = {key: np.zeros((len(keypoints[cut]), *shape)) for key, shape in layout.NMM_FEATURES.items()}
            write_clip(tmp_path, split, name, len(keypoints[cut]), rng, **arrays, **nothing)
        (tmp_path / f"{split}.txt").write_text("".join(f"{name}|word {name}\n" for name in clips))
    commands.call("data_preparation", "--num_workers 0", D=tmp_path)
    said = [line for line in capsys.readouterr().out.splitlines() if "overlap with" in line]
    assert said == [
        "1 clips of test overlap with clips of train, such as test/d and train/a in 30 frames; give all clips of one "
        "recording to one split"
    ]


def test_words_of_the_same_letters_do_not_overlap(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    commands.call("data_preparation", f"--num_workers 0 --cache_dir {tmp_path}", D=data_dir)
    assert "overlap with" not in capsys.readouterr().out
