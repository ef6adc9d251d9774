"""The same folder again: what has changed is made anew, and nothing else is touched."""

from pathlib import Path

import numpy as np
import pytest
from recordings import FRAMES, POINTS, SIZE, keypoints, report_of, scored, signer, write_array_frames, write_openpose

from importers.recording import content_of
from poses import layout


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


def test_a_recording_that_changed_is_read_again_and_no_other(imported, tmp_path: Path, capsys):
    given = tmp_path / "in"
    for name, scale in (("one", 1.0), ("two", 1.0)):
        np.save(given / f"{name}.npy", scored(POINTS * scale))
    folder = imported("--source_fps 25")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("train/*/*")}
    np.save(given / "two.npy", scored(POINTS[: FRAMES // 2]))
    capsys.readouterr()
    imported("--source_fps 25")
    assert "1 recordings have changed, such as two.npy: their clips are made again" in capsys.readouterr().out
    assert len(keypoints(folder, "two")[0]) == FRAMES // 2
    after = {path: path.stat().st_mtime_ns for path in folder.glob("train/*/*")}
    assert {path for path in before if before[path] == after[path]} == {*folder.glob("train/*/one.*")}


@pytest.mark.parametrize("kind", ["JSON", "arrays"])
def test_a_frame_that_changed_is_read_again(kind: str, imported, tmp_path: Path, capsys):
    folder = tmp_path / "in" / "clip"
    if kind == "JSON":
        write_openpose(folder, [POINTS * SIZE])
    else:
        write_array_frames(folder, POINTS)
    flags = "--source_fps 24" + (" --width 1280 --height 720" if kind == "JSON" else "")
    before, _ = keypoints(imported(flags))
    frames = sorted(folder.iterdir())
    frames[4].write_bytes(frames[9].read_bytes())
    capsys.readouterr()
    after, _ = keypoints(imported(flags))
    assert "1 recordings have changed" in capsys.readouterr().out
    assert np.flatnonzero((before != after).any((1, 2))).tolist() == [4]
    np.testing.assert_array_equal(after[4], before[9])


def test_an_array_that_changed_between_its_ends_and_its_middle_is_read_again(imported, tmp_path: Path, capsys):
    values = np.concatenate([POINTS, np.tile(POINTS[:, :1], (1, 468, 1)) + 1e-6], axis=1).repeat(20, 0)
    np.save(tmp_path / "in" / "clip.npy", values)
    imported("--source_fps 25")
    values[len(values) // 4, layout.LEFT_HAND_KEYPOINTS] = np.nan
    np.save(tmp_path / "in" / "clip.npy", values)
    imported("--source_fps 25")
    assert "1 recordings have changed, such as clip.npy" in capsys.readouterr().out


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


def test_a_changed_middle_of_a_large_file_is_seen(tmp_path: Path):
    path = tmp_path / "video"
    path.write_bytes(bytes(10**6))
    before = content_of(path)
    with open(path, "r+b") as file:
        file.seek(5 * 10**5)
        file.write(b"other")
    assert content_of(path) != before


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


def test_a_recording_that_can_no_longer_be_read_leaves_no_clip(imported, refused, tmp_path: Path):
    given = tmp_path / "in"
    (tmp_path / "texts.txt").write_text("one|hello\ntwo|world\n")
    for name in ("one", "two"):
        np.save(given / f"{name}.npy", scored(POINTS))
    flags = f"--source_fps 25 --texts {tmp_path / 'texts.txt'}"
    folder = imported(flags)
    (given / "two.npy").write_bytes(b"no array")
    assert "1 of 2 recordings were left out, such as two.npy" in refused(flags)
    assert not list(folder.glob("train/*/two.*"))
    assert (folder / "train.txt").read_text() == "one|hello\n"


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


def test_other_flags_and_other_data_are_refused(refused, imported, tmp_path: Path):
    np.save(tmp_path / "in" / "a.npy", POINTS)
    imported("--source_fps 25")
    assert "use the same flags or another --output_dir" in refused("--source_fps 30")
    (tmp_path / "out" / "made_by.json").unlink()
    assert "holds a data set that import_data.py did not make" in refused("--source_fps 25")
    (tmp_path / "out" / "made_by.json").write_text("[" * 10**5)
    assert "made_by.json: not JSON; choose another --output_dir" in refused("--source_fps 25")


def test_the_report_tells_of_clips_of_earlier_calls_and_of_empty_texts(imported, tmp_path: Path, capsys):
    given = tmp_path / "in"
    (tmp_path / "texts.txt").write_text("one|\ntwo|world\n")
    flags = f"--source_fps 25 --texts {tmp_path / 'texts.txt'}"
    np.save(given / "one.npy", scored(POINTS))
    assert "1 without a text" in report_of(imported(flags))
    (given / "one.npy").rename(given / "two.npy")
    report = report_of(imported(flags))
    assert "the folder also holds 1 clips of earlier calls" in report


def test_the_report_counts_the_texts_of_earlier_calls(imported, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", POINTS)
    (tmp_path / "texts.txt").write_text("clip|hello\n")
    imported(f"--source_fps 25 --texts {tmp_path / 'texts.txt'}")
    assert "without a text" not in report_of(imported("--source_fps 25"))
