"""From the records of probes to the rates of a grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from analysis.rates.law import RateLaw
from analysis.rates.report import FoundCell, GridCell, ProbeTrial, RateReport, SearchedCell, find_cells, fit_laws
from analysis.rates.sensitivity import measure_sensitivity
from scaling.errors import StudyError
from scaling.probes.cells import Cell, grid_flops
from scaling.probes.plan import ProbePlan
from scaling.rates import StudyRates, search_of
from scaling.records import RunRecord
from scaling.specs.run import RunSpec
from scaling.specs.tune import LR, TuneSpec, rounded


def find_rates(plan: ProbePlan, tune: TuneSpec, records: Mapping[str, RunRecord]) -> StudyRates:
    """The rates of every cell of a grid, once all probes have ended.

    Raises:
        StudyError: the probes do not tell them, such as a family whose best rates all lie at an end of the range.
    """
    searched = [_searched(cell, plan.runs[cell.key], tune, records) for cell in plan.searched]
    try:
        found = find_cells(searched)
        laws = fit_laws(searched, found) if tune.how == "probe" else {}
    except ValueError as error:
        raise StudyError(f"the probes tell no rates: {error} (tune.fields.lr)") from error
    others = _others(searched, tune)
    if tune.how == "probe":
        grid = [_predicted(cell, laws[cell.group], others[cell.group], tune) for cell in plan.grid]
    else:
        best = {cell.key: (cell, one) for cell, one in zip(searched, found, strict=True)}
        grid = [_best(cell, *best[cell.key], tune) for cell in plan.grid]
    spent = sum(trial.flops for cell in searched for trial in cell.trials)
    report = RateReport(
        how="probe" if tune.how == "probe" else "each", limits=_limits(plan.searched, tune),
        share=spent / grid_flops(plan.grid), planned_share=plan.share, searched=tuple(searched), found=tuple(found),
        laws=laws, grid=tuple(grid),
    )  # fmt: skip
    report = report.model_copy(update={"sensitivity": measure_sensitivity(report)})
    cells = {cell.key: cell.fields for cell in grid}
    return StudyRates(tune=search_of(tune), cells=cells, report=report.model_dump(mode="json"))


def _limits(cells: Sequence[Cell], tune: TuneSpec) -> dict[str, tuple[float, float]]:
    return {cell.group: tune.of(cell.run.model.family).fields[LR].limits for cell in cells}


def _searched(
    cell: Cell, runs: Sequence[RunSpec], tune: TuneSpec, records: Mapping[str, RunRecord]
) -> SearchedCell:  # fmt: skip
    trials = tuple(_trial(run, tune, records[run.run_id]) for run in runs)
    seen = max((records[run.run_id].n_samples or 0 for run in runs), default=0) * cell.run.training.epochs
    return SearchedCell(
        key=cell.key, group=cell.group, label=cell.label(), n_params=cell.n_params,
        samples_seen=seen or cell.samples_seen, trials=trials,
    )  # fmt: skip


def _trial(run: RunSpec, tune: TuneSpec, record: RunRecord) -> ProbeTrial:
    if record.status == "failed":
        raise StudyError(f"probe {run.run_id} ({run.label()}) failed: {record.reason}; run again")
    loss = record.validation_loss
    return ProbeTrial(
        run_id=run.run_id, fields={name: getattr(run.training, name) for name in tune.fields}, status=record.status,
        epochs_done=record.epochs_done, loss=loss if loss is not None and math.isfinite(loss) else None,
        flops=record.flops or 0.0,
    )  # fmt: skip


def _others(searched: Sequence[SearchedCell], tune: TuneSpec) -> dict[str, dict[str, float]]:
    """group -> the fields beside lr: the median over its cells of the best trial's."""
    names, found = [name for name in tune.fields if name != LR], dict[str, dict[str, float]]()
    for group in dict.fromkeys(cell.group for cell in searched):
        best = [cell.best.fields for cell in searched if cell.group == group and cell.best is not None]
        found[group] = {name: rounded(median(fields[name] for fields in best)) for name in names}
    return found


def _predicted(cell: Cell, law: RateLaw, others: Mapping[str, float], tune: TuneSpec) -> GridCell:
    rate, interval = law.predict(cell.n_params, cell.samples_seen)
    low, high = tune.of(cell.run.model.family).fields[LR].limits
    used = rounded(min(max(rate, low), high))
    beyond = f"the law says {rate:.3g}, beyond the range that was tried" if not low <= rate <= high else ""
    return _grid_cell(cell, {LR: used, **others}, interval, beyond)


def _best(cell: Cell, searched: SearchedCell, found: FoundCell, tune: TuneSpec) -> GridCell:
    others = {name: value for name, value in (searched.best.fields if searched.best else {}).items() if name != LR}
    end = "" if found.usable else f"the best lies at the {found.place} of the range that was tried"
    return _grid_cell(cell, {LR: rounded(found.rate), **others}, found.interval, end)


def _grid_cell(
    cell: Cell, fields: dict[str, float], interval: tuple[float, float] | None, note: str
) -> GridCell:  # fmt: skip
    return GridCell(
        key=cell.key, group=cell.group, label=cell.label(), n_params=cell.n_params, samples_seen=cell.samples_seen,
        fields=fields, interval=interval, note=note,
    )  # fmt: skip
