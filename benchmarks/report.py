"""Run the benchmarks, one after the other, and make one page of what they found: what, unit, ours, plain, ratio.

    python benchmarks/report.py                        # 45 minutes on 2 quiet cores; make bench is the same
    python benchmarks/report.py --quick                # smaller, in some minutes: whether everything runs
    python benchmarks/report.py --from_json --write    # no run: the page again from what lies in --output_dir

Writes OUTPUT_DIR/NAME.json for each benchmark and OUTPUT_DIR/bench.md; --write also puts the table into
benchmarks/README.md. The sides of each comparison take turns or run one after the other on this machine; a busy machine
spoils seconds and hardly the ratios.
"""

import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common import ROOT, machine, paragraph, table, write_section

from runtime import errors
from runtime.arguments import make_parser
from runtime.errors import UserError, first_line
from runtime.files import write_whole

HEADER = ["what", "unit", "plain is", "ours", "plain", "ratio"]


@dataclass(frozen=True)
class Row:
    """A figure of ours beside that of the plain way; the ratio says how many times better ours is."""

    what: str
    unit: str  # more of a rate is better, less of anything else
    ours: float
    plain: float | None = None
    plain_is: str = ""

    def cells(self) -> list[object]:
        ratio = None
        if self.plain:
            ratio = self.ours / self.plain if self.unit.endswith("/s") else self.plain / self.ours
        figures = [_figure(value) for value in (self.ours, self.plain, ratio)]
        return [self.what, self.unit, self.plain_is or None, *figures]


def _figure(value: float | None) -> str | None:
    """Three digits that count."""
    if value is None:
        return None
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


# ---- the rows of each benchmark --------------------------------------------------------------------------------------


def sampling(report: dict) -> Iterator[Row]:
    for name, model in (("direction_1", "Direction 1"), ("student_4", "student, 4 steps")):
        clip, one = f"one clip of 50 frames, {model}", report["one_clip"]["milliseconds"]
        packed = one[f"{name}_packed"]
        yield Row(f"{clip}, fp32", "ms", packed, one[f"{name}_plain"], "PyTorch's own weights")
        yield Row(f"{clip}, int8", "ms", one[f"{name}_int8"], packed, "fp32")
    latency = report["fp32"]["latency"]
    sampled = [1000 * latency[name]["sampling"] for name in ("student_4", "flow_50")]
    yield Row("sampling one clip, student in 4 steps", "ms", *sampled, "the flow in 50 steps")
    for kind in ("fp32", "bf16") if "bf16" in report else ("fp32",):
        batches = report[kind]["batches"]
        what = f"{batches['clips']} texts in batches of 32, student, {kind}"
        yield Row(what, "clips/s", batches["clips_per_second"], batches["one_at_a_time"], "one at a time")
    if "bf16" in report:
        clip = [1000 * report[kind]["latency"]["student_4"]["total"] for kind in ("bf16", "fp32")]
        yield Row("one clip of 50 frames, student, bf16", "ms", *clip, "fp32")
        rates = [report[kind]["batches"]["clips_per_second"] for kind in ("bf16", "fp32")]
        yield Row("texts in batches of 32, student, bf16", "clips/s", *rates, "fp32")
    if "compiled" in report["fp32"]:
        plain, compiled = report["fp32"]["compiled"]["student_4"]["clip_ms"]
        yield Row("one clip of 50 frames, student, `--compile`", "ms", compiled, plain, "not compiled")


def precision(report: dict) -> Iterator[Row]:
    widest = max(width for _, width, *_ in report["rows"])
    for what, width, fp32, bf16, _ in report["rows"]:
        if width == widest:
            yield Row(f"{what}, bf16, width {width}", "CPU s", float(bf16), float(fp32), "fp32")


def prior(report: dict) -> Iterator[Row]:
    seconds = report["mixer_seconds"][1]
    yield Row(
        "a step of one Mamba mixer, 32 clips", "s", seconds["ours"], seconds["theirs"], "transformers' MambaMixer"
    )
    seconds = report["prior_seconds"]
    yield Row("a step of the simple prior, 32 clips", "s", seconds["simple"], seconds["mamba"], "the Mamba prior")


