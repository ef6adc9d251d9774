"""The tables and pictures of an ablation, from what its evaluations wrote: ablation.md, .csv, .tex and three plots."""

import csv
import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np

from ablation.parts import read_record
from ablation.plan import BASELINES, WHOLE, Plan, Row, seeded
from evaluation.intervals import Scores, compare, figures, mean_figures, resample, with_interval
from evaluation.report import is_marked, read_clips
from runtime.files import write_whole

matplotlib.use("agg")
from matplotlib import pyplot as plt

# The columns of the tables: a figure's key, its title, its digits. The CSV holds every figure.
COLUMNS = (
    ("recognition", "recognition", 3), ("motion_ratio", "motion ratio", 3), ("jerk_ratio", "jerk ratio", 2),
    ("dtw", "DTW", 3), ("frechet", "Fréchet", 2), ("bleu1", "BLEU-1", 3), ("bleu4", "BLEU-4", 3), ("wer", "WER", 3),
    ("sync_correlation_difference", "sync corr. − ref.", 3), ("sync_lag_difference", "sync lag − ref.", 2),
    ("diversity", "diversity", 2),
)  # fmt: skip
TITLES = {
    "baselines": "Floors and ceilings", "components": "Components", "steps": "Number of steps",
    "strides": "Compression in time",
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A row's figures: `mean` over seeds, `spread` (standard deviation over seeds), `low` and `high` over clips."""

    row: Row
    mean: dict[str, float | None]
    spread: dict[str, float | None]
    low: dict[str, float | None]
    high: dict[str, float | None]
    difference: dict[str, dict[str, float | None]]  # to WHOLE, paired over clips
    latency: float | None = None  # seconds of one clip
    training: float | None = None  # seconds, the mean over seeds

    @property
    def is_marked(self) -> bool:
        return is_marked(self.mean)


def read_lines(plan: Plan, output_dir: Path, latency: Mapping[str, float]) -> list[Line]:
    """The figures of every row. `latency` by the row's evaluation."""

    def folders(row: Row) -> list[Path]:
        return [output_dir / seeded(row.evaluation, seed) for seed in plan.seeds]

    read = functools.cache(lambda folder: read_clips(folder / "clips_test.npz")[1])  # several rows are of one folder

    def runs(row: Row) -> list[Scores]:
        return [read(folder)[row.scored] for folder in folders(row)]

    whole_row = next(row for row in plan.rows if row.label == WHOLE)
    whole = runs(whole_row)
    reports = [json.loads((folder / "metrics_test.json").read_text()) for folder in folders(whole_row)]
    lines = []
    for row in plan.rows:
        scores = runs(row)
        values = {"mean": {}, "spread": {}, "low": {}, "high": {}}
        counts = resample(len(scores[0]["dtw"]))
        everything = np.ones((1, counts.shape[1]))
        each = [figures(run) for run in scores]
        for name, figure in mean_figures(scores).items():
            # Latents of another autoencoder have another scale, and a floor's are not kept.
            if name == "frechet" and row.autoencoder != "autoencoder":
                continue
            mean, low, high = with_interval(figure.at, counts[: figure.resamples], figure.centred)
            single = [run[name].at(everything)[0] for run in each]
            spread = float(np.std(single, ddof=1)) if len(single) > 1 and np.isfinite(single).all() else None
            for key, value in zip(values, (mean, spread, low, high), strict=True):
                values[key][name] = value
        if row.group == "baselines":  # their latents are not kept, but the figure is
            values["mean"]["frechet"] = np.mean([report[row.scored]["frechet"] for report in reports])
        seconds = [read_record(output_dir / seeded(row.model, seed)).get("seconds") for seed in plan.seeds]
        apart = compare(scores, whole)
        if row.scored == "model":
            lines.append(
                Line(row, **values, difference=apart, latency=latency[row.evaluation], training=np.mean(seconds))
            )
        else:
            lines.append(Line(row, **values, difference=apart))
    return lines


def columns_of(lines: Sequence[Line]) -> list[tuple[str, str, int]]:
    """The columns that these lines have figures for; of BLEU the longest n-grams that the texts hold."""
    known = [c for c in COLUMNS if any(line.mean.get(c[0]) is not None for line in lines)]
    return [c for c in known if c[0] != "bleu1" or "bleu4" not in {name for name, *_ in known}]


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _cell(line: Line, name: str, digits: int) -> str:
    spread = line.spread.get(name)
    return _number(line.mean.get(name), digits) + (f" ± {spread:.{digits}f}" if spread is not None else "")


def table_of(lines: Sequence[Line]) -> list[list[str]]:
    """Head and lines as text: mean ± standard deviation over seeds, seconds of a clip, seconds of training."""
    columns = columns_of(lines)
    head = ["", *(title for _, title, _ in columns), "seconds a clip", "training, s"]
    body = []
    for line in lines:
        cells = [_cell(line, name, digits) for name, _, digits in columns]
        seconds = [_number(line.latency, 3), _number(line.training, 0)]
        body.append([line.row.label + "*" * line.is_marked, *cells, *seconds])
    return [head, *body]


def differences_of(lines: Sequence[Line]) -> list[list[str]]:
    """Head and lines as text: each line minus the whole, its 95 % interval over clips, bold where that leaves out 0."""
    columns = [c for c in columns_of(lines) if any(c[0] in line.difference for line in lines)]
    body = []
    for line in lines:
        cells = []
        for name, _, digits in columns:
            found = line.difference.get(name, {}) if name in line.mean else {}
            if found.get("low") is None:
                cells.append("–")
                continue
            text = f"{found['difference']:+.{digits}f} [{found['low']:+.{digits}f}, {found['high']:+.{digits}f}]"
            cells.append(f"**{text}**" if found["low"] > 0 or found["high"] < 0 else text)
        body.append([line.row.label + "*" * line.is_marked, *cells])
    return [["", *(title for _, title, _ in columns)], *body]


def _markdown(table: list[list[str]]) -> str:
    head, *body = (f"| {' | '.join(line)} |" for line in table)
    return "\n".join([head, "|" + "---|" * len(table[0]), *body])


def _latex(table: list[list[str]]) -> str:
    def escape(text: str) -> str:
        for character, code in (("%", r"\%"), ("_", r"\_"), ("±", r"$\pm$"), ("−", "$-$"), ("–", "--"), ("*", "$^*$")):
            text = text.replace(character, code)
        return text

    head, *body = (" & ".join(map(escape, line)) + r" \\" for line in table)
    begin = f"\\begin{{tabular}}{{l{'r' * (len(table[0]) - 1)}}}"
    return "\n".join([begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", ""])


def write_tables(output_dir: Path, plan: Plan, lines: Sequence[Line], about: Sequence[str]) -> list[Path]:
    """ablation.md, .csv and .tex; `about` says what the figures were measured on."""
    groups = [name for name in TITLES if any(line.row.group == name for line in lines)]
    markdown = ["# Ablation", "", *about, ""]
    latex = []
    for group in groups:
        chosen = [line for line in lines if line.row.group == group]
        markdown += [f"## {TITLES[group]}", "", _markdown(table_of(chosen)), ""]
        latex.append(f"% {TITLES[group]}\n{_latex(table_of(chosen))}")
        others = [line for line in chosen if line.row.label != WHOLE]
        if group != "baselines" and others:
            markdown += [f"Minus {WHOLE}, paired, 95 % interval:", "", _markdown(differences_of(others)), ""]
    markdown += [
        f"Mean ± standard deviation over {len(plan.seeds)} seeds. `*`: motion ratio outside 0.8–1.2, where the other "
        "figures count for nothing by themselves. Intervals of differences hold for another draw of clips "
        "and of seeds; bold where they leave out 0. Seconds a clip: one text at batch 1, "
        "text, sampling and decoding together. Seconds of training: beside the other jobs.",
        "",
    ]
    paths = [output_dir / f"ablation.{ending}" for ending in ("md", "tex", "csv")]
    for path, content in zip(paths, ("\n".join(markdown), "\n".join(latex)), strict=False):
        with write_whole(path, "w") as file:
            file.write(content)
    with write_whole(paths[2], "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["group", "model", "figure", "mean", "std_over_seeds", "low", "high", "minus_whole",
                         "minus_whole_low", "minus_whole_high"])  # fmt: skip
        for line in lines:
            for name, mean in line.mean.items():
                apart = line.difference.get(name, {})
                own = [part.get(name) for part in (line.spread, line.low, line.high)]
                others = [apart.get(key) for key in ("difference", "low", "high")]
                writer.writerow([line.row.group, line.row.label, name, mean, *own, *others])
            for name, value in (("seconds_a_clip", line.latency), ("training_seconds", line.training)):
                if value is not None:
                    writer.writerow([line.row.group, line.row.label, name, value, *[None] * 6])
    return paths


def plot_quality(output_dir: Path, lines: Sequence[Line]) -> list[Path]:
    """quality_steps.png and quality_latency.png: flow and student against the forwards and seconds that they take."""
    shown = [c for c in COLUMNS if c[0] in ("recognition", "motion_ratio", "dtw", "frechet", "wer")]
    steps = [line for line in lines if line.row.group == "steps"]
    paths = []
    for name, title in (("steps", "steps"), ("latency", "seconds a clip")):
        shown_now = [c for c in shown if any(line.mean.get(c[0]) is not None for line in steps)]
        figure, axes = plt.subplots(1, len(shown_now), figsize=(3.4 * len(shown_now), 3.2), layout="constrained")
        for axis, (key, label, _) in zip(np.atleast_1d(axes), shown_now, strict=True):
            for model, colour in (("flow", "tab:blue"), ("student", "tab:orange")):
                chosen = [line for line in steps if line.row.model == model]
                x = [line.row.num_steps if name == "steps" else line.latency for line in chosen]
                y, low, high = (
                    np.array([getattr(line, part)[key] for line in chosen], float) for part in ("mean", "low", "high")
                )
                axis.errorbar(x, y, [y - low, high - y], marker="o", capsize=3, color=colour, label=model)
            for baseline, style in (("reference", ":"), ("reconstruction", "--")):
                value = next(line.mean.get(key) for line in lines if line.row.label == BASELINES[baseline])
                if value is not None:
                    axis.axhline(value, color="grey", linestyle=style, linewidth=1, label=baseline)
            axis.set(xscale="log", xlabel=title, title=label)
            axis.grid(alpha=0.3)
        np.atleast_1d(axes)[0].legend(fontsize=8)
        paths.append(_save(figure, output_dir / f"quality_{name}.png"))
    return paths


def plot_training(output_dir: Path, plan: Plan) -> Path:
    """training_curves.png: the loss on dev against epochs, a panel a model, a line a seed."""
    trained = [part for part in plan.parts if part.trains]
    models = list(dict.fromkeys(part.name.partition("_seed")[0] for part in trained))
    columns = min(4, len(models))
    rows = -(-len(models) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.6 * columns, 2.8 * rows), layout="constrained", squeeze=False)
    for axis, model in zip(axes.flat, models, strict=False):
        for part in trained:
            if part.name.partition("_seed")[0] == model:
                log = [json.loads(line) for line in (output_dir / part.name / "log.jsonl").read_text().splitlines()]
                epochs = [record for record in log if "dev" in record]
                axis.plot([r["epoch"] for r in epochs], [r["dev"]["loss"] for r in epochs], linewidth=1)
        axis.set(title=model.replace("_", " "), xlabel="epoch", ylabel="dev loss", yscale="log")
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(models) :]:
        axis.axis("off")
    return _save(figure, output_dir / "training_curves.png")


def _save(figure: plt.Figure, path: Path) -> Path:
    with write_whole(path) as file:
        figure.savefig(file, format="png", dpi=110)
    plt.close(figure)
    return path
