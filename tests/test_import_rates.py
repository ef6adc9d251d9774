"""Frames per second: stated, given, kept, resampled or refused."""

import io
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from pose_format import Pose
from recordings import POINTS, keypoints, report_of, write_pose_file

from importers.recording import make_recording
from poses.holistic import read_pose_file
from runtime.errors import UserError


def test_rates_are_kept_resampled_or_refused(refused, imported, tmp_path: Path, letter: Path):
    (tmp_path / "in" / "a.pose").write_bytes(letter.read_bytes())
    pose = Pose.read(letter.read_bytes())
    frames = len(pose.body.data)
    pose.body.fps = 50
    write_pose_file(tmp_path / "in" / "b.pose", pose)
    assert "different rates, 25 to 50" in refused()
    assert len(keypoints(imported("--fps keep", "kept"), "b")[0]) == frames
    folder = imported("--fps 25", "even")
    assert len(keypoints(folder, "a")[0]) == frames
    half, _ = keypoints(folder, "b")
    whole, _ = keypoints(folder, "a")
    np.testing.assert_allclose(half, whole[::2][: len(half)], atol=1e-6)


def test_a_rate_that_a_file_states_against_the_flag_is_told(imported, letter: Path, tmp_path: Path):
    shutil.copy(letter, tmp_path / "in" / "clip.pose")
    said = "its file states 25 frames per second, which --source_fps does not change: clip.pose"
    assert said in report_of(imported("--source_fps 50"))
    assert "--source_fps" not in report_of(imported("--source_fps 25", "same"))


def test_a_rate_may_be_added_for_recordings_that_state_none(imported, tmp_path: Path, capsys):
    np.savez(tmp_path / "in" / "a.npz", keypoints=POINTS, fps=25.0)
    np.savez(tmp_path / "in" / "b.npz", keypoints=POINTS)
    with pytest.raises(SystemExit):
        imported()
    assert "such as b.npz: it tells no frame rate; pass --source_fps" in capsys.readouterr().err
    folder = imported("--source_fps 25")
    assert [float(np.load(folder / "train/poses" / f"{name}.npz")["fps"]) for name in "ab"] == [25, 25]


def test_a_pose_file_that_states_no_rate_gets_the_one_that_is_given(imported, refused, letter: Path, tmp_path: Path):
    pose = Pose.read(letter.read_bytes())
    pose.body.fps = 0.0
    write_pose_file(tmp_path / "in" / "clip.pose", pose)
    assert "clip.pose: it tells no frame rate; pass --source_fps" in refused()
    assert np.load(imported("--source_fps 24") / "train/poses/clip.npz")["fps"] == 24


@pytest.mark.parametrize(("version", "rate"), [(0.1, 30000 / 1001), (0.2, 29.0)])
def test_a_rate_whose_fraction_a_pose_file_cannot_keep_has_it_again(
    version: float, rate: float, imported, letter: Path, tmp_path: Path
):
    pose = Pose.read(letter.read_bytes())
    header = io.BytesIO()
    pose.header.write(header)
    frames, people = pose.body.data.shape[:2]
    content = letter.read_bytes()[len(header.getvalue()) + 10 :]
    counts = struct.pack("<HHH", 29, frames, people) if version == 0.1 else struct.pack("<fIH", 29, frames, people)
    (tmp_path / "in" / "clip.pose").write_bytes(struct.pack("<f", version) + header.getvalue()[4:] + counts + content)
    folder = imported()
    with np.load(folder / "train/poses/clip.npz") as archive:
        assert archive["fps"] == pytest.approx(rate)
        np.testing.assert_allclose(archive["keypoints"], read_pose_file(letter).keypoints, atol=1e-6)
    said = "its header says 29 frames per second, as version 0.1 writes 29.97: clip.pose"
    assert (said in report_of(folder)) == (version == 0.1)


def test_a_rate_in_words_is_refused(refused, tmp_path: Path):
    np.savez(tmp_path / "in" / "clip.npz", keypoints=POINTS, fps="25")
    assert "its 'fps' is not a number of frames per second" in refused("--source_fps 30")


def test_a_rate_that_no_clip_has_is_refused_before_a_clip_is_written():
    with pytest.raises(UserError, match=r"its rate is 0\.5 frames per second"):
        make_recording(POINTS, np.ones(POINTS.shape[:2]), None, 0.5)
