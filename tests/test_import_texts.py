"""Texts and signers come in many files and say the same, and become those of the data set."""

from pathlib import Path

import numpy as np
import pytest
from recordings import POINTS, scored, write_text

from importers import texts
from importers.texts import clip_name
from poses.texts import list_signers
from runtime.errors import UserError

EXPECTED = {"clip_a": "der wind | weht", "clip_b": 'sie sagt "ja"'}


PHOENIX = "clip_a|clip_a/1/*.png|-1|-1|Signer04|WIND WEHEN|der wind\nclip_b|clip_b/1/*.png|-1|-1|Signer01|JA|sie sagt\n"


HOW2SIGN = (
    "VIDEO_ID\tVIDEO_NAME\tSENTENCE_ID\tSENTENCE_NAME\tSTART\tEND\tSENTENCE\n"
    "a\ta-5\ta_1\tclip_a\t0.0\t2.1\tder wind | weht\n"
    'b\tb-5\tb_1\tclip_b\t1.0\t2.1\t"sie sagt ""ja"""\n'
)


def read_texts(*args: object, **named: object) -> dict[str, str]:
    """The texts of a file alone, without splits and signers."""
    return texts.read_texts(*args, **named).texts


def test_a_tab_separated_table_keeps_bars_and_quotation_marks(tmp_path: Path):
    assert read_texts(write_text(tmp_path / "how2sign.csv", HOW2SIGN)) == EXPECTED


def test_a_comma_separated_table(tmp_path: Path):
    table = 'file,label\nclip_a,der wind | weht\nclip_b,"sie sagt ""ja"""\n'
    assert read_texts(write_text(tmp_path / "t.csv", table)) == EXPECTED


@pytest.mark.parametrize("column", ["gloss", "label"])
def test_a_column_that_may_not_be_what_is_signed_is_asked_for(column: str, tmp_path: Path, capsys):
    path = write_text(tmp_path / "t.csv", f"id,{column},english\nclip_a,7,the wind\n")
    with pytest.raises(UserError, match=f"is '{column}' what is signed.*pass --text_column"):
        read_texts(path)
    assert read_texts(path, "english") == {"clip_a": "the wind"}
    assert "IDs from the column 'id', texts from 'english'" in capsys.readouterr().out


def test_a_class_number_is_no_text(tmp_path: Path):
    path = write_text(tmp_path / "t.csv", "file,label\na.mp4,17\nb.mp4,3.0\nc.mp4,\n")
    with pytest.raises(UserError, match=r"column 'label', such as '17', are all numbers.*--text_column"):
        read_texts(path)
    assert read_texts(path, "label") == {"a.mp4": "17", "b.mp4": "3.0", "c.mp4": ""}
    assert read_texts(write_text(tmp_path / "t.csv", "file,label\na,17\nb,three\n")) == {"a": "17", "b": "three"}
    assert read_texts(write_text(tmp_path / "t.csv", "file,text\na,17\n")) == {"a": "17"}


def test_of_two_columns_that_name_clips_the_right_one_is_asked_for(tmp_path: Path):
    path = write_text(tmp_path / "t.csv", "id,filename,text\n1,2.npy,two\n2,1.npy,one\n")
    with pytest.raises(UserError, match=r"row 1 names '1' and '2\.npy'; which .* Pass --id_column id or filename"):
        read_texts(path)
    assert read_texts(path, id_column="filename") == {"2.npy": "two", "1.npy": "one"}
    assert read_texts(write_text(path, "filename,id,text\nx/1.mp4,1,one\n2.5.mp4,2.5,two\n")) == {
        "1": "one",
        "2.5": "two",
    }


@pytest.mark.parametrize("name", ["video", "path", "video_id"])
def test_a_column_that_names_the_recordings_in_another_way_is_asked_for(name: str, tmp_path: Path):
    files = {"video": ["2.mp4", "1.mp4"], "path": ["train/2.pose", "train/1.pose"], "video_id": ["2", "1"]}[name]
    path = write_text(tmp_path / "t.csv", f"id,{name},signer,text\n1,{files[0]},1,two\n2,{files[1]},1,one\n")

    def among(*known: str) -> dict[str, object]:
        return {"recording_of": lambda cell: Path(cell).stem if Path(cell).stem in known else None}

    with pytest.raises(UserError, match=f"'id' and '{name}' name different recordings.*Pass --id_column"):
        read_texts(path, **among("1", "2"))
    assert read_texts(path, id_column=name, **among("1", "2")) == dict(zip(files, ("two", "one"), strict=True))
    assert read_texts(path, id_column="id", **among("1", "2")) == {"1": "two", "2": "one"}
    assert read_texts(write_text(path, f"id,{name},text\na,{files[0]},x\nb,{files[1]},y\n"), **among("a", "b"))


