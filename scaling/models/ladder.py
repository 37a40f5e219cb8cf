"""Every family's ladder from about 1e4 to 1e9 parameters, counted on the meta device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from scaling.models.cost import model_cost
from scaling.models.sizes import resolve_model
from scaling.specs.model import FamilySpec, ModelSpec


class Rung(NamedTuple):
    """One size as a study file writes it: a width or a name, and the depth that goes with a width."""

    size: int | str
    depth: int | None = None
    heads: int | None = None

    def __str__(self) -> str:
        parts = [("depth", self.depth), ("heads", self.heads)]
        return ", ".join([str(self.size), *(f"{name} {value}" for name, value in parts if value is not None)])


def _rungs(*sizes: int | str, depth: int | None = None, heads: int | None = None) -> tuple[Rung, ...]:
    return tuple(Rung(size) if isinstance(size, str) else Rung(size, depth, heads) for size in sizes)


_VIT_SMALL = (*_rungs(12, 24, depth=4, heads=3), *_rungs(24, 48, 96, depth=12, heads=3))
_VIT_LARGEST = _rungs(1600, depth=32, heads=16)
# Widths below the first published size, the published sizes by name, and widths beyond the last
LADDERS: dict[str, tuple[Rung, ...]] = {
    "resnet": (*_rungs(2, 4, 8, depth=10), *_rungs(8, 16, 32), *_rungs("18", "34", "50", "101", "152"),
               *_rungs(128, 256, depth=152)),
    "convnext": (*_rungs(3, 8, depth=4), *_rungs(8, 16, depth=12),
                 *_rungs("atto", "femto", "pico", "nano", "tiny", "small", "base", "large", "xlarge"),
                 *_rungs(432, depth=36)),
    "vit": (*_VIT_SMALL, *_rungs("tiny", "small", "base", "large", "huge"), *_VIT_LARGEST),
    "deit3": (*_VIT_SMALL, *_rungs("tiny", "small", "medium", "base", "large", "huge"), *_VIT_LARGEST),
    "efficientnet": (*_rungs(10, 20, depth=7), *_rungs(20, 40, 70), *_rungs("b0", "b1", "b2", "b4", "b7"),
                     *_rungs(400, 800, depth=55)),
    "alexnet": _rungs(1, 2, 4, 8, 16, 32, "standard", 128, 256),
    "cornet_s": _rungs(1, 2, 4, 8, 16, 32, "standard", 128, 272),
}  # fmt: skip


class LadderRow(NamedTuple):
    """One size: N and forward GFLOPs of one image (2 x MACs) at 224 px and 1000 classes, and at 32 px and 10."""

    family: str
    size: str
    spec: ModelSpec
    n_params_224: int
    gflops_224: float
    n_params_32: int
    gflops_32: float


def ladder_models(family: str) -> Iterator[tuple[str, ModelSpec]]:
    """Each size of a family's ladder as text, smallest first, and the model."""
    for rung in LADDERS[family]:
        asked = FamilySpec(family=family, sizes=(rung.size,), depth=rung.depth, heads=rung.heads)
        yield str(rung), resolve_model(asked, rung.size, None, f"ladder of {family}")


def ladder_table(families: Iterable[str] = tuple(LADDERS)) -> list[LadderRow]:
    """N and FLOPs of every size of the families' ladders; nothing is computed, no weights are made."""
    rows = []
    for family in families:
        for size, spec in ladder_models(family):
            stock, small = model_cost(spec, 224, 1000), model_cost(spec, 32, 10)
            rows.append(
                LadderRow(
                    family, size, spec,
                    stock.n_params, stock.flops_per_image / 1e9,
                    small.n_params, small.flops_per_image / 1e9,
                )
            )  # fmt: skip
    return rows
