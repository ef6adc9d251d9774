"""A clip and what was seen of it, as every metric takes it."""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray
ClipAndWeight = tuple[Array, Array | None]  # None: everything was seen


@dataclass(frozen=True)
class Reference:
    """A real clip: pose [T,214] denormalised, gaps filled; weight [T,214] in {0,1}, 0 = not seen."""

    id: str
    text: str
    pose: Array
    weight: Array
