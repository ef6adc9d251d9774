"""Direction 1: sign a text with the predictor.

    python inference.py --text "Hello world" --predictor_checkpoint runs/predictor/best_model.pt \\
        --autoencoder_checkpoint runs/autoencoder/best_model.pt --output_path output_pose.npy --target_length 50 \\
        --data_dir data/phoenix14t

Writes OUTPUT_PATH, [T,214] float32 in data units, and a .json beside it: seconds, seed, checkpoints.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from checkpoints import PREDICTOR, require_equal
from generation import Generator, load_generator
from poses.statistics import STATISTICS_FILE, Statistics
from runtime import cpu, errors
from runtime.arguments import make_parser, natural_int, positive_int
from runtime.errors import UserError
from runtime.files import read_texts, write_whole
from training import arguments


def add_inference_arguments(parser: argparse.ArgumentParser) -> None:
    """What both inference scripts take besides their checkpoints."""
    texts = parser.add_mutually_exclusive_group(required=True)
    texts.add_argument("--text", help="the text to sign")
    texts.add_argument("--text_file", type=Path, help="a file of texts, one a line; each becomes a file of its own")
    parser.add_argument(
        "--output_path",
        type=Path,
        default=Path("output_pose.npy"),
        help="[T,214] float32 in data units; several clips get _0001, _0002 … before .npy (default output_pose.npy)",
    )
    parser.add_argument(
        "--target_length", type=positive_int, help="frames of the clip (default: what the text asks for)"
    )
    parser.add_argument(
        "--num_samples", type=positive_int, default=1, help="clips of each text; those of Direction 1 are all alike"
    )
    parser.add_argument("--seed", type=natural_int, default=0, help="clip k of a text starts from seed + k")
    parser.add_argument(
        "--batch_size", type=positive_int, default=32, help="clips that are made at a time (default 32)"
    )
    parser.add_argument("--data_dir", type=Path, help="data set whose statistics must be the checkpoint's, or it stops")
    arguments.add_moved_text_encoder_argument(parser)
    arguments.add_speed_arguments(parser)
    arguments.add_device_argument(parser)


def output_paths(output_path: Path, count: int, numbered: bool) -> list[Path]:
    """Where `count` clips go: OUTPUT_PATH itself, or numbered from _0001 on before .npy."""
    if not numbered:
        return [output_path]
    stem = output_path.with_suffix("")
    return [stem.with_name(f"{stem.name}_{number:04d}.npy") for number in range(1, count + 1)]


def sign_to_files(generator: Generator, args: argparse.Namespace, checkpoints: dict[str, Path]) -> list[Path]:
    """Sign the texts of the flags (`add_inference_arguments`) and write each clip with its .json as it is made.

    `checkpoints`: paths by name, for the .json. Both directions' scripts end in this.
    """
    if args.data_dir is not None:
        given = Statistics.load(args.data_dir / STATISTICS_FILE).fingerprint
        kept = generator.statistics.fingerprint
        require_equal(f"--data_dir {args.data_dir} with statistics", given, kept, args.output_path)
    texts = read_texts(args.text_file) if args.text_file else [args.text.strip()]
    if not all(texts):
        raise UserError("--text: an empty text has no signs; write something")
    jobs = [(text, args.seed + k) for text in texts for k in range(args.num_samples)]
    paths = output_paths(args.output_path, len(jobs), numbered=bool(args.text_file) or args.num_samples > 1)
    lengths = [args.target_length] * len(jobs) if args.target_length else None
    clips = generator.stream(*map(list, zip(*jobs, strict=True)), lengths, args.batch_size)
    for index, clip in tqdm(clips, total=len(jobs), unit="clip", disable=None if len(jobs) > 1 else True):
        text, seed = jobs[index]
        record = {"text": text, "frames": len(clip.pose), "seed": seed, "seconds": clip.seconds, **generator.settings}
        record["checkpoints"] = {name: str(path) for name, path in checkpoints.items()}
        record["fingerprints"] = generator.fingerprints
        with write_whole(paths[index]) as file:
            np.save(file, clip.pose)
        with write_whole(paths[index].with_suffix(".json"), "w") as file:
            json.dump(record, file, indent=2, ensure_ascii=False)
    return paths


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--predictor_checkpoint", required=True, type=Path, help="best_model.pt of stage 2, Direction 1"
    )
    arguments.add_autoencoder_argument(parser)
    add_inference_arguments(parser)
    args = parser.parse_args()
    cpu.tune()

    generator = load_generator(
        args.predictor_checkpoint,
        args.autoencoder_checkpoint,
        arguments.resolve_device(args.device),
        kinds=(PREDICTOR,),
        text_encoder=args.text_encoder,
        precision=args.precision,
        compiled=args.compiled,
    )
    checkpoints = {"predictor": args.predictor_checkpoint, "autoencoder": args.autoencoder_checkpoint}
    for path in sign_to_files(generator, args, checkpoints):
        print(f"wrote {path} and {path.with_suffix('.json')}")


if __name__ == "__main__":
    errors.run(main)
