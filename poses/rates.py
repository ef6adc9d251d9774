"""Frames per second: what a clip may have, which rates are the same, and the parser of the flags that state one."""

from collections.abc import Callable, Mapping

from runtime.arguments import number_parser
from runtime.errors import UserError

SLOWEST, FASTEST = 1.0, 1000.0  # frames per second; less or more is a period, or a time unit


def rate_parser(slowest: float) -> Callable[[str], float]:
    """A parser of frames per second, from `slowest` to FASTEST."""
    requirement = f"between {slowest:g} and {FASTEST:g} frames per second"
    return number_parser(float, requirement, lambda value: slowest <= value <= FASTEST, FASTEST)


frames_per_second = rate_parser(SLOWEST)


def is_rate(value: object) -> bool:
    """Whether a value of a file is a number of frames per second that a clip may have."""
    return isinstance(value, int | float) and SLOWEST <= value <= FASTEST


def same_rate(a: float, b: float) -> bool:
    """Whether two rates are the same apart from rounding (29.97 and 30)."""
    return abs(a - b) <= 0.01 * max(a, b)


def shared_rate(rates: Mapping[object, float], owners: str, advice: str) -> float | None:
    """The first of the rates, given by name; None if there are none. UserError with the `advice` if they differ."""
    first = next(iter(rates.values()), None)
    if not all(same_rate(rate, first) for rate in rates.values()):
        named = ", ".join(f"{name} {rate:g}" for name, rate in rates.items())
        raise UserError(f"the {owners} are of several rates, {named} frames per second; {advice} with --fps")
    return first
