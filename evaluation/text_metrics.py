"""How near a text that was read back is to the text that was signed: BLEU-1…4, ROUGE-L, chrF and WER, all corpus level.

One normalisation for all of them, of both texts (a trailing full stop alone moves BLEU-4 by a point and more):
`poses.texts.normalize_text`. BLEU, ROUGE-L and WER count words, which spaces separate; where most letters of the
references are of a script without spaces, characters (`unit_of`). BLEU, 0-1 without smoothing, is made from nltk's
clipped n-gram counts and equals sacrebleu's. nltk's own `corpus_bleu` counts an n-gram too many for each text shorter
than n words, so that even perfect short texts miss 1; for texts of four words and more all three are equal. ROUGE-L is
rouge-score's F1, the mean over clips; chrF is sacrebleu's chrF2 over 100; WER is jiwer's word error rate (of
characters: its CER), above 1 where more is said than was asked.

The values of clips are counts, from which `formulas.py` makes the metrics of the whole corpus.
"""

import itertools
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import jiwer
import numpy as np
from nltk.translate.bleu_score import modified_precision
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import CHRF
from sacrebleu.metrics.helpers import extract_all_char_ngrams
from sacrebleu.tokenizers.tokenizer_char import TokenizerChar
from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

from evaluation.clips import Scores, stack_values
from poses.texts import normalize_text

NORMALIZATION = "NFKC; lower case; only letters and digits and marks"  # in words, for the report
WORDS, CHARACTERS, CHINESE = "words", "characters (sacrebleu's char)", "characters (sacrebleu's zh)"
_SEPARATE: dict[str, Callable[[str], str]] = {WORDS: str, CHARACTERS: TokenizerChar(), CHINESE: TokenizerZh()}

# Scripts that write no spaces between words, by how Unicode's names of their letters begin.
_HAN = ("CJK ", "IDEOGRAPHIC ", "BOPOMOFO ")
_SPACELESS = (*_HAN, "HIRAGANA ", "KATAKANA", "THAI ", "LAO ", "KHMER ", "MYANMAR ", "TAI ", "NEW TAI ", "JAVANESE ")
_MOSTLY_HAN = 0.95  # of the letters without spaces in Chinese texts; Japanese ones hold more kana than the rest


def unit_of(references: Iterable[str]) -> str:
    """What BLEU, ROUGE-L and WER count in the texts of a data set, by the script that most of its references are in.

    A character of a script without spaces weighs as much as a word of the others. CHINESE: every Chinese character, and
    whole runs of others (Latin letters, digits). CHARACTERS: every character, of Japanese, Thai, Lao, Khmer, Burmese
    and the like. Both ignore spaces.
    """
    counts: Counter[str | None] = Counter()
    for text in references:
        letters = (c for c in normalize_text(text) if unicodedata.category(c)[0] != "M")
        for kind, run in itertools.groupby(letters, _kind):
            counts[kind] += 1 if kind == WORDS else len(list(run))
    spaceless = counts[CHINESE] + counts[CHARACTERS]
    if spaceless <= counts[WORDS]:
        return WORDS
    return CHINESE if counts[CHINESE] >= _MOSTLY_HAN * spaceless else CHARACTERS


def _kind(character: str) -> str | None:
    """The unit that a letter is counted in; None for a character that is no letter."""
    name = unicodedata.name(character, "") if unicodedata.category(character)[0] == "L" else ""
    if name.startswith(_SPACELESS):
        return CHINESE if name.startswith(_HAN) else CHARACTERS
    return WORDS if name else None


class _Words:
    """rouge-score's own tokenizer keeps ASCII alone; texts are normalised already."""

    def tokenize(self, text: str) -> list[str]:
        return text.split()


_ROUGE = RougeScorer(["rougeL"], tokenizer=_Words())


def text_scores(hypotheses: Sequence[str], references: Sequence[str], unit: str | None = None) -> Scores:
    """Counts of each clip, [N,K], in `unit`s (default: `unit_of` the references).

    Clips whose reference is empty hold nothing to read back.
    """
    separate = _SEPARATE[unit or unit_of(references)]

    def prepared(text: str) -> str:
        return " ".join(separate(normalize_text(text)).split())

    return stack_values(_score(prepared(h), prepared(r)) for h, r in zip(hypotheses, references, strict=True))


def _score(hypothesis: str, reference: str) -> dict[str, object]:
    if not reference:
        empty = {"bleu_counts": [0] * 12, "chrf_counts": [0] * 3 * CHRF.CHAR_ORDER}
        return {**empty, "rouge_l": np.nan, "word_errors": [np.nan] * 2}
    read, meant = hypothesis.split(), reference.split()
    precisions = [modified_precision([meant], read, n) for n in range(1, 5)]
    totals = [max(0, len(read) - n) for n in range(4)]
    matches = [round(float(p) * total) for p, total in zip(precisions, totals, strict=True)]
    words = jiwer.process_words(reference, hypothesis)
    return {
        "bleu_counts": [*matches, *totals, *(max(0, len(meant) - n) for n in range(4))],
        "chrf_counts": _character_counts(hypothesis, reference),
        "rouge_l": _ROUGE.score(reference, hypothesis)["rougeL"].fmeasure,
        "word_errors": [words.substitutions + words.deletions + words.insertions, len(meant)],
    }


def _character_counts(hypothesis: str, reference: str) -> list[int]:
    grams = [
        extract_all_char_ngrams(text, CHRF.CHAR_ORDER, include_whitespace=False) for text in (hypothesis, reference)
    ]
    counts = []
    for h, r in zip(*grams, strict=True):
        counts += [h.total() if r else 0, r.total(), (h & r).total()]
    return counts
