"""The text metrics are those of the packages that the field uses, and nothing the normalisation hides counts."""

import jiwer
import numpy as np
import pytest
import sacrebleu
from nltk.translate.bleu_score import corpus_bleu
from rouge_score.rouge_scorer import RougeScorer

from evaluation.intervals import resample
from evaluation.registry import estimates
from evaluation.text_metrics import normalize_text, text_scores

TEXT = "rain falls in the north tomorrow and the sun shines over the south coast"
WORDS = TEXT.split()


def make_texts(count: int = 40, shortest: int = 1) -> tuple[list[str], list[str]]:
    """Hypotheses and references with words left out and exchanged."""
    rng = np.random.default_rng(0)
    references = [" ".join(rng.choice(WORDS, rng.integers(shortest, 12))) for _ in range(count)]
    hypotheses = []
    for text in references:
        words = [word if rng.random() > 0.2 else str(rng.choice(WORDS)) for word in text.split()]
        hypotheses.append(" ".join(word for n, word in enumerate(words) if n < shortest or rng.random() > 0.1))
    return hypotheses, references


def corpus_figures(hypotheses: list[str], references: list[str]) -> dict[str, float]:
    found = estimates(text_scores(hypotheses, references))
    return {name: estimate.of_all(len(references)) for name, estimate in found.items()}


@pytest.mark.parametrize("shortest", [1, 4])
def test_each_figure_is_that_of_its_package(shortest):
    hypotheses, references = make_texts(shortest=shortest)
    ours = corpus_figures(hypotheses, references)
    pairs = [([r.split()], h.split()) for h, r in zip(hypotheses, references, strict=True)]
    for order in range(1, 5):
        nltk = corpus_bleu(*zip(*pairs, strict=True), weights=[1 / order] * order)
        if shortest == 4 or order == 1:  # below, nltk counts n-grams that short texts do not have
            assert ours[f"bleu{order}"] == pytest.approx(nltk, rel=1e-9)
        theirs = sacrebleu.BLEU(tokenize="none", smooth_method="none", max_ngram_order=order)
        assert ours[f"bleu{order}"] == pytest.approx(theirs.corpus_score(hypotheses, [references]).score / 100)
    assert ours["chrf"] == pytest.approx(sacrebleu.corpus_chrf(hypotheses, [references]).score / 100, rel=1e-9)
    assert ours["wer"] == pytest.approx(jiwer.wer(references, hypotheses))
    rouge = RougeScorer(["rougeL"])
    scores = [rouge.score(r, h)["rougeL"].fmeasure for h, r in zip(hypotheses, references, strict=True)]
    assert ours["rouge_l"] == pytest.approx(np.mean(scores))


def test_a_resample_is_the_corpus_of_its_clips():
    """The interval's BLEU of drawn counts is nltk's of the drawn texts."""
    hypotheses, references = make_texts(12, shortest=4)
    counts = resample(12, 3)
    ours = estimates(text_scores(hypotheses, references))["bleu2"].at(counts)
    for row, value in zip(counts.astype(int), ours, strict=True):
        drawn = [n for n in range(12) for _ in range(row[n])]
        nltk = corpus_bleu([[references[n].split()] for n in drawn], [hypotheses[n].split() for n in drawn], (0.5, 0.5))
        assert value == pytest.approx(nltk)


def test_the_right_texts_are_perfect_and_swapped_ones_are_not():
    _, references = make_texts()
    perfect = corpus_figures(references, references)
    assert {name: round(value, 9) for name, value in perfect.items()} == {
        **dict.fromkeys(("bleu1", "bleu2", "bleu3", "bleu4", "chrf", "rouge_l"), 1.0),
        "wer": 0.0,
    }
    swapped = corpus_figures([references[1], references[0], *references[2:]], references)
    assert all(swapped[f"bleu{n}"] < 1 for n in range(1, 5))
    assert swapped["wer"] > 0


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Good morning!", "good morning"),
        ("  It's  9.30, über-cold. ", "it s 9 30 über cold"),
        ("¿Qué?", "qué"),
        ("नमस्ते।", "नमस्ते"),
        ("ＡＢ", "ab"),
        ("...", ""),
    ],
)
def test_normalisation(text, normal):
    assert normalize_text(text) == normal


def test_case_and_punctuation_change_nothing():
    assert corpus_figures(["Hello, you."], ["hello you"])["bleu2"] == 1


def test_what_no_reference_has_is_undefined_and_silence_is_wrong():
    ours = corpus_figures(["hello", ""], ["hello", "thanks"])
    assert np.isnan([ours["bleu2"], ours["bleu4"]]).all()
    assert ours["bleu1"] == pytest.approx(np.exp(1 - 2 / 1))  # one word of two: the brevity penalty
    assert (ours["wer"], ours["rouge_l"]) == (0.5, 0.5)
    assert corpus_figures([""], ["thanks"])["bleu1"] == corpus_figures([""], ["thanks"])["chrf"] == 0


def test_clips_without_text_are_left_out():
    with_empty, without = corpus_figures(["hello", "you"], ["hello", ""]), corpus_figures(["hello"], ["hello"])
    assert with_empty == pytest.approx(without, nan_ok=True)
