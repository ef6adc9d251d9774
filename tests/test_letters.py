"""benchmarks/letters.py: real letters are found in real words, with and without spelling.json, and no wrong ones."""

import importlib
import json
import shutil
import sys
from pathlib import Path

import commands
import numpy as np
import pytest
from test_metrics import generated, make_clip

from evaluation.clips import clip_of
from poses import layout
from poses.splits import load_split
from runtime.errors import UserError


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(commands.ROOT / "benchmarks"))
    yield importlib.import_module("letters")
    sys.modules.pop("letters", None)


def judge(letters, monkeypatch, capsys, data: Path, predictions: Path) -> dict:
    monkeypatch.setattr(sys, "argv", ["letters.py", "--data_dir", str(data), "--predictions_dir", str(predictions)])
    letters.errors.run(letters.main)
    return json.loads(capsys.readouterr().out)


def write_clips(folder: Path, data: Path, of: list[int]) -> Path:
    """As generated clips of test those of test itself, in the order `of`."""
    test = load_split(data, "test", None, False)
    folder.mkdir()
    for clip_id, index in zip(test.ids, of, strict=True):
        np.save(folder / f"{clip_id}.npy", clip_of(test, index).in_file())
    return folder


@pytest.mark.parametrize(("kept", "least"), [(True, 1.0), (False, 0.8)], ids=["spelling.json", "aligned"])
def test_real_letters_are_right_and_those_of_other_words_are_not(
    kept: bool, least: float, letters, data_dir, tmp_path, monkeypatch, capsys
):
    data = shutil.copytree(data_dir, tmp_path / "data", ignore=shutil.ignore_patterns("cache"))
    if not kept:
        (data / "spelling.json").unlink()
    count = len((data / "test.txt").read_text().splitlines())
    own = write_clips(tmp_path / "own", data, list(range(count)))
    found = judge(letters, monkeypatch, capsys, data, own)
    assert found["generated_letters"] == found["real_letters"] >= least
    others = write_clips(tmp_path / "others", data, [(i + 1) % count for i in range(count)])
    assert judge(letters, monkeypatch, capsys, data, others)["generated_letters"] < 0.7


@pytest.mark.parametrize("fps", [12, 50])
def test_letters_keep_their_places_at_another_rate(fps: int, letters, data_dir, tmp_path, monkeypatch, capsys):
    data = shutil.copytree(data_dir, tmp_path / "data", ignore=shutil.ignore_patterns("cache"))
    commands.call_script("data_preparation.py", "--data_dir", data, "--fps", fps)
    capsys.readouterr()
    count = len((data / "test.txt").read_text().splitlines())
    found = judge(letters, monkeypatch, capsys, data, write_clips(tmp_path / "own", data, list(range(count))))
    assert found["generated_letters"] == found["real_letters"] >= (1.0 if fps == 50 else 0.8)


def test_clips_without_a_text_are_left_out(letters, data_dir, tmp_path, monkeypatch, capsys):
    data = shutil.copytree(data_dir, tmp_path / "data", ignore=shutil.ignore_patterns("cache"))
    count = len((data / "test.txt").read_text().splitlines())
    own = write_clips(tmp_path / "own", data, list(range(count)))
    for split in ("train", "test"):
        *others, last = (data / f"{split}.txt").read_text().splitlines()
        (data / f"{split}.txt").write_text("\n".join([*others, last.split("|")[0] + "|"]))
    found = judge(letters, monkeypatch, capsys, data, own)
    assert (found["clips"], found["generated_letters"]) == (count - 1, 1.0)


def test_a_letter_that_train_has_not_alone_is_named(letters, data_dir, tmp_path, monkeypatch, capsys):
    data = shutil.copytree(data_dir, tmp_path / "data", ignore=shutil.ignore_patterns("cache"))
    own = write_clips(tmp_path / "own", data, list(range(len((data / "test.txt").read_text().splitlines()))))
    lines = (data / "test.txt").read_text().splitlines()
    (data / "test.txt").write_text("\n".join([f"{lines[0]} ?", *lines[1:]]) + "\n")
    said = commands.one_sentence(capsys, lambda: judge(letters, monkeypatch, capsys, data, own))
    assert "no clip of train is the letter '?' alone" in said


def test_a_text_without_a_letter_is_named(letters):
    with pytest.raises(UserError, match="'ase': holds no letter; a letter alone is 'ase s'"):
        letters.spelt("ase", {"ase s": None})


def test_clips_without_a_signer_spell_no_letter(letters, data_dir, tmp_path, monkeypatch, capsys):
    count = len((data_dir / "test.txt").read_text().splitlines())
    faces = write_clips(tmp_path / "faces", data_dir, list(range(count)))
    for path in faces.iterdir():
        pose = np.zeros_like(np.load(path))
        pose[:, layout.NMM] = 0.5
        np.save(path, pose)
    found = judge(letters, monkeypatch, capsys, data_dir, faces)
    assert (found["generated_letters"], found["real_letters"]) == (0.0, 1.0)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 9])
def test_a_letters_piece_is_its_own_frames_however_few(frames: int, letters):
    (clip,) = generated([make_clip(0, frames=20)])
    (piece,) = letters.pieces_of(clip, clip, [("a", 20 - frames, 20)])
    assert 1 <= len(piece.pose) <= frames
    assert all((clip.pose[20 - frames :] == pose).all(1).any() for pose in piece.pose)


def test_a_letter_of_train_without_a_place_in_the_captions_is_named(letters, data_dir, tmp_path, monkeypatch, capsys):
    data = shutil.copytree(data_dir, tmp_path / "data", ignore=shutil.ignore_patterns("cache"))
    own = write_clips(tmp_path / "own", data, list(range(len((data / "test.txt").read_text().splitlines()))))
    lines = [line.split("|") for line in (data / "train.txt").read_text().splitlines()]
    alone = next(
        clip_id for clip_id, text in lines if len(text.split()) == min(len(words.split()) for _, words in lines)
    )
    spelling = json.loads((data / "spelling.json").read_text())
    (data / "spelling.json").write_text(json.dumps(spelling | {alone: []}))
    said = commands.one_sentence(capsys, lambda: judge(letters, monkeypatch, capsys, data, own))
    assert f"spelling.json: '{alone}' has 0 letters there, and 1 in its text" in said
