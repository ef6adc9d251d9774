"""The demo's data set, made from real letters: splits, texts, takes, and bad input."""

import importlib.util
import json
import sys
from pathlib import Path

import commands
import numpy as np
import pytest

import demo_data
from importers import spelling
from poses import files, layout
from runtime.errors import UserError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("spoken_to_signed") is None, reason="spoken-to-signed is not installed"
)


@pytest.fixture(scope="module")
def letters() -> dict[str, spelling.Letter]:
    return spelling.read_alphabet(spelling.find_lexicon(), "ase")


def make(folder: Path, *flags: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["demo_data.py", "--output_dir", str(folder), "--num_words", "30", *flags])
        demo_data.main()
    return folder


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("demo") / "data", "--hold_out", "Hello", "world")


def test_words_of_dev_and_test_are_new_but_their_letters_are_not(data_dir: Path):
    texts = {split: set(files.list_clips(data_dir, split).values()) for split in files.SPLITS}
    assert all(texts.values())
    assert not texts["train"] & (texts["dev"] | texts["test"])
    assert not texts["dev"] & texts["test"]
    known = set(" ".join(texts["train"]).split())
    assert {letter for split in ("dev", "test") for text in texts[split] for letter in text.split()} <= known
    assert set("abcdefghijklmnopqrstuvwxyz") <= texts["train"]  # every letter alone
    assert {"h e l l o", "w o r l d"} <= texts["test"]


def test_a_held_out_word_leaves_train_and_dev_whether_or_not_it_was_chosen():
    words = [f"{a}{b}{c}" for a in "xyz" for b in "abcd" for c in "efg"]
    for seed in range(5):
        np.random.default_rng(seed).shuffle(words)
        split = demo_data.split_words(words, ["xae", "new"])
        assert {"xae", "new"} <= set(split["test"])
        assert sorted(word for chosen in split.values() for word in chosen) == sorted({*words, "new"})
        assert len(split["dev"]) == len(split["test"]) == 4


def test_clips_are_in_the_data_layout_and_spelling_covers_them(data_dir: Path):
    spelling = json.loads((data_dir / "spelling.json").read_text(encoding="utf-8"))
    for split in files.SPLITS:
        for clip_id, text in files.list_clips(data_dir, split).items():
            clip = files.read_clip(data_dir, split, clip_id, text)
            assert clip.pose.shape[1] == layout.POSE_DIM
            assert np.isfinite(clip.pose).all()
            assert clip.seen[:, layout.RIGHT_HAND].mean() > 0.9
            segments = spelling[clip_id]
            assert [segment[0] for segment in segments] == text.split()
            bounds = [bound for segment in segments for bound in segment[1:]]
            assert bounds == sorted(bounds)
            assert bounds[-1] <= len(clip.pose) <= 60 + 25 * len(segments)


