"""Every metric, declared once. The report, the ablation's columns, compare_metrics.py and README's table read it.

A new metric is a value of each clip, computed by the `..._scores` of its subject's file (such as naturalness.py), and a
`Metric` here. `python -m evaluation.registry` then writes README's table anew.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evaluation.clips import Array, Scores
from evaluation.distribution import LATENTS
from evaluation.formulas import bleu_of, chrf_of, frechet_of, mean_of, ratio_by_text, ratio_of
from evaluation.intervals import Estimate
from evaluation.naturalness import COPY_QUANTILE, REACH_QUANTILE
from evaluation.recognition import TOP
from evaluation.sync import MAX_LAG
from runtime.files import write_whole

METRICS_VERSION = 1  # raise it when the same clips would get other values
# A clip whose hands have less of their reference's speed stands still beside it; of 107 real takes none or one does.
STILL_HANDS = 0.2
README, BEGIN, END = Path(__file__).parents[1] / "README.md", "<!-- metrics -->\n", "<!-- /metrics -->"
LOWER, HIGHER, NEAR_1, NEAR_0, NEAR_REFERENCE, NEITHER = "lower", "higher", "near 1", "near 0", "as the reference", "–"


@dataclass(frozen=True)
class Column:
    """A metric's place in the ablation's tables, from the left, its title and its digits."""

    place: int
    title: str
    digits: int


@dataclass(frozen=True)
class Metric:
    """A line of the report.

    better: which direction is better. formula: turns the clips' values named by `reads` (by default those of its own
    key) into an `Estimate`. column: its column in the ablation's tables, if it has one.
    """

    key: str
    better: str
    formula: Callable[..., Estimate]
    reads: tuple[str, ...] = ()
    column: Column | None = None

    @property
    def values(self) -> tuple[str, ...]:
        return self.reads or (self.key,)


def _beside(key: str, column: Column | None = None) -> list[Metric]:
    """Three metrics of values [N,2], prediction and reference: each one's mean, and their difference (in `column`)."""
    return [
        Metric(key, NEAR_REFERENCE, lambda values: mean_of(values[:, 0])),
        Metric(f"{key}_reference", NEITHER, lambda values: mean_of(values[:, 1]), (key,)),
        Metric(f"{key}_difference", NEAR_0, lambda values: mean_of(values[:, 0] - values[:, 1]), (key,), column),
    ]


def _sync(key: str, column: Column) -> list[Metric]:
    """`_beside` for values [N,3], and a fourth metric of the last column, which is the value by chance."""
    return [*_beside(key, column), Metric(f"{key}_null", NEITHER, lambda values: mean_of(values[:, 2]), (key,))]


