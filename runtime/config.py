"""Settings as dataclass fields that say what they mean, for whoever reads the code or asks for help."""

import dataclasses
from typing import TypeVar

T = TypeVar("T")


def described(default: T, meaning: str, **more: object) -> T:
    """A dataclass field with its default and its meaning; `more` may hold `choices`, or `parse` for its flag.

    What is described can be set by the user; a field without a description follows from other things.
    """
    return dataclasses.field(default=default, metadata={"meaning": meaning, **more})
