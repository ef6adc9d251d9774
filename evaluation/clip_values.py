"""What `evaluate.py` measured of each clip, for a page that shows the worst clips first."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from evaluation.clips import Reference, references_fingerprint
from evaluation.registry import METRICS, NEITHER, SUBJECTS, estimates
from evaluation.report import REFERENCE, read_clips, read_report
from poses.files import SPLITS
from poses.page import MEASURES, Measure
from runtime.console import say
from runtime.errors import UserError

Values = dict[str, dict[str, dict[str, float]]]  # by clip, metric and label of the system


def split_of(folders: list[Path]) -> str:
    """The one split of which all folders have predictions."""
    found = [split for split in SPLITS if all((folder / f"predictions_{split}").is_dir() for folder in folders)]
    if len(found) > 1:
        raise UserError(f"{folders[0]}: has predictions of {' and '.join(found)}; choose with --split")
    if not found:
        names = " and ".join(map(str, folders))
        what = "no predictions of one split" if len(folders) > 1 else "no predictions"
        raise UserError(f"{names}: {what}; run evaluate.py again with --save_predictions")
    return found[0]


def add_values(values: Values, label: str, folder: Path, split: str) -> list[str]:
    """Add evaluate.py's values of each clip, and of its reference, to `values`; returns the IDs of the clips in the
    order in which they were scored."""
    path = folder / f"clips_{split}.npz"
    ids, rows = read_clips(path)
    if not set(ids) <= set(values):
        raise UserError(f"{path}: its clips are not those of the data set's {split}; pass its own --data_dir")
    for row, name in (("model", label), (REFERENCE, REFERENCE)):
        scores = {key: array for key, array in rows.get(row, {}).items() if "latents" not in key}
        for key, estimate in estimates(scores).items():
            for number, clip_id in enumerate(ids):
                alone = np.zeros((1, len(ids)))
                alone[0, number] = 1
                values[clip_id].setdefault(key, {})[name] = float(estimate.at(alone)[0])
    return ids


def require_scored(folder: Path, split: str, references: Iterable[Reference]) -> None:
    """Raises UserError if an evaluation scored other clips, or other texts, than these.

    A report that is gone, or of an earlier version, does not say what it scored.
    """
    path = folder / f"metrics_{split}.json"
    scored = read_report(path).get("references") if path.is_file() else None
    if scored is not None and scored != references_fingerprint(references):
        raise UserError(
            f"{path}: the clips or texts of {split} are not those that were scored; run evaluate.py again, or pass the "
            "--data_dir that it had"
        )


def all_measures() -> list[Measure]:
    """The report's metrics, with what each says."""
    about = {m.key: text for families in SUBJECTS.values() for text, metrics in families.items() for m in metrics}
    return [Measure(metric.key, metric.better, about[metric.key]) for metric in METRICS if metric.better != NEITHER]


def choose_clips(
    ids: list[str], values: Values, measures: list[Measure], sort: str | None, label: str, num_clips: int
) -> list[str]:
    """The IDs of the clips that the page shows: all, or the `num_clips` worst."""
    keys = [measure.key for measure in measures]
    if sort is not None and sort not in keys:
        raise UserError(f"--sort {sort}: no metric of these clips; choose from {', '.join(keys)}")
    if len(ids) <= num_clips:
        return ids
    measure = next((measure for measure in measures if measure.key == sort and measure not in MEASURES), None)
    if measure is None:
        say(f"the page shows the first {num_clips} of {len(ids)} clips; --num_clips sets others")
        return ids[:num_clips]
    say(f"the page shows the {num_clips} of {len(ids)} clips that are worst by {sort}; --num_clips sets others")
    worst = sorted(ids, key=lambda clip_id: measure.badness(values[clip_id].get(sort, {}), label, REFERENCE))
    return sorted(worst[-num_clips:])
