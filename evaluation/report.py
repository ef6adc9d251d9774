"""The report of one split: `metrics_{split}.json`, the same as `.pkl`, and a table with what one must know to read it.

{"split", "num_clips", "references", "length_source", "settings", "checkpoints", "thresholds",
 "warnings": [what speaks against the figures of the row "model", …],
 "model": {"dtw": …, "dtw_low": …, "dtw_high": …, …, "latency": {"text", "sampling", "decoding"}},
 "reference": {"dtw": …, …}, …}

Beside it `clips_{split}.npz`, the values of every clip (`ROW/NAME`), from which compare_metrics.py compares two models.
"""

import json
import math
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evaluation.clips import Reference, Scores
from evaluation.distribution import LATENTS
from evaluation.formulas import mean_of, ratio_by_text, ratio_of
from evaluation.intervals import LEAST_CLIPS
from evaluation.registry import METRICS, METRICS_VERSION, SUBJECTS, remarks
from poses.files import SPLITS
from runtime.errors import UserError
from runtime.files import write_whole
from runtime.untrusted import NpzArchive, escaped, read_json

REFERENCE = "reference"  # the row of the real clips
ROWS = ("model", "shuffled_texts", REFERENCE, "reconstruction", "mean_pose", "random_clip", "nearest_text")
BACK_TRANSLATION, SYNC_CLASSIFIER = "back_translation", "sync_classifier"  # their names among the checkpoints
LENGTH_SOURCES = {
    "predicted": "predicted from the text",
    "oracle": "the reference's (--oracle_length), which a user does not have",
    "given": "that of the clips in --predictions_dir",
}
WIDTHS = {mean_of: (), ratio_of: (2,), ratio_by_text: (3,)}  # shape of one clip's value, by formula
MAX_CLIPS_BYTES = 2**33  # of the values of every clip of a split, latents included
LEAST_READ = 0.1  # BLEU-1 of the real clips, read back: below it a back-translator has learnt too little
# Outside these bounds, stillness or trembling makes the other metrics meaningless. Noise gives a still clip motion, but
# then the clip trembles.
# Hands that circle in one place have motion without trembling, and none once they are smoothed.
PLAUSIBLE_MOTION, PLAUSIBLE_JERK = (0.8, 1.2), 1.5
MARKED = "motion ratio outside {0}-{1} (smoothed: below {0}), jerk ratio above {2}, or one of them unknown".format(
    *PLAUSIBLE_MOTION, PLAUSIBLE_JERK
)


@dataclass(frozen=True, kw_only=True)
class ReportHead:
    """What a report says besides its rows. Raises ValueError for a length source that is none of LENGTH_SOURCES."""

    split: str
    num_clips: int
    references: str | None = None  # `clips.references_fingerprint`
    length_source: str
    settings: Mapping[str, object] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)  # fingerprints
    thresholds: Mapping[str, float] = field(default_factory=dict)  # `Evaluator.thresholds`
    warnings: Sequence[str] = ()  # what speaks against the figures of the row "model"
    metrics_version: int = METRICS_VERSION

    def __post_init__(self) -> None:
        if self.length_source not in LENGTH_SOURCES:
            raise ValueError(f"unknown length source {self.length_source!r}")


def build_report(
    head: ReportHead, rows: Mapping[str, Mapping[str, object]], latency: Mapping[str, float] | None = None
) -> dict[str, object]:
    """The report, as plain values. rows: `summary.summarise` by name; latency: seconds per clip of the row "model"."""
    if unknown := rows.keys() - set(ROWS):
        raise ValueError(f"unknown rows {sorted(unknown)}")
    body = {name: dict(rows[name]) for name in ROWS if name in rows}
    if latency is not None:
        body["model"]["latency"] = latency
    return _plain(vars(head) | body)


def remove_report(output_dir: Path, split: str) -> None:
    """Remove an earlier report of a split: its figures must not stand beside new files if the new report fails."""
    for name in (f"metrics_{split}.json", f"metrics_{split}.pkl", f"clips_{split}.npz"):
        (Path(output_dir) / name).unlink(missing_ok=True)


def write_report(output_dir: Path, report: Mapping[str, object]) -> list[Path]:
    """Write `metrics_{split}.json` and `.pkl` into `output_dir`, each whole or not at all; returns their paths."""
    stem = Path(output_dir) / f"metrics_{report['split']}"
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    contents = {stem.with_suffix(".json"): text.encode("utf-8"), stem.with_suffix(".pkl"): pickle.dumps(dict(report))}
    for path, content in contents.items():
        with write_whole(path) as file:
            file.write(content)
    return list(contents)


