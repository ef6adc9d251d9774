"""`.pose` files, as pose-format writes them, whole, reduced, normalised or in other units, keep what they hold."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from pose_format import Pose
from pose_format.numpy import NumPyPoseBody
from recordings import keypoints, nmm, report_of, write_pose_file

from importers.pose_files import NEEDED
from poses import layout
from poses.holistic import read_pose_file
from runtime.errors import UserError


def test_a_pose_file_keeps_points_rate_and_face(imported, letter: Path, tmp_path: Path):
    (tmp_path / "in" / "clip.pose").write_bytes(letter.read_bytes())
    folder, real = imported(), read_pose_file(letter)
    points, seen = keypoints(folder)
    np.testing.assert_allclose(points[seen], real.keypoints[seen], atol=1e-6)
    assert (seen == (real.visibility > 0)).all()
    assert np.load(folder / "train/poses/clip.npz")["fps"] == real.fps
    assert (np.isnan(nmm(folder)).any(1) == np.isnan(real.nmm).any(1)).all()


def reduce_pose(source: Path, path: Path, keep: dict[str, list[str]]) -> None:
    """Write a `.pose` file with some components and some points of them."""
    write_pose_file(path, Pose.read(source.read_bytes()).get_components(list(keep), keep))


ARMS = [f"{side}_{part}" for part in ("SHOULDER", "ELBOW", "WRIST") for side in ("LEFT", "RIGHT")]


@pytest.mark.parametrize("kept", ["contours", "lips", "none"])
def test_a_reduced_pose_file_keeps_what_it_has(kept: str, imported, letter: Path, tmp_path: Path):
    components = {component.name: component.points for component in Pose.read(letter.read_bytes()).header.components}
    face = {"contours": [str(number) for number in NEEDED], "lips": ["0", "13", "14", "17"]}.get(kept)
    keep = {"POSE_LANDMARKS": ARMS, **{name: components[name] for name in components if "HAND" in name}}
    reduce_pose(letter, tmp_path / "in" / "clip.pose", {**keep, **({"FACE_LANDMARKS": face} if face else {})})
    folder, real = imported(), read_pose_file(letter)
    points, seen = keypoints(folder)
    there = [layout.LEFT_SHOULDER, layout.RIGHT_SHOULDER, layout.RIGHT_WRIST, *range(54, 75)]
    np.testing.assert_allclose(points[:, there] * seen[:, there, None], real.keypoints[:, there], atol=1e-5)
    assert not seen[:, layout.NOSE].any()
    full = read_pose_file(letter, z_scale=500).nmm
    if kept == "contours":
        other = [*range(20), *range(24, 64)]  # all but the gaze, which the irises tell better
        np.testing.assert_allclose(nmm(folder)[:, other], full[:, other], atol=1e-3)
    else:
        assert np.isnan(nmm(folder)).all()
    report = report_of(folder)
    assert "reduced body: 27 of 33 points" in report
    assert ("too few: the face counts as unseen" in report) == (kept != "contours")


@pytest.mark.parametrize("component", ["POSE_LANDMARKS", "FACE_LANDMARKS", "RIGHT_HAND_LANDMARKS"])
def test_points_of_a_pose_file_are_known_by_name(component: str, imported, letter: Path, tmp_path: Path):
    pose, start = Pose.read(letter.read_bytes()), 0
    for part in pose.header.components:
        if part.name == component:
            order = np.random.default_rng(0).permutation(len(part.points))
            part.points, part.limbs = [part.points[place] for place in order], []
            for values in (pose.body.data, pose.body.confidence):
                values[:, :, start : start + len(order)] = values[:, :, start + order]
        start += len(part.points)
    write_pose_file(tmp_path / "in" / "clip.pose", pose)
    mixed, real = read_pose_file(tmp_path / "in" / "clip.pose"), read_pose_file(letter)
    assert np.array_equal(mixed.keypoints, real.keypoints)
    assert np.array_equal(mixed.nmm, real.nmm)
    folder = imported()
    points, seen = keypoints(folder)
    np.testing.assert_allclose(points[seen], real.keypoints[seen], atol=1e-6)
    assert np.array_equal(seen, real.visibility > 0)
    assert np.array_equal(np.isfinite(nmm(folder)).any(1), np.isfinite(real.nmm).any(1))


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_point_of_a_pose_file_that_is_no_number_is_unseen(number: float, imported, letter: Path, tmp_path: Path):
    pose, real = Pose.read(letter.read_bytes()), read_pose_file(letter)
    places, start = {}, 0
    for component in pose.header.components:
        places[component.name], start = start, start + len(component.points)
    pose.body.data[2, 0, places["POSE_LANDMARKS"] + layout.LEFT_SHOULDER, 0] = number  # its y is still there
    pose.body.data[3, 0, places["FACE_LANDMARKS"] + 7, 2] = number
    write_pose_file(tmp_path / "in" / "clip.pose", pose)
    folder = imported()
    points, seen = keypoints(folder)
    expected = real.visibility > 0
    assert expected[2, layout.LEFT_SHOULDER]
    expected[2, layout.LEFT_SHOULDER] = False
    assert np.array_equal(seen, expected)
    np.testing.assert_allclose(points[seen], real.keypoints[seen], atol=1e-6)
    face = np.isfinite(real.nmm).any(1) & (np.arange(len(real.keypoints)) != 3)
    assert np.array_equal(np.isfinite(nmm(folder)).any(1), face)
    assert np.array_equal(np.isfinite(read_pose_file(tmp_path / "in" / "clip.pose").nmm).any(1), face)


@pytest.mark.parametrize("version", [0.1, 0.2])
def test_a_pose_file_of_nobody_is_left_out_and_the_others_are_written(
    version: float, imported, letter: Path, tmp_path: Path
):
    pose = Pose.read(letter.read_bytes())
    frames, _, points, dims = pose.body.data.shape
    counts = struct.pack("<HHH", 25, 0, 0) if version == 0.1 else struct.pack("<fIH", 25, frames, 0)
    with open(tmp_path / "in" / "empty.pose", "wb") as file:
        pose.header.write(file)
        end = file.tell()
    header = (tmp_path / "in" / "empty.pose").read_bytes()[4:end]
    rest = bytes(4 * frames * points * (dims + 1))
    (tmp_path / "in" / "empty.pose").write_bytes(struct.pack("<f", version) + header + counts + rest)
    shutil.copy(letter, tmp_path / "in" / "good.pose")
    folder = imported("--skip_bad")
    assert "left out: empty.pose: zero frames, no person or no point" in report_of(folder)
    assert keypoints(folder, "good")[1].any()
    with pytest.raises(UserError, match=r"empty\.pose: zero frames, no person or no point"):
        read_pose_file(tmp_path / "in" / "empty.pose")


@pytest.mark.parametrize("reduced", [False, True])
def test_a_pose_file_without_depth_has_no_face(reduced: bool, imported, letter: Path, tmp_path: Path):
    pose = Pose.read(letter.read_bytes())
    if reduced:
        pose = pose.get_components([c.name for c in pose.header.components if "WORLD" not in c.name])
    for component in pose.header.components:
        component.format = "XYC"
    flat = Pose(pose.header, NumPyPoseBody(pose.body.fps, pose.body.data[..., :2], pose.body.confidence))
    with open(tmp_path / "in" / "clip.pose", "wb") as file:
        flat.write(file)
    folder = imported()
    assert np.isnan(nmm(folder)).all()
    assert "no depth, without which a head's turn cannot be told" in report_of(folder)
    assert np.isnan(read_pose_file(tmp_path / "in" / "clip.pose").nmm).all()
    np.testing.assert_allclose(keypoints(folder)[0], read_pose_file(letter).keypoints, atol=1e-6)


def test_the_size_of_a_pose_files_picture_can_be_given(refused, imported, letter: Path, tmp_path: Path):
    shutil.copy(letter, tmp_path / "in" / "clip.pose")
    as_it_is = imported("", "as_it_is")
    pose = Pose.read(letter.read_bytes())
    width, height = pose.header.dimensions.width, pose.header.dimensions.height
    pose.header.dimensions.width = pose.header.dimensions.height = 0
    write_pose_file(tmp_path / "in" / "clip.pose", pose)
    assert "header gives an image of 0 x 0 pixels" in refused()
    given = imported(f"--width {width} --height {height}", "given")
    for mine, theirs in zip(keypoints(given), keypoints(as_it_is), strict=True):
        assert np.array_equal(mine, theirs)
    assert np.array_equal(nmm(given), nmm(as_it_is), equal_nan=True)
    assert "its header says 0 x 0, in place of which --width and --height are taken" in report_of(given)


def test_a_pose_file_outside_its_picture_is_told(imported, letter: Path, tmp_path: Path):
    pose = Pose.read(letter.read_bytes())
    pose.body.data[..., 0] *= -1
    write_pose_file(tmp_path / "in" / "clip.pose", pose)
    shutil.copy(letter, tmp_path / "in" / "inside.pose")
    report = report_of(imported())
    assert "lies outside the picture; are --width, --height and --units right?: clip.pose\n" in report


def test_a_pose_file_in_other_units_has_the_same_points_and_the_same_face(imported, letter: Path, tmp_path: Path):
    shutil.copy(letter, tmp_path / "in" / "clip.pose")
    as_it_is = imported("", "pixels")
    pose = Pose.read(letter.read_bytes())
    pose.header.dimensions.width, pose.header.dimensions.height = 1280, 720
    pose.body.data[..., :2] /= 500  # the picture of the letters
    pose.body.data[..., 0] *= 720 / 1280  # the same face in a wider picture
    write_pose_file(tmp_path / "in" / "clip.pose", pose)
    others = imported("--units unit", "unit")
    points, seen = keypoints(others)
    np.testing.assert_allclose(points * [1280 / 720, 1], keypoints(as_it_is)[0], atol=1e-4)
    assert np.array_equal(seen, keypoints(as_it_is)[1])
    flat = slice(17, 19)  # yaw and pitch, which depth decides
    ours, theirs = nmm(others), nmm(as_it_is)
    np.testing.assert_allclose(np.delete(ours, flat, 1), np.delete(theirs, flat, 1), atol=2e-3)


def normalise(pose: Pose) -> None:
    """As pose-format does: the shoulders' middle is the origin, and their width is 1."""
    shoulders = [("POSE_LANDMARKS", f"{side}_SHOULDER") for side in ("RIGHT", "LEFT")]
    pose.normalize(pose.header.normalization_info(*shoulders))


