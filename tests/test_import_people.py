"""Of several people one is followed, and stays the same from frame to frame."""

import json
from pathlib import Path

import numpy as np
import pytest
from pose_format import Pose
from pose_format.numpy import NumPyPoseBody
from recordings import FRAMES, POINTS, SIZE, keypoints, report_of, write_openpose, write_pose_file

from importers import spelling
from importers.people import WHOM
from poses import layout
from poses.holistic import read_pose_file
from runtime.errors import UserError


@pytest.mark.parametrize("person", WHOM)
def test_one_of_several_people_is_followed(person: str, imported, tmp_path: Path):
    small = (POINTS * 0.5 + [0.5, 0.4]) * SIZE  # at the right of the picture
    large = (POINTS[:1] * 0.8 - [0.2, 0.0]).repeat(FRAMES, 0) * SIZE  # who keeps still
    folder = tmp_path / "in" / "clip"
    write_openpose(folder, [large, small])
    for path in sorted(folder.glob("*.json"))[::2]:  # tools list people in any order
        content = json.loads(path.read_text())
        path.write_text(json.dumps({"people": content["people"][::-1]}))
    out = imported(f"--source_fps 24 --width 1280 --height 720 --person {person}")
    points, _ = keypoints(out)
    wanted = small if person in ("right", "signing") else large
    np.testing.assert_allclose(points[:, 54:], (wanted / SIZE)[:, 54:], atol=1e-4)
    followed = "one whose hands move most" if person == "signing" else f"{person} one"
    assert f"2 people; the {followed} was followed" in report_of(out)


@pytest.mark.parametrize("missing", ["in one frame", "from the middle on", "a ghost in the first", "low scores"])
def test_the_signer_stays_the_signer(missing: str, imported, tmp_path: Path):
    """Whatever becomes of the other person: who is followed never becomes somebody else."""
    signing = (POINTS * 0.5 + [0.5, 0.4]) * SIZE
    still = (POINTS[:1] * 0.8 - [0.2, 0.0]).repeat(FRAMES, 0) * SIZE
    folder = tmp_path / "in" / "clip"
    write_openpose(folder, [still, signing])
    for frame, path in enumerate(sorted(folder.glob("*.json"))):
        people = json.loads(path.read_text())["people"]
        if frame == 10 if missing == "in one frame" else missing == "from the middle on" and frame >= FRAMES // 2:
            people = people[1:]
        if missing == "a ghost in the first" and frame == 0:
            moved = np.add(np.reshape(people[1]["pose_keypoints_2d"], (-1, 3)), (300, 300, 0))
            people.append({**people[1], "pose_keypoints_2d": moved.ravel().tolist()})
        if missing == "low scores":
            for one in people:
                one["pose_keypoints_2d"][2::3] = [0.3 * (score > 0) for score in one["pose_keypoints_2d"][2::3]]
        path.write_text(json.dumps({"people": people}))
    points, _ = keypoints(imported("--source_fps 24 --width 1280 --height 720"))
    np.testing.assert_allclose(points[:, 54:], (signing / SIZE)[:, 54:], atol=1e-4)


def test_a_detector_that_goes_over_to_somebody_else_is_not_followed(imported, tmp_path: Path):
    body = (POINTS * 0.5 + [0.5, 0.4]) * SIZE
    body[8:] -= [500, 0]
    write_openpose(tmp_path / "in" / "clip", [body])
    out = imported("--source_fps 24 --width 1280 --height 720 --person right")
    _, seen = keypoints(out)
    assert seen[:8, layout.ARMS_AND_HANDS].all()
    assert not seen[8:].any()
    assert "2 people; the right one was followed" in report_of(out)


def test_a_point_that_is_no_number_loses_nobody(imported, tmp_path: Path):
    folder = tmp_path / "in" / "clip"
    write_openpose(folder, [POINTS * SIZE, POINTS * SIZE + np.array([500, 0])])
    for path in sorted(folder.iterdir())[3:6]:
        content = json.loads(path.read_text())
        content["people"][0]["pose_keypoints_2d"][0] = float("nan")  # the nose
        path.write_text(json.dumps(content))
    _, seen = keypoints(imported("--source_fps 24 --width 1280 --height 720 --person left"))
    assert seen[:, layout.ARMS_AND_HANDS].all()
    assert np.flatnonzero(~seen[:, layout.NOSE]).tolist() == [3, 4, 5]


def test_of_one_frame_the_largest_person_is_taken(imported, tmp_path: Path):
    small, large = (POINTS[:1] * 0.5 + [0.5, 0.4]) * SIZE, (POINTS[:1] * 0.8 - [0.2, 0.0]) * SIZE
    write_openpose(tmp_path / "in" / "clip", [small, large])
    points, _ = keypoints(imported("--source_fps 24 --width 1280 --height 720"))
    np.testing.assert_allclose(points[:, 54:], (large / SIZE)[:, 54:], atol=1e-4)


@pytest.fixture
def letter_of_two(imported, tmp_path: Path) -> np.ndarray:
    """A .pose of two people, a still one at the left and a letter; the letter's own keypoints."""
    letter = next(path for path in sorted(spelling.find_lexicon().rglob("*.pose")) if path.stat().st_size > 10**5)
    pose = Pose.read(letter.read_bytes())
    still = np.repeat(pose.body.data[:1], len(pose.body.data), axis=0)
    still[..., 0] -= 100
    data = np.ma.concatenate([still, pose.body.data], axis=1)
    confidence = np.concatenate([np.repeat(pose.body.confidence[:1], len(data), axis=0), pose.body.confidence], axis=1)
    with open(tmp_path / "in" / "two.pose", "wb") as file:
        Pose(pose.header, NumPyPoseBody(pose.body.fps, data, confidence)).write(file)
    return read_pose_file(letter).keypoints


def test_one_of_the_people_of_a_pose_file_is_followed(letter_of_two: np.ndarray, imported, tmp_path: Path):
    for person in ("signing", "right", "left"):
        points, _ = keypoints(imported(f"--person {person}", person), "two")
        alike = np.abs(points[:, : layout.NUM_BODY] - letter_of_two[:, : layout.NUM_BODY]).max() < 1e-4
        assert alike == (person != "left")
        assert "2 people" in report_of(tmp_path / person)
    with pytest.raises(UserError, match=r"shows 2 people; import_data\.py follows one"):
        read_pose_file(tmp_path / "in" / "two.pose")


def test_a_place_that_no_person_takes_is_none(letter_of_two: np.ndarray, imported, tmp_path: Path):
    path = tmp_path / "in" / "two.pose"
    pose = Pose.read(path.read_bytes())
    pose.body.confidence[:, 0] = 0
    write_pose_file(path, pose)
    points, _ = keypoints(imported(), "two")
    np.testing.assert_allclose(points, letter_of_two, atol=1e-5)
    np.testing.assert_array_equal(read_pose_file(path).keypoints, letter_of_two)
