"""Clips that are written as .pose come back as they were, open in the field's own reader, and are drawn there."""

import json
from pathlib import Path

import commands
import numpy as np
import pytest
from pose_format import Pose
from pose_format.numpy import NumPyPoseBody
from test_figure import signer

from evaluation.clips import Clip, Reference
from evaluation.predictions import read_predictions, write_predictions
from importers.pose_files import read_pose_recording
from poses import layout
from poses.face import face_mesh_from_pose, nmm_from_face_mesh
from poses.holistic import read_pose_file, read_pose_points
from poses.single_clips import read_single_clip
from poses.writing import BODY_LIMBS, FACE_NUMBERS, HAND_LIMBS, write_clip
from runtime.errors import UserError


def clip() -> np.ndarray:
    """A signer [12,214] float32 whose numbers are all different, the left hand absent and the right elbow too."""
    pose = signer()
    there = pose != 0
    there[:, layout.NMM] = True
    pose += np.random.default_rng(0).normal(scale=1e-3, size=pose.shape) * there
    pose[:, layout.keypoint_dims(np.array([layout.RIGHT_ELBOW]))] = 0
    return pose.astype(np.float32)


@pytest.mark.parametrize("image_size", [None, (1280, 720), (1, 1)])
def test_a_clip_comes_back_as_it_was(tmp_path: Path, image_size: tuple[int, int] | None):
    pose = clip()
    write_clip(tmp_path / "a.pose", pose, 29.97, image_size)
    back = read_single_clip(tmp_path / "a.pose")
    assert np.abs(back.pose - pose).max() < 1e-4
    assert np.array_equal(back.seen[:, layout.MANUAL], pose[:, layout.MANUAL] != 0)
    assert back.seen[:, layout.NMM].all()
    assert back.fps == pytest.approx(29.97)
    assert [file.name for file in tmp_path.iterdir()] == ["a.pose"]


def test_a_hand_of_zeros_is_absent_whatever_its_confidence(tmp_path: Path):
    """Beside frames of confidence 0 it would else draw their gap towards the picture's corner."""
    pose, gap = clip(), slice(4, 7)
    write_clip(tmp_path / "a.pose", pose, 25)
    file = Pose.read((tmp_path / "a.pose").read_bytes())
    place = read_pose_points(tmp_path / "a.pose").places["RIGHT_HAND_LANDMARKS"]
    file.body.data.data[gap, 0, place] = 0
    for confidence in (0, 1):
        file.body.confidence[gap, 0, place], file.body.confidence[4, 0, place] = 0, confidence
        with open(tmp_path / f"{confidence}.pose", "wb") as written:
            file.write(written)
    lost, claimed = (read_single_clip(tmp_path / f"{confidence}.pose") for confidence in (0, 1))
    np.testing.assert_array_equal(claimed.pose, lost.pose)
    np.testing.assert_array_equal(claimed.seen, lost.seen)
    assert np.abs(claimed.pose[gap, layout.RIGHT_HAND] - pose[gap, layout.RIGHT_HAND]).max() < 0.1


def test_features_of_the_face_that_were_never_measured_are_not_known(tmp_path: Path):
    """A model of head pose alone writes zeros for all others, in either format."""
    pose = clip()
    pose[:, layout.NMM] *= np.isin(np.arange(layout.NMM_DIM), np.arange(17, 20))  # the head pose
    pose[5, layout.NMM] = 0
    for name in ("a.npy", "a.pose"):
        write_clip(tmp_path / name, pose, 25)
    as_array, as_points = (read_single_clip(tmp_path / name) for name in ("a.npy", "a.pose"))
    np.testing.assert_array_equal(as_points.seen, as_array.seen)
    assert as_points.seen[:, layout.NMM].any(0).sum() == 3
    recording = read_pose_recording(tmp_path / "a.pose", None, None, "largest", lambda: 25.0)
    np.testing.assert_array_equal(np.isfinite(recording.nmm), as_array.seen[:, layout.NMM])


def test_face_numbers_that_another_program_lost_are_told(tmp_path: Path):
    """pose-format resamples only points whose confidence is above 0."""
    pose = clip()
    write_clip(tmp_path / "a.pose", pose, 25)
    file = Pose.read((tmp_path / "a.pose").read_bytes())
    with open(tmp_path / "lost.pose", "wb") as written:
        file.interpolate(50).write(written)
    with pytest.raises(UserError, match=r"lost\.pose: its face numbers, NON_MANUAL_MARKERS, are lost"):
        read_single_clip(tmp_path / "lost.pose")
    numbers = read_pose_points(tmp_path / "a.pose").places[FACE_NUMBERS]
    body = file.body
    file.body = NumPyPoseBody(25, body.data.data, np.array(body.confidence))
    file.body.confidence[..., numbers] = body.data.data[..., numbers, 1]
    file.body = NumPyPoseBody(25, body.data.data, file.body.confidence)
    with open(tmp_path / "kept.pose", "wb") as written:
        file.interpolate(50).write(written)
    kept = read_single_clip(tmp_path / "kept.pose")
    assert kept.seen[:, layout.NMM].all()
    np.testing.assert_allclose(kept.pose[[0, -1], layout.NMM], pose[[0, -1], layout.NMM], atol=1e-3)


