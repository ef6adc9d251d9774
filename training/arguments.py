"""Flags that several stages share: length and variety of clips, text encoder, kind of prior, joined clips."""

import argparse

from models.mamba_prior import PRIORS, resolve_prior_type
from models.text_encoder import DEFAULT_TEXT_ENCODER, SCRATCH, VOCAB_SIZE, ScratchTextConfig
from runtime.arguments import fraction, natural_float_up_to, natural_int, positive_int, refuse_without
from runtime.config import AUTO
from runtime.console import say
from runtime.rank import is_first

SCRATCH_FLAGS = ("--scratch_dim", "--scratch_layers", "--vocab_size")
MAX_AUGMENTATION = 5.0
AUTO_PRIOR = "mamba where there are a CUDA GPU, mamba-ssm and causal-conv1d, else simple"


def add_sequence_arguments(parser: argparse.ArgumentParser, long_clips: str, augmentation: float | None = None) -> None:
    """How long clips are shortened; with `augmentation` (the default of its flag) also how train clips vary."""
    group = parser.add_argument_group("clips")
    group.add_argument("--max_seq_len", type=positive_int, default=120, help="maximum frames per clip (default 120)")
    group.add_argument(
        "--long_clips",
        choices=("crop", "resample"),
        default=long_clips,
        help=f"longer clips are cropped to a random window, or resampled to that length (default {long_clips})",
    )
    if augmentation is not None:
        group.add_argument(
            "--augmentation",
            type=natural_float_up_to(MAX_AUGMENTATION),
            default=augmentation,
            help="how strongly train clips vary in speed, size, angle and place: 0 not at all, 1 visibly; at most "
            f"{MAX_AUGMENTATION:g} (default {augmentation:g})",
        )


def add_text_encoder_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("text encoder")
    group.add_argument(
        "--text_encoder",
        default=DEFAULT_TEXT_ENCODER,
        help=f"a Hugging Face encoder's name or folder, or '{SCRATCH}': one with its own subwords, which is trained "
        f"with the stage and kept in the checkpoint (default {DEFAULT_TEXT_ENCODER})",
    )
    group.add_argument(
        "--scratch_dim",
        type=positive_int,
        default=ScratchTextConfig.dim,
        help=f"width of an encoder from scratch (default {ScratchTextConfig.dim})",
    )
    group.add_argument(
        "--scratch_layers",
        type=natural_int,
        default=ScratchTextConfig.num_layers,
        help=f"layers of an encoder from scratch (default {ScratchTextConfig.num_layers})",
    )
    group.add_argument(
        "--vocab_size",
        type=positive_int,
        default=VOCAB_SIZE,
        help=f"maximum subwords of an encoder from scratch (default {VOCAB_SIZE})",
    )


def add_prior_type_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ssm_prior_type", choices=(AUTO, *PRIORS), default=AUTO, help=f"auto: {AUTO_PRIOR} (default auto)"
    )


def choose_prior_type(requested: str) -> str:
    """The prior of --ssm_prior_type, mamba or simple; prints what auto has chosen."""
    chosen = resolve_prior_type(requested)
    if requested == AUTO and is_first():
        say(f"prior: {chosen} (--ssm_prior_type auto: {AUTO_PRIOR})")
    return chosen


def add_joined_clips_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--joined_clips",
        type=fraction,
        default=0.0,
        help="share of train clips to which a second clip and its text are joined, anew in each epoch; both of one "
        "signer, if the data set names signers, and of up to --max_seq_len frames together (default 0)",
    )


def parse_with_text_encoder(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The flags of a stage that has a text encoder; those of one from scratch are refused without it."""
    args = parser.parse_args()
    is_scratch = args.text_encoder == SCRATCH
    refuse_without(f"--text_encoder {SCRATCH}", is_scratch, SCRATCH_FLAGS, parser, args)
    return args
