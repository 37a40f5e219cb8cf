"""The status of a law, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "weakly identified", "not identified", "too few points", "no scaling"]
USABLE: tuple[Status, ...] = ("ok", "weakly identified")


@dataclass(frozen=True)
class Verdict:
    """status, its reason in words, the parameters that are weak, and the numbers behind it."""

    status: Status
    reason: str
    weak: tuple[str, ...]
    numbers: Mapping[str, float]


def flat(weak: Sequence[str]) -> str:
    """Why parameters are weakly identified."""
    return f"the loss stays flat along {', '.join(weak)}"