def test_a_normalised_pose_file_is_refused_and_converted_when_named(refused, imported, letter: Path, tmp_path: Path):
    pose = Pose.read(letter.read_bytes())
    normalise(pose)
    write_pose_file(tmp_path / "in" / "clip.pose", pose)
    assert "look like shoulders" in refused()
    points, seen = keypoints(imported("--units shoulders"))
    shoulders = points[:, layout.SHOULDERS]
    assert np.median(np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=1)) == pytest.approx(0.25, abs=1e-3)
    np.testing.assert_allclose(np.median(shoulders.mean(1), axis=0), [0.5, 0.4], atol=1e-2)
    assert np.array_equal(seen, read_pose_file(letter).visibility > 0)
    with pytest.raises(UserError, match="its points are no pixels of its picture"):
        read_pose_file(tmp_path / "in" / "clip.pose")


def test_a_face_keeps_its_depth_where_a_pose_file_is_centred_on_the_shoulders(imported, letter: Path, tmp_path: Path):
    """z in pictures of the file's own width, as converters write it, whatever square the body is put into."""
    pose = Pose.read(letter.read_bytes())
    pose.body.data[..., 2] /= pose.header.dimensions.width
    write_pose_file(tmp_path / "in" / "clip.pose", pose)
    as_it_is = nmm(imported("", "as_it_is"))
    normalise(pose)
    write_pose_file(tmp_path / "in" / "clip.pose", pose)
    np.testing.assert_allclose(nmm(imported("--units shoulders", "centred")), as_it_is, atol=2e-3)
