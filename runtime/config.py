"""Settings as dataclass fields with a description, for readers of the code and for --help."""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
AUTO = "auto"  # the value of a flag that leaves the choice to the script


def described(default: T, meaning: str, **more: object) -> T:
    """A dataclass field with its default and its meaning; `more` may hold, for its flag, `choices`, a parser `parse`,
    or the largest number `most`.

    The user can set described fields; fields without a description are derived.
    """
    return dataclasses.field(default=default, metadata={"meaning": meaning, **more})


def require_known(config: object, **known: Sequence[str]) -> None:
    """Raises ValueError if a field of a configuration has none of its known values, which `known` gives by its name."""
    for name, values in known.items():
        if getattr(config, name) not in values:
            raise ValueError(f"{name} '{getattr(config, name)}' must be one of {', '.join(values)}")
