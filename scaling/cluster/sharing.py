"""How many runs share a GPU where the study does not say: found by trial, without Ray or torch."""

from __future__ import annotations

from scaling.specs.resources import MOST_SHARING

WARM_S, WINDOW_S = 5.0, 10.0  # after which the device's rate is measured, and for how long
GAIN = 1.1  # twice as many runs are kept where they do so much more work a second (assumption: below, it is noise)
SMALLER = 0.5  # runs whose images cost less than this share of what they did are a new question


class Widening:
    """Doubles the runs at once as long as together they do GAIN times the work a second of half as many.

    With 1, 2, 4, … runs at once, a rate is the work of WINDOW_S seconds in which so many trained throughout, WARM_S
    after the last came. Where a doubling gains too little, the half of it stays, until runs come that are much smaller.
    """

    def __init__(self, most: int = MOST_SHARING) -> None:
        self.width = 1
        self._most = most
        self._rates: list[float] = []
        self._settled_at: float | None = None  # the cost of an image then
        self._steady_since: float | None = None
        self._window: tuple[float, float] | None = None  # its beginning, and the work done until then

    @property
    def settled(self) -> bool:
        return self._settled_at is not None

    def observe(self, n_active: int, work: float, image_cost: float, now: float) -> None:
        """Look at the device; call it about once a second.

        Args:
            n_active: runs that train. work: done on it so far by all that ever trained, such as images x the cost of
                one. image_cost: the mean cost of an image of those that train.
        """
        if self._settled_at is not None and 0 < image_cost < SMALLER * self._settled_at:
            self._settled_at, self._rates = None, []
        if self.settled or n_active != self.width:
            self._steady_since = self._window = None
        elif self._steady_since is None:
            self._steady_since = now
        elif self._window is None:
            self._window = (now, work) if now - self._steady_since >= WARM_S else None
        elif now - self._window[0] >= WINDOW_S:
            self._judge((work - self._window[1]) / (now - self._window[0]), image_cost)

    def _judge(self, rate: float, image_cost: float) -> None:
        self._steady_since = self._window = None
        if self._rates and rate < GAIN * self._rates[-1]:
            self.width, self._settled_at = max(1, self.width // 2), image_cost
        elif self.width >= self._most:
            self._settled_at = image_cost
        else:
            self._rates.append(rate)
            self.width = min(self._most, 2 * self.width)
