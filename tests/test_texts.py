"""Files of texts: ID|text, PHOENIX's corpus.csv, texts to sign; and what only looks like one of them."""

import shutil
import unicodedata
from pathlib import Path

import pytest
from made_up import write_data

from generation import text_to_sign
from importers.formats import skels_texts
from importers.texts import read_texts
from poses.files import list_clips, read_clip
from poses.text_notes import note_on_vocabulary
from poses.texts import (
    is_garbled,
    legible,
    read_ids_and_texts,
    says_something,
    text_key,
    texts_by_id,
    with_marks,
    words_of,
)
from runtime.errors import UserError
from runtime.files import read_lines

HEADER = "name|video|start|end|speaker|orth|translation\n"
ROWS = [
    "train0|11August_2010/1/*.png|-1|-1|Signer08|JETZT WETTER MORGEN|und nun die wettervorhersage für morgen .\n",
    "train1|12August_2010/1/*.png|-1|-1|Signer01|REGEN|es regnet | und schneit .\n",
]
TEXTS = {"train0": "und nun die wettervorhersage für morgen .", "train1": "es regnet | und schneit ."}
COMPOSED, APART = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data", {"train": [5, 6]})


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("header", [HEADER, ""])
def test_phoenix_texts_are_the_translations(data: Path, header: str, capsys: pytest.CaptureFixture):
    write(data / "train.txt", header + "".join(ROWS))
    assert list_clips(data, "train") == TEXTS
    assert "train.txt: read as PHOENIX's corpus.csv" in capsys.readouterr().out
    assert read_ids_and_texts(data / "train.txt") == (list(TEXTS), list(TEXTS.values()))


