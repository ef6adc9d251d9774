"""Every metric, declared once. The report, the ablation's columns, compare_metrics.py and README's table read it.

A new metric is a value of each clip, given by the `..._scores` of its subject's file (such as naturalness.py), and a
`Metric` here. `python -m evaluation.registry` then renews README's table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.clips import Array, Scores
from evaluation.distribution import LATENTS
from evaluation.intervals import (
    Estimate,
    bleu_of,
    chrf_of,
    frechet_of,
    mean_difference,
    mean_of,
    mean_of_column,
    ratio_of,
)
from evaluation.naturalness import COPY_QUANTILE, REACH_QUANTILE
from evaluation.recognition import TOP
from evaluation.sync import MAX_LAG
from runtime.files import write_whole

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

    better: which direction is better. formula: makes an `Estimate` of the clips' values that it `reads` (those of its
    own key if it names none). column: of the ablation's tables, if it has one.
    """

    key: str
    better: str
    formula: Callable[..., Estimate]
    reads: tuple[str, ...] = ()
    column: Column | None = None

    @property
    def values(self) -> tuple[str, ...]:
        return self.reads or (self.key,)


@dataclass(frozen=True)
class Family:
    """Metrics that one line explains: a row of README's table."""

    about: str
    metrics: list[Metric]


def _beside_reference(key: str, column: Column) -> list[Metric]:
    """Of values [N,3], prediction, reference and chance: each one's mean, and the difference, which has the column."""
    return [
        Metric(key, NEAR_REFERENCE, mean_of_column(0)),
        Metric(f"{key}_reference", NEITHER, mean_of_column(1), (key,)),
        Metric(f"{key}_difference", NEAR_0, mean_difference, (key,), column),
        Metric(f"{key}_null", NEITHER, mean_of_column(2), (key,)),
    ]


