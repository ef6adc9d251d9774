"""Score a model, or clips already generated, against the real clips of a split, beside floors and ceilings.

    python evaluate.py --data_dir data/phoenix14t --predictor_checkpoint runs/predictor/best_model.pt \\
        --autoencoder_checkpoint runs/autoencoder/best_model.pt --split dev --batch_size 32 --save_predictions \\
        --output_dir runs/evaluation_predictor
    python evaluate.py --data_dir data/phoenix14t --flow_checkpoint runs/student/best_model.pt --num_steps 4 \\
        --autoencoder_checkpoint runs/autoencoder/best_model.pt --split test --output_dir runs/evaluation_flow
    python evaluate.py --data_dir data/phoenix14t --predictions_dir clips --split test --output_dir runs/evaluation

--back_translation_checkpoint adds BLEU, ROUGE-L, chrF and WER of the text that clips are read back as, beside the same
of the real clips, which no generator can beat by signing better.

Writes metrics_{split}.json and the same as .pkl to OUTPUT_DIR, the values of every clip to clips_{split}.npz (for
compare_metrics.py), and prints the table. A generated clip's length comes from its text; --oracle_length gives it the
reference's instead. The metrics are defined in evaluation/: metrics.py, naturalness.py, distribution.py.
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from checkpoints import FLOW, PREDICTOR, STUDENT, load_autoencoder
from evaluation.back_translation import BackTranslator
from evaluation.baselines import mean_poses, nearest_text_clips, random_clips
from evaluation.clips import Reference
from evaluation.evaluator import Judge
from evaluation.intervals import summarise
from evaluation.predictions import read_predictions
from evaluation.report import BACK_TRANSLATION, build_report, format_table, write_clips, write_report
from evaluation.text_metrics import text_scores
from generation import PARTS, Generator, load_generator
from models.speed import pack_linears
from poses.files import SPLITS
from poses.pack import Pack
from poses.splits import load_split
from poses.statistics import STATISTICS_FILE, Statistics
from runtime import cpu, errors
from runtime.arguments import add_data_arguments, make_parser, natural_int, positive_int
from runtime.errors import UserError
from runtime.files import write_whole
from training import arguments

Clips = tuple[list[np.ndarray], list[np.ndarray] | None]  # poses [T,214], what was seen of them (None: everything)


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_data_arguments(parser)
    judged = parser.add_mutually_exclusive_group(required=True)
    judged.add_argument("--predictor_checkpoint", type=Path, help="Direction 1")
    judged.add_argument("--flow_checkpoint", type=Path, help="Direction 2, the flow or its student")
    judged.add_argument(
        "--predictions_dir", type=Path,
        help="clips already generated, by any system: ID.npy, [T,214], denormalised, or ID.pose (MediaPipe Holistic)",
    )  # fmt: skip
    parser.add_argument(
        "--autoencoder_checkpoint", type=Path, help="needed with a model; also gives the row reconstruction"
    )
    parser.add_argument(
        "--back_translation_checkpoint", type=Path,
        help="best_model.pt of train_pose_to_text.py: reads every row's clips back, for BLEU, ROUGE-L, chrF and WER",
    )  # fmt: skip
    parser.add_argument("--num_beams", type=positive_int, default=4, help="of the back-translator; 1: greedy")
    arguments.add_sampling_arguments(parser)
    parser.add_argument("--split", choices=SPLITS, default="dev")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--batch_size", type=positive_int, default=32)
    parser.add_argument(
        "--seed", type=natural_int, default=0, help="clip n of the split starts from seed + n"
    )
    parser.add_argument("--oracle_length", action="store_true", help="give each clip its reference's length")
    parser.add_argument(
        "--shuffle_texts", action="store_true",
        help="also sign a wrong text for each clip, row shuffled_texts: a model that ignores its text scores the same",
    )  # fmt: skip
    parser.add_argument(
        "--save_predictions", action="store_true", help="keep the clips in OUTPUT_DIR/predictions_SPLIT"
    )
    parser.add_argument("--num_workers", type=natural_int, default=4, help="processes that compare clips")
    arguments.add_speed_arguments(parser)
    arguments.add_device_argument(parser)
    args = parser.parse_args()
    if args.predictions_dir is None and args.autoencoder_checkpoint is None:
        parser.error("--autoencoder_checkpoint is needed with a model")
    if args.predictions_dir is not None and args.shuffle_texts:
        parser.error("--shuffle_texts needs a model, which signs the wrong texts")
    return args


def read_references(pack: Pack) -> list[Reference]:
    return [
        Reference(clip_id, text, np.array(pack.field("pose", i)), pack.field("seen", i).astype(np.float32))
        for i, (clip_id, text) in enumerate(zip(pack.ids, pack.texts, strict=True))
    ]


def generate_clips(
    generator: Generator, references: list[Reference], texts: list[str], args: argparse.Namespace
) -> tuple[list[np.ndarray], dict[str, float]]:
    """The model's clip for each of `texts`, one for each reference, and the mean seconds a clip."""
    seeds = [args.seed + number for number in range(len(texts))]
    lengths = [len(reference.pose) for reference in references] if args.oracle_length else None
    clips: dict[int, np.ndarray] = {}
    seconds = dict.fromkeys(PARTS, 0.0)
    stream = generator.stream(texts, seeds, lengths, args.batch_size)
    for index, clip in tqdm(stream, desc="generating", total=len(texts), unit="clip", disable=None):
        clips[index] = clip.pose
        for part in PARTS:
            seconds[part] += clip.seconds[part] / len(texts)
    return [clips[index] for index in range(len(texts))], seconds


