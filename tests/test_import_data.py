"""Other tools' poses become the project's: the same points, nothing invented, and nothing taken for what it is not."""

import io
import json
import os
import re
import shutil
import struct
import sys
from pathlib import Path

import commands
import numpy as np
import pytest
from pose_format import Pose
from pose_format.numpy import NumPyPoseBody
from recordings import (
    FRAMES,
    openpose_person,
    read_keypoints,
    read_nmm,
    scored,
    signer,
    skels_line,
    whole_body,
    with_depth,
    write_dwpose,
    write_openpose,
)

import import_data
from importers import formats, spelling
from importers.people import WHOM
from importers.recording import content_of, make_recording
from importers.skeletons import BODY_25, OPENPOSE_18, SKELS
from poses import layout
from poses.face import nmm_from_face_mesh
from poses.files import list_clips, read_clip
from poses.holistic import read_pose_file
from poses.texts import list_signers
from runtime import errors
from runtime.errors import UserError

SIZE = np.array([1280, 720])
POINTS, FACE = signer()


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run import_data.py on tmp_path/in; returns the folder that it wrote."""

    def run(flags: str = "", output: str = "out", split: str = "--split train") -> Path:
        command = f"import_data.py --input {tmp_path / 'in'} --output_dir {tmp_path / output} {split} {flags}"
        monkeypatch.setattr(sys, "argv", command.split())
        errors.run(import_data.main)
        return tmp_path / output

    (tmp_path / "in").mkdir()
    return run


@pytest.fixture
def refused(imported, capsys: pytest.CaptureFixture):
    """The same where it must be refused; returns what was said."""

    return lambda flags="": commands.one_sentence(capsys, lambda: imported(flags))


def keypoints(folder: Path, clip: str = "clip", split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    return read_keypoints(folder / split / "poses" / f"{clip}.npz")


def nmm(folder: Path, clip: str = "clip") -> np.ndarray:
    return read_nmm(folder / "train" / "nmms" / f"{clip}.pkl")


def mapped(table: dict[int, int]) -> list[int]:
    """Our keypoints that another skeleton has too."""
    return [*table, *range(layout.NUM_BODY, layout.NUM_KEYPOINTS)]


# ---- each format, there and back -------------------------------------------------------------------------------------


def test_openpose_keeps_what_both_skeletons_have(imported, tmp_path: Path):
    write_openpose(tmp_path / "in" / "clip", [POINTS * SIZE])
    points, seen = keypoints(imported("--source_fps 24 --width 1280 --height 720"))
    ours = mapped(BODY_25)
    np.testing.assert_allclose(points[:, ours], POINTS[:, ours], atol=1e-4)
    assert seen[:, ours].all()
    assert seen.sum() == len(ours) * FRAMES


def test_dwpose_keeps_what_both_skeletons_have(imported, tmp_path: Path):
    write_dwpose(tmp_path / "in" / "clip", POINTS)
    points, seen = keypoints(imported("--source_fps 24"))
    ours = mapped(OPENPOSE_18)
    np.testing.assert_allclose(points[:, ours], POINTS[:, ours], atol=1e-4)
    assert seen.sum() == len(ours) * FRAMES


def test_mmpose_and_an_array_of_whole_bodies_say_the_same(imported, tmp_path: Path):
    bodies = whole_body(POINTS * SIZE)
    np.save(tmp_path / "in" / "array.npy", scored(bodies))
    frames = [{"instances": [{"keypoints": one.tolist(), "keypoint_scores": [0.9] * 133}]} for one in bodies]
    (tmp_path / "in" / "file.json").write_text(json.dumps({"instance_info": frames}))
    flags = "--source_fps 24 --units pixels --width 1280 --height 720 --format "
    array, _ = keypoints(imported(flags + "arrays", "a"), "array")
    file, _ = keypoints(imported(flags + "mmpose", "b"), "file")
    np.testing.assert_allclose(array, file)
    np.testing.assert_allclose(array[:, layout.ARMS_AND_HANDS], POINTS[:, layout.ARMS_AND_HANDS], atol=1e-4)


def test_skels_put_each_hand_on_its_own_arm(imported, tmp_path: Path):
    other, _ = signer(8, seed=1)
    (tmp_path / "in" / "dev.skels").write_text(f"{skels_line(POINTS)}\n{skels_line(other)}\n")
    (tmp_path / "in" / "dev.files").write_text("dev/one\ndev/two\n")
    (tmp_path / "in" / "dev.text").write_text("erster satz\nzweiter satz\n")
    folder = imported("--source_fps 25")
    assert (folder / "train.txt").read_text() == "one|erster satz\ntwo|zweiter satz\n"
    points, seen = keypoints(folder, "one")
    ours = mapped(SKELS)
    assert seen[:, ours].all()
    scale = 0.25 / (POINTS[0, layout.LEFT_SHOULDER, 0] - POINTS[0, layout.RIGHT_SHOULDER, 0])
    middle = POINTS[:, layout.SHOULDERS].mean(1, keepdims=True)
    np.testing.assert_allclose(points[:, ours], ((POINTS - middle) * scale + [0.5, 0.4])[:, ours], atol=1e-4)


def test_skels_and_folders_keep_the_splits_that_they_were_published_in(imported, tmp_path: Path, capsys):
    for split in ("train", "dev", "test"):
        (tmp_path / "in" / f"{split}.skels").write_text(f"{skels_line(POINTS)}\n")
        (tmp_path / "in" / f"{split}.files").write_text(f"{split}/of_{split}\n")
        write_openpose(tmp_path / "in" / split / f"clip_of_{split}", [POINTS * SIZE])
    for kind, flags in (("skels", ""), ("json_frames", "--width 1280 --height 720")):
        folder = imported(f"--source_fps 25 --format {kind} {flags}", kind, split="")
        assert "1 train, 1 dev, 1 test" in capsys.readouterr().out
        for split in ("train", "dev", "test"):
            assert [path.stem.rpartition("_")[2] for path in folder.glob(f"{split}/poses/*")] == [split]


def test_splits_within_the_names_of_folders_are_kept_too(imported, tmp_path: Path, capsys):
    folders = {"train": "train_rgb_front_clips", "dev": "val_rgb_front_clips", "test": "test_rgb_front_clips"}
    for split, name in folders.items():
        path = tmp_path / "in" / name / "raw_videos" / f"clip_of_{split}.npy"
        path.parent.mkdir(parents=True)
        np.save(path, POINTS)
    folder = imported("--source_fps 25", split="")
    assert "1 train, 1 dev, 1 test" in capsys.readouterr().out
    for split in folders:
        assert [path.stem for path in folder.glob(f"{split}/poses/*")] == [f"clip_of_{split}"]


def test_a_split_that_ids_decide_is_told(imported, tmp_path: Path, capsys):
    folder = tmp_path / "in" / "a test of the camera"
    folder.mkdir()
    for number in range(3):
        np.save(folder / f"clip{number}.npy", POINTS)
    imported("--source_fps 25", split="")
    assert "so the clips' IDs decide them: --split 0.8,0.1,0.1" in capsys.readouterr().out


FLAT = {  # parts of a row per frame
    "body": np.concatenate([with_depth(POINTS[:, :33]), np.full((FRAMES, 33, 1), 0.9)], axis=2).reshape(FRAMES, -1),
    "face": FACE.reshape(FRAMES, -1),
    "hands": with_depth(POINTS[:, 33:]).reshape(FRAMES, -1),
}
ARRAYS = {
    "pose-format's order": np.concatenate(
        [with_depth(POINTS[:, :33]), FACE, with_depth(POINTS[:, 33:54]), with_depth(POINTS[:, 54:])], axis=1
    ),
    "Kaggle's order": np.concatenate(
        [FACE, with_depth(POINTS[:, 33:54]), with_depth(POINTS[:, :33]), with_depth(POINTS[:, 54:])], axis=1
    ),
    "keypoints first": np.concatenate([with_depth(POINTS), FACE], axis=1),
    "hands first": np.concatenate([with_depth(POINTS[:, 33:]), with_depth(POINTS[:, :33]), FACE], axis=1),
    "flat": np.concatenate([*FLAT.values()], axis=1),
    "flat, the face last": np.concatenate([FLAT["body"], FLAT["hands"], FLAT["face"]], axis=1),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_mediapipe_arrays_in_every_order(name: str, imported, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", ARRAYS[name])
    folder = imported("--source_fps 30 --width 640 --height 480")
    points, seen = keypoints(folder)
    np.testing.assert_allclose(points, POINTS, atol=1e-4)
    assert seen.all()
    np.testing.assert_allclose(nmm(folder), nmm_from_face_mesh(FACE * [640, 480, 640]), atol=1e-4)
    told = {"keypoints first": "body, left, right, face", "flat, the face last": "body, left, right, face"}
    told |= {"Kaggle's order": "face, left, body, right", "hands first": "left, right, body, face"}
    report = (folder / "report.txt").read_text()
    assert (f"note: its parts are in the order {told.get(name)}: clip.npy" in report) == (name in told)


@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize("order", ["left, right, body", "left, body, right"])
def test_keypoints_alone_are_known_by_their_places_too(order: str, columns: int, imported, tmp_path: Path):
    points = POINTS if columns == 2 else with_depth(POINTS)
    parts = {"body": points[:, :33], "left": points[:, 33:54], "right": points[:, 54:]}
    np.save(tmp_path / "in" / "clip.npy", np.concatenate([parts[part] for part in order.split(", ")], axis=1))
    folder = imported("--source_fps 30")
    np.testing.assert_allclose(keypoints(folder)[0], POINTS, atol=1e-4)
    assert f"note: its parts are in the order {order}: clip.npy" in (folder / "report.txt").read_text()


def test_the_order_of_points_is_told_without_those_that_are_missing(imported, tmp_path: Path):
    points = POINTS.copy()
    points[:, [layout.LEFT_WRIST, layout.RIGHT_WRIST]] = 0
    points[: FRAMES // 2 + 1, layout.LEFT_SHOULDER] = 0
    np.save(tmp_path / "in" / "clip.npy", points)
    np.testing.assert_allclose(keypoints(imported("--source_fps 30"))[0], points, atol=1e-4)


@pytest.mark.parametrize("order", [("face", "body", "hands"), ("hands", "face", "body")])
def test_rows_whose_order_is_unknown_are_refused(order: tuple[str, ...], refused, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", np.concatenate([FLAT[part] for part in order], axis=1))
    assert "points is not plain: it should be one of body, " in refused("--source_fps 30")


def test_far_feet_make_no_other_order_plain(refused, tmp_path: Path):
    """Their distance from a hand, taken for the shoulders' width, would bring face and hands onto any body."""
    points = POINTS.copy()
    points[:, layout.RIGHT_HIP + 1 : layout.NUM_BODY, 1] += 1.5
    np.save(tmp_path / "in" / "clip.npy", np.concatenate([FACE, with_depth(points)], axis=1))
    assert "the order of its 543 points is not plain" in refused("--source_fps 30 --width 640 --height 480")


def test_rows_without_a_face_or_hands_keep_their_order_and_exchanged_hands_may_be_swapped(
    imported, refused, tmp_path: Path
):
    flags = "--source_fps 30 --width 640 --height 480"
    for absent in (["face"], ["hands"], ["face", "hands"]):
        parts = [np.zeros_like(values) if part in absent else values for part, values in FLAT.items()]
        np.save(tmp_path / "in" / "clip.npy", np.concatenate(parts, axis=1))
        folder = imported(flags, "_".join(absent))
        assert np.isnan(nmm(folder)).all() == ("face" in absent)
        points, seen = keypoints(folder)
        assert seen[:, layout.LEFT_HAND_KEYPOINTS].all() == ("hands" not in absent)
        np.testing.assert_allclose(points[seen], POINTS[seen], atol=1e-4)
    left, right = np.split(FLAT["hands"], 2, axis=1)
    np.save(tmp_path / "in" / "clip.npy", np.concatenate([FLAT["body"], FLAT["face"], right, left], axis=1))
    assert "pass --swap_hands" in refused(flags)
    np.testing.assert_allclose(keypoints(imported(flags + " --swap_hands", "right"))[0], POINTS, atol=1e-4)