# Metrics by subject and explanation, in the order of the report.
SUBJECTS: dict[str, dict[str, list[Metric]]] = {
    "closeness": {
        "mean distance of the frames (all 214 numbers) that dynamic time warping (DTW) pairs": [
            Metric("dtw", LOWER, mean_of, column=Column(4, "DTW", 3))
        ],
        "mean distance of the keypoints along the DTW path of keypoints alone, image units: all, body, each hand": [
            Metric("dtw_mje", LOWER, mean_of),
            Metric("dtw_mje_body", LOWER, mean_of),
            Metric("dtw_mje_left_hand", LOWER, mean_of),
            Metric("dtw_mje_right_hand", LOWER, mean_of),
        ],
        "DTWp of the toolkit pose-evaluation: DTW of single hand keypoints, pixels of a picture of 1000 by 1000": [
            Metric("dtwp", LOWER, mean_of)
        ],
        "mean squared error, frame by frame or along the DTW path: all numbers, keypoints, face": [
            Metric("mse", LOWER, mean_of),
            Metric("mse_manual", LOWER, mean_of),
            Metric("mse_nmm", LOWER, mean_of),
        ],
        "correlation of the face with the reference's face within a clip, along the DTW path of the keypoints; 0 if "
        "it is unrelated, or stands still": [Metric("face_correlation", HIGHER, mean_of)],
        f"share of clips whose nearest real clip has the same text; `_top{TOP}`: one of the {TOP} nearest has it": [
            Metric("recognition", HIGHER, mean_of, column=Column(1, "recognition", 3)),
            Metric("recognition_top5", HIGHER, mean_of),
        ],
    },
    "presence": {
        "share of hand-frames in which clip and reference agree on whether the hand is visible, at the reference's "
        "time; `_both`: the same for a clip that always shows both hands": [
            Metric("presence_agreement", HIGHER, ratio_of, ("hand_presence",)),
            Metric("presence_agreement_both", NEITHER, ratio_of, ("both_hands_presence",)),
        ],
        "share of face-frames in which clip and reference agree on whether the face is visible": [
            Metric("face_presence_agreement", HIGHER, ratio_of, ("face_presence",))
        ],
    },
    "text read back": {
        "BLEU: runs of up to 1, 2, 3 and 4 words in common with the text (characters in scripts without spaces)": [
            Metric("bleu1", HIGHER, bleu_of(1), ("bleu_counts",), Column(6, "BLEU-1", 3)),
            Metric("bleu2", HIGHER, bleu_of(2), ("bleu_counts",)),
            Metric("bleu3", HIGHER, bleu_of(3), ("bleu_counts",)),
            Metric("bleu4", HIGHER, bleu_of(4), ("bleu_counts",), Column(7, "BLEU-4", 3)),
        ],
        "ROUGE-L: longest common sequence of words or characters, F1": [Metric("rouge_l", HIGHER, mean_of)],
        "chrF2: runs of characters in common": [Metric("chrf", HIGHER, chrf_of, ("chrf_counts",))],
        "word (or character) errors divided by the words of the text; above 1 if the clip says more than the text": [
            Metric("wer", LOWER, ratio_of, ("word_errors",), Column(8, "WER", 3))
        ],
        "mean log-likelihood per subword of the text, given the clip, under the back-translator": [
            Metric("text_log_likelihood", HIGHER, ratio_of, ("text_likelihoods",))
        ],
    },
    "motion": {
        "mean speed of hands and wrists divided by the reference's; 0 stands still; `_smoothed`: both smoothed, as "
        "hands that tremble or circle in one place have speed": [
            Metric("motion_ratio", NEAR_1, ratio_of, ("hand_speeds",), Column(2, "motion ratio", 3)),
            Metric("motion_ratio_smoothed", NEAR_1, ratio_of, ("smooth_hand_speeds",)),
        ],
        "mean speed of arms and hands divided by the reference's; `sway_ratio`: of the shoulders' middle, from which "
        "speeds and jerks are measured": [
            Metric("speed_ratio", NEAR_1, ratio_of, ("speeds",)),
            Metric("sway_ratio", NEAR_1, ratio_of, ("sways",)),
        ],
        "mean jerk of arms and hands divided by the reference's; above 1 they tremble": [
            Metric("jerk_ratio", NEAR_1, ratio_of, ("jerks",), Column(3, "jerk ratio", 2))
        ],
        "motion energy of the face divided by the reference's, both smoothed": [
            Metric("face_motion_ratio", NEAR_1, ratio_of, ("face_speeds",))
        ],
        "how much the length of a bone varies in a clip: standard deviation divided by mean": [
            Metric("bone_length_variation", NEAR_REFERENCE, mean_of)
        ],
        f"share of frames with a hand farther from its wrist or larger than {100 * REACH_QUANTILE:.0f} % of train's": [
            Metric("implausible_hands", LOWER, mean_of)
        ],
    },
    "sync": {
        "correlation of the motion energies of hands and face, smoothed; `_reference`: of the real clips; "
        "`_difference`: the first minus the second; `_null`: with the face shuffled in time, which is chance": _sync(
            "sync_correlation", Column(9, "sync corr. − ref.", 3)
        ),
        f"frames, at most {MAX_LAG}, between hands and face where their motions correlate most, without a sign": _sync(
            "sync_lag", Column(10, "sync lag − ref.", 2)
        ),
        "share of comparisons in which a classifier trained on train rates a clip's true hand-face timing above a "
        "shifted one (`--sync_confidence`); 0.5 is chance, and where `_reference` is near it, the data carry no "
        "signal": _beside("sync_confidence"),
        f"shift of the face, at most {MAX_LAG} frames and without a sign, that this classifier rates highest": _beside(
            "sync_offset"
        ),
    },
    "distribution": {
        "Fréchet distance between the latents of the clips and of the references; needs the autoencoder": [
            Metric("frechet", LOWER, frechet_of, LATENTS, Column(5, "Fréchet", 2))
        ],
        "distance between the clips of one text, divided by that between the references of that text": [
            Metric("diversity", NEAR_1, ratio_by_text, ("text_spreads",), Column(11, "diversity", 2))
        ],
        f"share of frames at least as close to a train frame as the closest {100 * COPY_QUANTILE:.0f} % of real ones": [
            Metric("copied_frames", NEAR_REFERENCE, mean_of)
        ],
        "distance to the nearest train frame divided by the reference's; far below 1: repeated train clips": [
            Metric("train_distance_ratio", NEAR_1, ratio_of, ("train_distances",))
        ],
    },
}
METRICS = [metric for families in SUBJECTS.values() for metrics in families.values() for metric in metrics]
BETTER = {metric.key: metric.better for metric in METRICS}
COLUMNS = sorted((metric for metric in METRICS if metric.column), key=lambda metric: metric.column.place)