def growth(report: dict) -> Iterator[Row]:
    yield Row("sampling 4 clips of 120 frames, student", "s", report["sampling"]["120"])
    yield Row("sampling 4 clips of 480 frames, student", "s", report["sampling"]["480"])
    yield Row("judging 8 clips of 120 frames", "s", report["judging"]["120"])


def guidance(report: dict) -> Iterator[Row]:
    for width, of_width in report["guided"].items():
        seconds = [of_width["one clip"][origin] for origin in ("prior", "null_text")]
        yield Row(f"one clip of 50 guided steps, prior of width {width}", "s", *seconds, "guidance from the null text")
    for frames, seconds in report["over_frames"].items():
        yield Row(f"one clip of {frames} frames in 10 guided steps", "s", seconds)


def training(report: dict) -> Iterator[Row]:
    for name, figures in report.items():
        if name.startswith("stride_"):
            rates, stride = figures["clips_per_second"], name.removeprefix("stride_")
            yield Row(f"training the flow, stride {stride}", "clips/s", rates["ours"], rates["plain"], "a plain loop")


def processes(report: dict) -> Iterator[Row]:
    for name, apart in report["difference"].items():
        yield Row(f"loss of two processes against one, {name}", "relative difference", max(apart.values()))
    apart = max(difference for *_, difference in report["cuts"])
    yield Row("the same where another number of processes resumes", "relative difference", apart)


def data(report: dict) -> Iterator[Row]:
    for clips, figures in report["preparation"].items():
        rates = [side["clips_per_second"] for side in (figures, figures["plain"])]
        yield Row(f"preparing {clips} clips", "clips/s", *rates, "a plain loop")
        yield Row(f"memory to prepare {clips} clips", "GB", figures["peak_gb"], figures["plain"]["peak_gb"], "the same")
    for name, figures in report["loaders"].items():
        rates = figures["workers_0"]["clips_per_second"], figures["training_clips_per_second"]
        yield Row(f"batches of {name}, read", "clips/s", *rates, "what training takes")


def evaluation(report: dict) -> Iterator[Row]:
    what = f"evaluating {report['clips']} clips, every metric"
    yield Row(what, "s", report["seconds"], report["plain_seconds"], "a plain loop (estimated)")


def gaussian(*rows: dict) -> Iterator[Row]:
    for row in rows:
        what = f"error of a known covariance, {row['texts']} text{'s'[: row['texts'] - 1]}, prior {row['prior']}"
        wrong = [row[solver]["covariance_error"] for solver in ("ab2", "euler")]
        yield Row(what, "%", *wrong, "Euler's solver")


def full_size(report: dict) -> Iterator[Row]:
    for name in ("autoencoder", "predictor", "flow", "student"):
        yield Row(f"a training step of 32 clips, {name}", "s", min(report[name]["seconds_a_step"]))
        yield Row(f"memory to train the {name}", "GB", report[name]["first"]["peak_gb"])
    signed = report["inference"]
    file = next(name for name in signed if name.startswith("text_file"))
    lines = int(file.rpartition("_")[2])
    one_call_each = lines * signed["text"]["seconds"]
    yield Row(f"signing a file of {lines} texts", "s", signed[file]["seconds"], one_call_each, "a call for each text")
    for name, parts in report["latency"].items():
        yield Row(f"one clip of 50 frames, {name.replace('_', ' ')}, loaded", "s", parts["total"])


BENCHMARKS = {
    rows.__name__: rows
    for rows in (
        sampling,
        guidance,
        precision,
        prior,
        growth,
        training,
        processes,
        data,
        evaluation,
        gaussian,
        full_size,
    )
}
TITLES = {
    "sampling": "Signing",
    "guidance": "Guidance and long clips",
    "precision": "bf16 on one thread",
    "prior": "State-space prior, forward and backward",
    "growth": "Longer clips",
    "training": "Training",
    "processes": "Several processes",
    "data": "Data",
    "evaluation": "Evaluation",
    "gaussian": "Exactness of the flow",
    "full_size": "Whole scripts at the default sizes",
}
QUICK = {
    "sampling": "--rounds 1 --clips 32 --no_compiled",
    "guidance": "--rounds 1 --widths 64 --frames 50",
    "precision": "--rounds 1 --clips 2 --widths 128",
    "prior": "--rounds 1",
    "growth": "--rounds 1",
    "training": "--num_batches 1 --temporal_stride 4",
    "processes": "--accumulation 1",
    "data": "--clips 50",
    "evaluation": "--clips 20 --frames 40 --samples 2",
    "gaussian": "--num_updates 100 --num_steps 8 --num_texts 1 --prior_type simple",
    "full_size": "--smoke",
}


