"""Files that give clips their texts, in the forms that the field's data sets come in.

`ID|text` a line; PHOENIX's `*.corpus.csv` (`name|video|start|end|speaker|orth|translation`, with or without that first
line); tables with a first line of column names, separated by tabs, bars, commas or semicolons, such as How2Sign's.
"""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from poses.files import SPLITS
from poses.texts import (
    ALL_NUMBERS,
    NO_WORD,
    PHOENIX_COLUMNS,
    add_text,
    are_numbers,
    is_corpus_row,
    legible,
    texts_by_id,
    unquoted,
    unquoted_text,
)
from runtime.console import say
from runtime.errors import UserError
from runtime.files import composed, read_text
from runtime.untrusted import escaped

ID_COLUMNS = ("id", "clip_id", "name", "sentence_name", "file", "filename")
TEXT_COLUMNS = ("text", "translation", "sentence", "label", "gloss")
SPLIT_COLUMNS = ("split", "subset")
SPLIT_NAMES = {
    **{split: split for split in SPLITS},
    **dict.fromkeys(("val", "valid", "validation"), "dev"),
    **{"training": "train", "testing": "test"},
}
UNSURE_COLUMNS = ("label", "gloss")  # may be a class's number, or beside a text under another name
# A column of where in a longer recording a text ends; ELAN calls it offset.
_END = re.compile(r"(.*[_ .-])?((end|stop)(times?|frames?|seconds?|sec|ms|s)?|offset)([_ .(-].*)?", re.IGNORECASE)
_SIGNER = re.compile(r"(.*[_ ])?(signer|speaker|performer)([_ ]?(id|name|no|number))?", re.IGNORECASE)
_NO_END = ("", "nan", "0", "0.0", "-1", "-1.0")  # cells of such a column that mean the recording's own end
DELIMITERS = "\t|,;"
csv.field_size_limit(2**31 - 1)  # letters in a cell: an unclosed quotation mark is reported in a file of any length


class Labels(NamedTuple):
    """Texts, splits and signers by clip, named as the file names it; {} for what the file does not say."""

    texts: dict[str, str]
    splits: dict[str, str]
    signers: dict[str, str]


class _Named(NamedTuple):
    """The columns that the user names."""

    id: str | None
    text: str | None
    signer: str | None


class _Columns(NamedTuple):
    """Where the columns of a table stand; None for one that it does not have."""

    id: int | None
    text: int | None
    signer: int | None
    split: int | None


def read_texts(
    path: Path,
    text_column: str | None = None,
    id_column: str | None = None,
    signer_column: str | None = None,
    recording_of: Callable[[str], str | None] = lambda name: None,
) -> Labels:
    """The texts of a file of ID|text lines or of a table, with the splits and the signers of the table.

    recording_of: the clip ID of the recording that a cell names, None if it names none; it shows whether the IDs may
    stand in another column. Raises UserError that names the file and the line.
    """
    content, numbered = _read_lines(path)
    lines = [line for _, line in numbered]
    delimiter = _delimiter(lines)
    if delimiter is None:
        raise UserError(f"{path}: its first line has neither bar, tab nor comma; write one ID|text per line")
    rows = _rows(path, content, lines, delimiter)
    named = _Named(id_column, text_column, signer_column)
    corpus = delimiter == "|" and is_corpus_row(rows[0])
    if corpus and any(named):
        rows = [list(PHOENIX_COLUMNS), *rows]
    header = [name.strip() for name in rows[0]]
    columns = _columns(header, rows[1:], named)
    if columns.id is None or columns.text is None or columns.id == columns.text:
        of_lines = delimiter == "|" and not any(named) and (corpus or _of_id_and_text(lines, header))
        if of_lines and (columns.id is None or recording_of(header[columns.id]) is not None):
            labels = Labels(texts_by_id(path, numbered), {}, {})
            if are_numbers(labels.texts.values()):
                print(f"{path}: {ALL_NUMBERS}")
            return labels
        missing = [f"'{name}'" for name, at in zip(named[:2], columns[:2], strict=True) if name and at is None]
        wanted = f"the column {' and '.join(missing)}" if missing else "a column for the ID and one for the text"
        line = "PHOENIX's first line" if corpus else "its first line"
        raise UserError(
            f"{path}: {line} ({', '.join(header)[:120]}) does not name {wanted}; "
            "pass --id_column and --text_column as that line names them, or write one ID|text per line"
        )
    if signer_column and columns.signer is None:
        raise UserError(
            f"{path}: its first line ({', '.join(header)[:120]}) does not name the column '{signer_column}'"
        )
    return _read_table(path, _without_spare_columns(path, rows), columns, named, delimiter, recording_of)


