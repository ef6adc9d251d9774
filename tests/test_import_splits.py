"""Each clip's split: as folders, tables or flags say, or by its ID; and there it stays."""

import re
import sys
from argparse import Namespace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from recordings import POINTS, SIZE, scored, skels_line, sources, write_openpose, write_text

from importers import texts
from importers.plan import Source, assign_splits, name_sources, plan_clips
from runtime.errors import UserError

NEW = Path("/nonexistent")  # a data set's folder in which no clip is written yet


def plan(named: dict[str, Source], *texts: str, split: object = (0.8, 0.1, 0.1)):
    columns = {"text_column": None, "id_column": None, "signer_column": None}
    args = Namespace(texts=list(texts), **columns, ids="name", split=split, output_dir=NEW)
    return plan_clips(named, args, (".mp4",))


def splits_of(clips: list) -> dict[str, str]:
    return {clip.id: clip.split for clip in clips}


OF_SPLITS = ("train/a.mp4", "train/b.mp4", "x/Val/c.mp4", "test/d.mp4")


def test_folders_that_are_called_like_splits_are_splits(capsys: pytest.CaptureFixture):
    clips = plan(sources(*OF_SPLITS), split=None)
    assert splits_of(clips) == {"a": "train", "b": "train", "c": "dev", "d": "test"}
    assert "2 train, 1 dev, 1 test (--split says otherwise)" in capsys.readouterr().out
    assert set(splits_of(plan(sources(*OF_SPLITS), split="dev")).values()) == {"dev"}


def test_files_that_are_called_like_splits_are_none_but_skels_are():
    names = [f"{name}.mp4" for name in ("train", "dev", "test")]
    assert splits_of(plan(sources(*names), split=None)) == splits_of(plan(sources(*names)))
    skels = [Source(Path(f"{name}.skels"), "skels", f"{name}_00000") for name in ("train", "valid", "test")]
    named = name_sources(skels, (".skels",), "name")
    assert splits_of(plan(named, split=None)) == {"train_00000": "train", "valid_00000": "dev", "test_00000": "test"}


def test_where_only_some_folders_are_called_like_splits_the_split_is_asked_for():
    named = sources(*OF_SPLITS, "hello/e.mp4")
    with pytest.raises(UserError, match=r"4 of 5 recordings, .*train/a\.mp4.*hello/e\.mp4, are not; pass --split"):
        plan(named, split=None)
    plan(named, split=(0.8, 0.1, 0.1))


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


@pytest.mark.parametrize("column", ["split", "Subset"])
def test_a_tables_splits_are_taken(column: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    table = write_text(tmp_path / "t.csv", f"id,{column},text\na,train,one\nb,val,two\nc,Test,three\nd,train,four\n")
    named = sources("test/a.mp4", "b.mp4", "c.mp4", "d.mp4")
    assert splits_of(plan(named, str(table), split=None)) == {"a": "train", "b": "dev", "c": "test", "d": "train"}
    assert "splits from its column of splits" in capsys.readouterr().out
    assert set(splits_of(plan(named, str(table), split="dev")).values()) == {"dev"}
    assert set(splits_of(plan(named, f"dev={table}", split=None)).values()) == {"dev"}


@pytest.mark.parametrize(
    ("row", "said"),
    [("a,one,3", "the split of 'a' is '3'"), ("a,one", "the split of 'a' is ''"), ("b,two,test", "different splits")],
)
def test_a_tables_split_that_is_none_is_refused(row: str, said: str, tmp_path: Path):
    table = write_text(tmp_path / "t.csv", f"id,text,split\nb,two,train\n{row}\n")
    with pytest.raises(UserError, match=said):
        plan(sources("a.mp4", "b.mp4"), str(table), split=None)


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ("id,partition,text\na,train,x\nb,val,y\nc,Testing,z\n", {"a": "train", "b": "val", "c": "Testing"}),
        ("id,partition,text\na,train,x\nb,train,y\nc,train,z\n", {}),  # as good a word as any
        ("id,partition,text\na,train,x\nb,0,y\nc,test,z\n", {}),
        ("id,set,fold,text\na,train,test,x\nb,dev,train,y\nc,test,dev,z\n", {}),  # which of the two?
        ("id,set,split,text\na,train,test,x\nb,dev,train,y\nc,test,dev,z\n", {"a": "test", "b": "train", "c": "dev"}),
    ],
)
def test_a_column_of_another_name_tells_the_splits_if_all_its_cells_do(table: str, found: dict, tmp_path: Path, capsys):
    assert texts.read_texts(write_text(tmp_path / "t.csv", table)).splits == found
    assert ("splits from the column 'partition'" in capsys.readouterr().out) == ("val" in found.values())


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("id,partition,text\na,train,x\nb,eval,y\nc,test,z\n", ["partition"]),
        ("id,set,fold,text\na,train,test,x\nb,dev,train,y\nc,test,dev,z\n", ["set", "fold"]),
        ("id,word,text\na,train,x\nb,house,y\nc,test,z\nd,tree,y\n", []),
        ("id,set,split,text\na,train,test,x\nb,dev,train,y\nc,test,dev,z\n", []),
    ],
)
def test_a_column_that_seems_to_tell_the_splits_is_told_to_be_unread(table: str, told: list, tmp_path: Path, capsys):
    texts.read_texts(write_text(tmp_path / "t.csv", table))
    assert re.findall(r"column '(\w+)' is not read, though", capsys.readouterr().out) == told


