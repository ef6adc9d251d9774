"""The report of one split: `metrics_{split}.json`, the same as `.pkl`, and a table with what one must know to read it.

{"split", "num_clips", "length_source", "settings", "checkpoints",
 "model": {"dtw": …, …, "latency": {"text", "sampling", "decoding"}}, "reference": {"dtw": …, …}, …}
"""

import json
import math
import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from poses.files import write_whole

ROWS = ("model", "reference", "reconstruction", "mean_pose", "random_clip", "nearest_text")
COLUMNS = (
    "dtw", "dtw_mje", "recognition", "motion_ratio", "sync_correlation", "sync_lag", "mse", "mse_manual", "mse_nmm",
)  # fmt: skip
LENGTH_SOURCES = {
    "predicted": "predicted from the text",
    "oracle": "the reference's (--oracle_length), which a user does not have",
    "given": "that of the clips in --predictions_dir",
}
PLAUSIBLE_MOTION = (0.8, 1.2)  # outside, stillness or trembling makes the other figures meaningless


def build_report(
    split: str,
    num_clips: int,
    rows: Mapping[str, Mapping[str, object]],
    length_source: str,
    settings: Mapping[str, object],
    checkpoints: Mapping[str, str],
    latency: Mapping[str, float] | None = None,
) -> dict[str, object]:
    """The report, plain values. rows: `evaluate_row` by name; checkpoints: fingerprints; latency: seconds a clip."""
    if unknown := rows.keys() - set(ROWS):
        raise ValueError(f"unknown rows {sorted(unknown)}")
    if length_source not in LENGTH_SOURCES:
        raise ValueError(f"unknown length source {length_source!r}")
    head = {
        "split": split,
        "num_clips": num_clips,
        "length_source": length_source,
        "settings": settings,
        "checkpoints": checkpoints,
    }
    body = {name: dict(rows[name]) for name in ROWS if name in rows}
    if latency is not None:
        body["model"]["latency"] = latency
    return _plain(head | body)


def write_report(output_dir: Path, report: Mapping[str, object]) -> list[Path]:
    """Write `metrics_{split}.json` and `.pkl` into `output_dir`, each whole or not at all; returns their paths."""
    stem = Path(output_dir) / f"metrics_{report['split']}"
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    contents = {stem.with_suffix(".json"): text.encode("utf-8"), stem.with_suffix(".pkl"): pickle.dumps(dict(report))}
    for path, content in contents.items():
        with write_whole(path) as file:
            file.write(content)
    return list(contents)


def format_table(report: Mapping[str, object]) -> str:
    """The report for the screen: a line a row, what the figures were made with, and what they do not say."""
    rows = {name: report[name] for name in ROWS if name in report}
    lines = [["", *COLUMNS]]
    for name, row in rows.items():
        mark = "*" if is_marked(row) else ""
        lines.append([name, *(_figure(row.get(column), mark) for column in COLUMNS)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    table = [
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]
    return "\n".join([*table, "", *_notes(report, rows)])


def is_marked(row: Mapping[str, object]) -> bool:
    """Whether a row moves too little or too much (or not measurably) for its other figures to count."""
    ratio, (least, most) = row["motion_ratio"], PLAUSIBLE_MOTION
    return ratio is None or not least <= ratio <= most


def _notes(report: Mapping[str, object], rows: Mapping[str, Mapping[str, object]]) -> list[str]:
    least, most = PLAUSIBLE_MOTION
    notes = []
    if any(is_marked(row) for row in rows.values()):
        notes.append(
            f"* motion ratio outside {least}-{most}: DTW, MSE and recognition reward stillness, so these figures "
            "count for nothing by themselves"
        )
    length = LENGTH_SOURCES[report["length_source"]]
    notes.append(f"{report['num_clips']} clips of {report['split']}; length of a generated clip: {length}")
    for name, row in rows.items():
        if row.get("sync_undefined"):
            notes.append(f"{name}: sync figures leave out {row['sync_undefined']} clips of constant motion energy")
        if row.get("mse_aligned"):
            notes.append(
                f"{name}: MSE along the DTW path for {row['mse_aligned']} clips, their length not the reference's"
            )
    if latency := rows.get("model", {}).get("latency"):
        parts = ", ".join(f"{part} {seconds:.4f}" for part, seconds in latency.items())
        notes.append(f"latency, seconds a clip: {parts}; together {sum(latency.values()):.4f}")
    for title in ("settings", "checkpoints"):
        if report[title]:
            notes.append(f"{title}: " + ", ".join(f"{key}={value}" for key, value in report[title].items()))
    notes.append("BLEU and ROUGE: no figures, they need the back-translation model (pose to text), not here yet")
    return notes


def _figure(value: float | None, mark: str) -> str:
    return "-" if value is None else f"{value:.4f}{mark}"


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