def read_report(path: Path) -> dict[str, object]:
    """The report of a `metrics_{split}.json`; raises UserError if the file is no report."""
    try:
        report = read_json(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; evaluate.py writes it") from None
    if not _is_report(report):
        raise UserError(f"{path}: not a report of evaluate.py; run evaluate.py again")
    return report


def _is_report(report: object) -> bool:
    """Whether what a file holds has everything that readers of a report take for granted."""
    if not isinstance(report, dict) or report.get("split") not in SPLITS:
        return False
    if type(report.get("num_clips")) is not int or report["num_clips"] < 1:
        return False
    if report.get("length_source") not in list(LENGTH_SOURCES) or not isinstance(report.get("model"), dict):
        return False
    checkpoints, thresholds = report.get("checkpoints"), report.get("thresholds", {})  # a default: earlier ones lack it
    warnings, rows = report.get("warnings", []), [report[name] for name in ROWS if name in report]
    if not all(isinstance(part, dict) for part in (report.get("settings"), checkpoints, thresholds, *rows)):
        return False
    texts = list(checkpoints.values())
    numbers = [value for row in rows for name, value in row.items() if name != "latency"]
    return (
        isinstance(warnings, list)
        and all(isinstance(text, str) for text in texts + warnings)
        and isinstance(report.get("references"), str | None)
        and all(isinstance(value, float | None) for value in thresholds.values())
        and all({"motion_ratio", "jerk_ratio"} <= row.keys() for row in rows)
        and all(isinstance(value, int | float | None) for value in numbers)
    )


def write_clips(output_dir: Path, split: str, references: Sequence[Reference], scores: Mapping[str, Scores]) -> Path:
    """Write `clips_{split}.npz`: the clips' ids and, by row, their values; latents of row `model` alone, for size."""
    arrays = {"ids": np.array([reference.id for reference in references])}
    for row, values in scores.items():
        arrays |= {f"{row}/{name}": v for name, v in values.items() if row == "model" or "latents" not in name}
    path = Path(output_dir) / f"clips_{split}.npz"
    with write_whole(path) as file:
        np.savez(file, **arrays)  # latents hardly compress, and take long to
    return path


def read_clips(path: Path) -> tuple[list[str], dict[str, Scores]]:
    """The ids and the values by row of a file of `write_clips`."""
    try:
        with NpzArchive(path, MAX_CLIPS_BYTES) as archive:
            rows: dict[str, Scores] = {}
            for key in archive:
                row, _, name = key.partition("/")
                if name:
                    rows.setdefault(row, {})[name] = archive[key]
            ids = archive["ids"]
    except FileNotFoundError:
        splits = sorted(file.stem.removeprefix("clips_") for file in path.parent.glob("clips_*.npz"))
        advice = (
            f"its folder has --split {' and '.join(splits)}" if splits else "evaluate.py writes it beside its metrics"
        )
        raise UserError(f"{path}: no such file; {advice}") from None
    except (UserError, KeyError):
        raise UserError(f"{path}: not readable values of clips; run evaluate.py again") from None
    for row, scores in rows.items():
        if wrong := _not_of_clips(scores, len(ids)) if ids.ndim == 1 and ids.dtype.kind == "U" else "ids":
            raise UserError(
                f"{path}: '{escaped(row)}/{escaped(wrong)}' is no value of its clips; run evaluate.py again"
            )
    return ids.tolist(), rows


def _not_of_clips(scores: Scores, num_clips: int) -> str | None:
    """The name of a row's first values that the metrics cannot read as values of `num_clips` clips; None if all fit."""
    if "dtw" not in scores or num_clips == 0:
        return "dtw"
    for name, values in scores.items():
        per_clip = name not in LATENTS
        if values.dtype.kind not in "fiub" or (per_clip and (values.ndim not in (1, 2) or len(values) != num_clips)):
            return name
    for metric in METRICS:
        values = [scores[name] for name in metric.values if name in scores]
        if len(values) == len(metric.values) and not set(metric.values) & set(LATENTS):
            if values[0].shape[1:] != WIDTHS.get(metric.formula, values[0].shape[1:]):
                return metric.values[0]
            try:
                metric.formula(*values).at(np.ones((1, num_clips)))
            except (IndexError, ValueError):  # of another width
                return metric.values[0]
    for name in ("latents", "reference_latents") if "reference_latents" in scores else ():
        latents, clips = (scores.get(key, np.zeros(0)) for key in (name, f"{name}_clip"))
        width = scores["reference_latents"].shape[1:]
        if latents.ndim != 2 or latents.shape[1:] != width or not np.isfinite(latents).all():
            return name
        if clips.shape != latents.shape[:1] or not ((clips >= 0) & (clips < num_clips)).all():
            return f"{name}_clip"
    return None


def format_table(report: Mapping[str, object]) -> str:
    """The report for the screen: a line for each metric, what it was made with, and what it does not say."""
    rows = {name: report[name] for name in ROWS if name in report}
    lines = [["", *(name + "*" * is_marked(row) for name, row in rows.items())]]
    for subject, families in SUBJECTS.items():
        keys = [metric.key for metrics in families.values() for metric in metrics]
        measured = [key for key in keys if any(row.get(key) is not None for row in rows.values())]
        if measured:
            lines.append([subject])
            lines += [[f"  {key}", *(_cell(row, key, name) for name, row in rows.items())] for key in measured]
    widths = [max(len(line[column]) for line in lines if column < len(line)) for column in range(len(lines[0]))]
    table = [
        "  ".join([line[0].ljust(widths[0]), *(cell.ljust(w) for cell, w in zip(line[1:], widths[1:], strict=False))])
        for line in lines
    ]
    return "\n".join([*(line.rstrip() for line in table), "", *_notes(report, rows)])


def is_marked(row: Mapping[str, object]) -> bool:
    """Whether a row moves too little, too much, too abruptly, or not measurably, for its other metrics to count."""
    ratio, jerk, (least, most) = row["motion_ratio"], row["jerk_ratio"], PLAUSIBLE_MOTION
    if None in (ratio, jerk) or not least <= ratio <= most or jerk > PLAUSIBLE_JERK:
        return True
    smooth = row.get("motion_ratio_smoothed")  # reports of earlier versions do not have it
    return smooth is not None and smooth < least


def _notes(report: Mapping[str, object], rows: Mapping[str, Mapping[str, object]]) -> list[str]:
    notes = []
    if any(is_marked(row) for row in rows.values()):
        notes.append(
            f"* {MARKED}: DTW, MSE, BLEU and recognition reward stillness, so the other numbers of such a row (a "
            "column of this table) mean nothing by themselves"
        )
    notes.append(
        f"[ ] 95 % interval over clips (bootstrap), if {LEAST_CLIPS} clips or more have a value; the intervals of the "
        "other rows are in the JSON"
    )
    notes += [f"warning: model: {warning}" for warning in report["warnings"]]
    length = LENGTH_SOURCES[report["length_source"]]
    notes.append(f"{report['num_clips']} clips of {report['split']}; length of a generated clip: {length}")
    rows_of: dict[str, list[str]] = {}  # by the remark
    for name, row in rows.items():
        for remark in remarks(row, report["num_clips"]):
            rows_of.setdefault(remark, []).append(name)
    for remark, names in rows_of.items():
        notes.append(f"{'all rows' if len(names) == len(rows) > 1 else ', '.join(names)}: {remark}")
    if latency := rows.get("model", {}).get("latency"):
        parts = ", ".join(f"{part} {seconds:.4f}" for part, seconds in latency.items())
        notes.append(f"seconds per clip of a batch: {parts}; together {sum(latency.values()):.4f}")
    for title in ("settings", "checkpoints", "thresholds"):
        if report[title]:
            notes.append(f"{title}: " + ", ".join(f"{key}={_short(value)}" for key, value in report[title].items()))
    bleu1 = rows.get(REFERENCE, {}).get("bleu1")
    if bleu1 is not None and bleu1 < LEAST_READ:
        notes.append(
            f"warning: the back-translator reads the real clips with a BLEU-1 of {bleu1:.2f}, so metrics of text read "
            "back say nothing"
        )
    if BACK_TRANSLATION not in report["checkpoints"]:
        notes.append(
            "warning: no BLEU, ROUGE-L, chrF, WER and text_log_likelihood; they need --back_translation_checkpoint"
        )
    return notes


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cell(row: Mapping[str, object], key: str, name: str) -> str:
    value, low, high = (row.get(f"{key}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return "-"
    return f"{value:.4f}" if name != "model" or low is None else f"{value:.4f} [{low:.4f}, {high:.4f}]"


def _plain(value: object) -> object:
    """Plain Python values of numbers, texts, paths and containers of them, None in place of what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