def test_a_file_a_split_says_text_and_split(tmp_path: Path, capsys: pytest.CaptureFixture):
    train = write_text(tmp_path / "train=1.txt", "a|one\nb|two\n")
    dev = write_text(tmp_path / "d.txt", "c.mp4|three\nz|none\n")
    clips = plan(sources("x/a.mp4", "b.mp4", "c.mp4", "d.mp4"), f"train={train}", f"dev={dev}")
    assert [(clip.id, clip.split, clip.text) for clip in clips] == [
        ("a", "train", "one"),
        ("b", "train", "two"),
        ("c", "dev", "three"),
    ]
    said = capsys.readouterr().out
    assert "1 recordings have no text" in said
    assert "such as 'd'" in said
    assert "1 texts of" in said
    assert "such as 'z'" in said


def test_files_that_say_two_things_are_refused(tmp_path: Path):
    one, two = write_text(tmp_path / "1.txt", "a|one\n"), write_text(tmp_path / "2.txt", "a|one\n")
    with pytest.raises(UserError, match="another split or another signer too"):
        plan(sources("a.mp4"), f"train={one}", f"dev={two}")
    with pytest.raises(UserError, match="one file per split"):
        plan(sources("a.mp4"), str(one), str(two))
    with pytest.raises(UserError, match="none of its 1 IDs, such as 'a', is a recording's, such as 'b'"):
        plan(sources("b.mp4"), str(one))


def test_one_file_and_shares(tmp_path: Path):
    named = sources(*(f"clip{number}.mp4" for number in range(200)))
    path = write_text(tmp_path / "t.txt", "".join(f"{clip}|text\n" for clip in named))
    counts = [sum(clip.split == split for clip in plan(named, str(path))) for split in ("train", "dev", "test")]
    assert sum(counts) == 200
    wanted = (160, 20, 20)
    assert all(abs(count - expected) < 15 for count, expected in zip(counts, wanted, strict=True))


def test_a_split_that_ids_decide_is_told(imported, tmp_path: Path, capsys):
    folder = tmp_path / "in" / "a test of the camera"
    folder.mkdir()
    for number in range(3):
        np.save(folder / f"clip{number}.npy", POINTS)
    imported("--source_fps 25", split="")
    assert "so the clips' IDs decide them: --split 0.8,0.1,0.1" in capsys.readouterr().out


@pytest.mark.parametrize("split", ["0.8,0.1", "0.8,0.1,0.2", "dev,test", "nan,0,1", ""])
def test_shares_that_are_none(split: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    import import_data

    monkeypatch.setattr(sys, "argv", ["import_data.py", "--input", "x", "--output_dir", "y", "--split", split])
    with pytest.raises(SystemExit) as stop:
        import_data.main()
    assert stop.value.code == 2
    assert "neither train, dev, test nor three shares" in capsys.readouterr().err


def test_too_few_clips_for_three_splits(tmp_path: Path):
    with pytest.raises(UserError, match="too few"):
        assign_splits(["a", "b"], (0.8, 0.1, 0.1), NEW)
    for name in "abc":
        write_text(tmp_path / "train" / "poses" / f"{name}.npz", "")
    with pytest.raises(UserError, match="3 clips, of which 3 are written already, are too few"):
        assign_splits(["a", "b", "c"], (0.8, 0.1, 0.1), tmp_path)
    assert assign_splits(["a", "b"], "dev", NEW) == {"a": "dev", "b": "dev"}


@pytest.mark.parametrize("count", range(3, 12))
def test_no_split_is_empty(count: int):
    splits = assign_splits([f"clip{number}" for number in range(count)], (0.8, 0.1, 0.1), NEW)
    assert set(splits.values()) == {"train", "dev", "test"}


def test_a_clip_stays_in_its_split_as_others_come():
    few, many = [f"clip{number}" for number in range(100)], [f"clip{number}" for number in range(1000)]
    shares = (0.8, 0.1, 0.1)
    assert assign_splits(few, shares, NEW).items() <= assign_splits(many, shares, NEW).items()


@pytest.mark.parametrize("written", [kept for count in range(5) for kept in combinations("abcd", count)])
def test_what_is_written_moves_no_clip(written: tuple[str, ...], tmp_path: Path):
    """Whichever clips are written, as by other machines of the same call, and however many come later: each stays."""
    shares = (0.8, 0.1, 0.1)
    splits = assign_splits([*"abcd"], shares, NEW)
    for clip_id in written:
        write_text(tmp_path / splits[clip_id] / "poses" / f"{clip_id}.npz", "")
    assert assign_splits([*"abcd"], shares, tmp_path) == splits
    more = assign_splits([*"abcdefghijklmnopqrstuvwxyz"], shares, tmp_path)
    assert {clip_id: more[clip_id] for clip_id in written} == {clip_id: splits[clip_id] for clip_id in written}


def test_the_same_command_takes_recordings_that_came_later(imported, tmp_path: Path):
    before: dict[str, str] = {}
    for count in (3, 30):  # of three clips each split gets one, whatever their hashes are
        for number in range(count):
            np.save(tmp_path / "in" / f"s{number}.npy", scored(POINTS))
        after = {path.stem: path.parts[-3] for path in imported("--source_fps 25", split="").glob("*/poses/*")}
        assert len(after) == count
        assert before.items() <= after.items()
        before = after
    assert set(before.values()) == {"train", "dev", "test"}
