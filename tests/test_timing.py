"""Hands and head poses of another moment or clip than their body are told; detectors that differ a little are not."""

from pathlib import Path

import commands
import numpy as np
import pytest
from made_up import write_clip

from poses import layout
from poses.timing import ENOUGH_CLIPS, LEAST_LAG, Timing

FRAMES, LATER = 80, 7
SIDES = {
    "left": (layout.LEFT_WRIST, layout.LEFT_HAND_KEYPOINTS, 0.65),
    "right": (layout.RIGHT_WRIST, layout.RIGHT_HAND_KEYPOINTS, 0.35),
}


def paths(rng: np.random.Generator, count: int) -> np.ndarray:
    """Smooth motion within -1 to 1, [T + LATER,count]."""
    steps = rng.normal(size=(FRAMES + LATER + 8, count))
    smooth = np.apply_along_axis(np.convolve, 0, steps, np.ones(9) / 3, "valid")
    return smooth / np.abs(smooth).max(0)


def signer(rng: np.random.Generator, hands: int = 0, head: int = 0, still: bool = False) -> tuple[np.ndarray, ...]:
    """Keypoints [T,75,2] and head poses [T,3], which move so many frames later than the body does."""
    size = 0.0 if still else 1.0
    now, late = (slice(LATER - frames, LATER - frames + FRAMES) for frames in (0, hands))
    points = np.full((FRAMES, layout.NUM_KEYPOINTS, 2), 0.5)
    points[:, layout.SHOULDERS] = [[0.65, 0.4], [0.35, 0.4]]
    for wrist, hand, x in SIDES.values():
        path = [x, 0.6] + 0.08 * size * paths(rng, 2)
        points[:, wrist], points[:, hand] = path[now], path[late][:, None]
    turns = 0.2 * size * paths(rng, 3)
    points[:, [layout.LEFT_EAR, layout.RIGHT_EAR]] = [[0.57, 0.2], [0.43, 0.2]]
    points[:, layout.NOSE] = [0.5, 0.22] + 0.1 * turns[now, :2]
    for eye, side in ((layout.LEFT_EYE_OUTER, 1), (layout.RIGHT_EYE_OUTER, -1)):
        angle = turns[now, 2]
        points[:, eye] = [0.5, 0.18] + 0.05 * side * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    noise = 0.003 * rng.normal(size=points.shape)  # each point is found by itself
    late = slice(LATER - head, LATER - head + FRAMES)
    return points + noise, turns[late] + 0.01 * rng.normal(size=(FRAMES, 3))


def notes(clips: list[tuple[np.ndarray, ...]]) -> list[str]:
    timing = Timing()
    for points, head in clips:
        nmm = np.zeros((len(points), layout.POSE_DIM - 2 * layout.NUM_KEYPOINTS))
        pose = layout.keypoints_to_frame(points, nmm)
        pose[:, layout.HEAD_POSE] = head
        timing.add(pose, np.ones(pose.shape, bool))
    return list(timing.notes())


def clips(count: int = ENOUGH_CLIPS, **late) -> list[tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(0)
    return [signer(rng, **late) for _ in range(count)]


@pytest.mark.parametrize("frames", [0, 1, LEAST_LAG - 1])
def test_detectors_a_frame_or_two_apart_are_not_told(frames: int):
    assert notes(clips(hands=frames, head=frames)) == []


@pytest.mark.parametrize("frames", [LEAST_LAG, LATER])
def test_parts_that_lag_are_told_with_their_frames(frames: int):
    told = notes(clips(hands=frames))
    assert [note.partition(" (")[0] for note in told] == [
        f"the {side} hand moves {frames} frames after the body's wrist" for side in SIDES
    ]
    (told,) = notes(clips(head=frames))
    assert told.startswith(f"the head pose moves {frames} frames after the keypoints' head (correlation 0.")


def test_parts_that_come_first_are_told():
    (told,) = notes([(points[:-5], head[5:]) for points, head in clips()])
    assert told.startswith("the head pose moves 5 frames before")


def test_faces_and_hands_of_other_clips_are_told():
    real = clips(2 * ENOUGH_CLIPS)
    (told,) = notes([(points, real[number - 1][1]) for number, (points, _) in enumerate(real)])
    assert told.startswith("the head pose does not move as the keypoints' head does (correlation ")
    foreign = []
    for number, (points, head) in enumerate(real):
        points = points.copy()
        points[:, layout.NUM_BODY :] = real[number - 1][0][:, layout.NUM_BODY :]
        foreign.append((points, head))
    assert [note.split(" does not")[0] for note in notes(foreign)] == ["the left hand", "the right hand"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda head: head[:, [1, 0, 2]], ["yaw", "pitch"]),
        (lambda head: head * [1, 1, -1], ["roll"]),
        (lambda head: -head, ["yaw", "pitch", "roll"]),
    ],
)
def test_angles_of_another_order_or_sign_are_told(change, named: list[str]):
    (told,) = notes([(points, change(head)) for points, head in clips()])
    assert told.startswith("the head pose does not turn as the keypoints' head does (correlation of ")
    assert [angle for angle in ("yaw", "pitch", "roll") if f"{angle} -" in told or f"{angle} 0" in told] == named


def test_who_hardly_moves_or_is_rare_tells_nothing():
    assert notes(clips(still=True)) == []
    assert notes(clips(ENOUGH_CLIPS - 1, hands=LATER, head=LATER)) == []


def test_a_split_whose_faces_lag_is_told_by_the_preparation(tmp_path: Path):
    rng = np.random.default_rng(0)
    for split in ("train", "dev", "test"):
        for number in range(ENOUGH_CLIPS):
            points, head = signer(rng, head=LATER if split == "dev" else 0)
            changes = {"keypoints": points.astype(np.float32), "head_pose": head.astype(np.float32)}
            write_clip(tmp_path, split, f"{split}{number}", FRAMES, rng, **changes)
        lines = [f"{split}{number}|text {number}\n" for number in range(ENOUGH_CLIPS)]
        (tmp_path / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    out = commands.run("data_preparation", f"--data_dir {tmp_path} --num_workers 1")
    told = [line for line in out.splitlines() if "head pose" in line]
    assert len(told) == 1
    assert told[0].startswith(f"dev: the head pose moves {LATER} frames after the keypoints' head")