def test_a_folder_of_frames_is_one_clip_in_the_order_of_its_numbers(imported, tmp_path: Path):
    (tmp_path / "in" / "clip").mkdir()
    for frame, values in enumerate(ARRAYS["flat"]):
        np.save(tmp_path / "in" / "clip" / f"{frame}.npy", values)  # "10" sorts before "2" as text
    points, _ = keypoints(imported("--source_fps 30 --width 640 --height 480"))
    np.testing.assert_allclose(points, POINTS, atol=1e-4)


def test_arrays_without_a_face_leave_it_unseen(imported, tmp_path: Path):
    np.savez(tmp_path / "in" / "clip.npz", keypoints=np.concatenate([POINTS, np.ones((FRAMES, 75, 2))], axis=2))
    folder = imported("--source_fps 30")
    assert np.isnan(nmm(folder)).all()
    assert "no face in any frame: clip.npz" in (folder / "report.txt").read_text()


@pytest.fixture(scope="session")
def letter() -> Path:
    """A real clip: MediaPipe's full holistic, in a .pose file."""
    return next((spelling.find_lexicon() / "ase").glob("*.pose"))


def test_a_pose_file_keeps_points_rate_and_face(imported, letter: Path, tmp_path: Path):
    (tmp_path / "in" / "clip.pose").write_bytes(letter.read_bytes())
    folder, real = imported(), read_pose_file(letter)
    points, seen = keypoints(folder)
    np.testing.assert_allclose(points[seen], real.keypoints[seen], atol=1e-6)
    assert (seen == (real.visibility > 0)).all()
    assert np.load(folder / "train/poses/clip.npz")["fps"] == real.fps
    assert (np.isnan(nmm(folder)).any(1) == np.isnan(real.nmm).any(1)).all()


def test_a_pose_file_that_states_no_rate_gets_the_one_that_is_given(imported, refused, letter: Path, tmp_path: Path):
    from pose_format import Pose

    pose = Pose.read(letter.read_bytes())
    pose.body.fps = 0.0
    with open(tmp_path / "in" / "clip.pose", "wb") as file:
        pose.write(file)
    assert "clip.pose: it tells no frame rate; pass --source_fps" in refused()
    assert np.load(imported("--source_fps 24") / "train/poses/clip.npz")["fps"] == 24


def reduce_pose(source: Path, path: Path, keep: dict[str, list[str]]) -> None:
    """Write a `.pose` file with some components and some points of them."""
    from pose_format import Pose

    pose = Pose.read(source.read_bytes()).get_components(list(keep), keep)
    with open(path, "wb") as file:
        pose.write(file)


ARMS = [f"{side}_{part}" for part in ("SHOULDER", "ELBOW", "WRIST") for side in ("LEFT", "RIGHT")]


@pytest.mark.parametrize("kept", ["contours", "lips", "none"])
def test_a_reduced_pose_file_keeps_what_it_has(kept: str, imported, letter: Path, tmp_path: Path):
    from pose_format import Pose

    from importers.pose_files import NEEDED

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
    report = (folder / "report.txt").read_text()
    assert "reduced body: 27 of 33 points" in report
    assert ("too few: the face counts as unseen" in report) == (kept != "contours")


# ---- units, orientation, hands ---------------------------------------------------------------------------------------

CENTRE = POINTS[:, layout.SHOULDERS].mean(1, keepdims=True)
UNITS = {
    "pixels": (POINTS * SIZE, "look like pixels"),
    "signed": (POINTS * 2 - 1, "look like signed"),
    "shoulders": ((POINTS - CENTRE) / 0.24, "look like shoulders"),
}


@pytest.mark.parametrize("unit", UNITS)
def test_other_units_are_recognised_and_not_taken_for_image_units(unit: str, refused, tmp_path: Path):
    values, said = UNITS[unit]
    np.save(tmp_path / "in" / "clip.npy", values)
    assert said in refused("--source_fps 25")
    assert not list((tmp_path / "out").rglob("*.npz"))


