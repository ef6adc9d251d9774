"""Compare two evaluations of the same clips, metric by metric, with paired 95 % intervals of the difference.

    python compare_metrics.py runs/evaluation_flow runs/evaluation_predictor --split test
    python compare_metrics.py runs/evaluation_flow runs/evaluation_flow --row_b nearest_text --split test

A and B are what evaluate.py wrote: its OUTPUT_DIR, or a clips_{split}.npz in it. Both are scored on the same resampled
clips, so that the difficulty of a clip cancels out. If an interval contains 0, the data show no difference. A metric is
left out if A and B had different judges: another back-translator, autoencoder or classifier, or other thresholds.
"""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from evaluation.clips import Scores
from evaluation.intervals import LEAST_CLIPS
from evaluation.registry import BETTER, DEPENDS_ON, NEITHER, count_remarks, remarks
from evaluation.report import (
    BACK_TRANSLATION,
    LENGTH_SOURCES,
    MARKED,
    REFERENCE,
    ROWS,
    is_marked,
    read_clips,
    read_report,
)
from evaluation.summary import common_clips, compare, verdict
from poses.files import SPLITS
from runtime import errors
from runtime.arguments import make_parser
from runtime.console import say
from runtime.errors import UserError, without_tricks
from runtime.files import write_whole
from runtime.untrusted import escaped, read_kept


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("a", type=Path, metavar="A", help="OUTPUT_DIR of an evaluation, or its clips_{split}.npz")
    parser.add_argument("b", type=Path, metavar="B", help="the evaluation that A is compared with")
    parser.add_argument("--split", choices=SPLITS, default="dev", help="the split of both (default dev)")
    parser.add_argument("--row_a", choices=ROWS, default="model", help="the row of A's report (default model)")
    parser.add_argument("--row_b", choices=ROWS, default="model", help="the row of B's report (default model)")
    parser.add_argument("--output_path", type=Path, help="also write the table as JSON, to a .json")
    args = parser.parse_args()
    if args.output_path is not None:
        if args.output_path.suffix != ".json":
            parser.error(f"--output_path {args.output_path}: must end in .json")
        no_table = "is no table of this script, and one would overwrite it; choose another --output_path"
        read_kept(args.output_path, is_table, no_table)
    return args


def is_table(content: object) -> bool:
    """Whether a file holds what `compare` gives."""
    keys = {"a", "b", "difference", "low", "high"}
    return isinstance(content, dict) and all(isinstance(row, dict) and row.keys() == keys for row in content.values())


def row_of(rows: dict[str, Scores], row: str, path: Path) -> Scores:
    if row not in rows:
        raise UserError(f"{path}: has no row '{row}'; it has {', '.join(rows)}")
    return rows[row]


def report_beside(path: Path) -> dict[str, object]:
    """The report beside a clips_{split}.npz."""
    return read_report(path.with_name(path.name.replace("clips_", "metrics_", 1)).with_suffix(".json"))


def judges_of(report: dict[str, object]) -> dict[str, object]:
    """What the metrics of a report depend on besides its clips."""
    translator = (report["checkpoints"].get(BACK_TRANSLATION), report["settings"].get("num_beams"))
    judges = {**report["checkpoints"], BACK_TRANSLATION: translator, "thresholds": report.get("thresholds")}
    return judges | {"length_source": report["length_source"]}


def have_equal_references(a: dict[str, Scores], b: dict[str, Scores]) -> bool:
    """Whether two evaluations scored against the same real clips, by their lengths and their hands' motion.

    Reports of earlier versions have no fingerprint of their references, and nothing else to compare.
    """
    references = [rows.get(REFERENCE, {}) for rows in (a, b)]
    shared = [name for name in ("frames", "hand_speeds") if all(name in scores for scores in references)]
    return all(np.allclose(*(scores[name] for scores in references), rtol=1e-4, equal_nan=True) for name in shared)


