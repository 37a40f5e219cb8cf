"""That this process is to end soon: its runs save where they are, say so, and wait for the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LOOK_S = 0.1


class Notice:
    """Given by any thread; runs in the process's others meet it between two steps."""

    def __init__(self) -> None:
        self._given = threading.Event()
        self._until = 0.0
        self._saved: Callable[[str], None] = lambda run_id: None

    @property
    def given(self) -> bool:
        return self._given.is_set()

    def give(self, wait_s: float, saved: Callable[[str], None]) -> None:
        """The end is thought to come within `wait_s`; `saved` hears of each run, by its id, whose state is kept."""
        self._until, self._saved = time.monotonic() + wait_s, saved
        self._given.set()

    def take_back(self) -> None:
        self._given.clear()

    def heed(self, run_id: str) -> None:
        """That run's state is kept; returns where the end does not come, and training goes on."""
        self._saved(run_id)
        while self.given and time.monotonic() < self._until:
            time.sleep(LOOK_S)
        self.take_back()
