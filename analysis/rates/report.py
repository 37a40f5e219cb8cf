"""What probes found, as a record that is kept (JSON) and told (text): cells, the law of rates, predictions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from analysis.rates.law import RateLaw, RatePoint, fit_rate_law
from analysis.rates.parabola import Parabola, fit_parabolas

LR = "lr"
LEAST_INSIDE = 3  # cells whose best rate is known, for a law of rates
TrialStatus = Literal["finished", "cut", "diverged", "out_of_memory"]


class Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProbeTrial(Plain):
    """One trial of a cell. fields: what it was trained at; loss: on validation images after its last epoch."""

    run_id: str
    fields: dict[str, float]
    status: TrialStatus
    epochs_done: int
    loss: float | None = None
    flops: float = 0.0


class SearchedCell(Plain):
    """A cell that was searched: N, D of its trials, and these; group: whose law it is of; label: its name."""

    key: str
    group: str
    label: str
    n_params: int
    samples_seen: int
    trials: tuple[ProbeTrial, ...]

    def logs(self) -> tuple[np.ndarray, np.ndarray]:
        """ln lr and ln loss of the trials, as `fit_parabolas` takes them."""
        losses = [_log_loss(trial) for trial in self.trials]
        return np.log([trial.fields[LR] for trial in self.trials]), np.array(losses)

    @property
    def best(self) -> ProbeTrial | None:
        """The finished trial of least loss."""
        done = [trial for trial in self.trials if np.isfinite(_log_loss(trial))]
        return min(done, key=lambda trial: trial.loss or math.inf, default=None)


class FoundCell(Plain):
    """What a searched cell's trials say. rate: the best lr; error: of ln lr; usable: it lies inside the rates tried.

    loss: at the best rate; cost: the share of it that mistuning by a factor of 2 costs; intervals are of 95 %.
    """

    key: str
    rate: float
    error: float | None
    interval: tuple[float, float] | None
    usable: bool
    place: str
    loss: float
    curvature: float | None = None
    cost: float | None = None
    cost_interval: tuple[float, float] | None = None


class GridCell(Plain):
    """A cell of the grid, and the fields that it is trained at. interval: of its best lr, by the law.

    note: why it is not what was found or predicted, such as an lr beyond the range.
    """

    key: str
    group: str
    label: str
    n_params: int
    samples_seen: int
    fields: dict[str, float] = {}
    interval: tuple[float, float] | None = None
    note: str = ""


class Exponent(Plain):
    value: float
    interval: tuple[float, float]

    def text(self) -> str:
        return "{:.2f} [{:.2f}, {:.2f}]".format(self.value, *self.interval)


class Exponents(Plain):
    """Exponents of the validation loss with each cell at its best rate (tuned) and all at one rate (one), by name.

    change: one - tuned of averages over the measured range, by the cells' ratios; averages: tuned and one are such too,
    as a law's form is not known; left_out: cells whose loss at the one rate is not known, in neither; reason: why there
    are none.
    """

    n_cells: int
    left_out: tuple[str, ...] = ()
    averages: bool = False
    tuned: dict[str, Exponent] = {}
    one: dict[str, Exponent] = {}
    change: dict[str, Exponent] = {}
    reason: str = ""


class Sensitivity(Plain):
    """What rates matter in a group. rate: one for all, that of the smallest size; cost: the median share of the loss
    that mistuning by a factor of 2 costs, over n_cells; exponents: of cells that were all searched; worst, worst_cost:
    else the cell of the grid that would lose most at the one rate, by the median curvature, and what share.
    """

    group: str
    rate: float | None = None
    cost: float | None = None
    n_cells: int = 0
    exponents: Exponents | None = None
    worst: str = ""
    worst_cost: float | None = None


class RateReport(Plain):
    """How a study's rates were found.

    how: probe or each; limits: of lr, by group; share: of the grid's FLOP that probes took; planned_share: that they
    were planned to take at most; laws: by group, for how = probe.
    """

    version: Literal[1] = 1
    how: Literal["probe", "each"]
    limits: dict[str, tuple[float, float]]
    share: float
    planned_share: float
    searched: tuple[SearchedCell, ...]
    found: tuple[FoundCell, ...]
    laws: dict[str, RateLaw]
    grid: tuple[GridCell, ...]
    sensitivity: tuple[Sensitivity, ...] = ()

    @property
    def at_end(self) -> tuple[tuple[SearchedCell, FoundCell], ...]:
        """Cells whose best trial lies at an end of the rates tried."""
        pairs = zip(self.searched, self.found, strict=True)
        return tuple((cell, found) for cell, found in pairs if not found.usable)


def find_cells(searched: Sequence[SearchedCell]) -> list[FoundCell]:
    """The best rate of each cell; noise is pooled within a group.

    Raises:
        ValueError: a cell has no finished trial.
    """
    found: dict[str, FoundCell] = {}
    for group in dict.fromkeys(cell.group for cell in searched):
        own = [cell for cell in searched if cell.group == group]
        lost = [cell.label for cell in own if cell.best is None]
        if lost:
            raise ValueError(f"no trial of {lost[0]} has a loss: none was trained to its end; lower the range of lr")
        for cell, parabola in zip(own, fit_parabolas([cell.logs() for cell in own]), strict=True):
            found[cell.key] = _found(cell.key, parabola)
    return [found[cell.key] for cell in searched]


def fit_laws(searched: Sequence[SearchedCell], found: Sequence[FoundCell]) -> dict[str, RateLaw]:
    """The law of rates of every group; cells at an end of the range are left out.

    Raises:
        ValueError: a group in which more than a half of the cells, or all but two, have their best at an end.
    """
    laws = {}
    for group in dict.fromkeys(cell.group for cell in searched):
        cells = [(c, f) for c, f in zip(searched, found, strict=True) if c.group == group]
        own = [(c, f) for c, f in cells if f.usable]
        if len(own) < max(len(cells) / 2, min(LEAST_INSIDE, len(cells))):
            ends = Counter(f.place for _, f in cells if not f.usable)
            said = " and ".join(f"at the {place} in {n}" for place, n in ends.items())
            raise ValueError(
                f"{group}: of {len(cells)} cells the best lr lies {said} of the range that was tried; widen it there"
            )
        try:
            laws[group] = fit_rate_law([_point(cell, one) for cell, one in own])
        except ValueError as error:
            raise ValueError(f"{group}: {error}") from error
    return laws


def _found(key: str, parabola: Parabola) -> FoundCell:
    return FoundCell(
        key=key, rate=math.exp(parabola.log_rate), error=parabola.error, interval=parabola.rate_interval(),
        usable=parabola.usable, place=parabola.place, loss=math.exp(parabola.log_loss), curvature=parabola.c,
        cost=parabola.cost(), cost_interval=parabola.cost_interval(),
    )  # fmt: skip


def _point(cell: SearchedCell, found: FoundCell) -> RatePoint:
    return RatePoint(math.log(cell.n_params), math.log(cell.samples_seen), math.log(found.rate), found.error)


def _log_loss(trial: ProbeTrial) -> float:
    """inf where it diverged, nan where it was cut: only a finished trial has a loss to compare."""
    if trial.status == "finished" and trial.loss is not None and math.isfinite(trial.loss) and trial.loss > 0:
        return math.log(trial.loss)
    return math.nan if trial.status == "cut" else math.inf
