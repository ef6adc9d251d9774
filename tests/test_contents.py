"""Derived files are found by the content of what they were made from, and statistics belong to the clips they say."""

import json
import os
import shutil
from pathlib import Path

import commands
import numpy as np
import pytest
from made_up import write_clip, write_data

from poses import file_digests
from poses.file_digests import FileDigests
from poses.splits import load_split, load_statistics
from poses.statistics import Statistics, statistics_path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data", {"train": [20, 9], "dev": [8], "test": [7]})


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled as soon as they are written."""
    monkeypatch.setattr(file_digests, "_SETTLED", -(10**9))


@pytest.fixture
def unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as just changed, however long the test takes."""
    monkeypatch.setattr(file_digests, "_SETTLED", 10**18)


@pytest.fixture
def digested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose contents are read."""
    names, original = [], file_digests._digest
    monkeypatch.setattr(file_digests, "_digest", lambda path: names.append(path.name) or original(path))
    return names


def correct(path: Path, other: Path) -> None:
    """Give a file the content of another of its size, and its old times of writing."""
    before = path.stat()
    assert other.stat().st_size == before.st_size
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def files_of(folder: Path, clip_id: str) -> tuple[Path, Path]:
    return folder / "train" / "poses" / f"{clip_id}.npz", folder / "train" / "nmms" / f"{clip_id}.pkl"


def add_clip(data: Path, split: str, clip_id: str) -> None:
    write_clip(data, split, clip_id, 12, np.random.default_rng(7))
    with open(data / f"{split}.txt", "a") as file:
        file.write(f"\n{clip_id}|a new one")


# ---- packs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("age", ["settled", "unsettled"])
def test_files_that_were_corrected_within_their_size_and_time_are_packed_again(age, data, tmp_path, request):
    request.getfixturevalue(age)
    rng = np.random.default_rng(5)
    write_clip(tmp_path / "other", "train", "train0", 20, rng)
    before = load_split(data, "train")
    assert load_split(data, "train").folder == before.folder
    for ours, theirs in zip(files_of(data, "train0"), files_of(tmp_path / "other", "train0"), strict=True):
        correct(ours, theirs)
    after = load_split(data, "train")
    assert not np.array_equal(after.field("pose", 0), before.field("pose", 0))
    assert np.array_equal(after.field("pose", 1), before.field("pose", 1))


def test_two_data_sets_of_equal_names_sizes_and_times_share_a_cache_and_no_pack(data, tmp_path: Path):
    other = write_data(tmp_path / "other", {"train": [20, 9]})
    write_clip(other, "train", "train0", 20, np.random.default_rng(5))
    for ours in (*files_of(data, "train0"), *files_of(data, "train1")):
        theirs = other / ours.relative_to(data)
        os.utime(theirs, ns=(ours.stat().st_atime_ns, ours.stat().st_mtime_ns))
        assert theirs.stat().st_size == ours.stat().st_size
    first, second = (load_split(folder, "train", tmp_path / "cache") for folder in (data, other))
    assert not np.array_equal(first.field("pose", 0), second.field("pose", 0))
    shutil.copytree(data, tmp_path / "copy")
    assert load_split(tmp_path / "copy", "train", tmp_path / "cache").folder == first.folder


def test_unchanged_files_are_not_read_again(data, settled, digested):
    load_split(data, "train")
    assert sorted(digested) == ["train0.npz", "train0.pkl", "train1.npz", "train1.pkl"]
    digested.clear()
    load_split(data, "train")
    assert digested == []
    path = files_of(data, "train1")[0]
    os.utime(path, ns=(0, 0))
    load_split(data, "train")
    assert digested == ["train1.npz"]


def test_a_file_that_has_just_changed_is_read_again_next_time(data, unsettled, digested):
    for _ in range(2):
        load_split(data, "train")
    assert len(digested) == 8


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 3}'])
def test_a_damaged_listing_is_made_again(content: str, data, settled):
    before = load_split(data, "train")
    (listing,) = (data / "cache").glob("files-train-*")
    kept = listing.read_text()
    listing.write_text(content)
    assert load_split(data, "train").folder == before.folder
    assert listing.read_text() == kept


def test_a_digest_is_of_size_and_content(tmp_path: Path):
    for name, content in {"a": b"x", "b": b"x", "c": b"y", "d": b""}.items():
        (tmp_path / name).write_bytes(content)
    a, b, c, d = (FileDigests(tmp_path / "listing").digest(tmp_path / name) for name in "abcd")
    assert a == b != c
    assert d[0] == 0
    assert FileDigests(tmp_path / "listing").digest(tmp_path / "e") is None


# ---- statistics ------------------------------------------------------------------------------------------------------


def refusal(capsys: pytest.CaptureFixture, name: str, more: str = "", **paths: Path) -> str:
    capsys.readouterr()
    return commands.refusal(capsys, lambda: commands.call(name, more, **paths))


def test_data_that_grew_after_its_preparation_is_refused(data, tmp_path, capsys):
    commands.call("data_preparation", D=data)
    add_clip(data, "train", "train2")
    says = refusal(capsys, "autoencoder", D=data, O=tmp_path / "run")
    assert "normalization_stats.npz: made from other train clips than" in says
    assert f"run data_preparation.py --data_dir {data} again" in says
    assert not (tmp_path / "run").exists()
    commands.call("data_preparation", D=data)
    commands.call("autoencoder", D=data, O=tmp_path / "run")


def test_other_texts_or_dev_clips_leave_the_statistics_as_they_are(data, tmp_path):
    commands.call("data_preparation", D=data)
    lines = (data / "train.txt").read_text().splitlines()
    (data / "train.txt").write_text("\n".join(f"{line} corrected" for line in lines))
    add_clip(data, "dev", "dev1")
    statistics = load_statistics(data, None, load_split(data, "train"))
    assert statistics.fingerprint == Statistics.load(statistics_path(data)).fingerprint


def test_statistics_of_an_earlier_version_are_taken_with_a_word(data, capsys):
    commands.call("data_preparation", D=data)
    statistics = Statistics.load(statistics_path(data))
    del statistics.info["train"]
    statistics.save(statistics_path(data))
    assert load_statistics(data, None, load_split(data, "train")).fingerprint == statistics.fingerprint
    assert "does not say which clips it was made from; if train has changed, run" in capsys.readouterr().out


def test_equal_statistics_are_taken_whether_or_not_damaged_clips_were_left_out(data, tmp_path):
    commands.call("data_preparation", D=data)
    commands.call("autoencoder", D=data, O=tmp_path / "run")
    commands.call("data_preparation", "--skip_bad", D=data)
    commands.call("autoencoder", "--resume_from auto --num_epochs 3", D=data, O=tmp_path / "run")
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [record["epoch"] for record in map(json.loads, lines) if "train" in record] == [1, 2, 3]


def test_clips_that_were_left_out_are_not_part_of_the_statistics(data):
    whole = load_split(data, "train").info["content"]
    add_clip(data, "train", "train2")
    files_of(data, "train2")[1].write_bytes(b"damaged")
    assert load_split(data, "train", skip_bad=True).info["content"] == whole
