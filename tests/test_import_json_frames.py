"""OpenPose's, DWPose's and MMPose's JSON becomes clips: which file is which frame, and how large the picture was."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from recordings import (
    FRAMES,
    POINTS,
    SIZE,
    clip_ids,
    keypoints,
    mmpose_frames,
    report_of,
    scored,
    shared_with,
    whole_body,
    write_dwpose,
    write_openpose,
)

from importers.skeletons import BODY_25, OPENPOSE_18
from poses import layout


def test_openpose_keeps_what_both_skeletons_have(imported, tmp_path: Path):
    write_openpose(tmp_path / "in" / "clip", [POINTS * SIZE])
    points, seen = keypoints(imported("--source_fps 24 --width 1280 --height 720"))
    ours = shared_with(BODY_25)
    np.testing.assert_allclose(points[:, ours], POINTS[:, ours], atol=1e-4)
    assert seen[:, ours].all()
    assert seen.sum() == len(ours) * FRAMES


def test_dwpose_keeps_what_both_skeletons_have(imported, tmp_path: Path):
    write_dwpose(tmp_path / "in" / "clip", POINTS)
    points, seen = keypoints(imported("--source_fps 24"))
    ours = shared_with(OPENPOSE_18)
    np.testing.assert_allclose(points[:, ours], POINTS[:, ours], atol=1e-4)
    assert seen.sum() == len(ours) * FRAMES


def test_mmpose_and_an_array_of_whole_bodies_say_the_same(imported, tmp_path: Path):
    np.save(tmp_path / "in" / "array.npy", scored(whole_body(POINTS * SIZE)))
    (tmp_path / "in" / "file.json").write_text(json.dumps({"instance_info": mmpose_frames(POINTS * SIZE)}))
    flags = "--source_fps 24 --units pixels --width 1280 --height 720 --format "
    array, _ = keypoints(imported(flags + "arrays", "a"), "array")
    file, _ = keypoints(imported(flags + "mmpose", "b"), "file")
    np.testing.assert_allclose(array, file)
    np.testing.assert_allclose(array[:, layout.ARMS_AND_HANDS], POINTS[:, layout.ARMS_AND_HANDS], atol=1e-4)


def test_a_missing_frame_of_json_is_an_unseen_frame(imported, tmp_path: Path):
    write_openpose(tmp_path / "in" / "clip", [POINTS * SIZE], skip=(4, 5))
    folder = imported("--source_fps 24 --width 1280 --height 720")
    points, seen = keypoints(folder)
    assert len(points) == FRAMES
    assert not seen[4:6].any()
    assert "missing frames: 2" in report_of(folder)


@pytest.mark.parametrize("apart", [2, 3])
def test_frames_that_are_evenly_apart_follow_one_another_and_the_report_says_so(apart: int, imported, tmp_path: Path):
    write_openpose(tmp_path / "in" / "clip", [POINTS * SIZE])
    for number, path in enumerate(sorted((tmp_path / "in" / "clip").iterdir())):
        if number % apart:
            path.unlink()
    out = imported("--source_fps 24 --width 1280 --height 720")
    points, seen = keypoints(out)
    ours = shared_with(BODY_25)
    np.testing.assert_allclose(points[:, ours], POINTS[::apart, ours], atol=1e-4)
    assert seen[:, ours].all()
    assert f"its frames are {apart} numbers apart" in report_of(out)


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


def test_two_files_of_one_frame_number_are_told(imported, tmp_path: Path):
    folder = tmp_path / "in" / "clip"
    write_openpose(folder, [POINTS * SIZE])
    shutil.copy(folder / "clip_000000000005_keypoints.json", folder / "clip_5_keypoints.json")
    out = imported("--source_fps 24 --width 1280 --height 720")
    said = "several of its frames have the number 5; all are taken to follow one another: clip"
    assert said in report_of(out)
    assert len(keypoints(out)[0]) == FRAMES + 1


def test_json_beside_frames_that_is_none_is_named_and_names_no_clip(imported, tmp_path: Path, capsys):
    folder = tmp_path / "in" / "clip"
    write_openpose(folder, [POINTS * SIZE])
    (folder / "config_2.json").write_text('{"model": "BODY_25"}')
    out = imported("--source_fps 24 --width 1280 --height 720")
    assert f"left out {folder / 'config_2.json'}: JSON beside frames, but no frame of" in capsys.readouterr().out
    assert clip_ids(out) == {"clip"}
    assert len(keypoints(out)[0]) == FRAMES


def test_frames_of_mmpose_are_where_their_numbers_say(imported, refused, tmp_path: Path):
    frames = [{"frame_id": number, **frame} for number, frame in enumerate(mmpose_frames(POINTS * SIZE))]
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


def test_mmpose_files_may_end_in_a_number(imported, tmp_path: Path):
    content = json.dumps({"meta_info": {}, "instance_info": mmpose_frames(POINTS * SIZE)})
    for name in ("clip_1", "clip_2"):
        (tmp_path / "in" / f"{name}.json").write_text(content)
    folder = imported("--source_fps 24 --width 1280 --height 720")
    assert clip_ids(folder) == {"clip_1", "clip_2"}


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
    report = report_of(folder)
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