def test_npy_is_the_array_itself(tmp_path: Path):
    write_clip(tmp_path / "a.npy", clip(), 25, (10, 10))
    np.save(tmp_path / "b.npy", clip())
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_what_is_absent_has_confidence_0(tmp_path: Path):
    pose = clip()
    collapsed = layout.keypoint_dims(layout.LEFT_HAND_KEYPOINTS)
    pose[:, collapsed] = np.linspace(0.4, 0.404, len(collapsed))
    pose[3, layout.NMM] = np.nan
    write_clip(tmp_path / "a.pose", pose, 25)
    recording = read_pose_file(tmp_path / "a.pose")
    assert not recording.visibility[:, layout.LEFT_HAND_KEYPOINTS].any()
    assert not recording.visibility[:, layout.RIGHT_ELBOW].any()
    assert (recording.visibility[:, layout.RIGHT_HAND_KEYPOINTS] == 1).all()
    assert np.isfinite(recording.nmm).any(1).tolist() == [frame != 3 for frame in range(len(pose))]


def test_the_formats_own_reader_finds_mediapipes_points(tmp_path: Path):
    from pose_format import Pose
    from pose_format.utils.generic import detect_known_pose_format, reduce_holistic

    write_clip(tmp_path / "a.pose", clip(), 50, (1280, 720))
    file = Pose.read((tmp_path / "a.pose").read_bytes())
    assert detect_known_pose_format(file) == "holistic"
    assert (file.header.dimensions.width, file.header.dimensions.height, file.body.fps) == (1280, 720, 50)
    sizes = {component.name: len(component.points) for component in file.header.components}
    hands = {"LEFT_HAND_LANDMARKS": 21, "RIGHT_HAND_LANDMARKS": 21}
    assert sizes == {"POSE_LANDMARKS": 33, "FACE_LANDMARKS": 468, **hands, FACE_NUMBERS: 64}
    wrist = file.header.get_point_index("RIGHT_HAND_LANDMARKS", "WRIST")
    assert np.allclose(
        file.body.data[:, 0, wrist, :2].filled(0), clip()[:, layout.RIGHT_HAND][:, :2] * [1280, 720], atol=1e-3
    )
    numbers = file.header.get_point_index(FACE_NUMBERS, "facial_aus_0")
    assert not file.body.confidence[:, 0, numbers:].any()  # viewers draw none of them
    assert len(reduce_holistic(file).header.components) == 5


def test_lines_and_names_are_those_of_a_real_file():
    pose_files = pytest.importorskip("spoken_to_signed").__path__[0]
    from pose_format import Pose

    from poses.writing import BODY_NAMES, HAND_NAMES

    path = min((Path(pose_files) / "assets" / "fingerspelling_lexicon" / "ase").glob("*.pose"))
    parts = {component.name: component for component in Pose.read(path.read_bytes()).header.components}
    body, hand = parts["POSE_LANDMARKS"], parts["LEFT_HAND_LANDMARKS"]
    assert tuple(body.points) == BODY_NAMES
    assert tuple(hand.points) == HAND_NAMES
    assert sorted(map(tuple, body.limbs)) == sorted(BODY_LIMBS)
    assert sorted(map(tuple, hand.limbs)) == sorted(HAND_LIMBS)


def test_the_drawn_face_has_the_clips_brows_eyes_and_lips():
    pose = clip()
    pose[:, layout.HEAD_POSE] = [0.0, 0.0, 0.3]
    mesh = np.nan_to_num(face_mesh_from_pose(pose, (1280, 720)))
    measured = nmm_from_face_mesh(np.concatenate([mesh, np.zeros((*mesh.shape[:2], 1))], axis=-1))
    difference = np.abs(measured - pose[:, layout.NMM]).max(0)
    assert difference[[0, 1, 2, 3, 5, 6, 12, 15, 16]].max() < 1e-3  # brows, lids, mouth, chin
    assert difference[19] < 1e-5  # roll
    assert difference[24:].max() < 0.01  # lips
    assert np.isnan(face_mesh_from_pose(np.zeros((2, layout.POSE_DIM)), (10, 10))).all()


def test_predictions_of_one_format_replace_those_of_the_other(tmp_path: Path):
    pose = clip()
    seen = np.ones(pose.shape, bool)
    references, clips = [Reference(pose, seen, "a", "")], [Clip(pose, seen)]
    write_predictions(tmp_path, references, clips)
    write_predictions(tmp_path, references, clips, ".pose", 25)
    assert [file.name for file in tmp_path.iterdir()] == ["a.pose"]
    assert np.abs(read_predictions(tmp_path, references)[0].pose - pose).max() < 1e-4


def test_an_altered_file_without_its_mesh_still_has_its_face(tmp_path: Path):
    from pose_format import Pose

    write_clip(tmp_path / "a.pose", clip(), 25)
    kept = ["POSE_LANDMARKS", "LEFT_HAND_LANDMARKS", "RIGHT_HAND_LANDMARKS", FACE_NUMBERS]
    less = Pose.read((tmp_path / "a.pose").read_bytes()).get_components(kept)
    with open(tmp_path / "less.pose", "wb") as file:
        less.write(file)
    assert np.abs(read_single_clip(tmp_path / "less.pose").pose - clip()).max() < 1e-4


def test_a_trained_model_signs_into_both_formats(tmp_path: Path, data_dir: Path, trained):
    paths = {"D": data_dir, **trained.paths}
    commands.call("inference_flow", "--target_length 20", O=tmp_path / "a.npy", **paths)
    commands.call("inference_flow", "--target_length 20 --image_size 640 480", O=tmp_path / "b.pose", **paths)
    array, file = np.load(tmp_path / "a.npy"), read_single_clip(tmp_path / "b.pose")
    assert np.abs(file.pose - array).max() < 1e-4
    assert file.fps == json.loads((tmp_path / "b.json").read_text())["fps"] == 25
    with pytest.raises(SystemExit):
        commands.call("inference_flow", "--image_size 640 480", O=tmp_path / "c.npy", **paths)
    with pytest.raises(UserError, match="no such file"):
        read_single_clip(tmp_path / "c.npy")
