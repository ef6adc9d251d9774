"""Which recordings a folder holds: links, hidden folders, other formats, frames that would be clips."""

import os
import re
import shutil
from pathlib import Path

import commands
import numpy as np
import pytest
from recordings import POINTS, SIZE, clip_ids, keypoints, report_of, skels_line, write_array_frames, write_openpose


def test_links_and_capital_endings_are_followed_and_circles_are_not(imported, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    np.save(tmp_path / "elsewhere" / "linked.npy", POINTS)
    (tmp_path / "in" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "in")
    with open(tmp_path / "in" / "CAPITAL.NPY", "wb") as file:
        np.save(file, POINTS)
    folder = imported("--source_fps 25")
    assert clip_ids(folder) == {"linked", "CAPITAL"}


def test_a_folder_and_a_link_to_it_are_one(imported, tmp_path: Path):
    (tmp_path / "in" / "real").mkdir()
    np.save(tmp_path / "in" / "real" / "clip.npy", POINTS)
    (tmp_path / "in" / "alias").symlink_to(tmp_path / "in" / "real")
    folder = imported("--source_fps 25 --ids path")
    assert clip_ids(folder) == {"real_clip"}


def test_what_git_annex_keeps_in_a_hidden_folder_is_no_second_clip(imported, tmp_path: Path):
    kept = tmp_path / "in" / ".git" / "annex" / "SHA256E-s1--ab.npy"
    kept.parent.mkdir(parents=True)
    np.save(kept, POINTS)
    (tmp_path / "in" / "hello.npy").symlink_to(kept)
    folder = imported("--source_fps 25")
    assert clip_ids(folder) == {"hello"}


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
            write_array_frames(folder, POINTS)
    flags = "--source_fps 24 --skip_bad" + (" --width 1280 --height 720" if kind == "JSON" else "")
    out = imported(flags)
    frame = sorted((tmp_path / "in" / "lost").iterdir())[4]
    frame.unlink()
    frame.symlink_to("/nonexistent")
    for folder in (out, imported(flags, "other")):  # one that holds the clip from before, and a new one
        imported(flags, folder.name)
        assert f"left out: lost: {frame.name}: no such file, or a link" in report_of(folder)
        assert clip_ids(folder) == {"good"}


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


def test_files_that_are_no_recordings_are_named(refused, tmp_path: Path):
    for name in ("a.parquet", "b.parquet", "c.txt"):
        (tmp_path / "in" / name).write_bytes(b"x")
    assert re.search(r"holds no recording \(.*\), but 2 files \.parquet", refused())


def test_files_of_another_format_than_the_one_that_is_asked_for_are_not_looked_at(imported, letter: Path, tmp_path):
    shutil.copy(letter, tmp_path / "in" / "clip.pose")
    for name in ("a_1_x1", "a_2_x2"):  # of one frame each
        (tmp_path / "in" / f"{name}.json").write_text('{"people": []}')
    (tmp_path / "in" / "a.skels").write_text("1 2\n")
    (tmp_path / "in" / "a.files").write_text("one\ntwo\n")  # of one line
    folder = imported("--format pose")
    assert clip_ids(folder) == {"clip"}


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


def test_a_folder_of_many_clips_is_listed_once_and_not_for_each_of_them(imported, tmp_path: Path, monkeypatch):
    for clip in ("a", "b", "c"):
        write_openpose(tmp_path / clip, [POINTS * SIZE])
        for path in (tmp_path / clip).iterdir():
            path.rename(tmp_path / "in" / path.name.replace("clip", clip))
    listed, iterdir = [], Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: listed.append(folder) or iterdir(folder))
    folder = imported("--source_fps 24 --width 1280 --height 720")
    assert listed.count(tmp_path / "in") == 1
    assert clip_ids(folder) == {"a", "b", "c"}


def test_a_data_set_of_our_own_layout_needs_no_import_and_would_lose_its_faces(refused, tmp_path: Path):
    for folder, name in (("poses", "a.npz"), ("nmms", "a.pkl")):
        place = tmp_path / "in" / "train" / folder
        place.mkdir(parents=True)
        (place / name).touch()
    said = refused()
    assert "is a clip of this project's layout" in said
    assert "pass it to data_preparation.py" in said


def test_the_data_set_is_not_written_among_the_recordings(tmp_path: Path, imported, capsys):
    said = commands.one_sentence(capsys, lambda: imported("", "in"))
    assert "is --input, too" in said


def test_a_data_set_within_the_recordings_folder_is_none_of_them(imported, tmp_path: Path):
    np.save(tmp_path / "in" / "one.npy", POINTS)
    for clips in ({"one"}, {"one", "two"}):
        folder = imported("--source_fps 25", "in/out")
        assert clip_ids(folder) == clips
        np.save(tmp_path / "in" / "two.npy", POINTS)


def test_frames_that_are_named_by_seconds_are_refused(imported, refused, tmp_path: Path):
    """Each second would become a clip of its own."""
    write_array_frames(tmp_path / "in" / "clip", POINTS)
    for number, path in enumerate(sorted((tmp_path / "in" / "clip").iterdir())):
        path.rename(path.with_name(f"{number / 8:.3f}.npy"))
    assert "clip: its files are named by seconds, such as 0." in refused("--source_fps 8")
    for number, path in enumerate(sorted((tmp_path / "in" / "clip").iterdir())):
        path.rename(path.with_name(f"12.{number:06}.npy"))
    assert clip_ids(imported("--source_fps 8")) == {"clip"}