def same_judge(a: object, b: object) -> bool:
    """Whether two judges are the same; thresholds may differ by another machine's rounding."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return all(math.isclose(a[name], b[name], rel_tol=1e-6) for name in a if None not in (a[name], b[name]))
    return a == b


def require_same_clips(args: argparse.Namespace, ids_a: list[str], ids_b: list[str]) -> None:
    """Raises UserError if the evaluations scored clips of other IDs, or in another order."""
    if ids_a == ids_b:
        return
    only = next(iter(sorted({*ids_a} ^ {*ids_b})), None)
    such = f", such as '{escaped(only)}', which one of the two left out" if only else " (in another order)"
    raise UserError(f"{args.b}: scored other clips than {args.a}{such}; compare evaluations of the same split and data")


def require_same_references(args: argparse.Namespace, reports: list[dict], rows: list[dict[str, Scores]]) -> None:
    """Raises UserError if the real clips, or their texts, are others in the one evaluation than in the other."""
    fingerprints = {report["references"] for report in reports if report.get("references")}
    if len(fingerprints) > 1 or not have_equal_references(*rows):
        raise UserError(
            f"{args.b}: its references (poses, what is seen of them, or texts) are others than those of {args.a}, "
            "though of the same IDs: between the two the data set was prepared or imported anew, or its texts were "
            "changed; evaluate both again"
        )


def show_table(args: argparse.Namespace, table: dict[str, dict], num_clips: int, tell: Callable[[str], None]) -> None:
    """A line for each metric. tell: prints it."""
    tell(f"{num_clips} clips; A = {args.a} {args.row_a}, B = {args.b} {args.row_b}")
    tell(f"{'':30}{'A':>12}{'B':>12}{'A - B':>12}   95 % interval")
    for name, line in table.items():
        if line["difference"] == 0 and BETTER.get(name) == NEITHER:  # of the references, which both sides share
            continue
        values = [line[key] for key in ("a", "b", "difference", "low", "high")]
        a, b, difference, low, high = ("-" if value is None else f"{value:.4f}" for value in values)
        tell(f"{name:30}{a:>12}{b:>12}{difference:>12}   [{low}, {high}]  {verdict(name, line, table)}".rstrip())
    if any(line["difference"] is not None and line["low"] is None for line in table.values()):
        tell(f"[-, -]: fewer than {LEAST_CLIPS} clips, or texts, have a value of it, which show no difference")


def main() -> None:
    args = parse_arguments()
    paths = [path / f"clips_{args.split}.npz" if path.is_dir() else path for path in (args.a, args.b)]
    (ids_a, rows_a), (ids_b, rows_b) = map(read_clips, paths)
    scores_a, scores_b = row_of(rows_a, args.row_a, paths[0]), row_of(rows_b, args.row_b, paths[1])
    require_same_clips(args, ids_a, ids_b)
    report_a, report_b = map(report_beside, paths)
    require_same_references(args, [report_a, report_b], [rows_a, rows_b])

    ([scores_a], [scores_b]), table = common_clips([scores_a], [scores_b]), compare([scores_a], [scores_b])
    judges_a, judges_b = judges_of(report_a), judges_of(report_b)
    lengths = [judges["length_source"] for judges in (judges_a, judges_b)]
    if report_a.get("metrics_version") != report_b.get("metrics_version"):
        print("note: another version of the metrics scored A than B; evaluate the older one again")
    if lengths[0] != lengths[1]:
        print("lengths of the clips: A " + ", B ".join(LENGTH_SOURCES[length] for length in lengths))
    for judge in (name for name in DEPENDS_ON if not same_judge(judges_a.get(name), judges_b.get(name))):
        if left_out := [name for name in table if name in DEPENDS_ON[judge]]:
            table = {name: line for name, line in table.items() if name not in left_out}
            print(f"left out, since A and B do not have the same {judge.replace('_', ' ')}: {', '.join(left_out)}")
    if "frechet" not in table and {args.row_a, args.row_b} != {"model"}:
        print("left out, since latents are kept of the rows 'model' alone: frechet")

    tell = say if args.output_path else print  # the table is the result, unless a file holds it
    show_table(args, table, len(ids_a), tell)
    sides = (("A", scores_a, args.row_a, report_a), ("B", scores_b, args.row_b, report_b))
    for side, scores, row, report in sides:
        if is_marked(report[row]):
            tell(f"{side} is marked *: {MARKED}, so its other numbers mean nothing by themselves")
        for remark in remarks(count_remarks(scores), len(ids_a)):
            print(f"{side}: {remark}")
        for warning in report.get("warnings", []) if row == "model" else ():
            print(f"{side}: warning: {without_tricks(warning, kept='')}")
    if args.output_path is not None:
        with write_whole(args.output_path, "w") as file:
            json.dump(table, file, indent=2)
        print(f"wrote {args.output_path}")


if __name__ == "__main__":
    errors.run(main)