def shuffled_texts(texts: list[str], seed: int) -> list[str]:
    """A wrong text for each: the distinct texts stand in a random ring, and each clip gets its text's successor."""
    ring = np.random.default_rng([seed, 2]).permutation(sorted(set(texts))).tolist()
    if len(ring) < 2:
        raise UserError("--shuffle_texts: all clips of the split have one text; there is no wrong one to sign")
    successor = dict(zip(ring, ring[1:] + ring[:1], strict=True))
    return [successor[text] for text in texts]


def main() -> None:
    args = parse_arguments()
    cpu.tune()
    device = arguments.resolve_device(args.device)
    checkpoint = args.predictor_checkpoint or args.flow_checkpoint
    kinds = (PREDICTOR,) if args.predictor_checkpoint else (FLOW, STUDENT)

    autoencoder, settings, checkpoints, latency = None, {}, {}, None
    if checkpoint is not None:
        generator = load_generator(
            checkpoint,
            args.autoencoder_checkpoint,
            device,
            arguments.sampling_settings(args),
            kinds=kinds,
            precision=args.precision,
            compiled=args.compiled,
        )
        autoencoder, statistics = generator.autoencoder, generator.statistics
        settings, checkpoints = (
            {**generator.settings, "seed": args.seed, "batch_size": args.batch_size},
            generator.fingerprints,
        )
    elif args.autoencoder_checkpoint is not None:
        autoencoder, statistics, content = load_autoencoder(args.autoencoder_checkpoint, device)
        checkpoints = {"autoencoder": content["fingerprint"]}
    else:
        statistics = Statistics.load(args.data_dir / STATISTICS_FILE)
        print("no --autoencoder_checkpoint: no row 'reconstruction'")
    translator = None
    if args.back_translation_checkpoint is not None:
        translator = BackTranslator(args.back_translation_checkpoint, device, args.num_beams)
        checkpoints, settings = (
            {**checkpoints, BACK_TRANSLATION: translator.fingerprint},
            {**settings, "num_beams": args.num_beams},
        )
    references = read_references(load_split(args.data_dir, args.split, args.cache_dir, args.skip_bad))
    train = load_split(args.data_dir, "train", args.cache_dir, args.skip_bad)

    texts = [reference.text for reference in references]
    candidates: dict[str, Clips] = {}
    if checkpoint is not None:
        if args.shuffle_texts:
            clips, _ = generate_clips(generator, references, shuffled_texts(texts, args.seed), args)
            candidates["shuffled_texts"] = clips, None
        clips, latency = generate_clips(generator, references, texts, args)
        candidates["model"] = clips, None
        length_source = "oracle" if args.oracle_length else "predicted"
    else:
        candidates["model"], length_source = read_predictions(args.predictions_dir, references), "given"
        settings = {**settings, "predictions_dir": args.predictions_dir}
    if args.save_predictions:
        for reference, clip in zip(references, candidates["model"][0], strict=True):
            with write_whole(args.output_dir / f"predictions_{args.split}" / f"{reference.id}.npy") as file:
                np.save(file, clip)

    if autoencoder is not None and device.type == "cpu":
        pack_linears(autoencoder)
    judge = Judge(references, train, autoencoder, statistics, args.num_workers)
    weights = [reference.weight for reference in references]
    candidates["reference"] = [reference.pose for reference in references], weights
    if autoencoder is not None:
        candidates["reconstruction"] = judge.reconstruct(), weights
    candidates["mean_pose"] = mean_poses(statistics, references), None
    candidates["random_clip"] = random_clips(train, references, args.seed)
    candidates["nearest_text"] = nearest_text_clips(train, references, args.seed)
    scores, rows = {}, {}
    for name, clips_and_weights in tqdm(candidates.items(), desc="scoring", unit="row", disable=None):
        scores[name] = judge.score(*clips_and_weights)
        if translator is not None:
            scores[name] |= text_scores(translator.read(*clips_and_weights), texts)
        rows[name] = summarise(scores[name])

    report = build_report(
        args.split, len(references), rows, length_source, settings, checkpoints, latency, judge.thresholds
    )
    print(format_table(report))
    paths = [*write_report(args.output_dir, report), write_clips(args.output_dir, args.split, references, scores)]
    for path in paths:
        print(f"wrote {path}")


if __name__ == "__main__":
    errors.run(main)
