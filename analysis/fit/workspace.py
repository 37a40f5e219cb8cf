"""Memory that is used again: large temporaries cost more to get from the system than to compute with."""

from __future__ import annotations

from math import prod

import numpy as np

from analysis.columns import Array


class Workspace:
    """Arrays by name, whose memory is that of the array asked for before by this name. For one thread.

    What an array held is lost once its name is asked for again.
    """

    def __init__(self) -> None:
        self._held: dict[str, Array] = {}

    def __call__(self, name: str, *shape: int) -> Array:
        """An uninitialized array of this shape."""
        size = prod(shape)
        held = self._held.get(name)
        if held is None or held.size < size:
            held = self._held[name] = np.empty(size)
        return held[:size].reshape(shape)
