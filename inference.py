"""Direction 1: sign a text with the predictor.

    python inference.py --text "Hello world" --predictor_checkpoint runs/predictor/best_model.pt \\
        --autoencoder_checkpoint runs/autoencoder/best_model.pt --output_path output_pose.npy --target_length 50 \\
        --data_dir data/phoenix14t

Writes OUTPUT_PATH, [T,214] float32 in data units, and a .json beside it: seconds, seed, checkpoints. If the path ends
in .pose, it is a MediaPipe Holistic file for other viewers.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import generation_arguments
from checkpoints import PREDICTOR
from generation import Generator, load_generator, stripped
from models.speed import Speed
from poses.texts import read_ids_and_texts
from poses.writing import CLIP_FORMATS, DEFAULT_FPS, write_clip
from runtime import cpu, errors
from runtime.arguments import add_cache_argument, frames, make_parser, natural_int, positive_int
from runtime.console import progress_bar, say
from runtime.errors import UserError
from runtime.files import composed, write_whole
from runtime.lifetime import is_first
from runtime.untrusted import read_json


def add_inference_arguments(parser: argparse.ArgumentParser) -> None:
    """What both inference scripts take besides their checkpoints."""
    texts = parser.add_mutually_exclusive_group(required=True)
    texts.add_argument("--text", help="the text to sign")
    texts.add_argument(
        "--text_file", type=Path, help="a file with one text per line; with ID|text, each clip is named after its ID"
    )
    parser.add_argument(
        "--output_path",
        type=Path,
        default=Path("output_pose.npy"),
        help="a .npy of [T,214] float32 in data units, or a .pose; several clips get _0001, _0002 … in the order of "
        "their texts (default output_pose.npy)",
    )
    generation_arguments.add_image_size_argument(parser)
    parser.add_argument(
        "--target_length", type=frames, help="frames of the clip, at most 5000 (default: predicted from the text)"
    )
    parser.add_argument(
        "--num_samples",
        type=positive_int,
        default=1,
        help="clips for each text; those of Direction 1 are equal (default 1)",
    )
    parser.add_argument(
        "--seed", type=natural_int, default=0, help="random seed; clip k of a text uses seed + k (default 0)"
    )
    parser.add_argument(
        "--signer",
        type=composed,
        help="who signs, one of the checkpoint's signers (default: the seed draws one for each clip)",
    )
    parser.add_argument("--batch_size", type=positive_int, default=32, help="clips generated at a time (default 32)")
    parser.add_argument("--data_dir", type=Path, help="stop unless this data set's statistics match the checkpoint's")
    add_cache_argument(parser)
    generation_arguments.add_moved_text_encoder_argument(parser)
    generation_arguments.add_speed_arguments(parser)
    generation_arguments.add_device_argument(parser)


class Job(NamedTuple):
    """One clip to make: its text, the seed of its noise, and where it goes."""

    text: str
    seed: int
    path: Path


def read_texts(args: argparse.Namespace) -> tuple[list[str] | None, list[str]]:
    """The IDs, where the file has them, and the texts to sign; a UserError says which of them can't be."""
    if args.text_file is None:
        return None, [stripped(args.text)]
    ids, texts = read_ids_and_texts(args.text_file)
    to_sign = []
    for number, text in enumerate(texts):
        try:
            to_sign.append(stripped(text))
        except UserError as error:
            which = f"'{ids[number]}'" if ids else f"text {number + 1}"
            raise UserError(f"{args.text_file}: {which}: {error}") from None
    return ids, to_sign