def test_phoenix_columns_may_stand_in_another_order(data: Path):
    write(data / "train.txt", "name|video|translation|orth\ntrain0|v/*.png|a b|A\ntrain1|v/*.png|c|C\n")
    assert list_clips(data, "train") == {"train0": "a b", "train1": "c"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id|folder|signer|annotation\ntrain0|f/1/*.png|S1|REGEN\n", "without translations"),
        ("train0|f/1/*.png|S1|REGEN\ntrain1|f/1/*.png|S1|WIND\n", "without translations"),
        (HEADER + ROWS[0] + "train1|v/*.png|-1|-1\n", r"train\.txt:3: 4 columns, where the others have 7"),
        ("".join(f"train{n}|GLOSS|text\n" for n in range(12)), "every line has 3 columns"),
        ("train0|a\ntrain1|b\n".encode("utf-16"), "not UTF-8 but UTF-16; convert it: iconv"),
        ("train0|a\ntrain1|b\n".encode("utf-16-be"), r"\(UTF-16\?\)"),
        (b"\x1f\x8b\x08\x00rest", "compressed by gzip"),
        ("train0|a\ntrain1|b\ntrain0|c\n", r"train\.txt:3: the ID 'train0' stands there twice, with different texts"),
        ("train0|a\n|b\n", r"train\.txt:2: no ID"),
    ],
)
def test_other_files_are_named_for_what_they_are(data: Path, content: str | bytes, message: str):
    write(data / "train.txt", content)
    with pytest.raises(UserError, match=message):
        list_clips(data, "train")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system_and_nowhere_else(data: Path, end: str):
    write(data / "train.txt", end.join(["\ufefftrain0|a\u2028b\x85c", "train1|b", ""]))
    assert list_clips(data, "train") == {"train0": "a b c", "train1": "b"}


LOOKS = {  # what looks like "das wetter morgen"
    "two blanks": "das  wetter morgen",
    "a tab": "das\twetter morgen",
    "a no-break space": "das wetter\u00a0morgen",
    "a thin space": "das\u2009wetter morgen",
    "a zero-width space": "das wetter mor\u200bgen",
    "marks of direction": "\u200fdas \u202dwetter\u202c morgen\u200e",
    "a byte order mark": "\ufeffdas wetter morgen",
    "a soft hyphen": "das wet\u00adter morgen",
    "a joiner at a word's end": "das\u200d wetter\u200c morgen\u200d",
    "a control character": "das wetter\x08 morgen",
}


@pytest.mark.parametrize("name", LOOKS)
def test_texts_that_look_equal_are_equal_to_every_reader(data: Path, name: str, tmp_path: Path):
    given, wanted = LOOKS[name], "das wetter morgen"
    write(data / "train.txt", f"train0|{given}\ntrain1|b\n")
    assert list_clips(data, "train")["train0"] == wanted
    assert read_ids_and_texts(write(tmp_path / "texts.txt", f"hello\n{given}\n"))[1][1] == wanted
    assert text_to_sign(given) == wanted
    assert read_texts(write(tmp_path / "t.csv", f'id,text\na,"{given}"\n'))[0] == {"a": wanted}
    (tmp_path / "a.skels").write_text("0 1 2\n")
    write(tmp_path / "a.text", f"{given}\n")
    assert skels_texts(tmp_path / "a.skels", 1) == [wanted]


@pytest.mark.parametrize(
    "text",
    [
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian: two parts of a word that do not join
        "\u0915\u094d\u200d\u0937",  # Hindi: a half letter
        "\u0d05\u0d35\u0d28\u0d4d\u200d \u0d35",  # Malayalam: a letter without vowel at a word's end
        "\U0001f469\u200d\U0001f52c \u2600\ufe0f",  # emoji: a woman with a microscope, and a coloured sun
        "\u0606\u0601\u0661\u0662",  # Arabic: a sign before a number, which is seen
    ],
)
def test_what_a_script_needs_stays_in_a_text(text: str):
    assert text_to_sign(text) == text


@pytest.mark.parametrize("nothing", ["\ufe0f", "\u2800", "\u3164", "\u0301", "\u200b\ufeff", "\u200d", "... \u0301"])
def test_a_text_that_shows_nothing_says_nothing(nothing: str):
    assert not says_something(nothing)
    with pytest.raises(UserError, match="has no signs"):
        text_to_sign(nothing)


def test_a_line_that_stands_there_twice_counts_once(data: Path):
    write(data / "train.txt", "train0|a\ntrain1|b\ntrain0|a\n")
    assert list_clips(data, "train") == {"train0": "a", "train1": "b"}
    assert read_ids_and_texts(data / "train.txt") == (["train0", "train1"], ["a", "b"])


def test_a_text_may_hold_a_bar(data: Path):
    write(data / "train.txt", "train0|either | or\ntrain1|b\n")
    assert list_clips(data, "train") == {"train0": "either | or", "train1": "b"}


def test_texts_that_all_hold_a_bar_are_read_as_they_were_written(data: Path):
    texts = {f"train{number}": f'say "{number}" | or' for number in range(12)}
    write(data / "train.txt", "".join(f"{name}|{with_marks(text)}\n" for name, text in texts.items()))
    lines = texts_by_id(data / "train.txt", read_lines(data / "train.txt"))
    assert lines == texts
    write(data / "train.txt", "".join(f"{name}|{text}\n" for name, text in texts.items()))
    with pytest.raises(UserError, match="every line has 3 columns"):
        texts_by_id(data / "train.txt", read_lines(data / "train.txt"))


@pytest.mark.parametrize("text", ['x""x', '"x""x"', '""""', '"a" and "b"', '"quoted"', 'a | "b"', '"a""b" | c'])
def test_marks_of_a_text_are_its_own(text: str, data: Path):
    write(data / "train.txt", f"train0|{with_marks(text)}\n")
    assert texts_by_id(data / "train.txt", read_lines(data / "train.txt")) == {"train0": text}


def test_bars_at_the_end_of_a_line_are_no_text(data: Path):
    write(data / "train.txt", "train0|one|\n||\ntrain1|two\n")
    assert list_clips(data, "train") == {"train0": "one", "train1": "two"}


def test_ids_of_texts_to_sign_are_not_signed(tmp_path: Path):
    path = write(tmp_path / "texts.txt", "a1|hello\r\n\nb-2 | l o n g\u2028line | bar\n")
    assert read_ids_and_texts(path) == (["a1", "b-2"], ["hello", "l o n g line | bar"])
    assert read_ids_and_texts(write(path, "hello\nboth one | and the other\n"))[0] is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a|hello\nworld\n", r"texts\.txt:1: 'a' before its first '\|' reads as an ID, but line 2 has none"),
        ("hello\nyes | no\nagain\n", r"texts\.txt:2: 'yes' before its first '\|' reads as an ID, but line 1 has"),
        ("a|hello\na|world\n", "'a' stands there twice"),
        ("../../a|hello\n", "cannot be the name of a file"),
        (".a|hello\n", "cannot be the name of a file"),
        ("\n \n", "holds no text"),
        ("id|text\n", "holds column names alone"),
        ("clip one|hello\nclip two|world\n", "the text before it holds blanks, so it is no ID"),
        ("a1\thello\na2\tworld\n", "a tab on every line, as tables have it"),
        ("hello".encode("utf-16"), "UTF-16"),
    ],
)
def test_texts_that_cannot_be_signed_as_they_stand_are_refused(tmp_path: Path, content: str | bytes, message: str):
    with pytest.raises(UserError, match=message):
        read_ids_and_texts(write(tmp_path / "texts.txt", content))


@pytest.mark.parametrize("header", ["id|text", "ID | Text", "name|translation"])
def test_a_line_of_column_names_is_no_clip(data: Path, header: str, capsys: pytest.CaptureFixture):
    write(data / "train.txt", f"{header}\ntrain0|a\ntrain1|b | c\n")
    assert list_clips(data, "train") == {"train0": "a", "train1": "b | c"}
    assert f"its first line, {header}, names the columns" in capsys.readouterr().out
    assert read_ids_and_texts(data / "train.txt") == (["train0", "train1"], ["a", "b | c"])


def test_files_that_macos_leaves_are_no_clips(data: Path, capsys: pytest.CaptureFixture):
    write(data / "train" / "poses" / "._train0.npz", b"\x00\x05\x16\x07")
    assert list(list_clips(data, "train")) == ["train0", "train1"]
    assert "left out 1 files '._*'" in capsys.readouterr().out


def rename(data: Path, old: str, pose: str, nmm: str, text: str) -> None:
    (data / "train" / "poses" / f"{old}.npz").rename(data / "train" / "poses" / f"{pose}.npz")
    (data / "train" / "nmms" / f"{old}.pkl").rename(data / "train" / "nmms" / f"{nmm}.pkl")
    write(data / "train.txt", (data / "train.txt").read_text().replace(f"{old}|", f"{text}|"))


@pytest.mark.parametrize(("file", "text"), [(COMPOSED, APART), (APART, COMPOSED)])
def test_an_id_is_found_in_either_unicode_form(data: Path, file: str, text: str):
    rename(data, "train0", file, file, text)
    assert list_clips(data, "train") == {file: "text 0", "train1": "text 1"}


def test_one_name_in_two_unicode_forms_is_refused(data: Path):
    rename(data, "train0", COMPOSED, COMPOSED, COMPOSED)
    (data / "train" / "nmms" / f"{COMPOSED}.pkl").rename(data / "train" / "nmms" / f"{APART}.pkl")
    with pytest.raises(UserError, match="another Unicode form; name both files alike"):
        read_clip(data, "train", COMPOSED)
    shutil.copy(data / "train" / "poses" / "train1.npz", data / "train" / "poses" / f"{APART}.npz")
    with pytest.raises(UserError, match=r"'cafe\\u0301' and 'caf\\xe9' are one name in two Unicode forms"):
        list_clips(data, "train")
    (data / "train" / "poses" / f"{APART}.npz").unlink()
    write(data / "train.txt", f"{COMPOSED}|a\n{APART}|b\ntrain1|c\n")
    with pytest.raises(UserError, match="stands there in two Unicode forms"):
        list_clips(data, "train")


@pytest.mark.parametrize("same", ["Hello.", "hello", "HELLO ", "hello\u200b", "\u00a0hello!"])
def test_texts_that_differ_in_case_and_punctuation_are_one(same: str):
    assert text_key(same) == text_key("hello")


@pytest.mark.parametrize(("one", "other"), [("HAUS1", "HAUS2"), ("9.30", "9.31"), ("+", "="), ("C", "D"), ("♥", "★")])
def test_texts_that_differ_in_a_letter_or_a_digit_or_are_symbols_alone_are_two(one: str, other: str):
    assert text_key(one) != text_key(other)


@pytest.mark.parametrize("text", ["schÃ¶n", "grÃ¶ÃŸer", "donâ€™t", "ä½ å¥½", "sch\ufffdn", "sch\\u00f6n", "sch\\xf6n"])
def test_letters_of_another_encoding_and_lost_ones_are_garbled(text: str):
    assert is_garbled(legible(f"so {text} ist es"))


@pytest.mark.parametrize(
    "text",
    [
        *("Übergrößenträger", "Île-de-France — œuvre", "«¿Qué?»", "LÄÖT", "São Tomé", "Việt Nam đẹp lắm", "PÂTÉ À LA"),
        *("İstanbul ığdır", "你好！", "مرحبا", "नमस्ते", "Привет", "“it’s…”", "Hääöyö", "a\\b \\n"),
    ],
)
def test_letters_of_many_languages_are_not_garbled(text: str):
    assert not is_garbled(legible(text))


def test_words_of_a_text_are_letters_where_its_script_writes_no_blanks():
    assert words_of("Das Haus, GROSS1 (sehr)!") == ["Das", "Haus", "GROSS1", "sehr"]
    assert words_of("hello") == ["hello"]
    assert words_of("今天，好") == ["今", "天", "好"]


def test_a_split_of_other_words_or_capitals_than_train_is_told():
    train = ["The dog sees a cat in the house."] * 100
    assert note_on_vocabulary("dev", ["a cat sees the dog"] * 5, train) is None
    assert note_on_vocabulary("dev", ["KATZE1 HUND2 SEHEN1A"] * 9, train).startswith(
        "dev: 0% of its words occur in the texts"
    )
    assert note_on_vocabulary("dev", ["KATZE1 HUND2 SEHEN1A"], train) is None  # few words tell nothing
    assert note_on_vocabulary("dev", ["KATZE1 HUND2 SEHEN1A"] * 9, train[:20]) is None
    assert "such as 'CAT', occur in train with other capitals" in note_on_vocabulary("dev", ["CAT SEES DOG"] * 9, train)
