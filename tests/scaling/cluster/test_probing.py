"""ASHA by cells, without a cluster: who is cut, who is spared, and that records alone bring its state back."""

from __future__ import annotations

import itertools
import math

import pytest
from ray.tune.schedulers import TrialScheduler

from scaling.cluster.probing import CellAsha
from scaling.enough import RunSize
from scaling.layout import resume_name
from scaling.probes.ending import cut_reason, write_cut
from scaling.records import EpochRecord, ResultsStore, needs_training
from scaling.specs.run import RunSpec
from scaling.specs.tune import TuneSpec

STOP = TrialScheduler.STOP
TUNE = TuneSpec.model_validate({"how": "each", "fields": {"lr": {"log": [0.001, 10]}}, "share": 9})
RATES = (0.1, 0.001, 10.0, 0.01, 1.0)


def probes(make_run, cells: tuple[int, ...] = (4,)) -> list[RunSpec]:
    training = {"epochs": 6, "batch_size": 10}
    own = [make_run(data_sizes=[n], training=training | {"lr": rate}) for n in cells for rate in RATES]
    return [run.model_copy(update={"validation": 0.1}) for run in own]


def epoch(run: RunSpec, number: int, loss: float) -> EpochRecord:
    return EpochRecord(
        run_id=run.run_id, epoch=number, samples_seen=36 * number, flops=0.0, loss=loss, lr=0.1, accuracy=None,
        epoch_s=1.0, validation_loss=loss,
    )  # fmt: skip


def curve(run: RunSpec, number: int) -> float:
    """Best at .1, and better with each epoch."""
    return (1 + abs(math.log10(run.training.lr / 0.1))) / number


def judged(asha: CellAsha, run: RunSpec) -> list[EpochRecord]:
    """A trial's epochs until it is cut, or ends."""
    told = []
    for number in range(1, run.training.epochs):
        told.append(epoch(run, number, curve(run, number)))
        if asha.judge(run, told[-1]) == STOP:
            return told
    return [*told, epoch(run, run.training.epochs, curve(run, run.training.epochs))]


def never(*_: object) -> None:
    raise AssertionError


def test_nothing_is_cut_within_the_grace_and_bad_rates_are_after_it(make_run) -> None:
    asha, runs = CellAsha(TUNE, probes(make_run), {}, never), probes(make_run)
    ended = {run.training.lr: judged(asha, run)[-1].epoch for run in runs}
    assert ended == {0.1: 6, 0.001: 3, 10.0: 3, 0.01: 6, 1.0: 6}, "grace is half of six epochs"


def test_a_trial_next_to_the_best_is_spared(make_run) -> None:
    """Its loss is needed for the parabola, though it is not among the best third."""
    near = [run.model_copy(update={"training": run.training.model_copy(update={"lr": rate})})
            for run, rate in zip(probes(make_run), (0.1, 0.3, 0.04, 0.6, 0.01), strict=True)]  # fmt: skip
    asha = CellAsha(TUNE, near, {}, never)
    ended = {run.training.lr: judged(asha, run)[-1].epoch for run in near}
    assert ended == {0.1: 6, 0.3: 6, 0.04: 6, 0.6: 3, 0.01: 3}, "within a factor of 5"


def test_cells_are_judged_apart(make_run) -> None:
    """A cell with more data has lower losses, and none of them counts in the other."""
    few, many = probes(make_run), probes(make_run, (8,))
    asha = CellAsha(TUNE, [*few, *many], {}, never)
    for run in many:
        asha.judge(run, epoch(run, 3, 1e-3))
    assert [asha.judge(run, epoch(run, 3, 5.0 + i)) == STOP for i, run in enumerate(few)] == [False, *[True] * 4]


@pytest.mark.parametrize("killed_after", range(1, 24))
def test_killed_at_any_epoch_it_decides_as_it_would_have(make_run, killed_after: int) -> None:
    """One slot: trials follow each other, and the one that was killed tells its epochs again."""
    runs, told = probes(make_run), itertools.count(1)
    whole = CellAsha(TUNE, runs, {}, never)
    expected = {run.run_id: [e.epoch for e in judged(whole, run)] for run in runs}

    ended, first = dict[str, list[EpochRecord]](), CellAsha(TUNE, runs, {}, never)
    for run in runs:
        own = list[EpochRecord]()
        for number in expected[run.run_id]:
            if next(told) == killed_after:
                break
            own.append(epoch(run, number, curve(run, number)))
            first.judge(run, own[-1])
        else:
            ended[run.run_id] = own
            continue
        break
    again = CellAsha(TUNE, runs, ended, never)
    found = {run_id: [e.epoch for e in epochs] for run_id, epochs in ended.items()}
    found |= {run.run_id: [e.epoch for e in judged(again, run)] for run in runs if run.run_id not in ended}
    assert found == expected


def test_what_the_rung_asks_is_said(make_run) -> None:
    runs = probes(make_run)
    asha = CellAsha(TUNE, runs, {}, never)
    asha.judge(runs[0], epoch(runs[0], 3, 0.52))
    assert asha.asked(runs[0], epoch(runs[0], 4, 0.5)) == math.inf, "that rung lies behind it"
    late = epoch(runs[1], 3, 0.61)
    assert asha.asked(runs[1], late) == pytest.approx(0.52)
    assert asha.judge(runs[1], late) == STOP
    expected = "cut off at epoch 3 of 6 by ASHA: validation loss 0.61, the rung asks <= 0.52"
    assert cut_reason(runs[1], 3, 0.61, 0.52) == expected


def test_tune_hears_of_a_cut_and_so_does_who_records_it(make_run) -> None:
    heard = []
    runs = probes(make_run)
    asha = CellAsha(TUNE, runs, {}, lambda run, epochs, reason: heard.append((run, [e.epoch for e in epochs], reason)))

    class Trial:
        def __init__(self, run: RunSpec) -> None:
            self.config = {"run": run.run_id}

    def told(run: RunSpec, number: int) -> dict[str, object]:
        record = epoch(run, number, curve(run, number))
        return {"epoch": number, "validation_loss": record.validation_loss, "epochs": [record.model_dump()]}

    decisions = [asha.on_trial_result(None, Trial(run), told(run, n)) for run in runs[:2] for n in (1, 2, 3)]
    assert decisions == ["CONTINUE"] * 5 + [STOP]
    ((run, epochs, reason),) = heard
    assert (run, epochs) == (runs[1], [1, 2, 3])
    assert reason.startswith("cut off at epoch 3 of 6 by ASHA: validation loss 1, the rung asks <= 0.333")
    assert asha.on_trial_result(None, Trial(runs[2]), {"epochs": []}) == "CONTINUE", "several workers: not judged"


def test_a_cut_probe_has_a_record_and_is_not_open(make_run, storage) -> None:
    store, (run, *_) = ResultsStore(storage), probes(make_run)
    storage.write_bytes(resume_name(run.run_id), b"x")
    epochs = [epoch(run, number, 0.7) for number in (1, 2, 3)]
    write_cut(store, run, epochs, "cut off", RunSize(700, 216, 6.0 * 700 * 216))
    record = store.read_run(run.run_id)
    assert (record.status, record.reason, record.epochs_done) == ("cut", "cut off", 3)
    assert (record.n_samples, record.samples_seen, record.flops) == (36, 108, 6.0 * 700 * 108)
    assert (record.n_params, record.loss, record.validation_loss, record.train_s) == (700, 0.7, 0.7, 3.0)
    assert not needs_training(run, record)
    assert store.read_epochs(run.run_id) == epochs
    assert not storage.exists(resume_name(run.run_id))
