"""Settings as dataclass fields with a description, for readers of the code and for --help."""

import dataclasses
from typing import TypeVar

T = TypeVar("T")
AUTO = "auto"  # the value of a flag that leaves the choice to the script


def described(default: T, meaning: str, **more: object) -> T:
    """A dataclass field with its default and its meaning; `more` may hold `choices`, or for its flag `parse`, or the
    largest number, `most`.

    The user can set described fields; fields without a description are derived.
    """
    return dataclasses.field(default=default, metadata={"meaning": meaning, **more})