# ---- running and writing ---------------------------------------------------------------------------------------------


def run(name: str, quick: bool, output_dir: Path) -> float:
    """Run a benchmark and keep what it prints; the seconds it took."""
    flags, started = QUICK[name].split() if quick else [], time.perf_counter()
    words = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *flags]
    print(f"{name} {' '.join(flags)}".strip(), flush=True)
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise UserError(f"benchmarks/{name}.py: ended with exit code {done.returncode}; run it alone")
    with write_whole(output_dir / f"{name}.json", "w") as file:
        file.write(done.stdout)
    return time.perf_counter() - started


def read_json(path: Path) -> list[dict]:
    """What a benchmark printed, one value after the other."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the benchmark, without --from_json")
    text, values, start = path.read_text(encoding="utf-8").strip(), [], 0
    while start < len(text):
        value, end = json.JSONDecoder().raw_decode(text, start)
        values.append(value)
        start = end + len(text[end:]) - len(text[end:].lstrip())
    return values


def rows_of(names: list[str], output_dir: Path) -> dict[str, list[Row]]:
    """The rows of each benchmark, from its JSON. Raises UserError for a file that is truncated, or another's."""
    rows = {}
    for name in names:
        path = output_dir / f"{name}.json"
        try:
            rows[name] = list(BENCHMARKS[name](*read_json(path)))
            figures = [row.cells() for row in rows[name]]  # so they are numbers
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise UserError(
                f"{path}: not what benchmarks/{name}.py prints ({type(error).__name__}: {first_line(error)}); "
                "run it again, without --from_json"
            ) from None
        if not figures:
            raise UserError(f"{path}: has no figures of benchmarks/{name}.py; run it again, without --from_json")
    return rows


def describe(rows: dict[str, list[Row]], quick: bool) -> list[str]:
    """The page's paragraphs and its table."""
    smaller = " This was the quick run: its figures say that everything runs, and little else." if quick else ""
    about = (
        f"Measured on {machine()}, {platform.system()}. *Ratio*: how many times better ours is than the plain way, for "
        "rates ours / plain, otherwise plain / ours; a dash where there is nothing to compare with. Of each comparison "
        f"both sides ran on this machine.{smaller}"
    )
    tables = (
        [f"**{TITLES[name]}** (`benchmarks/{name}.py`)", table(HEADER, [row.cells() for row in part], names=3)]
        for name, part in rows.items()
    )
    return [paragraph(about), *(block for blocks in tables for block in blocks)]


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--benchmarks", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS), help="which to run (default: all)"
    )
    parser.add_argument("--quick", action="store_true", help="smaller runs, which show that everything works")
    parser.add_argument("--from_json", action="store_true", help="run nothing: take the JSON of an earlier run")
    parser.add_argument(
        "--output_dir", type=Path, default=ROOT / "runs" / "bench", help="keeps JSON and page (default runs/bench)"
    )
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md, too")
    args = parser.parse_args()
    if args.write and args.quick:
        parser.error("--quick measures nothing that is worth writing down; leave --write out")
    if not args.from_json:
        for name in args.benchmarks:
            print(f"  {run(name, args.quick, args.output_dir):.0f} s", flush=True)
    blocks = describe(rows_of(args.benchmarks, args.output_dir), args.quick)
    page = args.output_dir / "bench.md"
    with write_whole(page, "w") as file:
        file.write("\n\n".join(["# Benchmarks", *blocks]) + "\n")
    print("", *blocks, "", f"wrote {page}", sep="\n")
    if args.write:
        write_section("At a glance", *blocks)


if __name__ == "__main__":
    errors.run(main)
