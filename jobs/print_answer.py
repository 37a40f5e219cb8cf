"""What a study answers, for a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from analysis import Allocation, Answer


def print_answer(made: Answer, console: Console) -> None:
    """The table of laws, then the recipe at ten times the largest run's compute."""
    console.print(made.text(), highlight=False, markup=False, soft_wrap=True)
    print_recipe(made.allocate_each(made.budget), made.budget, made.target, console)


def print_recipe(allocations: Mapping[str, Allocation], flops: float, region: str, console: Console) -> None:
    """One block a family: the split of the budget, the predicted scores, how far it extrapolates."""
    console.print(f"Recipe for {flops:.3g} FLOP, best for {region}", highlight=False)
    for family, allocation in allocations.items():
        console.print(f"\n[bold]{family}[/bold]")
        console.print(allocation.text(), highlight=False, markup=False)


def recipe_json(allocations: Mapping[str, Allocation], region: str) -> dict[str, Any]:
    return {"region": region, "families": {name: a.to_dict() for name, a in allocations.items()}}
