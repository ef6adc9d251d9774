"""How flags are read: numbers within bounds, and a flag for each field of a configuration. Without torch."""

import argparse
import dataclasses
from pathlib import Path
from typing import TypeVar

from runtime.errors import UserError

T = TypeVar("T")


def positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive whole number")
    return value


def natural_int(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def positive_float(text: str) -> float:
    value = float(text)
    if not value > 0 or value == float("inf"):
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


def natural_float(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{value} is not a number of at least 0")
    return value


def fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not in [0, 1)")
    return value


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that shows a script's docstring, its commands included, as it stands."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_dataclass_arguments(
    parser: argparse.ArgumentParser, title: str, kind: type, skip: tuple[str, ...] = ()
) -> None:
    """One flag for each field of a config dataclass, with its default."""
    group = parser.add_argument_group(title)
    for field in dataclasses.fields(kind):
        if field.name not in skip:
            parse = positive_int if field.type is int else fraction if "dropout" in field.name else natural_float
            group.add_argument(f"--{field.name}", type=parse, default=field.default, help=f"default {field.default}")


def build_dataclass(kind: type[T], args: argparse.Namespace, **given: object) -> T:
    """A config dataclass from the flags of its fields; `given` fields come from elsewhere."""
    values = {field.name: getattr(args, field.name) for field in dataclasses.fields(kind) if field.name not in given}
    try:
        return kind(**values, **given)
    except ValueError as error:
        raise UserError(f"{error}; change the flag") from None


def add_data_arguments(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    group = parser.add_argument_group("data")
    group.add_argument("--data_dir", type=Path, default=default, required=default is None, help="the data set's folder")
    group.add_argument("--cache_dir", type=Path, help="where packed data is kept (default: DATA_DIR/cache)")
    group.add_argument("--skip_bad", action="store_true", help="go on without damaged clips instead of stopping")


def add_sequence_arguments(parser: argparse.ArgumentParser, long_clips: str) -> None:
    parser.add_argument("--max_seq_len", type=positive_int, default=120, help="frames a clip at most (default 120)")
    parser.add_argument(
        "--long_clips", choices=("crop", "resample"), default=long_clips,
        help=f"what becomes of longer clips: a random window, or squeezed in time (default {long_clips})",
    )  # fmt: skip
