"""Progressive Transformers' .skels, one clip a line, with its .files and .text beside it."""

from pathlib import Path

import numpy as np
from recordings import FRAMES, POINTS, keypoints, report_of, shared_with, signer, skels_line

from importers import formats
from importers.skeletons import SKELS
from poses import layout
from poses.files import list_clips


def test_skels_put_each_hand_on_its_own_arm(imported, tmp_path: Path):
    other, _ = signer(8, seed=1)
    (tmp_path / "in" / "dev.skels").write_text(f"{skels_line(POINTS)}\n{skels_line(other)}\n")
    (tmp_path / "in" / "dev.files").write_text("dev/one\ndev/two\n")
    (tmp_path / "in" / "dev.text").write_text("erster satz\nzweiter satz\n")
    folder = imported("--source_fps 25")
    assert (folder / "train.txt").read_text() == "one|erster satz\ntwo|zweiter satz\n"
    points, seen = keypoints(folder, "one")
    ours = shared_with(SKELS)
    assert seen[:, ours].all()
    scale = 0.25 / (POINTS[0, layout.LEFT_SHOULDER, 0] - POINTS[0, layout.RIGHT_SHOULDER, 0])
    middle = POINTS[:, layout.SHOULDERS].mean(1, keepdims=True)
    np.testing.assert_allclose(points[:, ours], ((POINTS - middle) * scale + [0.5, 0.4])[:, ours], atol=1e-4)


def test_a_line_of_skels_ends_its_frames_by_a_counter(refused, imported, tmp_path: Path):
    numbers = np.array(skels_line(POINTS).split(), float).reshape(FRAMES, 151)
    numbers[:, 2:150:3] = np.random.default_rng(0).normal(0, 0.1, (FRAMES, 50))  # depth
    numbers[:, -1] = np.linspace(0, 1, FRAMES)
    (tmp_path / "in" / "dev.skels").write_text(" ".join(map(str, numbers.ravel())))
    imported("--source_fps 25")
    (tmp_path / "in" / "dev.skels").write_text(" ".join(map(str, np.roll(numbers, 1, axis=1).ravel())))
    assert "is no counter that rises" in refused("--source_fps 25")


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


def test_a_clip_without_a_text_has_an_empty_line_where_others_have_texts(imported, tmp_path: Path):
    given = tmp_path / "in"
    for name in ("a", "b"):
        (given / f"{name}.skels").write_text(f"{skels_line(POINTS)}\n")
    (given / "b.text").write_text("good morning\n")
    folder = imported("--source_fps 25")
    assert (folder / "train.txt").read_text() == "a_00000|\nb_00000|good morning\n"
    assert list_clips(folder, "train") == {"a_00000": "", "b_00000": "good morning"}
    assert "1 without a text" in report_of(folder)
    (given / "a.skels").rename(given / "c.skels")  # a clip of an earlier call keeps its line
    imported("--source_fps 25")
    assert list_clips(folder, "train") == {"a_00000": "", "b_00000": "good morning", "c_00000": ""}
