"""Score a model, or clips already generated, against the real clips of a split, beside comparison rows.

    python evaluate.py --data_dir data/phoenix14t --predictor_checkpoint runs/predictor/best_model.pt \\
        --autoencoder_checkpoint runs/autoencoder/best_model.pt --split dev --batch_size 32 --save_predictions \\
        --output_dir runs/evaluation_predictor
    python evaluate.py --data_dir data/phoenix14t --flow_checkpoint runs/student/best_model.pt --num_steps 4 \\
        --autoencoder_checkpoint runs/autoencoder/best_model.pt --split test --output_dir runs/evaluation_flow
    python evaluate.py --data_dir data/phoenix14t --predictions_dir clips --split test --output_dir runs/evaluation

With --back_translation_checkpoint clips are also read back as text, for BLEU, ROUGE-L, chrF and WER. The real clips are
read back, too: their scores are a ceiling, since no generator can beat them by signing better.

Writes metrics_{split}.json and the same as .pkl to OUTPUT_DIR, the values of every clip to clips_{split}.npz (for
compare_metrics.py), its flags to config_{split}.json (for --config), and prints the table. A generated clip's length
comes from its text; --oracle_length gives it the reference's instead. evaluation/registry.py lists the metrics.
"""

import argparse
from dataclasses import fields
from pathlib import Path

import numpy as np

import generation_arguments
from evaluation.baselines import baseline_clips, shuffled_texts
from evaluation.clips import Clip, Reference, references_fingerprint
from evaluation.evaluator import Evaluator
from evaluation.opening import load_models, predictions_folder, read_scored
from evaluation.prediction_warnings import warnings_on
from evaluation.predictions import read_predictions, write_predictions
from evaluation.report import ReportHead, build_report, format_table, remove_report, write_clips, write_report
from evaluation.summary import summarise
from evaluation.text_metrics import NORMALIZATION, unit_of
from generation import TIMED_PARTS, Generator, require_plausible
from models.sampling_settings import SamplingSettings
from poses.files import SPLITS
from poses.pack import Pack
from poses.splits import load_split
from poses.statistics import prepared_reading
from poses.texts import list_signers
from runtime import cpu, errors
from runtime.arguments import (
    add_data_arguments,
    make_parser,
    natural_int,
    positive_int,
    positive_int_up_to,
    refuse_without,
)
from runtime.console import progress_bar, say
from runtime.errors import UserError
from runtime.flags import write_config
from runtime.rank import is_first