def read_jobs(args: argparse.Namespace) -> list[Job]:
    """What the flags of `add_inference_arguments` ask for. Raises UserError for clips that cannot be written."""
    suffix = args.output_path.suffix
    if suffix not in CLIP_FORMATS:
        raise UserError(f"--output_path {args.output_path}: clips are written as .npy or .pose; end the name so")
    if args.image_size is not None and suffix != ".pose":
        raise UserError("--image_size needs an --output_path that ends in .pose; change it, or leave --image_size out")
    ids, texts = read_texts(args)
    endings = [f"_{sample:04d}" for sample in range(1, args.num_samples + 1)] if args.num_samples > 1 else [""]
    stem, total = args.output_path.name.removesuffix(suffix), len(texts) * args.num_samples
    if ids is not None:
        names = [f"{clip_id}{ending}" for clip_id in ids for ending in endings]
    elif args.text_file or total > 1:
        names = [f"{stem}_{number:04d}" for number in range(1, total + 1)]
    else:
        names = [stem]
    paths = [args.output_path.with_name(f"{name}{suffix}") for name in names]
    for path in paths:
        if path.is_dir():
            raise UserError(f"{path}: is a folder, where a clip is to be written; choose another --output_path")
    for beside in (path.with_suffix(".json") for path in paths):
        if beside.exists() and not is_record(beside):
            raise UserError(
                f"{beside}: is no record of a clip, and one would overwrite it; choose another --output_path"
            )
    jobs = [(text, args.seed + sample) for text in texts for sample in range(args.num_samples)]
    return [Job(*job, path) for job, path in zip(jobs, paths, strict=True)]


def is_record(path: Path) -> bool:
    """Whether a .json is what `sign_to_files` writes beside a clip."""
    try:
        content = read_json(path)
    except UserError:
        return False
    return isinstance(content, dict) and {"text", "seed", "fingerprints"} <= content.keys()


def sign_to_files(
    generator: Generator, jobs: list[Job], args: argparse.Namespace, checkpoints: dict[str, Path]
) -> None:
    """Make every clip and write it, with a .json of what made it, as soon as it is there.

    `checkpoints`: paths by name, for the .json. Both directions' scripts end in this.
    """
    if args.data_dir is not None:
        generator.require_data(args.data_dir, args.cache_dir, checkpoints["autoencoder"])
    if args.output_path.suffix == ".pose" and generator.statistics.info.get("fps") is None:
        print(f"the checkpoint's data did not state their frames per second, so .pose files say {DEFAULT_FPS:g}")
    if args.signer is not None and args.signer not in generator.model.signers:
        known = ", ".join(generator.model.signers) or "no signers: its data set has no train.signers.txt"
        raise UserError(f"--signer {args.signer}: the checkpoint knows {known}; use one of those, or leave it out")
    lengths = [args.target_length] * len(jobs) if args.target_length else None
    clips = generator.stream(
        [job.text for job in jobs], [job.seed for job in jobs], lengths, args.batch_size, [args.signer] * len(jobs)
    )
    for index, clip in progress_bar(clips, None, "clip", total=len(jobs), hidden=len(jobs) == 1):
        job = jobs[index]
        if not is_first():
            continue
        record = generator.record(clip, job.text, job.seed, checkpoints)
        write_clip(job.path, clip.pose, record["fps"], args.image_size)
        with write_whole(job.path.with_suffix(".json"), "w") as file:
            json.dump(record, file, indent=2, ensure_ascii=False)
    for job in jobs[:-1]:
        say(f"wrote {job.path} and {job.path.with_suffix('.json')}")
    print(f"wrote {jobs[-1].path} and {jobs[-1].path.with_suffix('.json')}")


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--predictor_checkpoint", required=True, type=Path, help="best_model.pt of Direction 1, or an exported folder"
    )
    generation_arguments.add_autoencoder_argument(parser)
    add_inference_arguments(parser)
    args = parser.parse_args()
    jobs = read_jobs(args)
    cpu.tune()

    generator = load_generator(
        args.predictor_checkpoint,
        args.autoencoder_checkpoint,
        generation_arguments.join_processes(args.device),
        kinds=(PREDICTOR,),
        text_encoder=args.text_encoder,
        speed=Speed(args.precision, args.compiled),
    )
    checkpoints = {"predictor": args.predictor_checkpoint, "autoencoder": args.autoencoder_checkpoint}
    sign_to_files(generator, jobs, args, checkpoints)


if __name__ == "__main__":
    errors.run(main)
