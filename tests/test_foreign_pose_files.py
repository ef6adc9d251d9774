"""`.pose` files that other programs took apart: without the hands, or with a component twice."""

import copy
from pathlib import Path

import commands
import numpy as np
import pytest
from pose_format import Pose
from pose_format.numpy import NumPyPoseBody
from recordings import read_nmm

from importers import spelling
from poses.holistic import read_pose_file
from poses.single_clips import read_single_clip

BODY, FACE, LEFT, RIGHT = ("POSE_LANDMARKS", "FACE_LANDMARKS", "LEFT_HAND_LANDMARKS", "RIGHT_HAND_LANDMARKS")


@pytest.fixture(scope="module")
def letter() -> Path:
    """A real clip of a face with irises."""
    return next((spelling.find_lexicon() / "ase").glob("*.pose"))


def import_only(letter: Path, components: list[str], folder: Path) -> Path:
    """Import the clip with these components alone, in this order."""
    pose = Pose.read(letter.read_bytes())
    ends = np.cumsum([0, *(len(one.points) for one in pose.header.components)])
    starts = {one.name: start for one, start in zip(pose.header.components, ends[:-1], strict=True)}
    header = copy.deepcopy(pose.header)
    header.components = [next(one for one in pose.header.components if one.name == name) for name in components]
    points = [starts[one.name] + number for one in header.components for number in range(len(one.points))]
    data, confidence = pose.body.data[:, :, points], pose.body.confidence[:, :, points]
    (folder / "in").mkdir()
    with open(folder / "in" / "clip.pose", "wb") as file:
        Pose(header, NumPyPoseBody(pose.body.fps, data, confidence)).write(file)
    flags = ("--input", folder / "in", "--output_dir", folder / "out", "--split", "train")
    commands.call_script("import_data.py", *flags)
    return folder / "out"


def test_a_face_keeps_its_irises_in_a_file_without_a_hand(letter: Path, tmp_path: Path):
    folder = import_only(letter, [RIGHT, FACE, BODY], tmp_path)
    whole = read_pose_file(letter).nmm
    assert np.isfinite(whole).any()
    np.testing.assert_allclose(read_nmm(folder / "train" / "nmms" / "clip.pkl"), whole, atol=1e-5)
    report = (folder / "report.txt").read_text()
    assert "LEFT_HAND_LANDMARKS has 0 points" in report
    assert "reduced face" not in report


def test_a_component_that_stands_there_twice_is_refused(letter: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    said = commands.one_sentence(capsys, lambda: import_only(letter, [BODY, BODY, FACE, LEFT, RIGHT], tmp_path))
    assert "clip.pose: a component stands in its header twice" in said


@pytest.mark.parametrize(
    ("fps", "read"), [(29.97, 29.97), (0.0, None), (1e-9, None), (1e9, None), (np.inf, None), (np.nan, None)]
)
def test_a_rate_that_no_clip_has_is_none(fps: float, read: float | None, letter: Path, tmp_path: Path):
    pose = Pose.read(letter.read_bytes())
    pose.body.fps = fps
    with open(tmp_path / "clip.pose", "wb") as file:
        pose.write(file)
    assert read_single_clip(tmp_path / "clip.pose").fps == (read and pytest.approx(read))
