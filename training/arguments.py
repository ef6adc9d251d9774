"""Every flag that more than one script has, declared once; defaults live in the dataclasses that use them."""

import argparse
import dataclasses
from pathlib import Path

import torch

from models.flow_matching import DEFAULT_SOLVER, SOLVER_NAMES, SamplingSettings
from models.text_encoder import DEFAULT_TEXT_ENCODER, SCRATCH
from runtime.arguments import fraction, natural_float, natural_int, positive_float, positive_int
from runtime.cpu import keep_freed_memory, prefer_onednn
from runtime.errors import UserError
from training.engine import TrainSettings


def add_training_arguments(parser: argparse.ArgumentParser, *, num_epochs: int, learning_rate: float) -> None:
    """One flag for each field of `TrainSettings`."""
    base = TrainSettings(output_dir="")
    group = parser.add_argument_group("training")
    group.add_argument("--output_dir", required=True, help="where checkpoints and logs go")
    group.add_argument("--num_epochs", type=positive_int, default=num_epochs)
    group.add_argument("--batch_size", type=positive_int, default=base.batch_size)
    group.add_argument("--learning_rate", type=positive_float, default=learning_rate)
    group.add_argument("--weight_decay", type=natural_float, default=base.weight_decay)
    group.add_argument("--warmup_steps", type=natural_int, default=base.warmup_steps)
    group.add_argument("--gradient_accumulation_steps", type=positive_int, default=base.gradient_accumulation_steps)
    group.add_argument("--max_grad_norm", type=positive_float, default=base.max_grad_norm)
    group.add_argument("--mixed_precision", choices=("no", "fp16", "bf16"), default=base.mixed_precision)
    group.add_argument("--ema_decay", type=fraction, default=base.ema_decay)
    group.add_argument("--early_stopping_patience", type=natural_int, default=base.early_stopping_patience,
                       help="epochs without a better dev loss before stopping; 0 never stops")  # fmt: skip
    group.add_argument("--seed", type=natural_int, default=base.seed)
    group.add_argument("--num_workers", type=natural_int, default=base.num_workers, help="processes that load data")
    group.add_argument("--resume_from", help="a last.pt to go on from")


def train_settings(args: argparse.Namespace) -> TrainSettings:
    return TrainSettings(**{field.name: getattr(args, field.name) for field in dataclasses.fields(TrainSettings)})


def add_autoencoder_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--autoencoder_checkpoint", required=True, type=Path, help="best_model.pt of stage 1")


def add_text_encoder_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("text encoder")
    group.add_argument("--text_encoder", default=DEFAULT_TEXT_ENCODER,
                       help=f"a Hugging Face encoder's name or folder, or '{SCRATCH}': trained with the stage, its own "
                       f"subwords, kept in the checkpoint (default {DEFAULT_TEXT_ENCODER})")  # fmt: skip
    group.add_argument("--scratch_dim", type=positive_int, default=256, help="width of a scratch encoder")
    group.add_argument("--scratch_layers", type=natural_int, default=2, help="layers of a scratch encoder")
    group.add_argument("--vocab_size", type=positive_int, default=8000, help="subwords of a scratch encoder, at most")


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="cpu, cuda, cuda:1 … (default: cuda where there is one)")


def add_speed_arguments(parser: argparse.ArgumentParser) -> None:
    """How fast the networks sign; the clips stay the same, to the precision."""
    parser.add_argument(
        "--precision", type=precision, default="fp32",
        help="fp32; bf16: matrix products in bf16, faster on GPUs and on CPUs with bf16 instructions; int8: on a CPU, "
        "one clip at a time, the quickest for one",
    )  # fmt: skip
    parser.add_argument(
        "--compile", action="store_true", dest="compiled",
        help="compile sampling and decoding (torch.compile): for many clips, since the first ones wait minutes for it",
    )  # fmt: skip


def precision(text: str) -> str:
    """fp32, int8, or bf16 where this machine multiplies in it; elsewhere it would be a hundred times slower."""
    if text not in ("fp32", "bf16", "int8"):
        raise argparse.ArgumentTypeError(f"{text} is none of fp32, bf16 and int8")
    processor = torch.cpu.get_capabilities()
    quick = torch.cuda.is_available() or processor.get("avx512_bf16") or processor.get("amx_bf16")
    if text == "bf16" and not quick:
        raise argparse.ArgumentTypeError("this processor has no bf16 instructions; leave the flag out")
    return text


def resolve_device(name: str | None) -> torch.device:
    prefer_onednn()
    keep_freed_memory()
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name}: no such device; use cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices; use --device cpu")
    return device


def add_inference_arguments(parser: argparse.ArgumentParser) -> None:
    """What both inference scripts take besides their checkpoints."""
    texts = parser.add_mutually_exclusive_group(required=True)
    texts.add_argument("--text", help="the text to sign")
    texts.add_argument("--text_file", type=Path, help="a text a line; writes a file each, numbered from the first line")
    parser.add_argument("--output_path", type=Path, default=Path("output_pose.npy"),
                        help="[T,214] float32, denormalised; several clips get _0001, _0002 … before .npy")  # fmt: skip
    parser.add_argument("--target_length", type=positive_int, help="frames (default: the length predictor decides)")
    parser.add_argument(
        "--num_samples", type=positive_int, default=1, help="clips of each text (Direction 1: all alike)"
    )
    parser.add_argument("--seed", type=natural_int, default=0, help="clip k of a text starts from seed + k")
    parser.add_argument("--batch_size", type=positive_int, default=32)
    parser.add_argument("--data_dir", type=Path,
                        help="if given, its statistics must be those that the checkpoint was trained with")  # fmt: skip
    add_speed_arguments(parser)
    add_device_argument(parser)


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """How Direction 2 samples; what is left out is what the checkpoint says."""
    parser.add_argument("--num_steps", type=positive_int, help="ODE steps (default: the checkpoint's)")
    parser.add_argument(
        "--guidance_scale", type=natural_float, help="of the text; 1 is none (default: the checkpoint's)"
    )
    parser.add_argument(
        "--solver",
        choices=SOLVER_NAMES,
        help=f"default {DEFAULT_SOLVER}, and a student's own steps; midpoint and heun take two forwards a step",
    )
    for flag, what in (("--use_ssm_prior", "the prior"), ("--use_sync_guidance", "sync guidance")):
        parser.add_argument(
            flag, action=argparse.BooleanOptionalAction,
            help=f"{what} (default: as trained; the prior is part of the field and can't be switched)",
        )  # fmt: skip


def sampling_settings(args: argparse.Namespace) -> SamplingSettings:
    """The settings that the flags of `add_sampling_arguments` ask for."""
    return SamplingSettings(
        args.num_steps, args.guidance_scale, args.solver, args.use_ssm_prior, args.use_sync_guidance
    )