def _read_lines(path: Path) -> tuple[str, list[tuple[int, str]]]:
    """A file's content, and its lines that are not blank with their numbers, of which there is at least one."""
    try:
        content = read_text(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; --texts takes a file of ID|text lines or a table") from None
    numbered = [(number, line) for number, line in enumerate(content.split("\n"), 1) if line.strip()]
    if not numbered:
        raise UserError(f"{path}: holds no text; write one ID|text per line")
    if numbered[0][1].lstrip()[0] in "[{" and path.suffix.lower() in (".json", ".jsonl"):  # WLASL's and MS-ASL's lists
        raise UserError(f"{path}: JSON, which has a form of its own in each data set; write one ID|text per line")
    return content, numbered


def _read_table(
    path: Path,
    table: list[list[str]],
    columns: _Columns,
    named: _Named,
    delimiter: str,
    recording_of: Callable[[str], str | None],
) -> Labels:
    """The labels of a table whose first row names its columns; prints what is read of it, and what is odd about it.

    Raises UserError if its IDs or texts may stand in another column.
    """
    header, rows = [name.strip() for name in table[0]], table[1:]
    unsure = not named.text and header[columns.text].lower() in UNSURE_COLUMNS
    if unsure and sum(map(bool, header)) > 2:
        raise UserError(
            f"{path}: is '{header[columns.text]}' what is signed? Its columns are {', '.join(header)[:120]}; "
            "pass --text_column"
        )
    say(f"{path}: IDs from the column '{header[columns.id]}', texts from '{header[columns.text]}'")
    if columns.split is not None and header[columns.split].lower() not in SPLIT_COLUMNS:
        say(f"{path}: splits from the column '{header[columns.split]}', since all of its cells name one")
    if not named.id:
        _require_no_other_ids(path, header, rows, (columns.id, columns.text), recording_of)
    _say_unread(path, header, rows, columns)
    labels = _read_rows(path, header, rows, columns, delimiter, one_id=not named.id)
    if unsure and are_numbers(labels.texts.values()):
        first = next(text for text in labels.texts.values() if text)
        raise UserError(
            f"{path}: the texts of the column '{header[columns.text]}', such as '{first}', are all numbers, so they "
            "look like classes; write what is signed there, or pass --text_column"
        )
    nothing = [clip_id for clip_id, text in labels.texts.items() if text.lower() in NO_WORD]
    if nothing:
        print(
            f"{path}: {len(nothing)} texts, such as that of '{escaped(nothing[0])}', are '{labels.texts[nothing[0]]}', "
            "as programs write for nothing; leave their cells empty if nothing is signed"
        )
    return labels


def _without_spare_columns(path: Path, rows: list[list[str]]) -> list[list[str]]:
    """The rows without columns at the end that have no name and hold nothing, as where every line ends in a bar.

    Raises UserError where such a column holds something: it may be the end of a text with the delimiter in it.
    """
    named = len(rows[0])
    while named and not rows[0][named - 1].strip():
        named -= 1
    for number, row in enumerate(rows[1:], 1):
        if held := next((cell for cell in row[named : len(rows[0])] if cell.strip()), None):
            raise UserError(
                f"{path}: row {number} holds '{escaped(held)}' in a column that has no name; name it in the first "
                "line, or put texts in quotation marks"
            )
    rows = [rows[0][:named], *rows[1:]]
    while rows[1:] and all(len(row) > named and not row[-1].strip() for row in rows[1:]):
        rows = [rows[0], *(row[:-1] for row in rows[1:])]
    return rows


def _columns(header: list[str], rows: list[list[str]], named: _Named) -> _Columns:
    """The columns of a table with this first line, as the user names them, or else by their usual names.

    That of the splits may have another name, if it is the only one whose cells all name a split, and not all the same.
    """
    id_at, text_at = _find(header, named.id, ID_COLUMNS), _find(header, named.text, TEXT_COLUMNS)
    split_at = _find(header, None, SPLIT_COLUMNS)
    if split_at is None:
        cells = {
            at: {row[at].strip().lower() if at < len(row) else "" for row in rows}
            for at, name in enumerate(header)
            if name and at not in (id_at, text_at)
        }
        found = [at for at, words in cells.items() if len(words) > 1 and words <= SPLIT_NAMES.keys()]
        split_at = found[0] if len(found) == 1 else None
    return _Columns(id_at, text_at, _find(header, named.signer, ()), split_at)


def _say_unread(path: Path, header: list[str], rows: list[list[str]], columns: _Columns) -> None:
    """Name the columns that are not read although they may matter: the end within a longer recording, signers, and
    splits that some cells name, or two columns."""
    for at, name in enumerate(header):
        words = [row[at].strip().lower() for row in rows if at < len(row)]
        splits = [SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES]
        if columns.split is None and len({*splits}) > 1 and len(splits) > len(rows) / 2 and at != columns.text:
            print(
                f"{path}: its column '{name}' is not read, though it names a split in {len(splits)} of {len(rows)} "
                "rows; if it tells the splits, call it 'split', and write train, dev or test in every row"
            )
        if _END.fullmatch(name) and any(row[at].strip().lower() not in _NO_END for row in rows if at < len(row)):
            print(f"{path}: its column '{name}' is not read: each text is taken for the whole of its recording")
        if columns.signer is None and _SIGNER.fullmatch(name) and at not in (columns.id, columns.text):
            print(f"{path}: its column '{name}' is not read; if it says who signs, pass --signer_column {name!r}")


def _read_rows(
    path: Path, header: list[str], rows: list[list[str]], columns: _Columns, delimiter: str, *, one_id: bool
) -> Labels:
    """The labels of a table's rows; one_id: all columns that may hold a row's ID must agree."""
    id_columns = {name: at for at, name in enumerate(header) if name.lower() in ID_COLUMNS and at != columns.text}
    labels = Labels({}, {}, {})
    for number, row in enumerate(rows, 1):
        row = _fit_row(path, number, row, header, columns.text, delimiter)
        if len(row) <= max(columns.id, columns.text):
            raise UserError(f"{path}: row {number} has {len(row)} columns, too few; it begins with '{row[0][:60]}'")
        clip_id, where = row[columns.id].strip(), f"{path}: row {number}"
        if one_id:
            _require_one_id({name: row[at].strip() for name, at in id_columns.items() if at < len(row)}, where)
        text = legible(row[columns.text])
        add_text(labels.texts, clip_id, unquoted_text(text) if delimiter == "|" else text, where)
        if columns.split is not None and columns.split != columns.text:
            split = row[columns.split].strip() if columns.split < len(row) else ""
            if labels.splits.setdefault(clip_id, split) != split:
                raise UserError(f"{where}: the ID '{clip_id}' stands there twice, in different splits; remove one")
        if columns.signer is not None:
            signer = legible(row[columns.signer]).strip() if columns.signer < len(row) else ""
            if signer.lower() in ("", *NO_WORD):
                raise UserError(f"{where} names no signer; write one there, or leave --signer_column out")
            if labels.signers.setdefault(clip_id, signer) != signer:
                raise UserError(f"{where}: the ID '{clip_id}' stands there twice, with different signers; remove one")
    return labels


def _delimiter(lines: list[str]) -> str | None:
    """The delimiter of the columns: the first one that every line has; the bar comes first, as texts may hold the
    others.

    If no delimiter is in every line, as where a cell has two lines, the first line decides; None if it has none.
    """
    everywhere = (mark for mark in ("|", *DELIMITERS) if all(mark in line for line in lines))
    return next(everywhere, None) or next((mark for mark in DELIMITERS if mark in lines[0]), None)


def _of_id_and_text(lines: list[str], header: list[str]) -> bool:
    """Whether lines with bars are of ID|text, whose texts may hold bars, and not of a table: some line has one bar.

    If the first line names a column, and has several bars, it is that of a table.
    """
    bars = [line.rstrip("| ").count("|") for line in lines]
    named = any(name.lower() in (*ID_COLUMNS, *TEXT_COLUMNS) for name in header)
    return bars[0] <= 1 or (min(bars) <= 1 and not named)


def _require_one_id(ids: dict[str, str], where: str) -> None:
    """Raises UserError where the columns that may hold IDs name different clips, as where one numbers the rows."""
    names = [clip_name(name, ()) for name in ids.values()]
    short = min(names, key=len)
    if not all(name == short or name.startswith(f"{short}.") for name in names):  # `a` and `a.mp4` are one
        listed = " and ".join(f"'{escaped(name)}'" for name in ids.values())
        raise UserError(f"{where} names {listed}; which of them is the clip? Pass --id_column {' or '.join(ids)}")


def _require_no_other_ids(
    path: Path,
    header: list[str],
    rows: list[list[str]],
    taken: tuple[int, int],
    recording_of: Callable[[str], str | None],
) -> None:
    """Raises UserError if another column names as many recordings as the column of IDs, but other ones.

    taken: the columns of IDs and texts.
    """

    def recordings(at: int) -> list[str | None]:
        names = [row[at] if at < len(row) else "" for row in rows]
        once = len({*map(str.strip, names)}) == len(names)  # as an ID stands in its column
        return [recording_of(name) if once else None for name in names]

    chosen = recordings(taken[0])
    for at, name in enumerate(header):
        found = recordings(at) if at not in taken else chosen
        if found != chosen and sum(map(bool, found)) >= max(1, sum(map(bool, chosen))):
            row = next(row for row, one, other in zip(rows, found, chosen, strict=True) if one != other)
            raise UserError(
                f"{path}: the columns '{header[taken[0]]}' and '{name}' name different recordings, such as "
                f"'{escaped(row[taken[0]])}' and '{escaped(row[at])}'; which of them is the clip? Pass --id_column"
            )


def _fit_row(path: Path, number: int, row: list[str], header: list[str], text_at: int, delimiter: str) -> list[str]:
    """A row with as many columns as the header: a text in the last one may hold the delimiter itself.

    If the text is the last column, surplus empty cells at the end are dropped; else they may follow a text that holds
    the delimiter.
    """
    while len(row) > len(header) and not row[-1].strip() and text_at == len(header) - 1:
        row = row[:-1]
    if len(row) < len(header) and delimiter in "\t|" and row[-1].lstrip().startswith('"'):  # a whole one is unquoted
        raise UserError(f"{path}: row {number} opens a quotation mark that its line does not close; join its lines")
    if len(row) <= len(header):
        return row
    if text_at != len(header) - 1:
        advice = "put texts in quotation marks" if delimiter in ",;" else "make the text the last column"
        raise UserError(
            f"{path}: row {number} has {len(row)} columns, and its first line names {len(header)}; {advice}"
        )
    text = delimiter.join(row[text_at:])
    return [*row[:text_at], unquoted(text) if delimiter == "\t" else text]


def _rows(path: Path, content: str, lines: list[str], delimiter: str) -> list[list[str]]:
    if delimiter == "|":
        return [line.split("|") for line in lines]
    if delimiter == "\t":  # texts in such files hold lone quotation marks
        return [[unquoted(field) for field in line.split("\t")] for line in lines]
    without_blanks = re.sub(rf'(^|{delimiter})[ \t]+"(?!")', r'\1"', content, flags=re.MULTILINE)  # before a quotation
    try:
        rows = _quoted_rows(without_blanks, delimiter)
        as_written = _quoted_rows(content, delimiter) if without_blanks != content else rows
    except csv.Error as error:
        if "unexpected end" in str(error):
            line = _unclosed_line(without_blanks)
            raise UserError(f"{path}: a quotation mark in line {line} is never closed; close it") from None
        # Marks stand within a text.
        rows = as_written = [row for line in lines for row in csv.reader([line], delimiter=delimiter)]
    if len(rows) == len(as_written):  # of a text that holds the delimiter and ends in a quotation, no blank is spare
        rows = [row if len(row) <= len(rows[0]) else other for row, other in zip(rows, as_written, strict=True)]
    return [row for row in rows if any(map(str.strip, row))]


def _quoted_rows(content: str, delimiter: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True))


def _unclosed_line(content: str) -> int:
    """The last line with an odd number of quotation marks."""
    return max(number for number, line in enumerate(content.split("\n"), 1) if line.count('"') % 2)


def _find(header: list[str], asked: str | None, known: tuple[str, ...]) -> int | None:
    """The index of the column `asked`, or else of the first of the known names; None if there is none."""
    names = [name.lower() for name in header]
    wanted = (asked.lower(),) if asked else known
    return next((names.index(name) for name in wanted if name in names), None)


def clip_name(name: str, endings: tuple[str, ...], by_path: bool = False) -> str:
    """The clip that a path or a name in a file of texts means: without its folders (or with them, joined by `_`)
    and without an ending such as `.mp4` and blanks at its ends.

    In composed Unicode: macOS names files by 'u' and a mark where a text file has 'ü'.
    """
    path = PurePosixPath(composed(name).replace("\\", "/"))
    parts = [part for part in path.parts if part not in ("/", ".", "..")] or [""]
    if path.suffix.lower() in endings:
        parts[-1] = parts[-1][: -len(path.suffix)]
    return ("_".join(parts) if by_path else parts[-1]).strip()
