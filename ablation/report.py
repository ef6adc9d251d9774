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
from evaluation.clips import Scores
from evaluation.intervals import bootstrap_counts
from evaluation.registry import COLUMNS, Metric, estimates
from evaluation.report import MARKED, is_marked, read_clips, read_report
from evaluation.summary import compare, differs, mean_estimates
from runtime.files import write_whole

matplotlib.use("agg")
from matplotlib import pyplot as plt

CSV_COLUMNS = ["group", "model", "figure", "mean", "std_over_seeds", "low", "high"]
CSV_COLUMNS += ["minus_whole", "minus_whole_low", "minus_whole_high"]
PLOTTED = ("recognition", "motion_ratio", "dtw", "frechet", "wer")
TITLES = {
    "baselines": "Floors and ceilings",
    "components": "Components",
    "steps": "Number of steps",
    "strides": "Compression in time",
}


@dataclass(frozen=True)
class Line:
    """A row's metrics by key: `mean` and `spread` (standard deviation) over seeds, `low` and `high` over clips."""

    row: Row
    mean: dict[str, float | None]
    spread: dict[str, float | None]
    low: dict[str, float | None]
    high: dict[str, float | None]
    difference: dict[str, dict[str, float | None]]  # to WHOLE, paired over clips
    latency: float | None = None  # seconds of one clip
    training: float | None = None  # seconds, the mean over seeds

    @property
    def title(self) -> str:
        return self.row.label + "*" * is_marked(self.mean)


def make_lines(plan: Plan, output_dir: Path, latency: Mapping[str, float]) -> list[Line]:
    """The metrics of every row. `latency`: seconds of a clip by the row's evaluation."""

    def folders(row: Row) -> list[Path]:
        return [output_dir / seeded(row.evaluation, seed) for seed in plan.seeds]

    read = functools.cache(lambda folder: read_clips(folder / "clips_test.npz")[1])  # several rows are of one folder

    def runs(row: Row) -> list[Scores]:
        return [read(folder)[row.scored] for folder in folders(row)]

    whole_row = next(row for row in plan.rows if row.label == WHOLE)
    whole = runs(whole_row)
    reports = [read_report(folder / "metrics_test.json") for folder in folders(whole_row)]
    lines = []
    for row in plan.rows:
        scores = runs(row)
        values = {"mean": {}, "spread": {}, "low": {}, "high": {}}
        num_clips = len(scores[0]["dtw"])
        counts = bootstrap_counts(num_clips)
        each = [estimates(run) for run in scores]
        for name, estimate in mean_estimates(scores).items():
            # Latents of another autoencoder have another scale, and a floor's are not kept.
            if name == "frechet" and row.autoencoder != "autoencoder":
                continue
            mean, low, high = estimate.with_interval(counts)
            single = [run[name].of_all(num_clips) for run in each]
            spread = float(np.std(single, ddof=1)) if len(single) > 1 and np.isfinite(single).all() else None
            for key, value in zip(values, (mean, spread, low, high), strict=True):
                values[key][name] = value
        if row.group == "baselines":  # their latents are not kept, but the distance is
            values["mean"]["frechet"] = np.mean([report[row.scored]["frechet"] for report in reports])
        seconds = [read_record(output_dir / seeded(row.model, seed)).get("seconds") for seed in plan.seeds]
        times = {"latency": latency[row.evaluation], "training": np.mean(seconds)} if row.scored == "model" else {}
        lines.append(Line(row, **values, difference=compare(scores, whole), **times))
    return lines


def columns_of(lines: Sequence[Line]) -> list[Metric]:
    """The columns that these lines have values for; of BLEU the longest n-grams that the texts hold."""
    known = {metric.key: metric for metric in COLUMNS if any(line.mean.get(metric.key) is not None for line in lines)}
    return [metric for key, metric in known.items() if key != "bleu1" or "bleu4" not in known]


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _cell(line: Line, metric: Metric) -> str:
    spread, digits = line.spread.get(metric.key), metric.column.digits
    return _number(line.mean.get(metric.key), digits) + (f" ± {spread:.{digits}f}" if spread is not None else "")


