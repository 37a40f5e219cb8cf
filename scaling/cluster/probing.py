"""Ray Tune's ASHA for probes: a bracket of its own for every cell, whose trials alone are compared.

Rungs lie at grace, grace . r, grace . r^2, … epochs (r: `tune.reduction`; grace: half of the cell's epochs by default);
a trial goes on past a rung if its validation loss is among the best 1 / r of those that came by before it. Beyond ASHA,
a trial whose lr is within a factor WINDOW of the best one's at that rung is spared: the parabola of the cell's losses
is of such trials, and needs them whole.

What ended before this driver began, and the epochs that a resumed trial tells again, fill the rungs first: with one
slot a study that was killed decides as one that was not. With several, decisions depend on who comes by first, as
ASHA's always do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from analysis.rates.parabola import WINDOW
from scaling.enough import RunSize
from scaling.ledger import Study
from scaling.probes.ending import cut_reason, write_cut
from scaling.rates import cell_key
from scaling.records import EpochRecord
from scaling.specs.run import RunSpec
from scaling.specs.tune import TuneSpec

TIME, LOSS = "epoch", "validation_loss"
OnCut = Callable[[RunSpec, Sequence[EpochRecord], str], None]


class CellAsha(FIFOScheduler):
    """One `AsyncHyperBandScheduler` a cell.

    Args:
        ended: the epochs of trials that have ended, by run_id; runs: all of the study.
        on_cut: hears of a trial that is cut, with its epochs so far and the reason, before Tune ends it.
    """

    def __init__(
        self, tune: TuneSpec, runs: Sequence[RunSpec], ended: Mapping[str, Sequence[EpochRecord]], on_cut: OnCut
    ) -> None:
        super().__init__()
        self._tune, self._on_cut = tune, on_cut
        self._cells: dict[str, AsyncHyperBandScheduler] = {}
        self._runs = {run.run_id: run for run in runs}
        self._rates = {run.run_id: run.training.lr for run in runs}
        self._told: dict[str, dict[int, EpochRecord]] = {}
        for run in runs:
            for record in ended.get(run.run_id, ()):
                self.judge(run, record)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles schedulers for its own restore, which the results store replaces."""
        return {}

    def judge(self, run: RunSpec, record: EpochRecord) -> str:
        """Tune's decision about a trial after an epoch."""
        if record.validation_loss is None:
            return str(TrialScheduler.CONTINUE)
        asha, trial = self._cell(run), SimpleNamespace(trial_id=run.run_id)
        if run.run_id not in self._told:
            self._told[run.run_id] = {}
            asha.on_trial_add(None, trial)
        self._told[run.run_id][record.epoch] = record
        decision = str(asha.on_trial_result(None, trial, {TIME: record.epoch, LOSS: record.validation_loss}))
        spared = decision == TrialScheduler.STOP and self._is_near(run, record.epoch)
        return str(TrialScheduler.CONTINUE) if spared else decision

    def _is_near(self, run: RunSpec, epoch: int) -> bool:
        """Whether a trial's lr is next to that of the best trial at the rung that it has come to."""
        rungs = self._cell(run)._brackets[0]._rungs
        recorded = next(found for milestone, found in rungs if epoch >= milestone)
        best = max(recorded, key=lambda run_id: recorded[run_id])
        return abs(math.log(run.training.lr / self._rates[best])) <= math.log(WINDOW) * (1 + 1e-9)

    def _cell(self, run: RunSpec) -> AsyncHyperBandScheduler:
        key, epochs = cell_key(run, self._tune), run.training.epochs
        if key not in self._cells:
            self._cells[key] = AsyncHyperBandScheduler(
                TIME, LOSS, "min", max_t=epochs, grace_period=self._tune.grace(epochs),
                reduction_factor=self._tune.reduction, stop_last_trials=False,
            )  # fmt: skip
        return self._cells[key]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Nothing: a trial is added to its cell with its first epoch."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if TIME not in result:  # several workers: not judged
            return str(TrialScheduler.CONTINUE)
        run = self._runs[trial.config["run"]]
        decision = str(TrialScheduler.CONTINUE)
        for row in result["epochs"]:
            record = EpochRecord.model_validate(row)
            asked = self.asked(run, record)
            decision = self.judge(run, record)
            if decision == TrialScheduler.STOP:
                assert record.validation_loss is not None
                reason = cut_reason(run, record.epoch, record.validation_loss, asked)
                self._on_cut(run, list(self._told[run.run_id].values()), reason)
                break
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Nothing: the last rung lies before the last epoch."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Nothing: trials stand in their cells by run_id."""

    def asked(self, run: RunSpec, record: EpochRecord) -> float:
        """The loss that the rung at which a trial arrives asks for; inf where it asks nothing."""
        for milestone, recorded in self._cell(run)._brackets[0]._rungs:
            if record.epoch >= milestone and run.run_id not in recorded:
                cutoff = self._cell(run)._brackets[0].cutoff(recorded)
                return float("inf") if cutoff is None else -float(cutoff)
        return float("inf")


def cell_asha(study: Study, sizes: Mapping[str, RunSize]) -> CellAsha | None:
    """The scheduler of a study of probes, with what its records hold; None of any other study."""
    if study.spec.tune is None or not any(run.validation for run in study.runs):
        return None
    store = study.store
    ended = {run_id: store.read_epochs(run_id) for run_id, record in study.records.items() if record.status != "failed"}

    def on_cut(run: RunSpec, epochs: Sequence[EpochRecord], reason: str) -> None:
        write_cut(store, run, epochs, reason, sizes[run.run_id])

    return CellAsha(study.spec.tune, study.runs, ended, on_cut)
