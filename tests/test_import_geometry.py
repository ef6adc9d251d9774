"""Units, axes and sides: every clip ends upright in image units, or is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from recordings import CENTRE, HOLISTIC, IN_UNITS, POINTS, SIZE, keypoints, nmm, report_of, write_openpose

from poses import layout


@pytest.mark.parametrize("unit", IN_UNITS)
def test_other_units_are_recognised_and_not_taken_for_image_units(unit: str, refused, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", IN_UNITS[unit])
    assert f"look like {unit}" in refused("--source_fps 25")
    assert not list((tmp_path / "out").rglob("*.npz"))


@pytest.mark.parametrize("unit", IN_UNITS)
def test_other_units_are_converted_when_named(unit: str, imported, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", IN_UNITS[unit])
    size = "--width 1280 --height 720" if unit == "pixels" else ""
    points, _ = keypoints(imported(f"--source_fps 25 --units {unit} {size}"))
    expected = (POINTS - CENTRE) / 0.24 * 0.25 + [0.5, 0.4] if unit == "shoulders" else POINTS
    np.testing.assert_allclose(points, expected, atol=1e-4)


def test_one_clip_in_another_unit_is_not_converted_with_the_rest(refused, tmp_path: Path):
    for name, values in (("a", IN_UNITS["signed"]), ("b", POINTS)):
        np.save(tmp_path / "in" / f"{name}.npy", values)
    assert "b.npy: its coordinates look like unit" in refused("--source_fps 25 --units signed")


def test_image_units_are_not_taken_for_pixels(refused, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", POINTS)
    assert "look like unit" in refused("--source_fps 25 --units pixels --width 640 --height 480")


@pytest.mark.parametrize("centre", [CENTRE, POINTS[:, :1] + 0.001], ids=["shoulders", "nose"])
def test_a_body_in_pixels_may_be_centred_on_itself(centre: np.ndarray, imported, refused, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", (POINTS - centre) * 1000)
    points, _ = keypoints(imported("--source_fps 25 --units shoulders"))
    shoulders = points[:, layout.SHOULDERS]
    assert np.abs(np.median(shoulders.mean(1), axis=0) - [0.5, 0.4]).max() < 0.02
    assert np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=1).mean() == pytest.approx(0.25, abs=0.02)
    np.save(tmp_path / "in" / "clip.npy", POINTS * [1280, 720])
    assert "look like pixels" in refused("--source_fps 25 --units shoulders")


def test_a_body_centred_elsewhere_is_put_where_all_are(imported, tmp_path: Path):
    hips = POINTS[:, [layout.LEFT_HIP, layout.RIGHT_HIP]].mean(1, keepdims=True)
    np.save(tmp_path / "in" / "clip.npy", (POINTS - hips) / 0.24)
    points, _ = keypoints(imported("--source_fps 25 --units shoulders"))
    middle = points[:, layout.SHOULDERS].mean((0, 1))
    np.testing.assert_allclose(middle, [0.5, 0.4], atol=1e-2)


def test_a_face_centred_on_the_shoulders_is_measured_in_the_square_that_it_is_put_into(imported, tmp_path: Path):
    whole = HOLISTIC * [1280, 720, 1280]
    np.save(tmp_path / "in" / "clip.npy", whole)
    size = "--width 1280 --height 720"
    as_it_is = nmm(imported(f"--source_fps 25 --units pixels {size}", "pixels"))
    middle = whole[:, layout.SHOULDERS].mean(1, keepdims=True) * [1, 1, 0]
    np.save(tmp_path / "in" / "clip.npy", (whole - middle) / 300)
    for name, flags, said in (("plain", "", False), ("sized", size, True)):
        folder = imported(f"--source_fps 25 --units shoulders {flags}", name)
        np.testing.assert_allclose(nmm(folder), as_it_is, atol=1e-4)
        report = report_of(folder)
        assert "width / height of the picture" not in report
        assert "(--width, --height)" not in report
        assert ("is put into a square picture; its own size has no say: clip.npy" in report) == said


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
    assert "the nose or a shoulder lies outside the picture" in report_of(folder)


def test_y_upwards_is_refused(refused, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", POINTS * [1, -1] + [0, 1])
    assert "y must point downwards" in refused("--source_fps 25")


def test_y_upwards_is_refused_where_the_nose_is_the_origin(refused, tmp_path: Path):
    values = (POINTS - POINTS[:, :1]) * [4, -4]
    np.save(tmp_path / "in" / "clip.npy", values)
    assert "y must point downwards" in refused("--source_fps 25 --units shoulders")


@pytest.mark.parametrize("lying", [POINTS[..., ::-1], POINTS[..., ::-1] * [1, -1] + [0, 1]])
def test_a_body_that_lies_is_told(lying: np.ndarray, imported, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", lying)
    report = report_of(imported("--source_fps 25"))
    assert "are x and y exchanged, or the picture turned?: clip.npy" in report


def test_a_body_that_jumps_is_told(imported, tmp_path: Path):
    """As where the person changes, or a part was cut out."""
    told = "note: the body jumps by more than a shoulder width from one frame to the next"
    np.save(tmp_path / "in" / "clip.npy", POINTS)
    assert told not in report_of(imported("--source_fps 25", "one"))
    away = np.concatenate([POINTS[:5], POINTS[5:] + [0.4, 0.0] * (POINTS[5:] != 0)])
    np.save(tmp_path / "in" / "clip.npy", away)
    assert f"{told} (1 times)" in report_of(imported("--source_fps 25", "two"))


def test_exchanged_hands_are_refused_and_can_be_put_right(refused, imported, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", np.concatenate([POINTS[:, :33], POINTS[:, 54:], POINTS[:, 33:54]], axis=1))
    assert "pass --swap_hands" in refused("--source_fps 25")
    points, _ = keypoints(imported("--source_fps 25 --swap_hands", "right"))
    np.testing.assert_allclose(points, POINTS, atol=1e-6)


def test_hands_that_a_flag_exchanged_are_not_asked_to_be_exchanged(refused, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", POINTS)
    assert "are exchanged by --swap_hands; leave it out" in refused("--source_fps 25 --swap_hands")
