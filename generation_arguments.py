"""Flags of the scripts that sign, declared once: texts, models, device, number format, and sampling."""

import argparse
import dataclasses
import os
from pathlib import Path

import torch

from models.flow_matching import DEFAULT_SOLVER, MAX_STEPS, SOLVER_NAMES
from models.guidance import UNCONDITIONAL
from models.sampling_settings import SamplingSettings
from models.sync_guidance import MAX_SHARE
from poses.texts import legible
from poses.writing import IMAGE_SIZE
from runtime import processes
from runtime.arguments import (
    MAX_FRAMES,
    add_cache_argument,
    frames,
    image_side,
    natural_float,
    natural_float_up_to,
    natural_int,
    positive_int,
    positive_int_up_to,
    refuse_without,
)
from runtime.config import AUTO
from runtime.errors import UserError
from runtime.precision import BF16, FP32, INT8, WIDE, has_bf16

num_steps = positive_int_up_to(MAX_STEPS)


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
    add_image_size_argument(parser)
    parser.add_argument(
        "--target_length",
        type=frames,
        help=f"frames of the clip, at most {MAX_FRAMES} (default: predicted from the text)",
    )
    parser.add_argument(
        "--num_samples",
        type=positive_int,
        default=1,
        help="clips for each text; those of Direction 1 are equal unless the seed draws another signer (default 1)",
    )
    parser.add_argument(
        "--seed", type=natural_int, default=0, help="random seed; clip k of a text uses seed + k (default 0)"
    )
    parser.add_argument(
        "--signer", type=legible, help="who signs, one of the checkpoint's signers (default: one that the seed draws)"
    )
    parser.add_argument("--batch_size", type=positive_int, default=32, help="clips generated at a time (default 32)")
    parser.add_argument("--data_dir", type=Path, help="stop unless this data set's statistics match the checkpoint's")
    add_cache_argument(parser)
    add_moved_text_encoder_argument(parser)
    add_speed_arguments(parser)
    add_device_argument(parser)


def parse_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The flags of a script that signs texts."""
    args = parser.parse_args()
    refuse_without("--data_dir", args.data_dir is not None, ("--cache_dir",), parser, args)
    return args


def add_autoencoder_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--autoencoder_checkpoint", required=True, type=Path, help="best_model.pt of stage 1, or an exported folder"
    )


def add_moved_text_encoder_argument(parser: argparse.ArgumentParser) -> None:
    """Where a checkpoint's pretrained text encoder is now."""
    parser.add_argument(
        "--text_encoder",
        help="name or folder of the checkpoint's pretrained text encoder, if it has moved since training; its weights "
        "must be the same (default: where training found it)",
    )


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="cpu, cuda, cuda:1 … (default: cuda if there is one)")


def resolve_device(name: str | None) -> torch.device:
    """The device of that name; without a name, a GPU if there is one, else the CPU."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name}: no such device; use cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices; use --device cpu")
    try:
        torch.zeros(1, device=device).item()  # what this build of PyTorch lacks, and `meta`, which holds no numbers
    except (RuntimeError, AssertionError, ImportError):
        raise UserError(f"--device {name}: this PyTorch cannot compute there; use cpu, cuda or cuda:N") from None
    return device


def join_processes(name: str | None) -> torch.device:
    """The device of --device; if a launcher has started several processes, this call also connects them.

    Without a name, each process takes the next GPU of its machine. They exchange clips and figures over the CPU.
    """
    if processes.started() == 1:
        return resolve_device(name)
    if processes.count() == 1:
        torch.distributed.init_process_group("gloo", timeout=processes.PATIENCE)
    if name is None and torch.cuda.is_available():
        name = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
    return resolve_device(name)


def add_speed_arguments(parser: argparse.ArgumentParser) -> None:
    """How generation is computed: number format and compilation. Results agree up to rounding."""
    parser.add_argument(
        "--precision",
        type=precision,
        default=AUTO,
        help="auto: bf16 on a CPU with AMX for networks at least "
        f"{WIDE} wide, else fp32; bf16: matrix products in bf16, faster on GPUs and on CPUs with bf16 instructions; "
        "int8: on a CPU only, and one clip at a time (default auto)",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        dest="compiled",
        help="compile sampling and decoding (torch.compile); useful for many clips, since the first ones wait minutes",
    )


def precision(text: str) -> str:
    """auto, fp32, int8, or bf16 if this machine has instructions for it: without them it is a hundred times slower."""
    if text not in (AUTO, FP32, BF16, INT8):
        raise argparse.ArgumentTypeError(f"{text} is none of auto, fp32, bf16 and int8")
    if text == BF16 and not (torch.cuda.is_available() or has_bf16()):
        raise argparse.ArgumentTypeError("this processor has no bf16 instructions; leave the flag out")
    return text


def add_image_size_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--image_size",
        nargs=2,
        type=image_side,
        metavar=("WIDTH", "HEIGHT"),
        help="width and height of the picture, in pixels, for .pose files; those of the recordings keep the signer's "
        f"proportions (default {' '.join(map(str, IMAGE_SIZE))})",
    )


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """How Direction 2 samples; a flag that is left out takes the checkpoint's value."""
    parser.add_argument(
        "--num_steps", type=num_steps, help=f"ODE steps, at most {MAX_STEPS} (default: the checkpoint's)"
    )
    parser.add_argument(
        "--guidance_scale",
        type=natural_float,
        help="scale of classifier-free guidance by the text; 1 disables it (default: the checkpoint's)",
    )
    parser.add_argument(
        "--guidance_start",
        type=natural_float,
        help="time of a trajectory, from 0 to 1, at which guidance by the text begins (default: the checkpoint's)",
    )
    parser.add_argument(
        "--guidance_from",
        choices=UNCONDITIONAL,
        help="unconditional estimate that guidance moves away from (default: as trained)",
    )
    parser.add_argument(
        "--gamma_guidance",
        type=natural_float_up_to(MAX_SHARE),
        help="largest share of the velocity that sync guidance may add, at most "
        f"{MAX_SHARE:g} (default: the checkpoint's)",
    )
    parser.add_argument(
        "--solver",
        choices=SOLVER_NAMES,
        help="ODE solver: ab2 (Adams-Bashforth) and euler evaluate the network once per step, midpoint and heun twice "
        f"(default {DEFAULT_SOLVER}; a student takes euler only)",
    )
    parser.add_argument(
        "--use_ssm_prior",
        action=argparse.BooleanOptionalAction,
        help="whether the checkpoint was trained with the prior; another value is an error, since the prior is part of "
        "the model (default: as trained)",
    )
    parser.add_argument(
        "--use_sync_guidance",
        action=argparse.BooleanOptionalAction,
        help="guide hands and face to move in step, if the checkpoint was trained for it (default: as trained)",
    )


def sampling_settings(args: argparse.Namespace) -> SamplingSettings:
    """The settings that the flags of `add_sampling_arguments` ask for."""
    return SamplingSettings(**{field.name: getattr(args, field.name) for field in dataclasses.fields(SamplingSettings)})
