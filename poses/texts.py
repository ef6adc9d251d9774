"""Files of texts and signers: ID|text, ID|signer, PHOENIX-2014-T's corpus.csv, and texts to sign, one a line."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from runtime.console import say
from runtime.errors import UserError
from runtime.files import composed, read_lines

PHOENIX_COLUMNS = ("name", "video", "start", "end", "speaker", "orth", "translation")  # of its corpus.csv
ALL_NUMBERS = "every text is a number; if these are classes, write what is signed in their place"
NO_WORD = ("nan", "none", "null", "<na>")  # what programs write into the cells of a table that hold nothing
_NUMBER = re.compile(r"-?\d+(\.0+)?")
_TRANSLATION = "translation"  # the column of these that holds the text
_HEADERS = {(name, text) for name in ("id", "name") for text in ("text", "sentence", _TRANSLATION)}
_TABLE_LINES = 10  # a text may hold a bar, but so many lines with as many bars each are a table
_ID = re.compile(r"[^\s|]+\s*\|")  # a word without blanks before a bar
_CSV_CELL = re.compile(r'"((?:[^"]|"")*)"')
_FILE_NAME = re.compile(r"[^./\\\0][^/\\\0]*")
# Control characters, and format characters that show nothing and that no script needs: soft hyphens, zero-width blanks,
# marks of direction, byte order marks. Selectors and tags of emoji stay, and so do the visible ones of Arabic.
_INVISIBLE = re.compile(
    "[\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
_JOINERS = re.compile("(?<!\\S)[\u200c\u200d]+|[\u200c\u200d]+(?!\\S)")  # at the ends of a word
_VIRAMA = 9  # Unicode's combining class of the sign after which a joiner changes a word's last letter
_LOST = re.compile(r"\ufffd|\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2})")  # a letter that was lost, or is written as code
_FOREIGN = re.compile(r"[^\x00-\x7f]{2,}")
_NAMED = 20  # signers that a line names
_BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"  # fillers of Hangul and Braille, which show nothing


def legible(text: str) -> str:
    """A text in the one form in which all are learnt, compared and signed: what looks equal is equal.

    Composed Unicode, one blank for any white space, and no invisible characters. Joiners stay within words, where
    Persian, the scripts of India and emoji need them.
    """
    text = _JOINERS.sub(_needed_joiners, _INVISIBLE.sub("", text))
    return composed(" ".join(text.split()))


def _needed_joiners(found: re.Match) -> str:
    before = found.string[: found.start()][-1:]
    return found[0] if before and unicodedata.combining(before) == _VIRAMA else ""


def unquoted(cell: str) -> str:
    """A cell of a table without the quotation marks that CSV puts around it, if it has them."""
    quoted = _CSV_CELL.fullmatch(cell)
    return quoted[1].replace('""', '"') if quoted else cell


def with_marks(text: str) -> str:
    """A text as it is written into a line of ID|text: in CSV's quotation marks if it has a bar, or marks of its own
    that `unquoted_text` would take off."""
    return '"' + text.replace('"', '""') + '"' if "|" in text or unquoted_text(text) != text else text


def unquoted_text(text: str) -> str:
    """A legible text of a table with bars, without the quotation marks that CSV puts around a text with bars or marks,
    as in `"say ""hi"" now"`. A text that is a plain quotation keeps its own marks."""
    return unquoted(text).strip() if '""' in text[1:-1] or "|" in text else text


def texts_by_id(path: Path, lines: list[tuple[int, str]], what: str = "text") -> dict[str, str]:
    """Texts by ID from the lines of a file: ID|text, or the corpus.csv of PHOENIX-2014-T with its translations.

    A repeated line counts once, and bars at a line's end do not count. what: what the lines say of a clip, in messages.
    """
    if lines and tuple(field.strip().lower() for field in lines[0][1].split("|")) in _HEADERS:
        say(f"{path}: its first line, {lines[0][1]}, names the columns and is no clip")
        lines = lines[1:]
    lines = [(number, line) for number, line in lines if line.strip("| \t")]  # an empty row of a table is no clip
    columns = _phoenix_columns(path, [line for _, line in lines], what)
    texts: dict[str, str] = {}
    forms: dict[str, str] = {}  # the IDs by their composed form
    for number, line in lines:
        clip_id, *fields = line.split("|")
        if not fields:
            raise UserError(f"{path}:{number}: no '|'; each line is ID|{what}")
        text = fields
        if columns is not None:
            before, after = columns
            if len(fields) <= before + after:
                raise UserError(
                    f"{path}:{number}: {len(fields) + 1} columns, where the others have {before + after + 2}"
                )
            text = fields[before : len(fields) - after]  # more than one where it holds bars itself
            if number == lines[0][0] and text == [_TRANSLATION]:
                continue
        clip_id = clip_id.strip()
        if forms.setdefault(composed(clip_id), clip_id) != clip_id:
            raise UserError(f"{path}: the ID {clip_id!a} stands there in two Unicode forms; remove one")
        add_text(texts, clip_id, unquoted_text(legible("|".join(text)).rstrip("| ")), f"{path}:{number}", what)
    return texts


def add_text(texts: dict[str, str], clip_id: str, text: str, where: str, what: str = "text") -> None:
    """Add a clip's text (or signer: `what`) to `texts`, where the clip may have the same one already.

    UserError that begins with `where` if the clip has no ID, or has another text already.
    """
    if not clip_id:
        raise UserError(f"{where}: no ID; its {what} is '{text[:60]}'")
    if texts.setdefault(clip_id, text) != text:
        raise UserError(f"{where}: the ID '{clip_id}' stands there twice, with different {what}s; IDs must be unique")


def is_corpus_row(fields: Sequence[str]) -> bool:
    """Whether a file's first line is a clip of PHOENIX's corpus.csv, which then lacks the line of PHOENIX_COLUMNS."""
    if len(fields) < len(PHOENIX_COLUMNS) or not fields[2].lstrip("-").isdigit():
        return False
    return fields[1].endswith(".png") or fields[1].startswith(fields[0])


def _phoenix_columns(path: Path, lines: list[str], what: str) -> tuple[int, int] | None:
    """In PHOENIX's corpus.csv, the number of columns between ID and text, and the number after the text.

    None for a file of another form.
    """
    first = lines[0].split("|") if lines else []
    if first[:2] == ["name", "video"] and _TRANSLATION in first:
        column, last = first.index(_TRANSLATION), len(first) - 1
    elif is_corpus_row(first):
        column = last = len(PHOENIX_COLUMNS) - 1
    elif first[:2] in (["name", "video"], ["id", "folder"]) or (len(first) > 3 and first[1].endswith(".png")):
        raise UserError(f"{path}: PHOENIX's corpus.csv without translations; use PHOENIX-2014-T's, or write ID|text")
    else:
        plain = [line for line in lines if not _CSV_CELL.fullmatch(line.partition("|")[2].strip())]
        bars = {line.rstrip("| ").count("|") for line in plain}
        if len(plain) >= _TABLE_LINES and len(bars) == 1 and bars.isdisjoint({0, 1}):
            raise UserError(f"{path}: every line has {bars.pop() + 1} columns; write ID|{what}")
        return None
    say(f"{path}: read as PHOENIX's corpus.csv, its translations as the texts")
    return column - 1, last - column


def read_ids_and_texts(path: Path) -> tuple[list[str] | None, list[str]]:
    """The texts of a file to sign, one per line, and their IDs where every line is ID|text (or PHOENIX's corpus.csv).

    A bar after a word without blanks ends an ID; all lines or none must have one. IDs can be names of files.
    """
    try:
        lines = read_lines(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; it should hold one text per line") from None
    if not lines:
        raise UserError(f"{path}: holds no text; write one per line")
    marked = [bool(_ID.match(line)) for _, line in lines]
    if not any(marked):
        if all("|" in line for _, line in lines):
            raise UserError(
                f"{path}: every line has a '|', but the text before it holds blanks, so it is no ID; rename the IDs"
            )
        if all("\t" in line for _, line in lines):
            raise UserError(f"{path}: a tab on every line, as tables have it; write ID|text, or one text per line")
        return None, [legible(line) for _, line in lines]
    if not all(marked):
        (named, line), (nameless, _) = (lines[marked.index(found)] for found in (True, False))
        raise UserError(
            f"{path}:{named}: '{line.partition('|')[0].strip()[:40]}' before its first '|' reads as an ID, but line "
            f"{nameless} has none; write ID|text on every line, or take this bar out"
        )
    texts = texts_by_id(path, lines)
    if not texts:
        raise UserError(f"{path}: holds column names alone; write ID|text below them")
    unfit = next((clip_id for clip_id in texts if not _FILE_NAME.fullmatch(clip_id)), None)
    if unfit is not None:
        raise UserError(f"{path}: the ID '{unfit}' cannot be the name of a file; leave out / and \\ and a first dot")
    return list(texts), list(texts.values())


def is_garbled(text: str) -> bool:
    """Whether letters of a text were lost, or misread, as in 'schÃ¶n': foreign letters side by side whose bytes in
    Windows' encoding are UTF-8.
    """
    return bool(_LOST.search(text)) or any(map(_is_misread, _FOREIGN.findall(text)))


def _is_misread(letters: str) -> bool:
    try:
        return letters.encode("cp1252").decode() != letters
    except UnicodeError:
        return False


def says_something(text: str) -> bool:
    """Whether a text shows more than blanks and punctuation: an empty text, '...', or a lone accent describes no clip.

    Letters that show nothing, such as a zero-width space or a filler of Hangul, do not count.
    """
    categories = [unicodedata.category(letter) for letter in text if letter not in _BLANK_LETTERS]
    return any(category[0] not in "PZM" and category not in ("Cc", "Cf") for category in categories)


def are_numbers(texts: Iterable[str]) -> bool:
    """Whether there are texts, and each is a number, such as a class's."""
    given = [text for text in texts if text]
    return bool(given) and all(map(_NUMBER.fullmatch, given))


def normalize_text(text: str) -> str:
    """The text as every metric reads it: NFKC, lower case, a space in place of each character that is no letter, digit
    or mark, and one space between words."""
    text = unicodedata.normalize("NFKC", text).lower()
    kept = (character if unicodedata.category(character)[0] in "LNM" else " " for character in text)
    return " ".join("".join(kept).split())


def words_of(text: str) -> list[str]:
    """The words of a text without punctuation; its letters, if its script has neither blanks nor capitals (Chinese)."""
    kept = "".join(letter if unicodedata.category(letter)[0] in "LNM" else " " for letter in text)
    return kept.split() if " " in text or text.lower() != text.upper() else [*kept.replace(" ", "")]


def text_key(text: str) -> str:
    """The key under which texts count as one: "hello" and "Hello." do, "HAUS1" and "HAUS2" do not.

    A text without letters and digits, such as an emoji or "+", is itself.
    """
    return normalize_text(text) or text


def require_texts(
    data_dir: Path, split: str, texts: Sequence[str], learns: str, read: Callable[[str], str] = str
) -> None:
    """Raises UserError if no text of a split says something as it is read.

    learns: what learns from train, as 'stage 2 learns'; read: the form that it learns, such as `normalize_text`.
    """
    use = {
        "train": f"{learns} from text",
        "dev": "the best epoch is chosen by the texts of dev",
        "test": "the texts of test are read once, after training",
    }
    if not any(says_something(read(text)) for text in texts):
        fault = "no text has a letter or a digit" if any(map(says_something, texts)) else "every text is empty"
        raise UserError(f"{data_dir}/{split}.txt: {fault}; {use[split]}")


def signers_path(data_dir: Path, split: str) -> Path:
    return data_dir / f"{split}.signers.txt"


def list_signers(data_dir: Path, split: str, ids: Iterable[str]) -> dict[str, str]:
    """Who signs each clip of a split, by ID, from {split}.signers.txt (one ID|signer per line); empty without the file.

    Raises UserError if a clip of `ids` has no signer there. Lines of other clips, such as damaged ones, are left out.
    """
    path = signers_path(data_dir, split)
    if not path.is_file():
        return {}
    signers = {composed(clip_id): signer for clip_id, signer in texts_by_id(path, read_lines(path), "signer").items()}
    named = {clip_id: signers.get(composed(clip_id), "") for clip_id in ids}
    without = [clip_id for clip_id, signer in named.items() if not signer]
    if without:
        raise UserError(
            f"{path}: names no signer for {len(without)} clips, such as '{without[0]}'; add them, or remove the file"
        )
    return named


def some_of(names: Sequence[str]) -> str:
    """The first of many names, such as those of signers, for one line."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} others" if more > 0 else "")


def require_signers(data_dir: Path, split: str, named: Mapping[str, object]) -> None:
    """Raises UserError if a split names no signers; for one beside a train split that does."""
    if not named:
        path = signers_path(data_dir, split)
        raise UserError(f"{path}: no such file, but train has one; name its signers, or remove that of train")
