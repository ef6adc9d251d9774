"""The text metrics are those of the packages that the field uses, and nothing the normalisation hides counts."""

from types import SimpleNamespace

import jiwer
import numpy as np
import pytest
import sacrebleu
from nltk.translate.bleu_score import corpus_bleu
from rouge_score.rouge_scorer import RougeScorer

from evaluation.intervals import bootstrap_counts
from evaluation.registry import estimates
from evaluation.text_metrics import CHARACTERS, CHINESE, text_scores, unit_of
from evaluation.text_metrics import WORDS as SPACED_WORDS
from poses.texts import normalize_text
from train_pose_to_text import score

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
    counts = bootstrap_counts(12, 3)
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


def test_without_any_text_there_is_no_figure():
    assert np.isnan([*corpus_figures(["hello", ""], ["", "..."]).values()]).all()


CHINESE_TEXTS = {
    "今天下午北方有大雨，请带好雨伞。": "今天下午南方有大雨，请带雨伞。",
    "我去年在北京大学学习手语。": "我去年在北京学习手语。",
    "2024年11月3日的iPhone 15很贵！": "2024年11月13日的iPhone 14很贵！",
    "你叫什么名字？": "你叫什么？",
}
JAPANESE_TEXTS = {
    "明日は北の地方で雨が降るでしょう。": "明日は南の地方で雨が降ります。",
    "私はコーヒーを2杯飲みました。": "私はコーヒーを3杯飲みました。",
    "東京駅でJR線に乗り換えてください。": "東京駅でJRに乗り換える。",
}
THAI_TEXTS = {"พรุ่งนี้ฝนจะตกทางภาคเหนือ": "พรุ่งนี้ฝนตกทางภาคใต้", "คุณชื่ออะไร": "คุณชื่ออะไรครับ"}
BURMESE_TEXTS = {"မနက်ဖြန် မိုးရွာမည်။": "ဒီနေ့ မိုးရွာမည်။", "သင့်နာမည် ဘယ်လိုခေါ်လဲ။": "နာမည် ဘယ်လိုခေါ်လဲ။"}
KHMER_TEXTS = {"ថ្ងៃស្អែកមានភ្លៀងធ្លាក់": "ថ្ងៃនេះមានភ្លៀង", "តើអ្នកឈ្មោះអ្វី": "អ្នកឈ្មោះអ្វី"}
LAO_TEXTS = {"ມື້ອື່ນຝົນຈະຕົກຢູ່ພາກເໜືອ": "ມື້ນີ້ຝົນຕົກຢູ່ພາກໃຕ້", "ເຈົ້າຊື່ຫຍັງ": "ຊື່ຫຍັງ"}
CHARACTER_SETS = {"japanese": JAPANESE_TEXTS, "thai": THAI_TEXTS, "burmese": BURMESE_TEXTS, "khmer": KHMER_TEXTS}
CHARACTER_SETS |= {"lao": LAO_TEXTS}


class Text(list):
    """Texts in place of poses, which a reader gives back."""

    def to(self, _: str) -> "Text":
        return self


def agrees_with_sacrebleu(texts: dict[str, str], tokenize: str) -> dict[str, float]:
    """Our figures of these texts, after each was compared with its package's, of sacrebleu's units."""
    references, hypotheses = ([normalize_text(text) for text in side] for side in (texts.keys(), texts.values()))
    ours = corpus_figures([*texts.values()], [*texts.keys()])
    for order in range(1, 5):
        theirs = sacrebleu.BLEU(tokenize=tokenize, smooth_method="none", max_ngram_order=order)
        assert ours[f"bleu{order}"] == pytest.approx(
            theirs.corpus_score(hypotheses, [references]).score / 100, abs=1e-6
        )
    separate = sacrebleu.BLEU(tokenize=tokenize).tokenizer
    references, hypotheses = ([separate(text).split() for text in side] for side in (references, hypotheses))
    spoken = ([" ".join(units) for units in side] for side in (references, hypotheses))
    assert ours["wer"] == pytest.approx(jiwer.wer(*spoken), abs=1e-6)
    f1 = [rouge_l_by_hand(h, r) for h, r in zip(hypotheses, references, strict=True)]
    assert ours["rouge_l"] == pytest.approx(np.mean(f1), abs=1e-6)
    assert ours["chrf"] == pytest.approx(
        sacrebleu.corpus_chrf([*map(normalize_text, texts.values())], [[*map(normalize_text, texts)]]).score / 100,
        abs=1e-6,
    )
    return ours


