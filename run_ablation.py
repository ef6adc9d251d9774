"""The ablation in one command: what each part of Direction 2 is worth, over several seeds.

    python run_ablation.py --data_dir data/phoenix14t --output_dir runs/ablation --recipe ablation/full_size.json
    python run_ablation.py --data_dir data/phoenix14t --output_dir runs/ablation --groups strides --seeds 0

Groups: components (Direction 1, the flow as a whole, without the prior, guided by the null text or from the beginning,
without sync guidance, in pose space, without joined clips where the recipe joins them); steps (the flow at 1 to 50
steps, its student at 1, 2 and 4); strides (autoencoders of other temporal strides with as many numbers per second, and
flows on them). Every part is one command of this project in a folder of OUTPUT_DIR. It runs once, and is resumed if it
was stopped; a changed recipe runs again what depends on it. The data must be prepared (data_preparation.py). Writes
ablation.md, .csv, .tex, quality_steps.png, quality_latency.png and training_curves.png.
"""

import argparse
import os
import statistics
from pathlib import Path

import generation_arguments
from ablation.parts import require_parsed, run_parts
from ablation.plan import GROUPS, RECIPES, Plan, make_plan, read_recipe, seeded
from ablation.report import make_lines, plot_quality, plot_training, write_tables
from evaluation.report import read_report
from generation import load_generator
from models.autoencoder import TEMPORAL_STRIDES
from models.speed import Speed
from poses import layout
from poses.files import SPLITS
from poses.pack import digest
from poses.splits import load_split
from poses.statistics import Statistics, statistics_path
from poses.texts import list_signers, says_something
from runtime import cpu, errors
from runtime.arguments import add_data_arguments, make_parser, natural_int, positive_int, refuse_without
from runtime.claims import claimed
from runtime.console import say
from runtime.errors import UserError

TIMES = 7  # a latency is the median of so many


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_data_arguments(parser)
    parser.add_argument("--output_dir", type=Path, required=True, help="a folder for all parts, tables and plots")
    parser.add_argument(
        "--recipe", type=Path, default=RECIPES / "small.json", help="JSON, flags by stage (default ablation/small.json)"
    )
    parser.add_argument(
        "--seeds",
        type=natural_int,
        nargs="+",
        default=[0, 1, 2],
        help="every model is trained with each (default 0 1 2)",
    )
    parser.add_argument(
        "--groups",
        choices=GROUPS,
        nargs="+",
        default=["components", "steps"],
        help="groups of rows to train and show (default components steps)",
    )
    parser.add_argument(
        "--temporal_strides",
        type=int,
        choices=TEMPORAL_STRIDES,
        nargs="+",
        default=TEMPORAL_STRIDES,
        help="strides that the group strides compares (default 1 2 4)",
    )
    parser.add_argument("--jobs", type=positive_int, default=1, help="parts that run at a time (default 1)")
    generation_arguments.add_device_argument(parser)
    args = parser.parse_args()
    refuse_without("--groups strides", "strides" in args.groups, ("--temporal_strides",), parser, args)
    return args


def text_of_median_length(texts: list[str]) -> str:
    """The text whose latency is measured: the first one of a split may be empty, or too long for a text encoder."""
    with_words = sorted(filter(says_something, texts), key=len)
    return with_words[len(with_words) // 2]


def measure_latency(plan: Plan, args: argparse.Namespace, text: str, frames: int) -> dict[str, float]:
    """Seconds of one clip of `frames` frames at batch 1, by the row's evaluation; nothing else runs meanwhile."""
    device, seconds = generation_arguments.resolve_device(args.device), {}
    for row in plan.rows:
        if row.evaluation in seconds:
            continue
        trained = (seeded(row.model, plan.seeds[0]), row.autoencoder)
        paths = (args.output_dir / name / "last.pt" for name in trained)
        generator = load_generator(*paths, device, row.sampling, Speed("auto"))
        clips = [generator.generate([text], [seed], [frames])[0] for seed in range(TIMES + 1)]
        seconds[row.evaluation] = statistics.median(sum(clip.seconds.values()) for clip in clips[1:])
    return seconds


def main() -> None:
    args = parse_arguments()
    cpu.tune()
    for flag, given in (("--seeds", args.seeds), ("--temporal_strides", args.temporal_strides)):
        if len(set(given)) < len(given):
            raise UserError(f"{flag}: one of them is given twice; give different ones")
    recipe = read_recipe(args.recipe)
    fingerprint = Statistics.load(statistics_path(args.data_dir, args.cache_dir)).fingerprint
    cache_dir = args.cache_dir or args.output_dir / "cache"
    packs = [load_split(args.data_dir, split, cache_dir, args.skip_bad) for split in SPLITS]
    signers = [list_signers(args.data_dir, split, pack.ids) for split, pack in zip(SPLITS, packs, strict=True)]
    data = digest([fingerprint, *(pack.folder.name for pack in packs), signers])  # the names say texts and files
    data_flags = ["--data_dir", str(args.data_dir), "--cache_dir", str(cache_dir)]
    data_flags += ["--skip_bad"] if args.skip_bad else []
    recipe["evaluation"] += ["--device", args.device] if args.device else []
    if args.device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"  # of the trainings, which have no such flag
    train = packs[SPLITS.index("train")]
    with_sync = any(train.field("seen", index)[:, layout.NMM].any() for index in range(len(train)))
    if not with_sync:
        print("no train clip shows a face, so the flows are without sync guidance")
    plan = make_plan(recipe, data_flags, args.seeds, args.groups, args.temporal_strides, with_sync=with_sync)
    require_parsed(plan.parts)

    with claimed(args.output_dir):
        run_parts(plan.parts, data, args.output_dir, args.jobs)
        write_results(plan, args, cache_dir, fingerprint)


def _num_scored(plan: Plan, output_dir: Path) -> int:
    """The number of test clips that were scored; clips without a text, or with too long a text, are left out."""
    report = output_dir / seeded(plan.rows[0].evaluation, plan.seeds[0]) / "metrics_test.json"
    return read_report(report)["num_clips"]


def write_results(plan: Plan, args: argparse.Namespace, cache_dir: Path, fingerprint: str) -> None:
    """Measure the latencies, then write the tables and plots."""
    test = load_split(args.data_dir, "test", cache_dir, args.skip_bad)
    frames = int(statistics.median(test.lengths("pose").tolist()))
    say("measuring latency")
    lines = make_lines(plan, args.output_dir, measure_latency(plan, args, text_of_median_length(test.texts), frames))
    about = [
        f"Data `{args.data_dir}` (statistics {fingerprint}), {_num_scored(plan, args.output_dir)} test clips; recipe "
        f"`{args.recipe}`; seeds {', '.join(map(str, args.seeds))}; latency of {frames} frames."
    ]
    paths = write_tables(args.output_dir, plan, lines, about)
    paths.append(plot_training(args.output_dir, plan))
    if "steps" in args.groups:
        paths += plot_quality(args.output_dir, lines)
    for path in paths:
        print(f"wrote {path}")


if __name__ == "__main__":
    errors.run(main)