@pytest.mark.parametrize(
    ("column", "cells", "told"),
    [
        ("frame_end", ("-1", "10"), True),
        ("END_REALIGNED", ("14.20", "3"), True),
        ("stop_time", ("00:00:03:10", ""), True),
        ("endTime", ("1.2", "3"), True),
        ("segment.end", ("1.2", "3"), True),
        ("End (s)", ("1.2", "3"), True),
        ("OFFSET", ("1.2", "3"), True),
        ("weekend", ("1.2", "3"), False),
        ("end", ("-1", "-1"), False),
        ("end", ("", "0.0"), False),
        ("gender", ("60", "61"), False),
    ],
)
def test_the_ends_of_parts_of_recordings_are_told_to_be_unread(
    column: str, cells: tuple[str, str], told: bool, tmp_path: Path, capsys
):
    path = write_text(tmp_path / "t.csv", f"id,{column},text\na,{cells[0]},one\nb,{cells[1]},two\n")
    assert read_texts(path) == {"a": "one", "b": "two"}
    said = f"its column '{column}' is not read: each text is taken for the whole of its recording"
    assert (said in capsys.readouterr().out) == told


@pytest.mark.parametrize("column", ["signer", "speaker", "Signer ID", "signer_id"])
def test_a_column_of_signers_is_told_to_be_unread(column: str, tmp_path: Path, capsys):
    path = write_text(tmp_path / "t.csv", f"id,{column},text\na,7,one\nb,9,two\n")
    assert read_texts(path) == {"a": "one", "b": "two"}
    assert f"its column '{column}' is not read; if it says who signs, pass --signer_column" in capsys.readouterr().out
    assert texts.read_texts(path, signer_column=column).signers == {"a": "7", "b": "9"}
    assert "not read" not in capsys.readouterr().out


def test_bars_at_the_ends_of_lines_are_no_columns(tmp_path: Path):
    assert read_texts(write_text(tmp_path / "t.txt", "a|one|\nb|two|\nc|\n")) == {"a": "one", "b": "two", "c": ""}
    assert read_texts(write_text(tmp_path / "t.csv", "id|gloss|\na|ONE|\n")) == {"a": "ONE"}


def test_lines_of_id_and_text(tmp_path: Path):
    assert read_texts(write_text(tmp_path / "t.txt", "\ufeffclip_a|der wind\r\n\nclip_b | sie  sagt \n")) == {
        "clip_a": "der wind",
        "clip_b": "sie sagt",
    }


@pytest.mark.parametrize("first", range(4))
def test_texts_may_hold_any_mark_whichever_line_is_first(first: int, tmp_path: Path):
    expected = {"a": "red | green", "b": "good\tmorning", "c": "hello, you", "d": "one; name"}
    lines = [f"{clip}|{text}\n" for clip, text in expected.items()]
    path = write_text(tmp_path / "t.txt", "".join(lines[first:] + lines[:first]))
    assert read_texts(path) == {**expected, "b": "good morning"}


def test_names_and_texts_meet_in_one_unicode_form(tmp_path: Path):
    """macOS writes 'u' and a mark into the names of files, where a text file has 'ü'."""
    apart, composed = "gru\u0308n", "gr\u00fcn"
    assert read_texts(write_text(tmp_path / "t.txt", f"{composed}|{apart}\n")) == {composed: composed}
    assert clip_name(f"videos/{apart}.mp4", (".mp4",)) == composed


@pytest.mark.parametrize("header", ["", "name|video|start|end|speaker|orth|translation\n"])
def test_phoenix_with_and_without_its_first_line(header: str, tmp_path: Path):
    path = write_text(tmp_path / "PHOENIX-2014-T.train.corpus.csv", header + PHOENIX)
    assert read_texts(path) == {"clip_a": "der wind", "clip_b": "sie sagt"}
    assert read_texts(path, text_column="orth") == {"clip_a": "WIND WEHEN", "clip_b": "JA"}
    with pytest.raises(UserError, match="gloss"):
        read_texts(path, text_column="gloss")


