"""Arrays of points become clips, whatever order, columns and files they come in."""

from pathlib import Path

import numpy as np
import pytest
from recordings import FACE, FRAMES, HOLISTIC, POINTS, clip_ids, keypoints, nmm, report_of, scored, with_depth

from poses import layout
from poses.face import nmm_from_face_mesh

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
    report = report_of(folder)
    assert (f"note: its parts are in the order {told.get(name)}: clip.npy" in report) == (name in told)


@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize("order", ["left, right, body", "left, body, right"])
def test_keypoints_alone_are_known_by_their_places_too(order: str, columns: int, imported, tmp_path: Path):
    points = POINTS if columns == 2 else with_depth(POINTS)
    parts = {"body": points[:, :33], "left": points[:, 33:54], "right": points[:, 54:]}
    np.save(tmp_path / "in" / "clip.npy", np.concatenate([parts[part] for part in order.split(", ")], axis=1))
    folder = imported("--source_fps 30")
    np.testing.assert_allclose(keypoints(folder)[0], POINTS, atol=1e-4)
    assert f"note: its parts are in the order {order}: clip.npy" in report_of(folder)


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
    assert "missing frames: 3" in report_of(out)


@pytest.mark.parametrize("flags", ["", "--format arrays"])
def test_numbered_clips_of_one_frame_stay_clips(flags: str, imported, tmp_path: Path, capsys):
    for name in ("a_1", "a_2", "b_1"):
        np.save(tmp_path / "in" / f"{name}.npy", POINTS[:1])  # [1,75,2]
    folder = imported(f"--source_fps 25 {flags}")
    assert clip_ids(folder) == {"a_1", "a_2", "b_1"}
    assert ("3 numbered files are [1,...], such as " in capsys.readouterr().out) == (not flags)


def test_what_lies_beside_points_of_a_known_name_is_not_read(imported, tmp_path: Path):
    np.savez(tmp_path / "in" / "clip.npz", keypoints=POINTS, made=np.array({"by": "a tool"}, dtype=object))
    folder = imported("--source_fps 25")
    np.testing.assert_allclose(keypoints(folder)[0], POINTS, atol=1e-6)
    assert "made beside the points: not read: clip.npz" in report_of(folder)


def test_arrays_without_a_face_leave_it_unseen(imported, tmp_path: Path):
    np.savez(tmp_path / "in" / "clip.npz", keypoints=np.concatenate([POINTS, np.ones((FRAMES, 75, 2))], axis=2))
    folder = imported("--source_fps 30")
    assert np.isnan(nmm(folder)).all()
    assert "no face in any frame: clip.npz" in report_of(folder)


def test_a_face_whose_depth_is_0_is_no_face(imported, tmp_path: Path):
    flat = np.concatenate([FACE[..., :2], np.zeros((*FACE.shape[:2], 1))], axis=2)
    whole = np.concatenate([with_depth(POINTS[:, :33]), flat, with_depth(POINTS[:, 33:])], axis=1)
    np.save(tmp_path / "in" / "clip.npy", whole)
    folder = imported("--source_fps 25 --width 1280 --height 720")
    assert np.isnan(nmm(folder)).all()
    assert "no depth, without which a head's turn cannot be told" in report_of(folder)


def test_depth_of_a_face_in_pictures_is_told_from_one_in_pixels(imported, tmp_path: Path):
    """Usual for arrays in pixels: x and y were multiplied, and z was left as MediaPipe gives it."""
    whole = HOLISTIC
    flags = "--source_fps 25 --units pixels --width 1280 --height 720"
    made = {}
    for name, scale in (("pictures", (1280, 720, 1)), ("pixels", (1280, 720, 1280))):
        np.save(tmp_path / "in" / "clip.npy", whole * scale)
        made[name] = nmm(imported(flags, name))
    np.testing.assert_allclose(made["pictures"], made["pixels"], atol=1e-4)
    assert "in pictures, x and y in pixels" in report_of(tmp_path / "pictures")
    assert "in pictures, x and y in pixels" not in report_of(tmp_path / "pixels")
