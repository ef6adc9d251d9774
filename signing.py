"""What both inference scripts do with texts: read them, sign them, and write each clip with a record beside it."""

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from generation import Generator, text_to_sign
from poses.texts import read_ids_and_texts, some_of
from poses.writing import CLIP_FORMATS, DEFAULT_FPS, write_clip
from runtime.console import progress_bar, say
from runtime.errors import UserError
from runtime.files import write_whole
from runtime.rank import is_first
from runtime.untrusted import read_json

# Shares of the mean train clip's frames: a clip beyond them is reported. Real clips of four data sets have 0.16 to 3.1.
USUAL_LENGTHS = (0.1, 5.0)


class Job(NamedTuple):
    """One clip to make: its text, the seed of its noise, its path, and, for messages, where the text stands."""

    text: str
    seed: int
    path: Path
    where: str = ""


def texts_to_sign(args: argparse.Namespace) -> tuple[list[str] | None, list[str]]:
    """The IDs, where the file has them, and the texts to sign; a UserError names a text that cannot be signed."""
    if args.text_file is None:
        return None, [text_to_sign(args.text)]
    ids, texts = read_ids_and_texts(args.text_file)
    to_sign = []
    for number, text in enumerate(texts):
        try:
            to_sign.append(text_to_sign(text))
        except UserError as error:
            raise UserError(f"{place_in_file(args, ids, number)}{error}") from None
    return ids, to_sign


def place_in_file(args: argparse.Namespace, ids: list[str] | None, number: int) -> str:
    """What a message about a text begins with: its file, and its ID or its place there; nothing for --text."""
    if args.text_file is None:
        return ""
    which = f"'{ids[number]}'" if ids else f"text {number + 1}"
    return f"{args.text_file}: {which}: "


def read_jobs(args: argparse.Namespace) -> list[Job]:
    """What the flags of `add_inference_arguments` ask for. Raises UserError for clips that cannot be written."""
    suffix = args.output_path.suffix
    if suffix not in CLIP_FORMATS:
        raise UserError(f"--output_path {args.output_path}: clips are written as .npy or .pose; end the name so")
    if args.image_size is not None and suffix != ".pose":
        raise UserError("--image_size needs an --output_path that ends in .pose; change it, or leave --image_size out")
    ids, texts = texts_to_sign(args)
    names, next_names = clip_names(args, ids, len(texts))
    paths, next_paths = (
        [args.output_path.with_name(f"{name}{suffix}") for name in several] for several in (names, next_names)
    )
    require_unused(paths)
    if earlier := [path for path in next_paths if path.exists()]:
        print(f"warning: {earlier[0]} and any clip numbered after it are of an earlier call, and stay")
    jobs = [(number, sample) for number in range(len(texts)) for sample in range(args.num_samples)]
    return [
        Job(texts[number], args.seed + sample, path, place_in_file(args, ids, number))
        for (number, sample), path in zip(jobs, paths, strict=True)
    ]


def clip_names(args: argparse.Namespace, ids: list[str] | None, num_texts: int) -> tuple[list[str], list[str]]:
    """The names of all clips, without suffix; and the names that a call for one clip more would write besides."""
    stem, total = args.output_path.stem, num_texts * args.num_samples
    if ids is not None:
        several = args.num_samples > 1
        endings = [f"_{sample:04d}" for sample in range(1, args.num_samples + 1)] if several else [""]
        names = [f"{clip_id}{ending}" for clip_id in ids for ending in endings]
        return names, [f"{clip_id}_{args.num_samples + 1:04d}" for clip_id in ids if several]
    if args.text_file or total > 1:
        return [f"{stem}_{number:04d}" for number in range(1, total + 1)], [f"{stem}_{total + 1:04d}"]
    return [stem], []


def require_unused(paths: list[Path]) -> None:
    """Raises UserError if writing the clips, and a .json beside each, would replace or contradict other files."""
    for path in paths:
        if path.is_dir():
            raise UserError(f"{path}: is a folder, where a clip is to be written; choose another --output_path")
        for other in (path.with_suffix(ending) for ending in CLIP_FORMATS if ending != path.suffix):
            if other.exists():  # both clips would have one .json, which says the rate
                raise UserError(f"{other}: is there, and {path.name} would share its .json; remove or rename it")
    for beside in (path.with_suffix(".json") for path in paths):
        if beside.exists() and not is_record(beside):
            raise UserError(
                f"{beside}: is no record of a clip, and one would overwrite it; choose another --output_path"
            )


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
        if not generator.model.signers:
            raise UserError(
                f"--signer {args.signer}: the checkpoint knows no signers, as its data set has no train.signers.txt; "
                "leave the flag out"
            )
        known = some_of(generator.model.signers)
        raise UserError(f"--signer {args.signer}: the checkpoint knows {known}; use one of those, or leave it out")
    for job in jobs[:: args.num_samples]:  # one of each text
        if too_long := generator.model.truncation_message([job.text]):
            raise UserError(f"{job.where}{too_long}; sign it in parts, one sentence each")
    if args.signer is None and generator.model.signers:
        drawn = sorted({str(generator.model.draw_signer(job.seed)) for job in jobs})
        say(f"signed by {some_of(drawn)}, as the seed draws; --signer chooses")
    lengths = [args.target_length] * len(jobs) if args.target_length else None
    clips = generator.stream(
        [job.text for job in jobs], [job.seed for job in jobs], lengths, args.batch_size, [args.signer] * len(jobs)
    )
    made: dict[Path, int] = {}
    for index, clip in progress_bar(clips, None, "clip", total=len(jobs), hidden=len(jobs) == 1):
        job = jobs[index]
        made[job.path] = len(clip.pose)
        if not is_first():
            continue
        record = generator.record(clip, job.text, job.seed, checkpoints)
        write_clip(job.path, clip.pose, record["fps"], args.image_size)
        beside = job.path.with_suffix(".json")
        beside.unlink(missing_ok=True)  # an earlier clip's, which must not stay if this one's can't be written
        with write_whole(beside, "w") as file:
            json.dump(record, file, indent=2, ensure_ascii=False)
    if odd := unusual_length(made, generator.statistics.mean_frames):
        print(f"warning: {odd}")
    for job in jobs[:-1]:
        say(f"wrote {job.path} and {job.path.with_suffix('.json')}")
    print(f"wrote {jobs[-1].path} and {jobs[-1].path.with_suffix('.json')}")


def unusual_length(made: Mapping[Path, int], usual: float | None) -> str | None:
    """Names a clip that is far longer or shorter than the mean train clip, of `usual` frames; None if none is.

    made: the clips' frames by their paths. usual: None where the checkpoint does not know.
    """
    least, most = (bound * (usual or math.nan) for bound in USUAL_LENGTHS)
    odd = [path for path, frames in made.items() if frames < least or frames > most]
    if not odd:
        return None
    others = f" (one of {len(odd)} such clips)" if len(odd) > 1 else ""
    return (
        f"{odd[0]} has {made[odd[0]]} frames{others}, where the mean train clip has {usual:.0f}; training hardly "
        "showed such lengths"
    )