def test_phoenix_is_recognised_as_everywhere_else(tmp_path: Path, capsys: pytest.CaptureFixture):
    more_columns_first = PHOENIX.replace("der wind", "der | wind")
    path = write_text(tmp_path / "t.csv", more_columns_first)
    assert read_texts(path) == {"clip_a": "der | wind", "clip_b": "sie sagt"}
    assert "read as PHOENIX's corpus.csv" in capsys.readouterr().out
    short = write_text(tmp_path / "t.csv", PHOENIX + "clip_c|clip_c/1/*.png|-1|-1\n")
    with pytest.raises(UserError, match=r"t\.csv:3: 4 columns, where the others have 7"):
        read_texts(short)


@pytest.mark.parametrize("header", ["", "id|text\n", "name|signer|text\n", "id\ttext\n"])
def test_texts_that_a_program_put_into_marks_are_free_of_them(header: str, tmp_path: Path):
    """pandas does so where a text holds marks, or what divides the columns."""
    expected = {"a": 'she said "hi" to me', "b": "red | green", "c": '"Yes", he said, "no"', "d": '"'}
    cells = {"a": '"she said ""hi"" to me"', "b": '"red | green"', "c": expected["c"], "d": '""""'}
    between = "\t" if "\t" in header else "|one|" if "signer" in header else "|"
    lines = [f"{clip}{between}{text}\n" for clip, text in cells.items()]
    assert read_texts(write_text(tmp_path / "t.csv", header + "".join(lines))) == expected
    quotation = "\t" not in header
    path = write_text(tmp_path / "t.csv", f'{header}a{between}"hello"\n')
    assert read_texts(path) == {"a": '"hello"' if quotation else "hello"}


def test_an_open_mark_within_a_text_swallows_no_line(tmp_path: Path):
    path = write_text(tmp_path / "t.csv", 'id,text\na,"hi" she said\nb,"oh\nc,no\n')
    assert read_texts(path) == {"a": "hi she said", "b": "oh", "c": "no"}


@pytest.mark.parametrize("content", ["a|one\nb|two\na|one\n", "id,text\na,one\nb,two\na,one\n"])
def test_a_line_that_stands_there_twice_counts_once(content: str, tmp_path: Path):
    assert read_texts(write_text(tmp_path / "t.txt", content)) == {"a": "one", "b": "two"}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("id,text\na,hello, my name is Anna\n", "hello, my name is Anna"),
        ('id,text\na, "hello, you"\n', "hello, you"),
        ('id,text\na,she said, "hello, you"\n', 'she said, "hello, you"'),
        ("id|text\na|hello|world\n", "hello|world"),
        ('id,text\na,"two\nlines"\n', "two lines"),
        ('id;text;speaker\na;"one; two";x\n', "one; two"),
        ("id;text;signer, if known\na;one;x\n", "one"),
        ('id,text\na,say "hi"\n', 'say "hi"'),
        ('id,text\na,"hi" she said\n', "hi she said"),
        ('id,text\na,"hi" she said "oh\n', 'hi she said "oh'),
        (f"id,text\na,{'x' * 2**18}\n", "x" * 2**18),
        ('id,text\na,"one, ""two"" three"\n', 'one, "two" three'),
        ("id,text\na,hello,,\n", "hello"),
        ("id|text|note\na|hello|x|\n", "hello"),
        ('id\ttext\na\t"one\t""two"""\n', 'one "two"'),
        ('id\ttext\na\t"one\ttwo\n', '"one two'),
    ],
)
def test_a_text_may_hold_what_divides_the_columns(content: str, text: str, tmp_path: Path):
    assert read_texts(write_text(tmp_path / "t.csv", content)) == {"a": text}


