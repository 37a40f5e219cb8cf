"""The status of a law, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# Does y fall at all? If not, the status is the trend's own word. If so: is the form known?
Status = Literal[
    "ok", "weakly identified", "not identified", "misfits", "too few points", "flat", "rises", "mixed", "undetermined"
]
DIRECTIONS: tuple[Status, ...] = ("flat", "rises", "mixed", "undetermined")  # of what does not fall
USABLE: tuple[Status, ...] = ("ok", "weakly identified")


@dataclass(frozen=True)
class Verdict:
    """status, its reason in words, and the parameters that are weak."""

    status: Status
    reason: str
    weak: tuple[str, ...]


def no_numbers(status: Status, reason: str) -> str:
    """Why a law gives no numbers, or is weak, as part of a sentence."""
    if status in DIRECTIONS:
        return reason  # the trend's own sentence
    verb = {"misfits": "the form misfits", "not identified": "the form is not identified"}.get(status, status)
    return f"{verb}: {reason}"


def open_along(weak: Sequence[str]) -> str:
    """Why parameters are weakly identified."""
    return f"the loss stays flat along {', '.join(weak)}"
