"""How flags are read: numbers within bounds, and a flag for each described field of a dataclass. Without torch."""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from runtime.errors import UserError
from runtime.flags import ScriptParser

T = TypeVar("T")
Number = TypeVar("Number", int, float)
MAX_WHOLE, MAX_REAL = 1_000_000, 1e9  # of flags that have no bound of their own
MAX_FRAMES = 5000  # of a clip to sign: 200 s at 25 per second


def number_parser(
    kind: type[Number], requirement: str, fits: Callable[[Number], bool], most: Number
) -> Callable[[str], Number]:
    """A parser of the numbers up to `most` that fit the requirement."""

    def parse(text: str) -> Number:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not fits(value):
            raise argparse.ArgumentTypeError(f"{text} is not {requirement}")
        if value > most:
            raise argparse.ArgumentTypeError(f"{text} is too large; at most {most}")
        return value

    return parse


def positive_int_up_to(most: int) -> Callable[[str], int]:
    return number_parser(int, "a positive whole number", lambda value: value >= 1, most)


def natural_float_up_to(most: float) -> Callable[[str], float]:
    return number_parser(float, "a number of at least 0", lambda value: value >= 0, most)


positive_int, natural_float = positive_int_up_to(MAX_WHOLE), natural_float_up_to(MAX_REAL)
frames = positive_int_up_to(MAX_FRAMES)
natural_int = number_parser(int, "a whole number of at least 0", lambda value: value >= 0, 2**32 - 1)
image_side = number_parser(int, "a positive whole number of pixels", lambda value: value >= 1, 65535)
positive_float = number_parser(float, "a positive number", lambda value: value > 0, MAX_REAL)
fraction = number_parser(float, "in [0, 1)", lambda value: 0 <= value < 1, 1.0)


def folder_name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("the name is empty; for this folder write .")
    return text


def make_parser(description: str | None) -> ScriptParser:
    """A parser that shows a script's docstring, its commands included, as it stands."""
    return ScriptParser(description)


def add_dataclass_arguments(parser: argparse.ArgumentParser, title: str, kind: type, **defaults: object) -> None:
    """One flag for each described field of a dataclass; `defaults` replace those of the fields."""
    group = parser.add_argument_group(title)
    for field in _described_fields(kind):
        _add_flag(group, field, defaults.get(field.name, field.default))


def add_repeated_arguments(parser: argparse.ArgumentParser, source: str, kind: type, names: tuple[str, ...]) -> None:
    """Flags that repeat the configuration of `source`, a checkpoint; None unless given."""
    group = parser.add_argument_group(
        f"checked against {source}", "default: the checkpoint's value; another one is an error"
    )
    for field in _described_fields(kind):
        if field.name in names:
            _add_flag(group, field, None)


def build_dataclass(kind: type[T], args: argparse.Namespace, **given: object) -> T:
    """A dataclass from the flags of its described fields; the other fields are given."""
    values = {field.name: getattr(args, field.name) for field in _described_fields(kind)}
    try:
        return kind(**(values | given))
    except ValueError as error:
        raise UserError(f"{error}; change the flag") from None


def refuse_without(
    needed: str, is_set: bool, flags: tuple[str, ...], parser: argparse.ArgumentParser, args: argparse.Namespace
) -> None:
    """Raises UserError if one of `flags` was typed without the flag that it needs."""
    if is_set:
        return
    unset = object()  # parsed once more, without defaults: what differs from it was typed
    typed = vars(parser.parse_args(namespace=argparse.Namespace(**dict.fromkeys(vars(args), unset))))
    for flag in flags:
        if typed[flag.removeprefix("--")] is not unset:
            raise UserError(f"{flag} needs {needed}; add it, or leave {flag} out")


def add_cache_argument(parser: argparse.ArgumentParser) -> None:
    """For a script that reads a data set's statistics and packs nothing."""
    parser.add_argument("--cache_dir", type=Path, help="the --cache_dir of data_preparation.py, if it had one")


def add_data_arguments(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    group = parser.add_argument_group("data")
    folder = "the data set's folder" + (f" (default {default})" if default else "")
    group.add_argument("--data_dir", type=Path, default=default, required=default is None, help=folder)
    group.add_argument("--cache_dir", type=Path, help="where packed data is kept (default DATA_DIR/cache)")
    group.add_argument("--skip_bad", action="store_true", help="leave damaged clips out instead of stopping")


def _described_fields(kind: type) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(kind) if "meaning" in field.metadata]


def _add_flag(group: argparse._ArgumentGroup, field: dataclasses.Field, default: object) -> None:
    """The flag of a field, read by its choices, its own parser, or the parser of its type."""
    flag, meaning = f"--{field.name}", field.metadata["meaning"]
    if field.type is bool:
        action = argparse.BooleanOptionalAction if default else "store_true"
        shown = f"{meaning} (default: on)" if default else meaning
        group.add_argument(flag, action=action, default=bool(default), help=shown)
        return
    by_type = {int: positive_int, float: fraction if "dropout" in field.name else natural_float}
    if most := field.metadata.get("most"):
        meaning += f"; at most {most:g}"
        by_type = {int: positive_int_up_to(most), float: natural_float_up_to(most)}
    parse = field.metadata.get("parse", by_type.get(field.type, str))
    required = default is dataclasses.MISSING
    shown = meaning if required or default is None else f"{meaning} (default {default})"
    choices = field.metadata.get("choices")
    group.add_argument(flag, type=parse, choices=choices, default=default, required=required, help=shown)