def test_the_seed_decides_every_byte(data_dir: Path, tmp_path: Path):
    again = make(tmp_path / "again", "--hold_out", "hello", "world")
    other = make(tmp_path / "other", "--seed", "1")
    names = sorted(path.relative_to(data_dir) for path in data_dir.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((data_dir / name).read_bytes() == (again / name).read_bytes() for name in names)
    assert (data_dir / "test.txt").read_text() != (other / "test.txt").read_text()


def test_a_rerun_replaces_what_was_there(tmp_path: Path):
    make(tmp_path, "--seed", "0")
    make(tmp_path, "--seed", "1")
    assert len(files.list_clips(tmp_path, "test")) == 3
    assert not (tmp_path / ".partial").exists()


def test_a_rerun_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make(tmp_path, "--seed", "0")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full_disk(*_args: object, **_arrays: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="No space left"):
        make(tmp_path, "--seed", "1")
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert not (tmp_path / ".partial").exists()


def test_a_joined_word_holds_the_real_letters(letters: dict[str, spelling.Letter]):
    spelled = spelling.join_letters(letters, "sun", np.random.default_rng(0))
    assert [segment[0] for segment in spelled.segments] == ["s", "u", "n"]
    assert len(spelled.take) == len(spelled.take.pose)
    for name, start, end in spelled.segments:
        real = letters[name].take.keypoints[:, layout.RIGHT_HAND_KEYPOINTS]
        middle = spelled.take.keypoints[(start + end) // 2, layout.RIGHT_HAND_KEYPOINTS]
        assert np.abs(real - middle).max((1, 2)).min() < 0.01


def test_takes_differ_and_move_without_jumps(letters: dict[str, spelling.Letter]):
    first, second = (spelling.join_letters(letters, "hello", np.random.default_rng(seed)) for seed in (0, 1))
    assert first.segments != second.segments
    for spelled in (first, second):
        hand = spelled.take.keypoints[:, layout.RIGHT_HAND_KEYPOINTS]
        inside = slice(spelled.segments[0][1], spelled.segments[-1][2])
        assert np.abs(np.diff(hand[inside], axis=0)).mean((1, 2)).max() < 0.06  # image units a frame


def test_a_double_letter_is_seen_to_be_two(letters: dict[str, spelling.Letter]):
    spelled = spelling.join_letters(letters, "ll", np.random.default_rng(0))
    (_, _, end), (_, start, _) = spelled.segments
    x = spelled.take.keypoints[:, layout.RIGHT_HAND_KEYPOINTS.start, 0]
    assert x[end:start].min() < min(x[end - 1], x[start]) - 0.02


def test_texts_become_letters(letters: dict[str, spelling.Letter]):
    assert spelling.letters_of("Zoé K", letters) == ["z", "o", "e", "k"]
    with pytest.raises(UserError, match="'7'"):
        spelling.letters_of("7up", letters)
    with pytest.raises(UserError, match="no letters"):
        spelling.letters_of("  ", letters)


def test_an_alphabet_without_listed_words_gets_random_strings(capsys: pytest.CaptureFixture):
    words = demo_data.choose_words(sorted("αβγδεζ"), 20, np.random.default_rng(0))
    assert len(set(words)) == 20
    assert set("".join(words)) <= set("αβγδεζ")
    assert "random strings" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--alphabet", "xyz"], "has no such alphabet; it has ase"),
        (["--num_words", "3"], "give at least 10"),
        (["--lexicon_dir", "/nonexistent"], "no such file"),
        (["--hold_out", "naïve!"], "has no '!'"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(tmp_path: Path, flags: list[str], message: str):
    with pytest.raises(UserError, match=message):
        make(tmp_path / "data", *flags)
    assert not (tmp_path / "data").exists()


INDEX = "path,signed_language,words\n" + "".join(f"{letter}.pose,ase,{letter}\n" for letter in "ABCDE")


BAD_INDEX = {
    "latin-1": (INDEX.replace("A\n", "\u00c4\n").encode("latin-1"), "index.csv: not UTF-8; convert it"),
    "UTF-16": (INDEX.encode("utf-16"), "index.csv: not UTF-8 but UTF-16"),
    "a short row": (
        f"{INDEX}F.pose,ase\n".encode(),
        "lacks the columns path, signed_language and words, or a row does",
    ),
    "no column": (b"path,words\nA.pose,A\n", "lacks the columns path, signed_language and words"),
    "an open mark": (f'{INDEX}F.pose,ase,"{"F" * 2**18}\n'.encode(), "index.csv: no table of letters"),
    "only a byte order mark": (f"\ufeff{INDEX}".encode(), "A.pose: no such file"),  # which is a letter
}


@pytest.mark.parametrize("name", BAD_INDEX)
def test_a_damaged_index_of_letters_is_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    content, message = BAD_INDEX[name]
    (tmp_path / "index.csv").write_bytes(content)
    words = ("demo_data.py", "--output_dir", tmp_path / "data", "--lexicon_dir", tmp_path)
    assert message in commands.one_sentence(capsys, lambda: commands.call_script(*words))
    assert not (tmp_path / "data").exists()


def test_a_foreign_data_set_is_left_alone(tmp_path: Path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match="did not make"):
        make(tmp_path)
    assert (tmp_path / "train" / "mine.txt").read_text() == "precious"


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install --no-deps spoken-to-signed"):
        spelling.find_lexicon()
