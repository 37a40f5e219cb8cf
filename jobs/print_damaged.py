"""Files of a study that are damaged."""

from __future__ import annotations

from rich.console import Console

from scaling.ledger import Study


def say_damaged(study: Study, console: Console) -> None:
    """Name the files that count as absent, once."""
    for name, reason in study.store.damaged.items():
        console.print(f"damaged, counts as absent: {name} ({reason})", highlight=False, soft_wrap=True)
