"""Which family a budget is verified in, and its split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.recipe.allocation import Allocation

if TYPE_CHECKING:
    from analysis.answers.answering import Answer


def recommend(
    answer: Answer, flops: float, region: str | None = None, family: str | None = None
) -> tuple[str, Allocation]:
    """The family named, or the one whose predicted score is highest, and its split of the budget.

    Raises:
        ValueError: an unknown region or family, a budget that is none; no law, of those asked, that splits it: names
            each one's status and trend, and the families that could be named instead.
    """
    every = answer.allocate_each(flops, region)
    asked = every if family is None else answer.allocate_each(flops, region, family)
    known = {name: found for name, found in asked.items() if found.n_params and found.samples_seen}
    wanted = region or answer.target
    if known:
        return max(known.items(), key=lambda item: _score(item[1], wanted))
    others = [name for name, found in every.items() if found.n_params and name not in asked]
    remedy = f"name family {' or '.join(others)}" if others else "add sizes, data sizes or seeds to the study"
    reasons = "; ".join(f"{name}: {_why(found)}" for name, found in asked.items())
    raise ValueError(f"no law splits {flops:.3g} FLOP for {wanted}, so nothing can be verified: {reasons}; {remedy}")


def _score(found: Allocation, region: str) -> float:
    score = found.scores.get(region)
    return score.value if score else float("-inf")


def _why(found: Allocation) -> str:
    trend = f" ({found.trend})" if found.trend and found.trend not in found.reason else ""
    return f"{found.reason}{trend}"