def rouge_l_by_hand(hypothesis: list[str], reference: list[str]) -> float:
    common = np.zeros((len(hypothesis) + 1, len(reference) + 1), int)
    for i, said in enumerate(hypothesis):
        for j, meant in enumerate(reference):
            common[i + 1, j + 1] = common[i, j] + 1 if said == meant else max(common[i, j + 1], common[i + 1, j])
    return 2 * common[-1, -1] / (len(hypothesis) + len(reference))


def test_chinese_is_counted_as_sacrebleus_zh():
    """Characters, and runs of digits and Latin letters as one; by spaces all sentences are one word, and wrong."""
    assert unit_of(CHINESE_TEXTS) == CHINESE
    ours = agrees_with_sacrebleu(CHINESE_TEXTS, "zh")
    assert (ours["bleu1"], ours["wer"]) == pytest.approx((0.8075, 0.1860), abs=1e-4)
    by_spaces = estimates(text_scores([*CHINESE_TEXTS.values()], [*CHINESE_TEXTS], SPACED_WORDS))
    assert (by_spaces["bleu1"].of_all(4), by_spaces["wer"].of_all(4)) == (0, 1)


@pytest.mark.parametrize("name", CHARACTER_SETS)
def test_other_scripts_without_spaces_are_counted_as_sacrebleus_char(name):
    assert unit_of(CHARACTER_SETS[name]) == CHARACTERS
    agrees_with_sacrebleu(CHARACTER_SETS[name], "char")


def test_spaces_between_words_change_nothing_where_characters_count():
    spaced = {
        reference: " ".join(hypothesis) for reference, hypothesis in CHINESE_TEXTS.items() if "i" not in hypothesis
    }
    plain = {reference: CHINESE_TEXTS[reference] for reference in spaced}
    assert corpus_figures([*spaced.values()], [*spaced]) == corpus_figures([*plain.values()], [*plain])


@pytest.mark.parametrize(
    ("texts", "unit"),
    [
        (["good morning", "thank you"], SPACED_WORDS),
        (["नमस्ते दुनिया", "xin chào các bạn", "안녕하세요 여러분", "سلام دنیا", "བཀྲ་ཤིས་བདེ་ལེགས།"], SPACED_WORDS),
        (["I said 你好 to my friend", "12345"], SPACED_WORDS),
        (["", "...", "2024"], SPACED_WORDS),
        (["他用iPhone打字很快", "漢字", ""], CHINESE),
        (["我 用 iPhone 打电话"], CHINESE),  # five characters and one word, though the word has six letters
        (["今天天气很好" * 20, "の"], CHINESE),  # a stray kana
        (["東京", "大阪", "さようなら"], CHARACTERS),
    ],
)
def test_the_script_of_most_letters_of_the_data_set_says_what_counts(texts, unit):
    assert unit_of(texts) == unit


def test_the_back_translators_best_epoch_is_chosen_by_what_the_split_is_counted_in():
    """By the whole split's unit, also in a batch whose own texts are Latin."""

    class Model:
        def translate(self, pose: list[str], mask: list[str]) -> list[str]:
            return pose

    class Batches(list):
        dataset = SimpleNamespace(pack=SimpleNamespace(texts=["你们大家好吗谢谢再见", "hello you"]))
        batch_sampler = SimpleNamespace(clips=lambda: [(1, 1), (1, 1)])

    here = SimpleNamespace(device="cpu", reduce=lambda sums: sums)
    said = {"你们大家好吗谢谢再见": "你们大家好吗谢谢", "hello you": "hello"}
    batches = Batches({"pose": Text([h]), "pose_mask": Text([]), "text": [r]} for r, h in said.items())
    found = score(here, Model(), batches)
    assert found["wer"] == pytest.approx((2 + 1) / (10 + 2))
    whole = corpus_figures([*said.values()], [*said])
    assert found["score"] == pytest.approx(np.mean([whole[f"bleu{order}"] for order in range(1, 5)]))
