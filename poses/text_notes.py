"""What speaks against the texts and the signers of a data set, in sentences for its owner."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from poses.likeness import MOST_LINES, Compared, Words
from poses.pack import Pack
from poses.texts import (
    ALL_NUMBERS,
    NO_WORD,
    are_numbers,
    is_garbled,
    require_signers,
    says_something,
    signers_path,
    some_of,
    text_key,
    words_of,
)
from runtime.untrusted import escaped

_HTML = re.compile(r"&(#\d+|#x[0-9a-f]+|[a-z]+);|</?[a-z][a-z0-9]*\s*/?>", re.IGNORECASE)  # entities and tags
ENOUGH_TEXTS = 20  # whose lengths go together with those of their clips by no chance
GO_TOGETHER = 0.5  # correlation of the lengths of texts and clips, as real sentences have it (DGS: 0.68 to 0.77)
FEW_WORDS = 0.25  # of a split's words that occur in train (German: 0.74; beside English 0.14, beside glosses 0.2)
ENOUGH_TRAIN_TEXTS = 100  # in which most words of a language occur


def notes_on_signers(data_dir: Path, signers: dict[str, Counter[str]], learnt: set[str]) -> Iterator[str]:
    """Notes on who signs each split; raises UserError if train names its signers and another split does not.

    learnt: the signers who have a train clip with a text.
    """
    spelt: dict[str, set[str]] = {}
    for name in sorted(set().union(*signers.values())):
        spelt.setdefault(text_key(name), set()).add(name)
    for names in spelt.values():
        if len(names) > 1:
            named = " and ".join(sorted(names))
            yield f"signers: {named} are learnt as different people; is this one name in several spellings?"
    if 1 < len(signers["train"]) == signers["train"].total():
        yield "train: each clip has a signer of its own, so nobody's signing is learnt; are these names of clips?"
    if others := sorted(signers["train"].keys() - learnt):
        yield f"train: no clip of {some_of(others)} has a text; they will be signed as the mean of the other signers"
    for split in ("dev", "test"):
        if not signers["train"]:
            if signers_path(data_dir, split).is_file():
                yield f"{split}.signers.txt is there, but no train.signers.txt: who signs is not learnt"
            continue
        require_signers(data_dir, split, signers[split])
        if unknown := sorted(signers[split].keys() - signers["train"].keys()):
            yield f"{split}: train has no clip of {some_of(unknown)}, who will be signed as the mean of its signers"


def notes_on_split(split: str, packs: dict[str, Pack], compared: dict[str, Compared]) -> Iterator[str]:
    """Notes on a split's texts: what they hold, their words beside train's, and whether they are those of its clips.

    compared: the clips of each split beside those of train.
    """
    pack = packs[split]
    texts = [text for text in pack.texts if says_something(text)]
    yield from notes_on_texts(split, texts)
    if note := note_on_vocabulary(split, texts, packs["train"].texts):
        yield note
    if lines := shifted_texts(pack.texts, pack.lengths("pose")):
        yield note_on_slip(split, lines, "the lengths of texts and clips go together")
    if note := note_on_words(split, packs, compared):
        yield note


def notes_on_texts(split: str, texts: list[str]) -> Iterator[str]:
    """Notes on texts of a split, none of them empty, that may not be what is signed."""
    if marked := [text for text in texts if _HTML.search(text)]:
        yield f"{split}: {len(marked)} texts hold HTML, such as '{escaped(marked[0])}', which is learnt as it stands"
    if garbled := [text for text in texts if is_garbled(text)]:
        advice = "which were read in another encoding before, or lost; write these texts again in UTF-8"
        yield f"{split}: {len(garbled)} texts hold garbled letters, such as '{escaped(garbled[0])}', {advice}"
    if nothing := [text for text in texts if text.lower() in NO_WORD]:
        advice = "as programs write for nothing; leave them empty if nothing is signed"
        yield f"{split}: {len(nothing)} texts are '{nothing[0]}', {advice}"
    if are_numbers(texts):
        yield f"{split}: {ALL_NUMBERS}"
    if split == "train" and len(texts) > 1 and len({*map(text_key, texts)}) == 1:
        yield f"train: every text is '{escaped(texts[0])}', so no model learns to sign one text or another"


def note_on_vocabulary(split: str, texts: list[str], train_texts: list[str]) -> str | None:
    """Says that hardly any word of a split's texts occurs in train's, or only in other capitals."""
    own, known = ([word for text in some for word in words_of(text)] for some in (texts, train_texts))
    if len(own) < ENOUGH_TEXTS or len(train_texts) < ENOUGH_TRAIN_TEXTS:
        return None
    known, lower = {*known}, {word.lower() for word in known}
    share, alike = np.mean([[word.lower() in lower, word in known] for word in own], axis=0)
    if share < FEW_WORDS:
        return (
            f"{split}: {share:.0%} of its words occur in the texts of train: are they of another language, or glosses "
            "beside sentences?"
        )
    if alike < share / 2:
        odd = next(word for word in own if word not in known and word.lower() in lower)
        return f"{split}: most of its words, such as '{odd}', occur in train with other capitals only; write them alike"
    return None


def shifted_texts(texts: list[str], frames: np.ndarray) -> int | None:
    """By how many lines the texts are shifted against the clips, in the order of the IDs: 1 if a clip's text stands one
    line below its place, -1 if one line above. None if nothing shows a shift.

    Long texts take long. If the lengths of texts and clips correlate a few lines off, but not line by line, each clip
    has the text of a neighbour. frames [N]: of the clips.
    """
    letters, frames = np.log1p([len(text) for text in texts]), np.log(frames)
    if len(texts) < ENOUGH_TEXTS or min(np.ptp(letters), np.ptp(frames)) == 0:
        return None
    shifts = [0, *(way * lines for lines in range(1, MOST_LINES + 1) for way in (1, -1))]
    found = [float(np.corrcoef(np.roll(letters, -shift), frames)[0, 1]) for shift in shifts]
    best = int(np.argmax(found))
    return shifts[best] if found[best] >= GO_TOGETHER and found[0] <= found[best] / 2 else None


def note_on_slip(split: str, lines: int, sign: str) -> str:
    """Says that a split's texts are shifted by so many lines (see `shifted_texts`); sign: what then is as it should."""
    side = f"{'line' if abs(lines) == 1 else 'lines'} {'below' if lines > 0 else 'above'}"
    return (
        f"{split}: {sign} if each clip has the text {abs(lines)} {side} its own, and not as they are: has {split}.txt "
        "slipped?"
    )


def note_on_words(split: str, packs: dict[str, Pack], compared: dict[str, Compared]) -> str | None:
    """Says that the clips of a split are not like the train clips of their texts, where the texts are words."""
    words = {name: Words(name, packs[name].texts, packs["train"].texts, compared[name]) for name in {split, "train"}}
    if lines := words[split].slipped():
        return note_on_slip(split, lines, "more clips are like the train clips of their text")
    if words[split].are_chance() and (split == "train" or not words["train"].are_chance()):
        return (
            f"{split}: clips are no more like train clips of their own text than like others: has each the text of "
            "another clip?"
        )
    return None