def _difference(line: Line, metric: Metric) -> str:
    found = line.difference.get(metric.key, {}) if metric.key in line.mean else {}
    if found.get("low") is None:
        return "–"
    value, low, high = (f"{found[key]:+.{metric.column.digits}f}" for key in ("difference", "low", "high"))
    text = f"{value} [{low}, {high}]"
    return f"**{text}**" if differs(found) else text


def table_of(lines: Sequence[Line]) -> list[list[str]]:
    """Head and lines as text: mean ± standard deviation over seeds, seconds of a clip, seconds of training."""
    columns = columns_of(lines)
    table = [["", *(metric.column.title for metric in columns), "seconds per clip", "training, s"]]
    for line in lines:
        cells = [_cell(line, metric) for metric in columns]
        table.append([line.title, *cells, _number(line.latency, 3), _number(line.training, 0)])
    return table


def differences_of(lines: Sequence[Line]) -> list[list[str]]:
    """Head and lines as text: each line minus the whole, its 95 % interval, bold if it `differs`."""
    columns = [metric for metric in columns_of(lines) if any(metric.key in line.difference for line in lines)]
    table = [["", *(metric.column.title for metric in columns)]]
    table += [[line.title, *(_difference(line, metric) for metric in columns)] for line in lines]
    return table


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
    """ablation.md, .csv and .tex; `about` says what was measured, and on what."""
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
    means, drawn = f"Mean ± standard deviation over {len(plan.seeds)} seeds", "clips and of seeds"
    if len(plan.seeds) == 1:
        means, drawn = "One seed", "clips, and not of seeds"
    markdown += [
        f"{means}. `*`: {MARKED}, where the other numbers mean nothing by themselves. Intervals of differences hold "
        f"for another draw of {drawn}; bold where they leave out 0 by more than rounding. Seconds per clip: one text "
        "alone, text, sampling and decoding together; seconds of training: beside the other jobs.",
        "",
    ]
    paths = [output_dir / f"ablation.{ending}" for ending in ("md", "tex", "csv")]
    for path, content in zip(paths, ("\n".join(markdown), "\n".join(latex)), strict=False):
        with write_whole(path, "w") as file:
            file.write(content)
    with write_whole(paths[2], "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
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
    """quality_steps.png and quality_latency.png: flow and student against their steps and the seconds of a clip."""
    steps = [line for line in lines if line.row.group == "steps"]
    known = [metric for metric in COLUMNS if any(line.mean.get(metric.key) is not None for line in steps)]
    shown = [metric for metric in known if metric.key in PLOTTED]
    paths = []
    for name, title in (("steps", "steps"), ("latency", "seconds per clip")):
        size = (3.4 * len(shown), 3.2)
        figure, axes = plt.subplots(1, len(shown), figsize=size, layout="constrained", squeeze=False)
        for axis, metric in zip(axes[0], shown, strict=True):
            for model, colour in (("flow", "tab:blue"), ("student", "tab:orange")):
                chosen = [line for line in steps if line.row.model == model]
                x = [line.row.num_steps if name == "steps" else line.latency for line in chosen]
                y, low, high = (
                    np.array([getattr(line, part)[metric.key] for line in chosen], float)
                    for part in ("mean", "low", "high")
                )
                axis.errorbar(x, y, [y - low, high - y], marker="o", capsize=3, color=colour, label=model)
            for baseline, style in (("reference", ":"), ("reconstruction", "--")):
                value = next(line.mean.get(metric.key) for line in lines if line.row.label == BASELINES[baseline])
                if value is not None:
                    axis.axhline(value, color="grey", linestyle=style, linewidth=1, label=baseline)
            axis.set(xscale="log", xlabel=title, title=metric.column.title)
            if name == "steps":
                counts = sorted({line.row.num_steps for line in steps})
                axis.set_xticks(counts, counts)
                axis.minorticks_off()
            axis.grid(alpha=0.3)
        axes[0, 0].legend(fontsize=8)
        paths.append(_save(figure, output_dir / f"quality_{name}.png"))
    return paths


def plot_training(output_dir: Path, plan: Plan) -> Path:
    """training_curves.png: the loss on dev against epochs, one panel per model, one line per seed."""
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