MAX_BEAMS = 100  # each has a part of the memory
FLOW_FLAGS = tuple(f"--{field.name}" for field in fields(SamplingSettings))
TRAIN_ROWS = ("random_clip", "nearest_text")  # rows of train clips
MODEL_FLAGS = ("--batch_size", "--oracle_length", "--shuffle_texts", "--precision", "--text_encoder")


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_data_arguments(parser)
    scored = parser.add_mutually_exclusive_group(required=True)
    scored.add_argument("--predictor_checkpoint", type=Path, help="score Direction 1: its best_model.pt")
    scored.add_argument(
        "--flow_checkpoint",
        type=Path,
        help="score Direction 2: best_model.pt of the flow or a student; as all "
        "checkpoints, it may be a folder of export.py",
    )
    scored.add_argument(
        "--predictions_dir", type=Path, help="score clips of any system: ID.npy, [T,214] in data units, or ID.pose"
    )
    parser.add_argument(
        "--autoencoder_checkpoint", type=Path, help="best_model.pt of stage 1: needed with a model, and for 'frechet'"
    )
    parser.add_argument(
        "--back_translation_checkpoint",
        type=Path,
        help="best_model.pt of train_pose_to_text.py: for BLEU, ROUGE-L, chrF, WER and text_log_likelihood",
    )
    parser.add_argument(
        "--num_beams",
        type=positive_int_up_to(MAX_BEAMS),
        default=4,
        help=f"beams of the back-translator, at most {MAX_BEAMS}; 1 is greedy (default 4)",
    )
    parser.add_argument(
        "--sync_confidence",
        action="store_true",
        help="also ask a classifier whether hands and face are in time; it is trained once per data set, in about half "
        "a minute, and kept in --cache_dir",
    )
    generation_arguments.add_sampling_arguments(parser)
    parser.add_argument("--split", choices=SPLITS, default="dev", help="the split that is scored (default dev)")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for the report")
    parser.add_argument("--batch_size", type=positive_int, default=32, help="clips generated at a time (default 32)")
    parser.add_argument("--seed", type=natural_int, default=0, help="random seed; clip n uses seed + n (default 0)")
    parser.add_argument("--oracle_length", action="store_true", help="give each clip its reference's length")
    parser.add_argument(
        "--shuffle_texts", action="store_true", help="add a row of clips from wrong texts, which should score worse"
    )
    parser.add_argument(
        "--save_predictions",
        action="store_true",
        help="write the clips to OUTPUT_DIR/predictions_SPLIT/ID.npy, in place of those of an earlier evaluation",
    )
    parser.add_argument(
        "--format", choices=("npy", "pose"), default="npy", help="format of --save_predictions (default npy)"
    )
    generation_arguments.add_image_size_argument(parser)
    generation_arguments.add_moved_text_encoder_argument(parser)
    parser.add_argument("--num_workers", type=natural_int, default=4, help="processes that compare clips (default 4)")
    generation_arguments.add_speed_arguments(parser)
    generation_arguments.add_device_argument(parser)
    args = parser.parse_args()
    check_arguments(parser, args)
    return args


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse flags that do not go together, or lack another one."""
    has_model, has_translator = args.predictions_dir is None, args.back_translation_checkpoint is not None
    refuse_without("--flow_checkpoint", args.flow_checkpoint is not None, FLOW_FLAGS, parser, args)
    refuse_without("--predictor_checkpoint or --flow_checkpoint", has_model, MODEL_FLAGS, parser, args)
    refuse_without("--save_predictions", args.save_predictions, ("--format",), parser, args)
    refuse_without("--format pose", args.format == "pose", ("--image_size",), parser, args)
    refuse_without("--back_translation_checkpoint", has_translator, ("--num_beams",), parser, args)
    if args.sync_confidence and args.split == "train":
        raise UserError("--sync_confidence: its classifier knows the clips of train; score another --split")
    if args.compiled and not has_model:
        raise UserError("--compile needs --predictor_checkpoint or --flow_checkpoint; add it, or leave --compile out")
    if has_model and args.autoencoder_checkpoint is None:
        raise UserError("--predictor_checkpoint and --flow_checkpoint need --autoencoder_checkpoint; add it")


def generate_clips(
    generator: Generator, references: list[Reference], texts: list[str], args: argparse.Namespace
) -> tuple[list[Clip], dict[str, float]]:
    """The model's clip for each of `texts`, one for each reference, and the mean seconds per clip."""
    seeds = [args.seed + number for number in range(len(texts))]
    lengths = [len(reference.pose) for reference in references] if args.oracle_length else None
    poses: dict[int, np.ndarray] = {}
    seconds = dict.fromkeys(TIMED_PARTS, 0.0)
    known, ids = generator.model.signers, [reference.id for reference in references]
    signers = list_signers(args.data_dir, args.split, ids) if known else {}
    stream = generator.stream(texts, seeds, lengths, args.batch_size, list(signers.values()) or None)
    for index, generated in progress_bar(stream, "generating", "clip", total=len(texts)):
        poses[index] = generated.pose
        for part in TIMED_PARTS:
            seconds[part] += generated.seconds[part] / len(texts)
    return [Clip.generated(poses[index]) for index in range(len(texts))], seconds