# Metrics that depend on more than the clips, by what they depend on, as the report calls it. If two reports differ in
# it, these metrics do not compare them.
DEPENDS_ON: dict[str, set[str]] = {
    "autoencoder": {"frechet"},
    "back_translation": {metric.key for metrics in SUBJECTS["text read back"].values() for metric in metrics},
    "sync_classifier": {metric.key for metric in METRICS if metric.key.startswith(("sync_confidence", "sync_offset"))},
    "thresholds": {"implausible_hands", "copied_frames", "train_distance_ratio"},
}


class Remark(NamedTuple):
    """A number of clips that the metrics of a row treat specially, and the report's sentence about it.

    reads: the name of values. count: the number, from these values. The report states it if it is not 0, or with
    `of_all` if it is not the number of all clips.
    """

    reads: str
    count: Callable[[Array], int]
    text: str
    of_all: bool = False


REMARKS = {
    "face_clips": Remark(
        "face_correlation",
        lambda values: np.isfinite(values).sum(),
        "face_correlation uses {} clips: those whose reference shows a face that moves",
        True,
    ),
    "sync_undefined": Remark(
        "sync_correlation",
        lambda values: np.isnan(values[:, 0]).sum(),
        "sync metrics leave out {} clips, whose motion energy is constant or unknown",
    ),
    "sync_confidence_clips": Remark(
        "sync_confidence",
        lambda values: np.isfinite(values).all(1).sum(),
        "sync confidence and offset use {} clips; the others, or their references, are too short, lack a face, "
        "hands or shoulders, or stand still",
        True,
    ),
    "mse_aligned": Remark(
        "mse_aligned",
        lambda values: values.sum(),
        "MSE along the DTW path for {} clips, their length not the reference's",
    ),
    "compared_clips": Remark(
        "dtw",
        lambda values: np.isfinite(values).sum(),
        "metrics use {} clips; the others have nothing to compare",
        True,
    ),
    "motion_clips": Remark(
        "hand_speeds",
        lambda values: np.isfinite(values).all(1).sum(),
        "motion_ratio uses {} clips; the others, or their references, are too short or lack hands, or the references "
        "lack shoulders",
        True,
    ),
    "still_clips": Remark(
        "hand_speeds",
        lambda values: (values[:, 0] < STILL_HANDS * values[:, 1]).sum(),
        f"hands move at less than {STILL_HANDS} of their reference's speed in {{}} clips, which motion_ratio and "
        "jerk_ratio, as ratios of sums over clips, do not tell if others move more",
    ),
    "recognition_clips": Remark(
        "recognition",
        lambda values: np.isfinite(values).sum(),
        "recognition uses {} clips: those with a text, if the references have at least two different texts",
        True,
    ),
    "text_clips": Remark(
        "rouge_l",
        lambda values: np.isfinite(values).sum(),
        "BLEU, ROUGE-L, chrF and WER use the {} clips that have a text",
        True,
    ),
    "likelihood_clips": Remark(
        "text_likelihoods",
        lambda values: np.isfinite(values).all(1).sum(),
        "text_log_likelihood uses the {} clips whose text is short enough for the back-translator",
        True,
    ),
    "diversity_clips": Remark(
        "text_spreads",
        lambda values: np.isfinite(values).all(1).sum(),
        "clips that share their text with another, which diversity uses: {}",
        True,
    ),
}


def count_remarks(scores: Scores) -> dict[str, int]:
    """The numbers of REMARKS that these values give."""
    return {name: int(remark.count(scores[remark.reads])) for name, remark in REMARKS.items() if remark.reads in scores}


def remarks(counts: Mapping[str, object], num_clips: int) -> list[str]:
    """The remarks on a row with these numbers, as `count_remarks` gives them."""
    return [
        remark.text.format(counts[name])
        for name, remark in REMARKS.items()
        if name in counts and counts[name] != (num_clips if remark.of_all else 0)
    ]


def estimates(scores: Scores) -> dict[str, Estimate]:
    """Every metric that these values give, by its key."""
    return {
        metric.key: metric.formula(*(scores[name] for name in metric.values))
        for metric in METRICS
        if all(name in scores for name in metric.values)
    }


def markdown_table() -> str:
    """README's table: a row for each explanation."""
    lines = ["| subject | metric | better | what it says |", "|---|---|---|---|"]
    for subject, families in SUBJECTS.items():
        for number, (about, (head, *others)) in enumerate(families.items()):
            names = [head.key, *(metric.key.removeprefix(head.key) for metric in others)]
            keys = ", ".join(f"`{name}`" for name in names)
            lines.append(f"| {'' if number else subject} | {keys} | {head.better} | {about} |")
    return "\n".join(lines) + "\n"


def write_readme() -> None:
    """Put the table between its two marks in README.md."""
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    with write_whole(README, "w") as file:
        file.write(before + BEGIN + markdown_table() + END + after)


if __name__ == "__main__":
    write_readme()