SUBJECTS: dict[str, list[Family]] = {
    "closeness": [
        Family(
            "mean distance of the frames (all 214 numbers) that dynamic time warping (DTW) pairs",
            [Metric("dtw", LOWER, mean_of, column=Column(4, "DTW", 3))],
        ),
        Family(
            "mean distance of the keypoints, which DTW of keypoints alone pairs, image units: all, body, each hand",
            [
                Metric("dtw_mje", LOWER, mean_of),
                Metric("dtw_mje_body", LOWER, mean_of),
                Metric("dtw_mje_left_hand", LOWER, mean_of),
                Metric("dtw_mje_right_hand", LOWER, mean_of),
            ],
        ),
        Family(
            "mean squared error, frame by frame or along the DTW path: all numbers, keypoints, face",
            [Metric("mse", LOWER, mean_of), Metric("mse_manual", LOWER, mean_of), Metric("mse_nmm", LOWER, mean_of)],
        ),
        Family(
            f"share of clips whose nearest real clip has the same text; `_top{TOP}`: one of the {TOP} nearest has it",
            [
                Metric("recognition", HIGHER, mean_of, column=Column(1, "recognition", 3)),
                Metric("recognition_top5", HIGHER, mean_of),
            ],
        ),
    ],
    "text read back": [
        Family(
            "BLEU: runs of up to 1, 2, 3 and 4 words in common with the text",
            [
                Metric("bleu1", HIGHER, bleu_of(1), ("bleu_counts",), Column(6, "BLEU-1", 3)),
                Metric("bleu2", HIGHER, bleu_of(2), ("bleu_counts",)),
                Metric("bleu3", HIGHER, bleu_of(3), ("bleu_counts",)),
                Metric("bleu4", HIGHER, bleu_of(4), ("bleu_counts",), Column(7, "BLEU-4", 3)),
            ],
        ),
        Family("ROUGE-L: longest common sequence of words, F1", [Metric("rouge_l", HIGHER, mean_of)]),
        Family("chrF2: runs of characters in common", [Metric("chrf", HIGHER, chrf_of, ("chrf_counts",))]),
        Family(
            "word errors over the words of the text; above 1 where more is said than was asked",
            [Metric("wer", LOWER, ratio_of, ("word_errors",), Column(8, "WER", 3))],
        ),
    ],
    "motion": [
        Family(
            "mean speed of hands and wrists over the reference's; 0 stands still",
            [Metric("motion_ratio", NEAR_1, ratio_of, ("hand_speeds",), Column(2, "motion ratio", 3))],
        ),
        Family("the same of arms and hands", [Metric("speed_ratio", NEAR_1, ratio_of, ("speeds",))]),
        Family(
            "mean jerk of arms and hands over the reference's; above 1 they tremble",
            [Metric("jerk_ratio", NEAR_1, ratio_of, ("jerks",), Column(3, "jerk ratio", 2))],
        ),
        Family(
            "motion energy of the face over the reference's",
            [Metric("face_motion_ratio", NEAR_1, ratio_of, ("face_speeds",))],
        ),
        Family(
            "how much the length of a bone varies in a clip, standard deviation over mean",
            [Metric("bone_length_variation", NEAR_REFERENCE, mean_of)],
        ),
        Family(
            f"share of frames with a hand farther off or larger than {100 * REACH_QUANTILE:.0f} % of train's hands",
            [Metric("implausible_hands", LOWER, mean_of)],
        ),
    ],
    "sync": [
        Family(
            "correlation of the motion energies of hands and face; `_reference`: of the real clips; `_difference`: "
            "minus that; `_null`: with the face shuffled in time, which is chance",
            _beside_reference("sync_correlation", Column(9, "sync corr. − ref.", 3)),
        ),
        Family(
            f"frames, at most {MAX_LAG}, by which the motion of hands and face is apart where it agrees most",
            _beside_reference("sync_lag", Column(10, "sync lag − ref.", 2)),
        ),
    ],
    "distribution": [
        Family(
            "Fréchet distance between the latents of the clips and of the references; needs the autoencoder",
            [Metric("frechet", LOWER, frechet_of, LATENTS, Column(5, "Fréchet", 2))],
        ),
        Family(
            "distance between the clips of one text over that between the references of that text",
            [Metric("diversity", NEAR_1, ratio_of, ("spreads",), Column(11, "diversity", 2))],
        ),
        Family(
            f"share of frames as near to one of train as the nearest {100 * COPY_QUANTILE:.0f} % of real frames are",
            [Metric("copied_frames", NEAR_REFERENCE, mean_of)],
        ),
        Family(
            "distance to the nearest train frame over the reference's; far below 1: train clips that were decoded",
            [Metric("train_distance_ratio", NEAR_1, ratio_of, ("train_distances",))],
        ),
    ],
}
METRICS = [metric for families in SUBJECTS.values() for family in families for metric in family.metrics]
COLUMNS = sorted((metric for metric in METRICS if metric.column), key=lambda metric: metric.column.place)


@dataclass(frozen=True)
class Remark:
    """A number of clips that a row's metrics treat in a way of their own, and how the report says so."""

    key: str
    reads: str
    count: Callable[[Array], int]
    sentence: str


REMARKS = (
    Remark(
        "sync_undefined",
        "sync_correlation",
        lambda values: np.isnan(values[:, 0]).sum(),
        "sync figures leave out {} clips of constant motion energy",
    ),
    Remark(
        "mse_aligned",
        "mse_aligned",
        lambda values: values.sum(),
        "MSE along the DTW path for {} clips, their length not the reference's",
    ),
)


def estimates(scores: Scores) -> dict[str, Estimate]:
    """Every metric that these values give, by its key."""
    return {
        metric.key: metric.formula(*(scores[name] for name in metric.values))
        for metric in METRICS
        if all(name in scores for name in metric.values)
    }


# ---------------------------------------------------------------- README's table

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- metrics -->\n", "<!-- /metrics -->"


def markdown_table() -> str:
    """All metrics as Markdown, a row for each family."""
    lines = ["| subject | metric | better | what it says |", "|---|---|---|---|"]
    for subject, families in SUBJECTS.items():
        for number, family in enumerate(families):
            head, *others = family.metrics
            names = [head.key, *(metric.key.removeprefix(head.key) for metric in others)]
            keys = ", ".join(f"`{name}`" for name in names)
            lines.append(f"| {'' if number else subject} | {keys} | {head.better} | {family.about} |")
    return "\n".join(lines) + "\n"


def write_readme() -> None:
    """Put the table between its two marks in README.md."""
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    with write_whole(README, "w") as file:
        file.write(before + BEGIN + markdown_table() + END + after)


if __name__ == "__main__":
    write_readme()