def scored_rows(
    generator: Generator | None,
    references: list[Reference],
    texts: list[str],
    fps: float | None,
    args: argparse.Namespace,
) -> tuple[dict[str, list[Clip]], dict[str, float] | None]:
    """The clips to be scored by the report's rows, and the mean seconds per clip if a model makes them now."""
    if generator is None:
        reading = prepared_reading(args.data_dir, args.cache_dir)
        return {"model": read_predictions(args.predictions_dir, references, fps, reading)}, None
    say(f"signing {len(references)} clips of {args.split}")
    rows = {}
    if args.shuffle_texts:
        wrong = shuffled_texts(texts, args.seed)
        rows["shuffled_texts"], _ = generate_clips(generator, references, wrong, args)
    rows["model"], latency = generate_clips(generator, references, texts, args)
    return rows, latency


def rows_beside(
    evaluator: Evaluator, references: list[Reference], train: Pack, args: argparse.Namespace
) -> dict[str, list[Clip]]:
    """Floors and ceilings: the real clips, what the autoencoder makes of them, and clips that no model has made."""
    rows = {"reference": references}
    if evaluator.autoencoder is not None:
        rows["reconstruction"] = evaluator.reconstruct()
        for clip, reference in zip(rows["reconstruction"], references, strict=True):
            require_plausible(clip.pose, f"{args.autoencoder_checkpoint}: its reconstruction of '{reference.id}'")
    rows |= baseline_clips(train, references, args.seed, on_train=args.split == "train")
    if "nearest_text" not in rows:
        print(f"no clip of train, or none of {args.split}, has a text, so there is no row 'nearest_text'")
    return rows


def length_source(args: argparse.Namespace) -> str:
    """Where the lengths of the scored clips come from, as the report names it."""
    if args.predictions_dir is not None:
        return "given"
    return "oracle" if args.oracle_length else "predicted"


def main() -> None:
    args = parse_arguments()
    cpu.tune()
    device = generation_arguments.join_processes(args.device)

    saved = predictions_folder(args)
    train = load_split(args.data_dir, "train", args.cache_dir, args.skip_bad)
    models = load_models(args, train, device)
    references, fps, left_out = read_scored(args, models)
    texts, settings = [reference.text for reference in references], models.settings | {"clips_left_out": left_out}
    if models.translator is not None:
        settings |= {"text_unit": unit_of(texts), "text_normalization": NORMALIZATION}

    clips, latency = scored_rows(models.generator, references, texts, fps, args)
    on_clips = warnings_on(clips["model"], references)
    for warning in [*models.warnings, *(f"{args.predictions_dir or 'the generated clips'}: {w}" for w in on_clips)]:
        print(f"warning: {warning}")

    evaluator = Evaluator(
        references,
        train,
        models.autoencoder,
        models.statistics,
        translator=models.translator,
        judge=models.judge,
        num_workers=args.num_workers,
        on_train=args.split == "train",
    )
    clips |= rows_beside(evaluator, references, train, args)
    say(f"scoring {len(clips)} rows of {len(references)} clips, with {max(args.num_workers, 1)} processes")
    scores = {
        name: evaluator.score(row, from_train=name in TRAIN_ROWS)
        for name, row in progress_bar(clips.items(), "scoring", "row")
    }

    head = ReportHead(
        split=args.split,
        num_clips=len(references),
        references=references_fingerprint(references),
        length_source=length_source(args),
        settings=settings,
        checkpoints=models.fingerprints,
        thresholds=evaluator.thresholds,
        warnings=models.warnings + on_clips,
    )
    report = build_report(head, {name: summarise(values) for name, values in scores.items()}, latency)
    if not is_first():
        return
    if args.save_predictions:
        fps = models.statistics.info.get("fps") or fps
        write_predictions(saved, references, clips["model"], f".{args.format}", fps, args.image_size)
    remove_report(args.output_dir, args.split)
    write_config(args.output_dir / f"config_{args.split}.json", args.record)
    paths = [*write_report(args.output_dir, report), write_clips(args.output_dir, args.split, references, scores)]
    say(format_table(report))
    for path in paths:
        print(f"wrote {path}")


if __name__ == "__main__":
    errors.run(main)