BAD = {
    "a text in three columns": ("id,text,speaker\na,hello, you,x\n", "row 1 has 4 columns, and its first line names 3"),
    "an open quotation mark in a long file": (
        'id,text\na,"hello\n' + "b,world\n" * 2**15,
        "a quotation mark in line 2 is never closed",
    ),
    "lines and marks within texts": ('id,text\na,"hi" she said\nb,"two\nlines"\n', "row 3 has 1 columns"),
    "an open quotation mark": ('id,text\na,"hello\nb,world\nc,good\n', "a quotation mark in line 2 is never closed"),
    "a bar too many": ("id|text|speaker\na|b|c|d\n", "make the text the last column"),
    "a bar too many before an empty column": ("id|text|note\na|b | c|\nb|d|e\n", "make the text the last column"),
    "a tab too many before an empty column": ('id\ttext\tnote\na\t"b\tc"\t\nb\td\te\n', "the text the last column"),
    "a comma too many before an empty column": ("id,text,note\na,b, c,\nb,d,\n", "put texts in quotation marks"),
    "a comma too many before a column without a name": ("id,text,\na,b, c\nb,d,\n", "in a column that has no name"),
    "a cell of two lines between tabs": (
        'id\ttext\tnote\na\t"b\nc"\td\n',
        "row 1 opens a quotation mark that its line",
    ),
    "a cell of two lines between bars": ('id|text|note\na|"b\nc"|d\n', "row 1 opens a quotation mark that its line"),
    "IDs and splits": ("name|split\na|train\nb|dev\n", "--id_column and --text_column"),
    "IDs and signers": ("ID|signer\na|ann\nb|bob\n", "--id_column and --text_column"),
    "no table": ("hello world\n", "neither bar, tab nor comma"),
    "empty": ("\n\n", "holds no text"),
    "no column": ("who\twhat\nclip_a\ttext\n", "--id_column and --text_column"),
    "several bars": ("a|b|c\n", "--id_column and --text_column"),
    "several bars in every line": ("a|b|c\nd|e|f|g\n", "--id_column and --text_column"),
    "a table without texts": ("id|signer|english\na|1|one\nb|two\n", "--id_column and --text_column"),
    "a short row": ("id,text\nclip_a\n", "row 1 has 1 columns"),
    "two texts": ("a|one\na|two\n", "t.txt:2: the ID 'a' stands there twice, with different texts"),
    "two texts in a table": ("id,text\na,one\na,two\n", "row 2: the ID 'a' stands there twice, with different texts"),
    "no ID": ("a|one\n|two\n", "t.txt:2: no ID"),
    "no ID in a table": ("id,text\na,one\n,two\n", "row 2: no ID"),
    "a line without a bar": ("a|one\nb two\n", "t.txt:2: no '|'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named(name: str, tmp_path: Path):
    content, said = BAD[name]
    with pytest.raises(UserError, match=r"t\.txt") as error:
        read_texts(write_text(tmp_path / "t.txt", content))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a|schön".encode("utf-16"), "not UTF-8 but UTF-16; convert it: iconv"),
        ("a|schön".encode("utf-16-be"), r"\(UTF-16\?\)"),
        ("a|schön".encode("latin-1"), "not UTF-8; convert it"),
        (b"\x1f\x8b\x08\x00rest", "compressed by gzip"),
        (b"PK\x03\x04\x14\x00rest", "as .xlsx and .ods are; save the sheet as CSV in UTF-8"),
    ],
)
def test_other_encodings_are_refused(content: bytes, said: str, tmp_path: Path):
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_texts(tmp_path / "t.txt")


@pytest.mark.parametrize("content", ['[{"gloss": "book", "instances": [{"video_id": "1"}]}]', '{"a": "one"}\n{}\n'])
def test_json_is_told_to_be_json(content: str, tmp_path: Path):
    with pytest.raises(UserError, match=r"WLASL\.json: JSON, .* write one ID\|text per line"):
        read_texts(write_text(tmp_path / "WLASL.json", content))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a,,one\n", "row 1 names no signer; write one there, or leave --signer_column out"),
        ("a,7,one\na,9,one\n", "the ID 'a' stands there twice, with different signers; remove one"),
    ],
)
def test_a_row_that_names_no_signer_or_two_is_refused(rows: str, said: str, tmp_path: Path):
    with pytest.raises(UserError, match=said):
        texts.read_texts(write_text(tmp_path / "t.csv", f"id,signer,text\n{rows}"), signer_column="signer")
    with pytest.raises(UserError, match="does not name the column 'who'"):
        texts.read_texts(tmp_path / "t.csv", signer_column="who")


@pytest.mark.parametrize("header", ["", "name|video|start|end|speaker|orth|translation\n"])
def test_the_signers_of_phoenix(header: str, tmp_path: Path):
    path = write_text(tmp_path / "PHOENIX-2014-T.dev.corpus.csv", header + PHOENIX)
    said = texts.read_texts(path, signer_column="speaker")
    assert said.signers == {"clip_a": "Signer04", "clip_b": "Signer01"}
    assert said.texts == {"clip_a": "der wind", "clip_b": "sie sagt"}


def test_what_programs_write_for_nothing_is_told_of_texts_and_no_signer(tmp_path: Path, capsys):
    path = write_text(tmp_path / "t.csv", "id,text,signer\na,hello,ann\nb,nan,None\n")
    assert read_texts(path) == {"a": "hello", "b": "nan"}
    assert "1 texts, such as that of 'b', are 'nan', as programs write for nothing" in capsys.readouterr().out
    with pytest.raises(UserError, match="row 2 names no signer"):
        read_texts(path, signer_column="signer")


