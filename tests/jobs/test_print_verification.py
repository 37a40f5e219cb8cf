"""What `scaling verify` says of time."""

from __future__ import annotations

import pytest

from jobs.print_verification import duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (119, "119 s"), (120, "2 minutes"), (7200, "2 hours"), (3e5, "3 days"), (3e10, "951 years")],
)
def test_a_time_in_the_unit_that_people_would_say(seconds: float, said: str) -> None:
    assert duration(seconds) == said