@pytest.mark.parametrize("unit", UNITS)
def test_other_units_are_converted_when_named(unit: str, imported, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", UNITS[unit][0])
    size = "--width 1280 --height 720" if unit == "pixels" else ""
    points, _ = keypoints(imported(f"--source_fps 25 --units {unit} {size}"))
    expected = (POINTS - CENTRE) / 0.24 * 0.25 + [0.5, 0.4] if unit == "shoulders" else POINTS
    np.testing.assert_allclose(points, expected, atol=1e-4)


@pytest.mark.parametrize("centre", [CENTRE, POINTS[:, :1] + 0.001], ids=["shoulders", "nose"])
def test_a_body_in_pixels_may_be_centred_on_itself(centre: np.ndarray, imported, refused, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", (POINTS - centre) * 1000)
    points, _ = keypoints(imported("--source_fps 25 --units shoulders"))
    shoulders = points[:, layout.SHOULDERS]
    assert np.abs(np.median(shoulders.mean(1), axis=0) - [0.5, 0.4]).max() < 0.02
    assert np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=1).mean() == pytest.approx(0.25, abs=0.02)
    np.save(tmp_path / "in" / "clip.npy", POINTS * [1280, 720])
    assert "look like pixels" in refused("--source_fps 25 --units shoulders")


def test_y_upwards_is_refused_where_the_nose_is_the_origin(refused, tmp_path: Path):
    values = (POINTS - POINTS[:, :1]) * [4, -4]
    np.save(tmp_path / "in" / "clip.npy", values)
    assert "y must point downwards" in refused("--source_fps 25 --units shoulders")


def test_image_units_are_not_taken_for_pixels(refused, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", POINTS)
    assert "look like unit" in refused("--source_fps 25 --units pixels --width 640 --height 480")


def test_y_upwards_is_refused(refused, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", POINTS * [1, -1] + [0, 1])
    assert "y must point downwards" in refused("--source_fps 25")


@pytest.mark.parametrize("lying", [POINTS[..., ::-1], POINTS[..., ::-1] * [1, -1] + [0, 1]])
def test_a_body_that_lies_is_told(lying: np.ndarray, imported, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", lying)
    report = (imported("--source_fps 25") / "report.txt").read_text()
    assert "are x and y exchanged, or the picture turned?: clip.npy" in report


def test_a_pose_file_outside_its_picture_is_told(imported, letter: Path, tmp_path: Path):
    pose = Pose.read(letter.read_bytes())
    pose.body.data[..., 0] *= -1
    with open(tmp_path / "in" / "clip.pose", "wb") as file:
        pose.write(file)
    shutil.copy(letter, tmp_path / "in" / "inside.pose")
    report = (imported() / "report.txt").read_text()
    assert "lies outside the picture; are --width, --height and --units right?: clip.pose\n" in report


def test_exchanged_hands_are_refused_and_can_be_put_right(refused, imported, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", np.concatenate([POINTS[:, :33], POINTS[:, 54:], POINTS[:, 33:54]], axis=1))
    assert "pass --swap_hands" in refused("--source_fps 25")
    points, _ = keypoints(imported("--source_fps 25 --swap_hands", "right"))
    np.testing.assert_allclose(points, POINTS, atol=1e-6)


def test_hands_that_a_flag_exchanged_are_not_asked_to_be_exchanged(refused, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", POINTS)
    assert "are exchanged by --swap_hands; leave it out" in refused("--source_fps 25 --swap_hands")


# ---- what is missing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [np.nan, 0.0])
def test_missing_numbers_stay_missing(missing: float, imported, tmp_path: Path):
    values = ARRAYS["keypoints first"].copy()
    values[3:9, layout.LEFT_HAND_KEYPOINTS] = missing
    values[5:, 75:] = missing  # the face
    np.save(tmp_path / "in" / "clip.npy", values)
    folder = imported("--source_fps 25 --width 640 --height 480")
    _, seen = keypoints(folder)
    assert not seen[3:9, layout.LEFT_HAND_KEYPOINTS].any()
    assert seen[:3].all()
    assert (np.isnan(nmm(folder)).all(1) == (np.arange(FRAMES) >= 5)).all()
    clip = read_clip(folder, "train", "clip")
    assert not clip.seen[5:, layout.NMM].any()


MISSING_IN = {  # by unit: how programs write a hand that they did not find
    "signed": [np.nan, 0.0, -1.0],
    "pixels": [np.nan, 0.0, -1.0],
    "shoulders": [np.nan, 0.0, (0 - CENTRE) / 0.24],  # zeros that were centred with the rest
}


@pytest.mark.parametrize(("unit", "missing"), [(unit, way) for unit, ways in MISSING_IN.items() for way in ways])
def test_a_missing_hand_stays_missing_in_every_unit(unit: str, missing: object, imported, tmp_path: Path):
    values = UNITS[unit][0].copy()
    values[3:12, layout.LEFT_HAND_KEYPOINTS] = np.broadcast_to(missing, (FRAMES, 1, 2))[3:12]
    single = 2 * (np.ndim(missing) == 0)  # frames without an ear, where one point alone can tell
    values[:single, layout.LEFT_EAR] = np.ravel(missing)[0]
    np.save(tmp_path / "in" / "clip.npy", values)
    size = "--width 1280 --height 720" if unit == "pixels" else ""
    folder = imported(f"--source_fps 25 --units {unit} {size}")
    _, seen = keypoints(folder)
    assert not seen[3:12, layout.LEFT_HAND_KEYPOINTS].any()
    assert not seen[:single, layout.LEFT_EAR].any()
    assert seen.sum() == seen.size - 9 * layout.NUM_HAND - single
    assert f"left hand {(FRAMES - 9) / FRAMES:.0%}" in (folder / "report.txt").read_text()


@pytest.mark.parametrize("key", ["visibility", "confidence", "scores", "keypoint_scores"])
def test_an_archive_says_what_was_seen_and_at_which_rate(key: str, imported, tmp_path: Path):
    scores = np.full((FRAMES, 75), 0.9)
    scores[3:9, layout.LEFT_HAND_KEYPOINTS] = 0
    np.savez(tmp_path / "in" / "clip.npz", keypoints=POINTS, fps=50, box=np.ones((FRAMES, 4)), **{key: scores})
    folder = imported("--source_fps 25")
    _, seen = keypoints(folder)
    assert np.array_equal(seen, scores > 0)
    with np.load(folder / "train" / "poses" / "clip.npz") as archive:
        assert archive["fps"] == 50
        np.testing.assert_allclose(archive["visibility"], scores, atol=1e-6)
    assert "box beside the points: not read: clip.npz" in (folder / "report.txt").read_text()


@pytest.mark.parametrize("shape", [(75, 3), (75, 4), (133, 3)])
def test_a_score_a_little_above_one_is_a_score(shape: tuple[int, int], imported, tmp_path: Path):
    values = scored(whole_body(POINTS) if shape[0] == 133 else POINTS)[..., :3]
    if shape[1] == 4:
        values = np.concatenate([values[..., :2], values[..., :1], values[..., 2:]], axis=2)
    left = slice(91, 112) if shape[0] == 133 else layout.LEFT_HAND_KEYPOINTS
    values[3:9, left, -1] = 0
    values[0, 0, -1] = 1.02
    np.save(tmp_path / "in" / "clip.npy", values)
    _, seen = keypoints(imported("--source_fps 25"))
    expected = np.ones(FRAMES, bool)
    expected[3:9] = False
    assert np.array_equal(seen[:, layout.LEFT_HAND_KEYPOINTS].all(1), expected)


@pytest.mark.parametrize(
    ("third", "said"),
    [
        (0.4, "the third number of a point is never far below 0, so it is taken for a score and not for depth"),
        (-0.4, "the third number of a point is taken for its depth"),
    ],
)
def test_the_report_says_what_the_third_number_was_taken_for(third: float, said: str, imported, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", scored(POINTS, third))
    assert f"note: {said}: clip.npy" in (imported("--source_fps 25") / "report.txt").read_text()
    np.savez(tmp_path / "in" / "clip.npz", keypoints=scored(POINTS, third), scores=np.ones((FRAMES, 75)))
    (tmp_path / "in" / "clip.npy").unlink()
    report = (imported("--source_fps 25", "archive") / "report.txt").read_text()
    assert ("is not read, as scores stand beside it: clip.npz" in report) == (third > 0)
    np.save(tmp_path / "in" / "clip.npy", POINTS)
    (tmp_path / "in" / "clip.npz").unlink()
    assert "third number" not in (imported("--source_fps 25", "flat") / "report.txt").read_text()


@pytest.mark.parametrize("face", [False, True])
def test_a_body_with_visibility_beside_hands_with_depth_keeps_it(face: bool, imported, tmp_path: Path):
    """As extractors write it that take x, y and visibility of the body, and x, y and z of hands and face."""
    body = np.concatenate([POINTS[:, :33], np.linspace(0.0, 1.0, FRAMES)[:, None, None].repeat(33, 1)], axis=2)
    parts = [body, FACE] if face else [body]
    np.save(tmp_path / "in" / "clip.npy", np.concatenate([*parts, with_depth(POINTS[:, 33:])], axis=1))
    folder = imported("--source_fps 25 --width 640 --height 480")
    with np.load(folder / "train/poses/clip.npz") as archive:
        np.testing.assert_allclose(archive["visibility"][:, :33], body[..., 2], atol=1e-6)
        assert (archive["visibility"][:, 33:] == 1).all()
    report = (folder / "report.txt").read_text()
    assert "the body's third number lies between 0 and 1, so it is taken for its visibility" in report
    assert np.isfinite(nmm(folder)).all() == face


def test_a_score_a_little_below_0_makes_no_depth_of_the_others(imported, tmp_path: Path):
    values = scored(POINTS, 0.4)
    values[5, layout.LEFT_SHOULDER, 2] = -0.01
    np.save(tmp_path / "in" / "clip.npy", values)
    with np.load(imported("--source_fps 25") / "train/poses/clip.npz") as archive:
        assert archive["visibility"][4, layout.LEFT_SHOULDER] == pytest.approx(0.4)
        assert archive["visibility"][5, layout.LEFT_SHOULDER] == 0


@pytest.mark.parametrize("points", [POINTS, whole_body(POINTS)], ids=["75", "133"])
def test_a_score_is_one_though_what_was_not_found_is_minus_one(points: np.ndarray, imported, tmp_path: Path):
    values = scored(points, 0.4)
    values[(points == 0).all(2)] = -1
    values[3:9, -layout.NUM_HAND :] = -1  # the right hand
    np.save(tmp_path / "in" / "clip.npy", values)
    folder = imported("--source_fps 25")
    assert "it is taken for a score and not for depth" in (folder / "report.txt").read_text()
    with np.load(folder / "train/poses/clip.npz") as archive:
        visibility = archive["visibility"][:, layout.RIGHT_HAND_KEYPOINTS]
    expected = np.full((FRAMES, layout.NUM_HAND), 0.4)
    expected[3:9] = 0
    np.testing.assert_allclose(visibility, expected, atol=1e-6)


def test_a_depth_of_whole_bodies_is_no_score(imported, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", with_depth(whole_body(POINTS)))
    folder = imported("--source_fps 25")
    points, seen = keypoints(folder)
    assert seen[:, layout.ARMS_AND_HANDS].all()
    np.testing.assert_allclose(points[:, layout.ARMS_AND_HANDS], POINTS[:, layout.ARMS_AND_HANDS], atol=1e-6)
    assert "note: the third number of a point is taken for its depth: clip.npy" in (folder / "report.txt").read_text()


@pytest.mark.parametrize("score", [95.0, -3.0])
def test_percent_and_logits_are_no_scores(score: float, refused, tmp_path: Path):
    values = np.concatenate([POINTS, np.full((FRAMES, 75, 2), 0.5)], axis=2)
    values[..., 3] = score
    np.save(tmp_path / "in" / "clip.npy", values)
    assert "no score from 0 for unseen to 1 for seen" in refused("--source_fps 25")


def pose_of_score(folder: Path, score: float) -> None:
    letter = next((spelling.find_lexicon() / "ase").glob("*.pose"))
    pose = Pose.read(letter.read_bytes())
    pose.body.confidence[:] = score
    with open(folder / "clip.pose", "wb") as file:
        pose.write(file)


def openpose_of_score(folder: Path, score: float) -> None:
    person = openpose_person(scored(POINTS[0] * SIZE, score))
    (folder / "clip_1_keypoints.json").write_text(json.dumps({"people": [person]}))


def dwpose_of_score(folder: Path, score: float) -> None:
    write_dwpose(folder, POINTS[:1])
    (path,) = folder.iterdir()
    content = json.loads(path.read_text())
    content["person_0"]["left_hand_scores"] = [score] * 21
    path.write_text(json.dumps(content))


def mmpose_of_score(folder: Path, score: float) -> None:
    instances = [{"keypoints": whole_body(POINTS[:1] * SIZE)[0].tolist(), "keypoint_scores": [score] * 133}]
    (folder / "clip.json").write_text(json.dumps({"instance_info": [{"frame_id": 1, "instances": instances}]}))


def flat_array_of_score(folder: Path, score: float) -> None:
    body = np.concatenate([with_depth(POINTS[:, :33]), np.full((FRAMES, 33, 1), score)], axis=2)
    hands = with_depth(POINTS[:, 33:]).reshape(FRAMES, -1)
    np.save(folder / "clip.npy", np.concatenate([body.reshape(FRAMES, -1), hands], axis=1))


OF_SCORE = {  # how each format is written, its flags, and the largest score that some detector gives
    "pose": (pose_of_score, "", 1.02),
    "openpose": (openpose_of_score, "--source_fps 24 --width 1280 --height 720", 1.05),
    "dwpose": (dwpose_of_score, "--source_fps 24", 9.5),
    "mmpose": (mmpose_of_score, "--source_fps 24 --width 1280 --height 720", 9.5),
    "flat array": (flat_array_of_score, "--source_fps 24", 1.02),
}


@pytest.mark.parametrize("kind", OF_SCORE)
def test_percent_and_logits_are_no_scores_in_any_format(kind: str, imported, refused, tmp_path: Path):
    write, flags, largest = OF_SCORE[kind]
    for score in (95.0, -3.0):
        write(tmp_path / "in", score)
        assert f"a point's score is {score:g}: no score from 0 for unseen to 1 for seen" in refused(flags)
    write(tmp_path / "in", largest)
    (made,) = imported(flags).glob("train/poses/*")
    assert read_keypoints(made)[1].any()


def test_scores_of_dwposes_bodies_are_kept_where_they_are_no_numbers_of_points(imported, tmp_path: Path):
    points = POINTS.copy()
    points[:, layout.LEFT_EAR] = 0  # -1 among the scores

    def body_scores(change) -> np.ndarray:
        """Visibility [18] of the body's points in the first frame, after a change of their scores [18]."""
        shutil.rmtree(tmp_path / "in" / "clip", ignore_errors=True)
        write_dwpose(tmp_path / "in" / "clip", points)
        for path in (tmp_path / "in" / "clip").iterdir():
            content = json.loads(path.read_text())
            content["person_0"]["body_scores"] = change(np.array(content["person_0"]["body_scores"])).tolist()
            path.write_text(json.dumps(content))
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        with np.load(imported("--source_fps 24") / "train/poses/clip.npz") as archive:
            return archive["visibility"][0, list(OPENPOSE_18)]

    found = body_scores(lambda numbers: numbers)
    assert set(found) == {0.0, 1.0}
    np.testing.assert_array_equal(body_scores(lambda numbers: np.where(numbers < 0, -1, numbers + 18)), found)
    np.testing.assert_allclose(body_scores(lambda numbers: np.full(18, 0.1)), np.where(found > 0, 0.1, 0), atol=1e-6)


@pytest.mark.parametrize("score", [False, 0.0])
def test_a_hand_of_score_0_throughout_is_not_there(score: float | bool, imported, tmp_path: Path):
    scores = np.ones((FRAMES, 75, 1), type(score))
    scores[:, layout.LEFT_HAND_KEYPOINTS] = score
    np.savez(tmp_path / "in" / "clip.npz", keypoints=POINTS, visibility=scores)
    _, seen = keypoints(imported("--source_fps 25"))
    assert not seen[:, layout.LEFT_HAND_KEYPOINTS].any()
    assert seen.sum() == FRAMES * (75 - layout.NUM_HAND)


def test_a_face_is_seen_where_it_has_depth_and_a_score(imported, tmp_path: Path):
    whole = np.concatenate([POINTS[:, :33], FACE[..., :2], POINTS[:, 33:]], axis=1)
    scores = np.ones(whole.shape[:2])
    np.savez(tmp_path / "in" / "clip.npz", keypoints=whole, visibility=scores)
    assert np.isnan(nmm(imported("--source_fps 25", "flat"))).all()  # no depth, no angles
    scores[3:9, 33 : 33 + len(FACE[0])] = 0
    whole = np.concatenate([with_depth(POINTS[:, :33]), FACE, with_depth(POINTS[:, 33:])], axis=1)
    np.savez(tmp_path / "in" / "clip.npz", keypoints=whole, visibility=scores)
    seen = np.isfinite(nmm(imported("--source_fps 25 --width 640 --height 480", "deep"))).all(1)
    assert np.flatnonzero(~seen).tolist() == [*range(3, 9)]


UNSCORED_HANDS = {  # how a clip is written whose body has scores, points [T,75,2] and scores [T,75] given
    "x, y, score": lambda points, scores: {"data": np.concatenate([points, scores[..., None]], axis=2)},
    "x, y, z, score": lambda points, scores: {
        "data": np.concatenate([points, np.zeros((FRAMES, 75, 1)), scores[..., None]], axis=2)
    },
    "scores beside": lambda points, scores: {"keypoints": points, "visibility": scores},
}


@pytest.mark.parametrize("way", UNSCORED_HANDS)
@pytest.mark.parametrize("missing", [0, -1])
def test_hands_are_found_by_their_points_where_mediapipe_gives_them_no_visibility(
    missing: int, way: str, imported, tmp_path: Path
):
    points, scores = POINTS.copy(), np.full((FRAMES, 75), 0.9)
    scores[:, 33:] = 0
    points[3:9, layout.LEFT_HAND_KEYPOINTS] = scores[3:9, layout.LEFT_HAND_KEYPOINTS] = missing
    np.savez(tmp_path / "in" / "clip.npz", **UNSCORED_HANDS[way](points, scores))
    folder = imported("--source_fps 25")
    _, seen = keypoints(folder)
    assert seen[:, layout.RIGHT_HAND_KEYPOINTS].all()
    assert np.flatnonzero(~seen[:, layout.LEFT_HAND_KEYPOINTS].any(1)).tolist() == [*range(3, 9)]
    said = "hands have visibility 0 throughout, as MediaPipe writes it; what has coordinates counts as seen"
    assert f"note: {said}: clip.npz" in (folder / "report.txt").read_text()


@pytest.mark.parametrize("beside", [False, True])
def test_a_face_is_found_by_its_points_where_mediapipe_gives_it_no_visibility(beside: bool, imported, tmp_path: Path):
    whole = np.concatenate([with_depth(POINTS[:, :33]), FACE, with_depth(POINTS[:, 33:])], axis=1)
    whole[3:9, 33 : 33 + len(FACE[0])] = 0
    scores = np.zeros(whole.shape[:2])
    scores[:, :33] = 0.9
    if beside:
        np.savez(tmp_path / "in" / "clip.npz", keypoints=whole, visibility=scores)
    else:
        np.save(tmp_path / "in" / "clip.npy", np.concatenate([whole, scores[..., None]], axis=2))
    folder = imported("--source_fps 25 --width 640 --height 480")
    seen = np.isfinite(nmm(folder)).all(1)
    assert np.flatnonzero(~seen).tolist() == [*range(3, 9)]
    assert "note: the face has visibility 0 throughout" in (folder / "report.txt").read_text()


@pytest.mark.parametrize("flags", ["", "--format array_frames"])
def test_a_missing_array_of_a_frame_is_an_unseen_frame(flags: str, imported, tmp_path: Path):
    folder = tmp_path / "in" / "clip"
    folder.mkdir()
    for number in [*range(4), *range(7, FRAMES)]:
        frame = scored(POINTS)[number]  # [75,3]; may be [1,75,3] where the format is given
        np.save(folder / f"{number:03d}.npy", frame[None] if flags else frame)
    out = imported(f"--source_fps 25 {flags}")
    points, seen = keypoints(out)
    assert len(points) == FRAMES
    assert np.flatnonzero(~seen.any(1)).tolist() == [4, 5, 6]
    assert "missing frames: 3" in (out / "report.txt").read_text()


@pytest.mark.parametrize("flags", ["", "--format arrays"])
def test_numbered_clips_of_one_frame_stay_clips(flags: str, imported, tmp_path: Path, capsys):
    for name in ("a_1", "a_2", "b_1"):
        np.save(tmp_path / "in" / f"{name}.npy", POINTS[:1])  # [1,75,2]
    folder = imported(f"--source_fps 25 {flags}")
    assert {path.stem for path in folder.glob("train/poses/*")} == {"a_1", "a_2", "b_1"}
    assert ("3 numbered files are [1,...], such as " in capsys.readouterr().out) == (not flags)


def test_files_of_another_format_than_the_one_that_is_asked_for_are_not_looked_at(imported, letter: Path, tmp_path):
    shutil.copy(letter, tmp_path / "in" / "clip.pose")
    for name in ("a_1_x1", "a_2_x2"):  # of one frame each
        (tmp_path / "in" / f"{name}.json").write_text('{"people": []}')
    (tmp_path / "in" / "a.skels").write_text("1 2\n")
    (tmp_path / "in" / "a.files").write_text("one\ntwo\n")  # of one line
    folder = imported("--format pose")
    assert [path.stem for path in folder.glob("train/poses/*")] == ["clip"]


@pytest.mark.parametrize("apart", [2, 3])
def test_frames_that_are_evenly_apart_follow_one_another_and_the_report_says_so(apart: int, imported, tmp_path: Path):
    write_openpose(tmp_path / "in" / "clip", [POINTS * SIZE])
    for number, path in enumerate(sorted((tmp_path / "in" / "clip").iterdir())):
        if number % apart:
            path.unlink()
    out = imported("--source_fps 24 --width 1280 --height 720")
    points, seen = keypoints(out)
    ours = mapped(BODY_25)
    np.testing.assert_allclose(points[:, ours], POINTS[::apart, ours], atol=1e-4)
    assert seen[:, ours].all()
    assert f"its frames are {apart} numbers apart" in (out / "report.txt").read_text()


def test_phoenix_2014_names_its_frames_with_a_number_behind_the_frames(imported, tmp_path: Path):
    for name, kind in (("a", "_keypoints.json"), ("b", ".json")):
        write_openpose(tmp_path / "in" / name, [POINTS * SIZE])
        for number, path in enumerate(sorted((tmp_path / "in" / name).iterdir())):
            path.rename(path.with_name(f"01April_2010_heute_default-0.avi_pid0_fn{number:06d}-0{kind}"))
    folder = imported("--source_fps 24 --width 1280 --height 720")
    assert {path.stem: len(keypoints(folder, path.stem)[0]) for path in folder.glob("train/poses/*")} == {
        "a": FRAMES,
        "b": FRAMES,
    }


@pytest.mark.parametrize("kind", ["JSON", "arrays"])
def test_frames_that_would_each_be_a_clip_are_refused_unless_each_has_a_folder(
    kind: str, refused, imported, tmp_path: Path
):
    """The number that counts the frames is not the last of the name, but a constant is."""
    given = tmp_path / "in"
    if kind == "JSON":
        write_openpose(given, [POINTS[:3] * SIZE])
    else:
        for number in range(3):
            np.save(given / f"{number}.npy", POINTS[number])
    for number, path in enumerate(sorted(given.iterdir())):
        path.rename(given / f"clip_{number}_camera1{path.suffix}")
    flags = "--source_fps 24" + (" --width 1280 --height 720" if kind == "JSON" else "")
    said = refused(flags)
    assert f"{given}: each of its 3 files would be a clip of its own, of one frame, such as clip_0_camera1" in said
    for path in sorted(given.iterdir()):
        (given / path.stem).mkdir()
        path.rename(given / path.stem / path.name)
    folder = imported(flags)
    assert [len(keypoints(folder, f"clip_{number}_camera1")[0]) for number in range(3)] == [1, 1, 1]


def test_json_beside_frames_that_is_none_is_named_and_names_no_clip(imported, tmp_path: Path, capsys):
    folder = tmp_path / "in" / "clip"
    write_openpose(folder, [POINTS * SIZE])
    (folder / "config_2.json").write_text('{"model": "BODY_25"}')
    out = imported("--source_fps 24 --width 1280 --height 720")
    assert f"left out {folder / 'config_2.json'}: JSON beside frames, but no frame of" in capsys.readouterr().out
    assert [path.stem for path in out.glob("train/poses/*")] == ["clip"]
    assert len(keypoints(out)[0]) == FRAMES


def test_two_files_of_one_frame_number_are_told(imported, tmp_path: Path):
    folder = tmp_path / "in" / "clip"
    write_openpose(folder, [POINTS * SIZE])
    shutil.copy(folder / "clip_000000000005_keypoints.json", folder / "clip_5_keypoints.json")
    out = imported("--source_fps 24 --width 1280 --height 720")
    said = "several of its frames have the number 5; all are taken to follow one another: clip"
    assert said in (out / "report.txt").read_text()
    assert len(keypoints(out)[0]) == FRAMES + 1


def test_a_rate_that_no_clip_has_is_refused_before_a_clip_is_written():
    with pytest.raises(UserError, match=r"its rate is 0\.5 frames per second"):
        make_recording(POINTS, np.ones(POINTS.shape[:2]), None, 0.5)


def test_half_a_hand_counts_as_seen_in_the_report(imported, tmp_path: Path):
    values = POINTS.copy()
    values[:, layout.LEFT_HAND_KEYPOINTS.start + 3] = np.nan  # one of its 21 points
    np.save(tmp_path / "in" / "clip.npy", values)
    assert "left hand 100%" in (imported("--source_fps 25") / "report.txt").read_text()


def test_links_and_capital_endings_are_followed_and_circles_are_not(imported, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    np.save(tmp_path / "elsewhere" / "linked.npy", POINTS)
    (tmp_path / "in" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "in")
    with open(tmp_path / "in" / "CAPITAL.NPY", "wb") as file:
        np.save(file, POINTS)
    folder = imported("--source_fps 25")
    assert {path.stem for path in folder.glob("train/poses/*")} == {"linked", "CAPITAL"}


def test_a_folder_and_a_link_to_it_are_one(imported, tmp_path: Path):
    (tmp_path / "in" / "real").mkdir()
    np.save(tmp_path / "in" / "real" / "clip.npy", POINTS)
    (tmp_path / "in" / "alias").symlink_to(tmp_path / "in" / "real")
    folder = imported("--source_fps 25 --ids path")
    assert {path.stem for path in folder.glob("train/poses/*")} == {"real_clip"}


def test_with_ids_of_paths_another_column_that_names_the_recordings_is_asked_for(imported, refused, tmp_path: Path):
    for name in ("anna/1", "ben/2"):
        path = tmp_path / "in" / f"{name}.npy"
        path.parent.mkdir()
        np.save(path, POINTS)
    table = tmp_path / "texts.csv"
    table.write_text("id,recorded_as,text\nanna/1.mp4,ben/2.mp4,one\nben/2.mp4,anna/1.mp4,two\n")
    flags = f"--source_fps 25 --ids path --texts {table}"
    assert "the columns 'id' and 'recorded_as' name different recordings" in refused(flags)
    folder = imported(f"{flags} --id_column recorded_as")
    assert (folder / "train.txt").read_text() == "anna_1|two\nben_2|one\n"


def test_what_git_annex_keeps_in_a_hidden_folder_is_no_second_clip(imported, tmp_path: Path):
    kept = tmp_path / "in" / ".git" / "annex" / "SHA256E-s1--ab.npy"
    kept.parent.mkdir(parents=True)
    np.save(kept, POINTS)
    (tmp_path / "in" / "hello.npy").symlink_to(kept)
    folder = imported("--source_fps 25")
    assert [path.stem for path in folder.glob("train/poses/*")] == ["hello"]


def test_folders_that_cannot_be_read_are_named(imported, refused, tmp_path: Path, capsys, monkeypatch):
    for name in ("open", "closed"):
        (tmp_path / "in" / name).mkdir()
        np.save(tmp_path / "in" / name / f"{name}.npy", POINTS)
    scandir = os.scandir

    def forbidding(path: str):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidding)
    said = "1 folders can't be read, such as closed (Permission denied)"
    assert f"{said}; check their permissions, or pass --skip_bad" in refused("--source_fps 25")
    imported("--source_fps 25 --skip_bad")
    assert f"{said}; they are left out" in capsys.readouterr().out


def test_links_that_lead_nowhere_are_named(imported, refused, tmp_path: Path, capsys):
    given = tmp_path / "in"
    np.save(given / "a.npy", POINTS)
    for name in ("b.npy", "notes.txt", "folder"):
        (given / name).symlink_to("../.git/annex/objects/it")
    assert f"{given}: 2 links lead nowhere, such as b.npy; fetch their content" in refused("--source_fps 25")
    assert not (tmp_path / "out").exists()
    imported("--source_fps 25 --skip_bad")
    assert "2 links lead nowhere, such as b.npy; they are left out" in capsys.readouterr().out
    (given / "a.npy").unlink()
    (given / "folder").unlink()
    (given / "b.npy").rename(given / "b.files")  # whose names would be made up without it
    (given / "b.skels").write_text(f"{skels_line(POINTS)}\n")
    assert "b.files: No such file" in refused("--source_fps 25 --skip_bad")


@pytest.mark.parametrize("kind", ["JSON", "arrays"])
def test_a_frame_that_is_a_link_to_nowhere_leaves_its_recording_out_and_no_other(kind: str, imported, tmp_path: Path):
    for clip in ("good", "lost"):
        folder = tmp_path / "in" / clip
        if kind == "JSON":
            write_openpose(folder, [POINTS * SIZE])
        else:
            folder.mkdir()
            for number, frame in enumerate(scored(POINTS)):
                np.save(folder / f"{number:03d}.npy", frame)
    flags = "--source_fps 24 --skip_bad" + (" --width 1280 --height 720" if kind == "JSON" else "")
    out = imported(flags)
    frame = sorted((tmp_path / "in" / "lost").iterdir())[4]
    frame.unlink()
    frame.symlink_to("/nonexistent")
    for folder in (out, imported(flags, "other")):  # one that holds the clip from before, and a new one
        imported(flags, folder.name)
        assert f"left out: lost: {frame.name}: no such file, or a link" in (folder / "report.txt").read_text()
        assert [path.stem for path in folder.glob("train/poses/*")] == ["good"]


def test_frames_of_mmpose_are_where_their_numbers_say(imported, refused, tmp_path: Path):
    frames = [
        {"frame_id": number, "instances": [{"keypoints": one.tolist(), "keypoint_scores": [0.9] * 133}]}
        for number, one in enumerate(whole_body(POINTS * SIZE))
    ]
    flags = "--source_fps 24 --width 1280 --height 720"
    (tmp_path / "in" / "clip.json").write_text(json.dumps({"instance_info": frames}))
    in_order, _ = keypoints(imported(flags, "in_order"))
    some = [*frames[:3], *frames[5:]][::-1]
    (tmp_path / "in" / "clip.json").write_text(json.dumps({"instance_info": some}))
    points, seen = keypoints(imported(flags, "some"))
    assert not seen[3:5].any()
    assert np.array_equal(np.delete(points, [3, 4], 0), np.delete(in_order, [3, 4], 0))
    (tmp_path / "in" / "clip.json").write_text(json.dumps([{"keypoints": [], "image_id": 1}]))
    assert "is a list without 'instances'" in refused(flags)


def test_a_face_whose_depth_is_0_is_no_face(imported, tmp_path: Path):
    flat = np.concatenate([FACE[..., :2], np.zeros((*FACE.shape[:2], 1))], axis=2)
    whole = np.concatenate([with_depth(POINTS[:, :33]), flat, with_depth(POINTS[:, 33:])], axis=1)
    np.save(tmp_path / "in" / "clip.npy", whole)
    folder = imported("--source_fps 25 --width 1280 --height 720")
    assert np.isnan(nmm(folder)).all()
    assert "no depth, without which a head's turn cannot be told" in (folder / "report.txt").read_text()


def test_depth_of_a_face_in_pictures_is_told_from_one_in_pixels(imported, tmp_path: Path):
    """Usual for arrays in pixels: x and y were multiplied, and z was left as MediaPipe gives it."""
    whole = np.concatenate([with_depth(POINTS[:, :33]), FACE, with_depth(POINTS[:, 33:])], axis=1)
    flags = "--source_fps 25 --units pixels --width 1280 --height 720"
    made = {}
    for name, scale in (("pictures", (1280, 720, 1)), ("pixels", (1280, 720, 1280))):
        np.save(tmp_path / "in" / "clip.npy", whole * scale)
        made[name] = nmm(imported(flags, name))
    np.testing.assert_allclose(made["pictures"], made["pixels"], atol=1e-4)
    assert "in pictures, x and y in pixels" in (tmp_path / "pictures" / "report.txt").read_text()
    assert "in pictures, x and y in pixels" not in (tmp_path / "pixels" / "report.txt").read_text()


def add_canvas(folder: Path, width: object, height: object) -> None:
    for path in folder.iterdir():
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "canvas_width": width, "canvas_height": height}))


def test_each_clip_is_measured_by_the_canvas_that_its_json_states(imported, refused, tmp_path: Path):
    for name, size in (("large", (1280, 720)), ("small", (640, 360)), ("unit", (1, 1))):
        write_openpose(tmp_path / "in" / name, [POINTS * size])
        add_canvas(tmp_path / "in" / name, *(640, 360) if name == "unit" else size)
    folder = imported("--source_fps 24")
    for name in ("large", "small", "unit"):
        points, seen = keypoints(folder, name)
        np.testing.assert_allclose(points[seen], POINTS[seen], atol=1e-4)
    report = (folder / "report.txt").read_text()
    assert "width / height of the picture: 1.78 (3 clips)" in report
    assert "note: the picture's size is the canvas that its JSON states: large, small, unit" in report
    shutil.rmtree(folder)
    said = refused("--source_fps 24 --width 1280 --height 720")
    assert "its JSON states a canvas of 640 x 360 pixels, but --width and --height 1280 x 720; leave them out" in said


@pytest.mark.parametrize("size", [(0, 720), ("1280", 720), (1280, None), (True, 1), (10**400, 1), (float("nan"), 1)])
def test_a_canvas_that_is_no_size_is_refused(size: tuple[object, object], refused, tmp_path: Path):
    write_openpose(tmp_path / "in" / "clip", [POINTS * SIZE])
    add_canvas(tmp_path / "in" / "clip", *size)
    assert "are no size of a picture in pixels" in refused("--source_fps 24")


def test_frames_of_several_canvases_are_no_clip(refused, tmp_path: Path):
    write_openpose(tmp_path / "in" / "clip", [POINTS * SIZE])
    add_canvas(tmp_path / "in" / "clip", 1280, 720)
    path = tmp_path / "in" / "clip" / "clip_000000000003_keypoints.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "canvas_width": 640}))
    assert "its frames state canvases of several sizes, 640 x 720, 1280 x 720" in refused("--source_fps 24")


def test_a_picture_that_is_too_small_for_its_points_is_refused(refused, imported, tmp_path: Path):
    write_openpose(tmp_path / "in" / "clip", [POINTS * SIZE])
    assert "points lie outside the picture" in refused("--source_fps 24 --width 640 --height 360")
    shutil.rmtree(tmp_path / "in" / "clip")
    below = POINTS * SIZE
    below[:4, 40, 1] = 760.0  # a hand that is guessed beyond the border, in some frames
    write_openpose(tmp_path / "in" / "clip", [below])
    imported("--source_fps 24 --width 1280 --height 720", "below")
    shutil.rmtree(tmp_path / "in" / "clip")
    sitting = POINTS.copy()
    sitting[:, layout.LEFT_HIP : layout.NUM_BODY, 1] += 0.7  # hips and legs that are guessed below the picture
    write_openpose(tmp_path / "in" / "clip", [sitting * SIZE])
    imported("--source_fps 24 --width 1280 --height 720", "sitting")
    assert "points lie outside the picture" in refused("--source_fps 24 --width 640 --height 360")
    shutil.rmtree(tmp_path / "in" / "clip")
    np.save(tmp_path / "in" / "clip.npy", (POINTS + np.array([0.0, 0.8])) * SIZE)
    folder = imported("--source_fps 24 --units pixels --width 1280 --height 720")
    assert "the nose or a shoulder lies outside the picture" in (folder / "report.txt").read_text()


def test_a_line_of_skels_ends_its_frames_by_a_counter(refused, imported, tmp_path: Path):
    numbers = np.array(skels_line(POINTS).split(), float).reshape(FRAMES, 151)
    numbers[:, 2:150:3] = np.random.default_rng(0).normal(0, 0.1, (FRAMES, 50))  # depth
    numbers[:, -1] = np.linspace(0, 1, FRAMES)
    (tmp_path / "in" / "dev.skels").write_text(" ".join(map(str, numbers.ravel())))
    imported("--source_fps 25")
    (tmp_path / "in" / "dev.skels").write_text(" ".join(map(str, np.roll(numbers, 1, axis=1).ravel())))
    assert "is no counter that rises" in refused("--source_fps 25")


def test_a_rate_in_words_is_refused(refused, tmp_path: Path):
    np.savez(tmp_path / "in" / "clip.npz", keypoints=POINTS, fps="25")
    assert "its 'fps' is not a number of frames per second" in refused("--source_fps 30")


def test_scores_of_whole_bodies_may_exceed_1_as_rtmpose_writes_them(imported, refused, tmp_path: Path):
    whole = whole_body(POINTS)
    np.save(tmp_path / "in" / "clip.npy", np.concatenate([whole, np.full((*whole.shape[:2], 1), 7.5)], axis=2))
    _, seen = keypoints(imported("--source_fps 25"))
    assert seen[:, layout.LEFT_HAND_KEYPOINTS].all()
    np.save(tmp_path / "in" / "clip.npy", np.concatenate([whole, np.full((*whole.shape[:2], 1), 95.0)], axis=2))
    assert "no score from 0 for unseen to 1 for seen" in refused("--source_fps 25")


def test_texts_may_name_the_videos_that_poses_were_made_of(imported, tmp_path: Path):
    np.save(tmp_path / "in" / "a.npy", POINTS)
    (tmp_path / "t.csv").write_text("file,text\na.mp4,hello\na.001,not this recording's\n")
    folder = imported(f"--source_fps 25 --texts {tmp_path / 't.csv'}")
    assert (folder / "train.txt").read_text() == "a|hello\n"


def test_mmpose_files_may_end_in_a_number(imported, tmp_path: Path):
    frames = [
        {"instances": [{"keypoints": one.tolist(), "keypoint_scores": [0.9] * 133}]}
        for one in whole_body(POINTS * SIZE)
    ]
    for name in ("clip_1", "clip_2"):
        (tmp_path / "in" / f"{name}.json").write_text(json.dumps({"meta_info": {}, "instance_info": frames}))
    folder = imported("--source_fps 24 --width 1280 --height 720")
    assert {path.stem for path in folder.glob("train/poses/*")} == {"clip_1", "clip_2"}


@pytest.fixture
def letter_of_two(imported, tmp_path: Path) -> np.ndarray:
    """A .pose of two people, a still one at the left and a letter; the letter's own keypoints."""
    letter = next(path for path in sorted(spelling.find_lexicon().rglob("*.pose")) if path.stat().st_size > 10**5)
    with open(letter, "rb") as file:
        pose = Pose.read(file.read())
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
        assert "2 people" in (tmp_path / person / "report.txt").read_text()
    with pytest.raises(UserError, match=r"shows 2 people; import_data\.py follows one"):
        read_pose_file(tmp_path / "in" / "two.pose")


def test_a_place_that_no_person_takes_is_none(letter_of_two: np.ndarray, imported, tmp_path: Path):
    path = tmp_path / "in" / "two.pose"
    pose = Pose.read(path.read_bytes())
    pose.body.confidence[:, 0] = 0
    with open(path, "wb") as file:
        pose.write(file)
    points, _ = keypoints(imported(), "two")
    np.testing.assert_allclose(points, letter_of_two, atol=1e-5)
    np.testing.assert_array_equal(read_pose_file(path).keypoints, letter_of_two)


def test_a_face_centred_on_the_shoulders_is_measured_in_the_square_that_it_is_put_into(imported, tmp_path: Path):
    whole = np.concatenate([with_depth(POINTS[:, :33]), FACE, with_depth(POINTS[:, 33:])], axis=1) * [1280, 720, 1280]
    np.save(tmp_path / "in" / "clip.npy", whole)
    size = "--width 1280 --height 720"
    as_it_is = nmm(imported(f"--source_fps 25 --units pixels {size}", "pixels"))
    middle = whole[:, layout.SHOULDERS].mean(1, keepdims=True) * [1, 1, 0]
    np.save(tmp_path / "in" / "clip.npy", (whole - middle) / 300)
    for name, flags, said in (("plain", "", False), ("sized", size, True)):
        folder = imported(f"--source_fps 25 --units shoulders {flags}", name)
        np.testing.assert_allclose(nmm(folder), as_it_is, atol=1e-4)
        report = (folder / "report.txt").read_text()
        assert "width / height of the picture" not in report
        assert "(--width, --height)" not in report
        assert ("is put into a square picture; its own size has no say: clip.npy" in report) == said


def test_a_normalised_pose_file_is_refused_and_converted_when_named(refused, imported, tmp_path: Path):
    letter = sorted(spelling.find_lexicon().rglob("*.pose"))[0]
    with open(letter, "rb") as file:
        pose = Pose.read(file.read())
    pose.normalize(
        pose.header.normalization_info(("POSE_LANDMARKS", "RIGHT_SHOULDER"), ("POSE_LANDMARKS", "LEFT_SHOULDER"))
    )
    with open(tmp_path / "in" / "clip.pose", "wb") as file:
        pose.write(file)
    assert "look like shoulders" in refused()
    points, seen = keypoints(imported("--units shoulders"))
    shoulders = points[:, layout.SHOULDERS]
    assert np.median(np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=1)) == pytest.approx(0.25, abs=1e-3)
    np.testing.assert_allclose(np.median(shoulders.mean(1), axis=0), [0.5, 0.4], atol=1e-2)
    assert np.array_equal(seen, read_pose_file(letter).visibility > 0)
    with pytest.raises(UserError, match="its points are no pixels of its picture"):
        read_pose_file(tmp_path / "in" / "clip.pose")


def test_a_pose_file_in_other_units_has_the_same_points_and_the_same_face(imported, tmp_path: Path):
    letter = sorted(spelling.find_lexicon().rglob("*.pose"))[0]
    shutil.copy(letter, tmp_path / "in" / "clip.pose")
    as_it_is = imported("", "pixels")
    with open(letter, "rb") as file:
        pose = Pose.read(file.read())
    pose.header.dimensions.width, pose.header.dimensions.height = 1280, 720
    pose.body.data[..., :2] /= 500  # the picture of the letters
    pose.body.data[..., 0] *= 720 / 1280  # the same face in a wider picture
    with open(tmp_path / "in" / "clip.pose", "wb") as file:
        pose.write(file)
    others = imported("--units unit", "unit")
    points, seen = keypoints(others)
    np.testing.assert_allclose(points * [1280 / 720, 1], keypoints(as_it_is)[0], atol=1e-4)
    assert np.array_equal(seen, keypoints(as_it_is)[1])
    flat = slice(17, 19)  # yaw and pitch, which depth decides
    ours, theirs = nmm(others), nmm(as_it_is)
    np.testing.assert_allclose(np.delete(ours, flat, 1), np.delete(theirs, flat, 1), atol=2e-3)


def test_the_size_of_a_pose_files_picture_can_be_given(refused, imported, tmp_path: Path):
    letter = sorted(spelling.find_lexicon().rglob("*.pose"))[0]
    shutil.copy(letter, tmp_path / "in" / "clip.pose")
    as_it_is = imported("", "as_it_is")
    with open(letter, "rb") as file:
        pose = Pose.read(file.read())
    width, height = pose.header.dimensions.width, pose.header.dimensions.height
    pose.header.dimensions.width = pose.header.dimensions.height = 0
    with open(tmp_path / "in" / "clip.pose", "wb") as file:
        pose.write(file)
    assert "header gives an image of 0 x 0 pixels" in refused()
    given = imported(f"--width {width} --height {height}", "given")
    for mine, theirs in zip(keypoints(given), keypoints(as_it_is), strict=True):
        assert np.array_equal(mine, theirs)
    assert np.array_equal(nmm(given), nmm(as_it_is), equal_nan=True)
    assert (
        "its header says 0 x 0, in place of which --width and --height are taken" in (given / "report.txt").read_text()
    )


def test_a_face_keeps_its_depth_where_a_pose_file_is_centred_on_the_shoulders(imported, tmp_path: Path):
    """z in pictures of the file's own width, as converters write it, whatever square the body is put into."""
    letter = sorted(spelling.find_lexicon().rglob("*.pose"))[0]
    with open(letter, "rb") as file:
        pose = Pose.read(file.read())
    pose.body.data[..., 2] /= pose.header.dimensions.width
    with open(tmp_path / "in" / "clip.pose", "wb") as file:
        pose.write(file)
    as_it_is = nmm(imported("", "as_it_is"))
    pose.normalize(
        pose.header.normalization_info(("POSE_LANDMARKS", "RIGHT_SHOULDER"), ("POSE_LANDMARKS", "LEFT_SHOULDER"))
    )
    with open(tmp_path / "in" / "clip.pose", "wb") as file:
        pose.write(file)
    np.testing.assert_allclose(nmm(imported("--units shoulders", "centred")), as_it_is, atol=2e-3)


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
    assert "no depth, without which a head's turn cannot be told" in (folder / "report.txt").read_text()
    assert np.isnan(read_pose_file(tmp_path / "in" / "clip.pose").nmm).all()
    np.testing.assert_allclose(keypoints(folder)[0], read_pose_file(letter).keypoints, atol=1e-6)


def test_the_data_set_is_not_written_among_the_recordings(tmp_path: Path, imported, capsys):
    said = commands.one_sentence(capsys, lambda: imported("", "in"))
    assert "is --input, too" in said


def test_a_body_centred_elsewhere_is_put_where_all_are(imported, tmp_path: Path):
    hips = POINTS[:, [layout.LEFT_HIP, layout.RIGHT_HIP]].mean(1, keepdims=True)
    np.save(tmp_path / "in" / "clip.npy", (POINTS - hips) / 0.24)
    points, _ = keypoints(imported("--source_fps 25 --units shoulders"))
    middle = points[:, layout.SHOULDERS].mean((0, 1))
    np.testing.assert_allclose(middle, [0.5, 0.4], atol=1e-2)


def test_one_clip_in_another_unit_is_not_converted_with_the_rest(refused, tmp_path: Path):
    for name, values in (("a", UNITS["signed"][0]), ("b", POINTS)):
        np.save(tmp_path / "in" / f"{name}.npy", values)
    assert "b.npy: its coordinates look like unit" in refused("--source_fps 25 --units signed")


def test_skels_are_read_once_to_be_found_and_each_line_at_its_place(imported, tmp_path: Path, monkeypatch):
    frames = [6, 7, 8, 9]
    lines = [f"{skels_line(signer(count)[0])}\n" for count in frames]
    (tmp_path / "in" / "dev.skels").write_text("\n" + lines[0] + " \n".join(lines[1:]))
    (tmp_path / "in" / "dev.files").write_text("d\nc\nb\na\n")  # IDs in another order than the lines
    (tmp_path / "in" / "dev.text").write_text("six\nseven\neight\nnine\n")
    searched, places = [], formats.skels_places
    monkeypatch.setattr(formats, "skels_places", lambda path: searched.append(path) or places(path))
    folder = imported("--source_fps 25")
    assert len(searched) == 1
    assert [len(keypoints(folder, clip)[0]) for clip in "dcba"] == frames
    assert (folder / "train.txt").read_text() == "a|nine\nb|eight\nc|seven\nd|six\n"
    content = (tmp_path / "in" / "dev.skels").read_text()
    found = [content[source.part :].split("\n")[0].strip() for source in formats.find_sources(tmp_path / "in")]
    assert found == [line.strip() for line in lines]


def test_a_folder_of_many_clips_is_listed_once_and_not_for_each_of_them(imported, tmp_path: Path, monkeypatch):
    for clip in ("a", "b", "c"):
        write_openpose(tmp_path / clip, [POINTS * SIZE])
        for path in (tmp_path / clip).iterdir():
            path.rename(tmp_path / "in" / path.name.replace("clip", clip))
    listed, iterdir = [], Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: listed.append(folder) or iterdir(folder))
    folder = imported("--source_fps 24 --width 1280 --height 720")
    assert listed.count(tmp_path / "in") == 1
    assert {path.stem for path in folder.glob("train/poses/*")} == {"a", "b", "c"}


def test_a_tables_signers_become_those_of_the_data_set(imported, refused, tmp_path: Path):
    for name in ("one", "two", "broken"):
        np.save(tmp_path / "in" / f"{name}.npy", scored(POINTS)[..., :3])
    (tmp_path / "in" / "broken.npy").write_bytes(b"no array")
    table = tmp_path / "t.csv"
    table.write_text("id,speaker,text\none,Ann,hello\ntwo,Bob,world\nbroken,Ann,x\nnever made,Bob,y\n")
    flags = f"--source_fps 25 --texts {table} --signer_column speaker"
    folder = imported(f"{flags} --skip_bad")
    assert list_signers(folder, "train", ["one", "two"]) == {"one": "Ann", "two": "Bob"}
    assert (folder / "train.signers.txt").read_text() == "one|Ann\ntwo|Bob\n"
    np.save(tmp_path / "in" / "broken.npy", scored(POINTS)[..., :3])
    table.write_text("id,speaker,text\none,Cay,hello\nbroken,Ann,x\n")  # a later call, of other clips
    imported(flags)
    assert (folder / "train.signers.txt").read_text() == "broken|Ann\none|Cay\ntwo|Bob\n"


def test_columns_of_a_table_need_one(refused):
    for flag in ("--signer_column", "--text_column", "--id_column"):
        assert refused(f"{flag} speaker").endswith(f"{flag} needs --texts; add it, or leave {flag} out")


def test_texts_beside_skels_count_only_without_other_texts(imported, refused, tmp_path: Path):
    (tmp_path / "in" / "dev.skels").write_text(f"{skels_line(POINTS)}\n")
    (tmp_path / "in" / "dev.text").write_text("one\ntwo\n")
    (tmp_path / "t.txt").write_text("dev_00000|hello\n")
    assert "has 2 texts, but dev.skels holds 1 clips" in refused("--source_fps 25")
    assert (imported(f"--source_fps 25 --texts {tmp_path / 't.txt'}") / "train.txt").read_text() == "dev_00000|hello\n"


def test_texts_of_skels_are_as_many_as_clips(refused, tmp_path: Path):
    (tmp_path / "in" / "dev.skels").write_text(f"{skels_line(POINTS)}\n{skels_line(POINTS)}\n")
    (tmp_path / "in" / "dev.text").write_text("one\n\nthree\n")
    assert "has 3 texts, but dev.skels holds 2 clips" in refused("--source_fps 25")
    (tmp_path / "in" / "dev.text").write_bytes("grün\nblau\n".encode("latin-1"))
    assert "dev.text: not UTF-8" in refused("--source_fps 25")


def test_a_missing_frame_of_json_is_an_unseen_frame(imported, tmp_path: Path):
    write_openpose(tmp_path / "in" / "clip", [POINTS * SIZE], skip=(4, 5))
    folder = imported("--source_fps 24 --width 1280 --height 720")
    points, seen = keypoints(folder)
    assert len(points) == FRAMES
    assert not seen[4:6].any()
    assert "missing frames: 2" in (folder / "report.txt").read_text()


def test_hands_without_a_body_are_told(imported, tmp_path: Path):
    write_openpose(tmp_path / "in" / "clip", [POINTS * SIZE])
    for path in sorted((tmp_path / "in" / "clip").glob("*.json"))[4:6]:
        content = json.loads(path.read_text())
        content["people"][0]["pose_keypoints_2d"] = [0.0] * 75
        path.write_text(json.dumps(content))
    folder = imported("--source_fps 24 --width 1280 --height 720")
    assert not keypoints(folder)[1][4:6].any()
    told = "frames that show a hand, but neither nose nor shoulders, and count as unseen: 2"
    assert told in (folder / "report.txt").read_text()


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
    assert f"2 people; the {followed} was followed" in (out / "report.txt").read_text()


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
    assert "2 people; the right one was followed" in (out / "report.txt").read_text()


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


def test_rates_are_kept_resampled_or_refused(refused, imported, tmp_path: Path, letter: Path):
    from pose_format import Pose

    (tmp_path / "in" / "a.pose").write_bytes(letter.read_bytes())
    pose = Pose.read(letter.read_bytes())
    frames = len(pose.body.data)
    pose.body.fps = 50
    with open(tmp_path / "in" / "b.pose", "wb") as file:
        pose.write(file)
    assert "different rates, 25 to 50" in refused()
    assert len(keypoints(imported("--fps keep", "kept"), "b")[0]) == frames
    folder = imported("--fps 25", "even")
    assert len(keypoints(folder, "a")[0]) == frames
    half, _ = keypoints(folder, "b")
    whole, _ = keypoints(folder, "a")
    np.testing.assert_allclose(half, whole[::2][: len(half)], atol=1e-6)


# ---- runs ------------------------------------------------------------------------------------------------------------


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
    assert (said in (folder / "report.txt").read_text()) == (version == 0.1)


def test_a_rate_that_a_file_states_against_the_flag_is_told(imported, letter: Path, tmp_path: Path):
    shutil.copy(letter, tmp_path / "in" / "clip.pose")
    said = "its file states 25 frames per second, which --source_fps does not change: clip.pose"
    assert said in (imported("--source_fps 50") / "report.txt").read_text()
    assert "--source_fps" not in (imported("--source_fps 25", "same") / "report.txt").read_text()


def test_a_data_set_of_our_own_layout_needs_no_import_and_would_lose_its_faces(refused, tmp_path: Path):
    for folder, name in (("poses", "a.npz"), ("nmms", "a.pkl")):
        place = tmp_path / "in" / "train" / folder
        place.mkdir(parents=True)
        (place / name).touch()
    said = refused()
    assert "is a clip of this project's layout" in said
    assert "pass it to data_preparation.py" in said


def test_workers_and_a_second_run_change_nothing(imported, tmp_path: Path):
    for number in range(5):
        np.save(tmp_path / "in" / f"clip_{number}_x.npy", signer(seed=number)[0])
    one, two = imported("--source_fps 25", "one"), imported("--source_fps 25 --num_workers 2", "two")
    files = {path.relative_to(one): path.read_bytes() for path in one.rglob("*") if path.is_file()}
    assert files == {path.relative_to(two): path.read_bytes() for path in two.rglob("*") if path.is_file()}
    (two / "train/records/clip_2_x.json").unlink()  # as a run leaves a clip that was stopped half way
    (two / "train/nmms/clip_2_x.pkl").write_bytes(b"")
    imported("--source_fps 25", "two")
    assert files == {path.relative_to(two): path.read_bytes() for path in two.rglob("*") if path.is_file()}


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"frames": 9}', "[" * 10**5])
def test_a_damaged_record_is_named(content: str, refused, imported, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", POINTS)
    record = imported("--source_fps 25") / "train" / "records" / "clip.json"
    before = record.read_text()
    record.write_text(content)
    assert "clip.json: not the record of a clip; remove the file, and its clip is made again" in refused(
        "--source_fps 25"
    )
    record.unlink()
    imported("--source_fps 25")
    assert record.read_text() == before


@pytest.mark.parametrize("kind", ["JSON", "arrays"])
def test_of_many_frames_the_bad_one_is_named(kind: str, refused, tmp_path: Path):
    folder = tmp_path / "in" / "clip"
    if kind == "JSON":
        write_openpose(folder, [POINTS * SIZE])
        bad = folder / "clip_000000000004_keypoints.json"
        bad.unlink()
        os.mkfifo(bad)  # on which a reader would wait for ever
        said = f"{bad.name}: a named pipe, but a file is needed"
    else:
        folder.mkdir()
        for number, frame in enumerate(scored(POINTS)):
            np.save(folder / f"{number:03d}.npy", frame[:, :3])
        bad = folder / "004.npy"
        os.truncate(bad, bad.stat().st_size - 8)
        said = f"{bad.name}: not a readable .npy of numbers (an array float64 [75, 3] would not fill"
    assert f"error: clip: {said}" in refused("--source_fps 24 --width 1280 --height 720")


def test_what_lies_beside_points_of_a_known_name_is_not_read(imported, tmp_path: Path):
    np.savez(tmp_path / "in" / "clip.npz", keypoints=POINTS, made=np.array({"by": "a tool"}, dtype=object))
    folder = imported("--source_fps 25")
    np.testing.assert_allclose(keypoints(folder)[0], POINTS, atol=1e-6)
    assert "made beside the points: not read: clip.npz" in (folder / "report.txt").read_text()


def test_a_bad_recording_is_named_and_the_others_are_written(refused, imported, tmp_path: Path):
    np.save(tmp_path / "in" / "good.npy", POINTS)
    (tmp_path / "in" / "bad.npy").write_bytes(b"\x93NUMPY rubbish")
    assert "1 of 2 recordings were left out, such as bad.npy: not a readable .npy" in refused("--source_fps 25")
    assert keypoints(tmp_path / "out", "good")[1].all()
    imported("--source_fps 25 --skip_bad")


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
    with open(tmp_path / "in" / "clip.pose", "wb") as file:
        pose.write(file)
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
    with open(tmp_path / "in" / "clip.pose", "wb") as file:
        pose.write(file)
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
    assert "left out: empty.pose: zero frames, no person or no point" in (folder / "report.txt").read_text()
    assert keypoints(folder, "good")[1].any()
    with pytest.raises(UserError, match=r"empty\.pose: zero frames, no person or no point"):
        read_pose_file(tmp_path / "in" / "empty.pose")


class Trap:
    def __reduce__(self):
        return sys.exit, (7,)


BAD = {
    "a circle of links": (lambda folder: (folder.rmdir(), folder.symlink_to(folder)), "", "no such folder"),
    "no number of a picture": (
        lambda folder: np.save(folder / "a.npy", np.where(POINTS > 0.5, 1e300, POINTS)),
        "--source_fps 25",
        "1e+300, which is no coordinate",
    ),
    "too long a name": (
        lambda folder: [(folder / ("k" * 130)).mkdir(), np.save(folder / ("k" * 130) / ("l" * 130), POINTS)],
        "--source_fps 25 --ids path",
        "too many for a file's name",
    ),
    "an empty folder": (lambda folder: None, "", "holds no recording"),
    "two formats": (lambda folder: [np.save(folder / "a.npy", POINTS), (folder / "b.pose").touch()], "", "--format"),
    "no rate": (lambda folder: np.save(folder / "a.npy", POINTS), "", "pass --source_fps"),
    "pixels of no size": (
        lambda folder: write_openpose(folder / "a", [POINTS * SIZE]),
        "--source_fps 25",
        "pass --width and --height",
    ),
    "objects": (
        lambda folder: np.save(folder / "a.npy", np.array(Trap()), allow_pickle=True),
        "--source_fps 25",
        "holds Python objects",
    ),
    "an archive that unpacks to more than its size warrants": (
        lambda folder: np.savez_compressed(folder / "a.npz", keypoints=np.zeros((2**18, 75, 2))),
        "--source_fps 25",
        "a.npz: not a readable .npz of arrays ('keypoints' takes 315 MB unpacked",
    ),
    "another shape": (lambda folder: np.save(folder / "a.npy", np.zeros((9, 226))), "--source_fps 25", "226 numbers"),
    **{
        f"nobody in {shape}": (
            lambda folder, shape=shape: np.save(folder / "a.npy", np.zeros(shape)),
            "--source_fps 25",
            "it holds no frames" if not shape[0] else "no person is seen in any of its 9 frames",
        )
        for shape in ((9, 75, 2), (9, 543, 3), (9, 1662), (0, 75, 2), (0, 543, 3), (0, 1662))
    },
    "no shoulders": (
        lambda folder: np.save(folder / "a.npy", np.where(np.arange(75)[:, None] > 12, POINTS, 0)),
        "--source_fps 25",
        "no frame sees both shoulders",
    ),
    "a name twice in .files": (
        lambda folder: [
            (folder / "a.skels").write_text(f"{skels_line(POINTS)}\n" * 2),
            (folder / "a.files").write_text("dev/one\ndev/one\n"),
        ],
        "--source_fps 25",
        "a.skels: 'one' is named twice; rename one of them",
    ),
    "two endings": (
        lambda folder: [np.save(folder / "a.npy", POINTS), np.savez(folder / "a.npz", POINTS)],
        "--source_fps 25",
        "a.npy and a.npz would both be called 'a'; rename one of them",
    ),
    "no order": (
        lambda folder: np.save(folder / "a.npy", np.random.default_rng(0).random((9, 543, 3))),
        "--source_fps 25",
        "the order of its 543 points is not plain",
    ),
    "torn JSON": (lambda folder: (folder / "a_1.json").write_text('{"people": ['), "--source_fps 25", "not readable"),
    "other JSON": (lambda folder: (folder / "a_1.json").write_text("[]"), "--source_fps 25", "not a frame of OpenPose"),
    "a torn .pose": (lambda folder: (folder / "a.pose").write_bytes(b"\x00\x01"), "", "not a readable .pose"),
    "a torn .skels": (lambda folder: (folder / "a.skels").write_text("0.1 0.2\n"), "--source_fps 25", "151 numbers"),
    "one name twice": (
        lambda folder: [(folder / name).mkdir() or np.save(folder / name / "a.npy", POINTS) for name in "xy"],
        "--source_fps 25",
        "pass --ids path",
    ),
    "a table of column names": (
        lambda folder: [np.save(folder / "a.npy", POINTS), (folder / "t.csv").write_text("id,text\n")],
        "--source_fps 25 --texts {folder}/t.csv",
        "names its columns and holds no text",
    ),
    "people that are none": (
        lambda folder: (folder / "a.json").write_text(json.dumps({"instance_info": [{"instances": 5}]})),
        "--source_fps 25",
        "'instances' are no list of people",
    ),
    "people of one picture": (
        lambda folder: (folder / "000001.json").write_text(json.dumps([{"keypoints": [], "keypoint_scores": []}])),
        "--source_fps 25",
        "holds the people of one picture, as MMPose writes for pictures; give it the video",
    ),
    "no such text file": (
        lambda folder: np.save(folder / "a.npy", POINTS),
        "--source_fps 25 --texts none.txt",
        "none.txt: no such file",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_a_user_can_do_wrong(name: str, refused, tmp_path: Path):
    make, flags, said = BAD[name]
    make(tmp_path / "in")
    assert said in refused(flags.format(folder=tmp_path / "in"))
    assert not list((tmp_path / "out").rglob("*.npz"))


def test_other_flags_and_other_data_are_refused(refused, imported, tmp_path: Path):
    np.save(tmp_path / "in" / "a.npy", POINTS)
    imported("--source_fps 25")
    assert "use the same flags or another --output_dir" in refused("--source_fps 30")
    (tmp_path / "out" / "made_by.json").unlink()
    assert "holds a data set that import_data.py did not make" in refused("--source_fps 25")
    (tmp_path / "out" / "made_by.json").write_text("[" * 10**5)
    assert "made_by.json: not JSON; choose another --output_dir" in refused("--source_fps 25")


# ---- the same folder again -------------------------------------------------------------------------------------------


def test_a_recording_that_changed_is_read_again_and_no_other(imported, tmp_path: Path, capsys):
    given = tmp_path / "in"
    for name, scale in (("one", 1.0), ("two", 1.0)):
        np.save(given / f"{name}.npy", scored(POINTS * scale)[..., :3])
    folder = imported("--source_fps 25")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("train/*/*")}
    np.save(given / "two.npy", scored(POINTS[: FRAMES // 2])[..., :3])
    capsys.readouterr()
    imported("--source_fps 25")
    assert "1 recordings have changed, such as two.npy: their clips are made again" in capsys.readouterr().out
    assert len(keypoints(folder, "two")[0]) == FRAMES // 2
    after = {path: path.stat().st_mtime_ns for path in folder.glob("train/*/*")}
    assert {path for path in before if before[path] == after[path]} == {*folder.glob("train/*/one.*")}


def test_the_same_command_takes_recordings_that_came_later(imported, tmp_path: Path):
    before: dict[str, str] = {}
    for count in (3, 30):  # of three clips each split gets one, whatever their hashes are
        for number in range(count):
            np.save(tmp_path / "in" / f"s{number}.npy", scored(POINTS)[..., :3])
        after = {path.stem: path.parts[-3] for path in imported("--source_fps 25", split="").glob("*/poses/*")}
        assert len(after) == count
        assert before.items() <= after.items()
        before = after
    assert set(before.values()) == {"train", "dev", "test"}


def test_a_data_set_within_the_recordings_folder_is_none_of_them(imported, tmp_path: Path):
    np.save(tmp_path / "in" / "one.npy", POINTS)
    for clips in (["one"], ["one", "two"]):
        folder = imported("--source_fps 25", "in/out")
        assert sorted(path.stem for path in folder.glob("train/poses/*")) == clips
        np.save(tmp_path / "in" / "two.npy", POINTS)


def test_a_file_of_texts_that_an_editor_saved_is_gone_on_with(imported, tmp_path: Path):
    (tmp_path / "texts.txt").write_text("one|hello\ntwo|w\u00f6rld\n", encoding="utf-8")
    flags = f"--source_fps 25 --texts {tmp_path / 'texts.txt'}"
    np.save(tmp_path / "in" / "one.npy", POINTS)
    texts = imported(flags) / "train.txt"
    texts.write_text("\ufeffone|hello\r\n", encoding="utf-8", newline="")
    np.save(tmp_path / "in" / "two.npy", POINTS)
    imported(flags)
    assert texts.read_text(encoding="utf-8") == "one|hello\ntwo|w\u00f6rld\n"


def test_a_clip_without_a_text_has_an_empty_line_where_others_have_texts(imported, tmp_path: Path):
    given = tmp_path / "in"
    for name in ("a", "b"):
        (given / f"{name}.skels").write_text(f"{skels_line(POINTS)}\n")
    (given / "b.text").write_text("good morning\n")
    folder = imported("--source_fps 25")
    assert (folder / "train.txt").read_text() == "a_00000|\nb_00000|good morning\n"
    assert list_clips(folder, "train") == {"a_00000": "", "b_00000": "good morning"}
    assert "1 without a text" in (folder / "report.txt").read_text()
    (given / "a.skels").rename(given / "c.skels")  # a clip of an earlier call keeps its line
    imported("--source_fps 25")
    assert list_clips(folder, "train") == {"a_00000": "", "b_00000": "good morning", "c_00000": ""}


def test_a_recording_that_can_no_longer_be_read_leaves_no_clip(imported, refused, tmp_path: Path):
    given = tmp_path / "in"
    (tmp_path / "texts.txt").write_text("one|hello\ntwo|world\n")
    for name in ("one", "two"):
        np.save(given / f"{name}.npy", scored(POINTS)[..., :3])
    flags = f"--source_fps 25 --texts {tmp_path / 'texts.txt'}"
    folder = imported(flags)
    (given / "two.npy").write_bytes(b"no array")
    assert "1 of 2 recordings were left out, such as two.npy" in refused(flags)
    assert not list(folder.glob("train/*/two.*"))
    assert (folder / "train.txt").read_text() == "one|hello\n"


def test_an_array_that_changed_between_its_ends_and_its_middle_is_read_again(imported, tmp_path: Path, capsys):
    values = np.concatenate([POINTS, np.tile(POINTS[:, :1], (1, 468, 1)) + 1e-6], axis=1).repeat(20, 0)
    np.save(tmp_path / "in" / "clip.npy", values)
    imported("--source_fps 25")
    values[len(values) // 4, layout.LEFT_HAND_KEYPOINTS] = np.nan
    np.save(tmp_path / "in" / "clip.npy", values)
    imported("--source_fps 25")
    assert "1 recordings have changed, such as clip.npy" in capsys.readouterr().out


@pytest.mark.parametrize("part", ["poses/clip.npz", "nmms/clip.pkl"])
@pytest.mark.parametrize("cut", [False, True])
def test_a_clip_whose_files_are_gone_or_cut_off_is_made_again(part: str, cut: bool, imported, tmp_path: Path, capsys):
    np.save(tmp_path / "in" / "clip.npy", POINTS)
    np.save(tmp_path / "in" / "other.npy", POINTS)
    path = imported("--source_fps 25") / "train" / part
    whole = path.read_bytes()
    if cut:
        path.write_bytes(whole[:-1])
    else:
        path.unlink()
    imported("--source_fps 25")
    assert "1 of 2 clips are there already" in capsys.readouterr().out
    assert path.read_bytes() == whole


def test_a_body_that_jumps_is_told(imported, tmp_path: Path):
    """As where the person changes, or a part was cut out."""
    told = "note: the body jumps by more than a shoulder width from one frame to the next"
    np.save(tmp_path / "in" / "clip.npy", POINTS)
    assert told not in (imported("--source_fps 25", "one") / "report.txt").read_text()
    away = np.concatenate([POINTS[:5], POINTS[5:] + [0.4, 0.0] * (POINTS[5:] != 0)])
    np.save(tmp_path / "in" / "clip.npy", away)
    assert f"{told} (1 times)" in (imported("--source_fps 25", "two") / "report.txt").read_text()


def test_unseen_points_that_a_crop_has_moved_are_told(imported, tmp_path: Path):
    """Marked by (0, 0) before a crop, they all lie in one place after it, and would count as seen."""
    told = "points of the body lie in one and the same place in most frames"
    points = POINTS.copy()
    points[:, 25:33] = 0  # the legs
    np.save(tmp_path / "in" / "clip.npy", points)
    assert told not in (imported("--source_fps 25", "whole") / "report.txt").read_text()
    np.save(tmp_path / "in" / "clip.npy", points - [0.05, 0.0])
    assert f"note: 8 {told}" in (imported("--source_fps 25", "cropped") / "report.txt").read_text()


def test_a_rate_may_be_added_for_recordings_that_state_none(imported, tmp_path: Path, capsys):
    np.savez(tmp_path / "in" / "a.npz", keypoints=POINTS, fps=25.0)
    np.savez(tmp_path / "in" / "b.npz", keypoints=POINTS)
    with pytest.raises(SystemExit):
        imported()
    assert "such as b.npz: it tells no frame rate; pass --source_fps" in capsys.readouterr().err
    folder = imported("--source_fps 25")
    assert [float(np.load(folder / "train/poses" / f"{name}.npz")["fps"]) for name in "ab"] == [25, 25]


def test_files_that_are_no_recordings_are_named(refused, tmp_path: Path):
    for name in ("a.parquet", "b.parquet", "c.txt"):
        (tmp_path / "in" / name).write_bytes(b"x")
    assert re.search(r"holds no recording \(.*\), but 2 files \.parquet", refused())


def test_the_report_counts_the_texts_of_earlier_calls(imported, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", POINTS)
    (tmp_path / "texts.txt").write_text("clip|hello\n")
    imported(f"--source_fps 25 --texts {tmp_path / 'texts.txt'}")
    assert "without a text" not in (imported("--source_fps 25") / "report.txt").read_text()


def test_lines_of_skels_that_change_their_places_are_made_again(imported, tmp_path: Path, capsys):
    """Corrected .files give a clip another line; the others stay, also where a line comes before them."""
    lines, files = tmp_path / "in" / "dev.skels", tmp_path / "in" / "dev.files"
    of = {frames: f"{skels_line(signer(frames)[0])}\n" for frames in (5, 6, 7, 8)}
    lines.write_text(of[6] + of[7] + of[8])
    files.write_text("a\nb\nc\n")
    folder = imported("--source_fps 25")
    files.write_text("b\na\nc\n")
    imported("--source_fps 25")
    assert "2 recordings have changed" in capsys.readouterr().out
    assert [len(keypoints(folder, clip)[0]) for clip in "abc"] == [7, 6, 8]
    lines.write_text(of[5] + lines.read_text())
    files.write_text("new\n" + files.read_text())
    imported("--source_fps 25")
    assert "3 of 4 clips are there already" in capsys.readouterr().out
    assert [len(keypoints(folder, clip)[0]) for clip in ("new", *"abc")] == [5, 7, 6, 8]


def test_another_recording_of_the_same_id_replaces_no_clip(imported, refused, tmp_path: Path):
    for name, values in (("a", POINTS), ("b", POINTS + 0.01)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "clip.npy", values)
    (tmp_path / "in").rmdir()
    (tmp_path / "in").symlink_to(tmp_path / "a")
    folder = imported("--source_fps 25")
    before, _ = keypoints(folder)
    (tmp_path / "in").unlink()
    (tmp_path / "in").symlink_to(tmp_path / "b")
    assert f"its clip 'clip' is there, made of {tmp_path / 'a' / 'clip.npy'}" in refused("--source_fps 25")
    np.testing.assert_array_equal(keypoints(folder)[0], before)
    (tmp_path / "a").rename(tmp_path / "moved")  # the recordings are elsewhere now: these are the changed ones
    imported("--source_fps 25")
    assert not np.array_equal(keypoints(folder)[0], before)


def test_a_changed_picture_of_a_folder_is_seen(tmp_path: Path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.json").write_text("{}")
    before = content_of(folder)
    assert content_of(folder) == before
    (folder / "1.json").write_text("[]")
    changed = content_of(folder)
    assert changed != before
    (folder / "3.json").write_text("{}")
    assert content_of(folder) not in (before, changed)


@pytest.mark.parametrize("kind", ["JSON", "arrays"])
def test_a_frame_that_changed_is_read_again(kind: str, imported, tmp_path: Path, capsys):
    folder = tmp_path / "in" / "clip"
    if kind == "JSON":
        write_openpose(folder, [POINTS * SIZE])
    else:
        folder.mkdir()
        for number, frame in enumerate(scored(POINTS)):
            np.save(folder / f"{number:03d}.npy", frame[:, :3])
    flags = "--source_fps 24" + (" --width 1280 --height 720" if kind == "JSON" else "")
    before, _ = keypoints(imported(flags))
    frames = sorted(folder.iterdir())
    frames[4].write_bytes(frames[9].read_bytes())
    capsys.readouterr()
    after, _ = keypoints(imported(flags))
    assert "1 recordings have changed" in capsys.readouterr().out
    assert np.flatnonzero((before != after).any((1, 2))).tolist() == [4]
    np.testing.assert_array_equal(after[4], before[9])


def test_a_changed_middle_of_a_large_file_is_seen(tmp_path: Path):
    path = tmp_path / "video"
    path.write_bytes(bytes(10**6))
    before = content_of(path)
    with open(path, "r+b") as file:
        file.seek(5 * 10**5)
        file.write(b"other")
    assert content_of(path) != before


def test_the_report_tells_of_clips_of_earlier_calls_and_of_empty_texts(imported, tmp_path: Path, capsys):
    given = tmp_path / "in"
    (tmp_path / "texts.txt").write_text("one|\ntwo|world\n")
    flags = f"--source_fps 25 --texts {tmp_path / 'texts.txt'}"
    np.save(given / "one.npy", scored(POINTS)[..., :3])
    assert "1 without a text" in (imported(flags) / "report.txt").read_text()
    (given / "one.npy").rename(given / "two.npy")
    report = (imported(flags) / "report.txt").read_text()
    assert "the folder also holds 1 clips of earlier calls" in report


def test_of_two_columns_the_missing_one_is_named(imported, refused, tmp_path: Path):
    np.save(tmp_path / "in" / "one.npy", scored(POINTS)[..., :3])
    (tmp_path / "texts.csv").write_text("name,sentence\none,hello\n")
    said = refused(f"--source_fps 25 --texts {tmp_path / 'texts.csv'} --id_column name --text_column translation")
    assert "its first line (name, sentence) does not name the column 'translation'" in said