def test_lines_of_numbers_are_told(tmp_path: Path, capsys):
    assert read_texts(write_text(tmp_path / "t.txt", "a|41\nb|7\n")) == {"a": "41", "b": "7"}
    assert "every text is a number; if these are classes" in capsys.readouterr().out
    assert read_texts(write_text(tmp_path / "t.txt", "a|41\nb|seven\n")) == {"a": "41", "b": "seven"}
    assert not capsys.readouterr().out


def test_texts_may_name_the_videos_that_poses_were_made_of(imported, tmp_path: Path):
    np.save(tmp_path / "in" / "a.npy", POINTS)
    (tmp_path / "t.csv").write_text("file,text\na.mp4,hello\na.001,not this recording's\n")
    folder = imported(f"--source_fps 25 --texts {tmp_path / 't.csv'}")
    assert (folder / "train.txt").read_text() == "a|hello\n"


def test_with_ids_of_paths_another_column_that_names_the_recordings_is_asked_for(imported, refused, tmp_path: Path):
    for name in ("anna/1", "ben/2"):
        path = tmp_path / "in" / f"{name}.npy"
        path.parent.mkdir()
        np.save(path, POINTS)
    table = tmp_path / "texts.csv"
    table.write_text("id,recorded_as,text\nanna/1.mp4,ben/2.mp4,one\nben/2.mp4,anna/1.mp4,two\n")
    flags = f"--source_fps 25 --ids path --texts {table}"
    assert "the columns 'id' and 'recorded_as' name different recordings" in refused(flags)
    folder = imported(f"{flags} --id_column recorded_as")
    assert (folder / "train.txt").read_text() == "anna_1|two\nben_2|one\n"


def test_columns_of_a_table_need_one(refused):
    for flag in ("--signer_column", "--text_column", "--id_column"):
        assert refused(f"{flag} speaker").endswith(f"{flag} needs --texts; add it, or leave {flag} out")


def test_of_two_columns_the_missing_one_is_named(imported, refused, tmp_path: Path):
    np.save(tmp_path / "in" / "one.npy", scored(POINTS))
    (tmp_path / "texts.csv").write_text("name,sentence\none,hello\n")
    said = refused(f"--source_fps 25 --texts {tmp_path / 'texts.csv'} --id_column name --text_column translation")
    assert "its first line (name, sentence) does not name the column 'translation'" in said


def test_a_tables_signers_become_those_of_the_data_set(imported, refused, tmp_path: Path):
    for name in ("one", "two", "broken"):
        np.save(tmp_path / "in" / f"{name}.npy", scored(POINTS))
    (tmp_path / "in" / "broken.npy").write_bytes(b"no array")
    table = tmp_path / "t.csv"
    table.write_text("id,speaker,text\none,Ann,hello\ntwo,Bob,world\nbroken,Ann,x\nnever made,Bob,y\n")
    flags = f"--source_fps 25 --texts {table} --signer_column speaker"
    folder = imported(f"{flags} --skip_bad")
    assert list_signers(folder, "train", ["one", "two"]) == {"one": "Ann", "two": "Bob"}
    assert (folder / "train.signers.txt").read_text() == "one|Ann\ntwo|Bob\n"
    np.save(tmp_path / "in" / "broken.npy", scored(POINTS))
    table.write_text("id,speaker,text\none,Cay,hello\nbroken,Ann,x\n")  # a later call, of other clips
    imported(flags)
    assert (folder / "train.signers.txt").read_text() == "broken|Ann\none|Cay\ntwo|Bob\n"


def test_a_file_of_texts_that_an_editor_saved_is_gone_on_with(imported, tmp_path: Path):
    (tmp_path / "texts.txt").write_text("one|hello\ntwo|w\u00f6rld\n", encoding="utf-8")
    flags = f"--source_fps 25 --texts {tmp_path / 'texts.txt'}"
    np.save(tmp_path / "in" / "one.npy", POINTS)
    texts = imported(flags) / "train.txt"
    texts.write_text("\ufeffone|hello\r\n", encoding="utf-8", newline="")
    np.save(tmp_path / "in" / "two.npy", POINTS)
    imported(flags)
    assert texts.read_text(encoding="utf-8") == "one|hello\ntwo|w\u00f6rld\n"
