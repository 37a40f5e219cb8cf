"""A study with a `stop`: what may be asked, and what its open work leaves out, from records alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from scaling.alignment.protocol import scoring_protocols
from scaling.enough import RunSize, family_names, read_sizes, stop_regions, write_sizes
from scaling.errors import StudyError
from scaling.layout import STOP_FILE
from scaling.ledger import Study, open_study
from scaling.records import AlignmentRecord, run_record
from scaling.specs.run import RunSpec
from scaling.study import expand_study

STOP = {"recipe": "IT", "budget": 1e12, "factor": 3, "round": 1}
BENCHMARK = "simulated-ventral-stream.IT"
GRID = {"data_sizes": [2, 3, 4, 5, 6, 8, 10, 12, 15, 20]}
Opened = Callable[..., Study]


@pytest.fixture
def opened(make_study: Any, tmp_path: Any) -> Opened:
    return lambda **changes: open_study(make_study(**{**GRID, "stop": STOP, **changes}), tmp_path / "results")


def sizes_of(study: Study) -> dict[str, RunSize]:
    return {run.run_id: RunSize(5000, 1000 * (run.images_per_class or 1), 1e9 * (run.images_per_class or 1))
            for run in study.runs}  # fmt: skip


def end(study: Study, run: RunSpec, status: str = "finished", scored: bool = True) -> None:
    """A record, and a score on a law in compute."""
    size, n = sizes_of(study)[run.run_id], run.images_per_class or 1
    facts = {"n_params": size.n_params, "samples_seen": size.samples_seen, "flops": size.flops, "n_samples": n,
             "flops_per_image": 1e5, "accuracy": 0.5, "epochs_done": 2, "kept": [2]}  # fmt: skip
    study.write_run(run_record(run, status, None, **facts))  # type: ignore[arg-type]
    y = 0.2 + 0.5 * n**-0.5 * np.exp(0.01 * np.sin(7.0 * n))
    score = AlignmentRecord(
        run_id=run.run_id, epoch=2, samples_seen=size.samples_seen, flops=size.flops, accuracy=0.5,
        benchmark=BENCHMARK, region="IT", metric="pls", layer="x", raw=1 - y, ceiling=1.0, ceiling_kind="x",
        score=1 - y, n_stimuli=10, n_neuroids=3, selection_raw=0.5, status="scored", reason=None, score_s=0.1,
        protocol=scoring_protocols(study.spec.scoring, study.spec.benchmarks)[BENCHMARK].text,
    )  # fmt: skip
    if scored and status == "finished":
        study.store.write_scores([score])


def test_what_may_be_asked(make_study: Any) -> None:
    study = make_study(benchmarks=["simulated-ventral-stream", "kriegeskorte2008"])
    assert {"accuracy", "V1", "IT", "simulated IT"} <= set(stop_regions(study))
    runs = expand_study(make_study(objectives=["supervised", "simclr"], training={"epochs": 2, "batch_size": 10}))
    assert set(family_names(runs).values()) == {"resnet supervised", "resnet simclr"}
    assert set(family_names(runs[:1]).values()) == {"resnet"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipe": "V9"}, ["stop.recipe='V9'", "no region of the study's benchmarks", "known: IT, accuracy"]),
        ({"recipe": "It"}, ["stop.recipe='It'", "did you mean 'IT'?"]),
        ({"family": "vit"}, ["stop.family='vit'", "no family of the study", "resnet"]),
    ],
)
def test_what_cannot_be_asked_is_refused(opened: Opened, changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(StudyError) as refused:
        opened(stop=STOP | changes)
    assert all(word in str(refused.value) for word in words), refused.value


def test_a_stop_changes_no_id_and_nothing_without_it(make_study: Any) -> None:
    ids = [[run.run_id for run in expand_study(make_study(**GRID, **more))] for more in ({}, {"stop": STOP})]
    assert ids[0] == ids[1]


def test_open_work_leaves_out_what_is_not_needed(opened: Opened) -> None:
    study = opened()
    assert len(study.open_work().train) == 10, "nothing is known of the runs' sizes yet"
    write_sizes(study.storage, sizes_of(study))
    assert study.open_work().enough is None
    for run in study.runs[:8]:
        end(study, run)
    study = opened()
    work = study.open_work()
    assert work.enough is not None
    assert (work.train, work.score, work.is_empty) == ((), {}, True)
    assert [run.run_id for run, _ in work.enough.left_out] == [run.run_id for run in study.runs[8:]]
    assert work.enough.flops == 35e9
    assert work.enough.share == pytest.approx(35 / 85)
    assert "IT at 1e+12 FLOP, resnet: misalignment 0." in work.enough.text
    assert "within a factor of 3 in 3 looks, a run apart, from 7 of 10 runs" in work.enough.text
    assert work.whole.train == study.runs[8:]
    assert opened(stop=None).open_work().train == study.runs[8:], "without stop the rest is open"


def test_a_dearer_run_that_ended_first_changes_nothing(opened: Opened) -> None:
    study = opened()
    write_sizes(study.storage, sizes_of(study))
    for run in (*study.runs[:8], study.runs[9]):
        end(study, run)
    work = opened().open_work()
    assert work.enough is not None
    assert [run for run, _ in work.enough.left_out] == [study.runs[8]]
    assert "from 7 of 10 runs" in work.enough.text


def test_runs_that_failed_are_open_and_the_rest_stays_within_reach(opened: Opened) -> None:
    study = opened()
    write_sizes(study.storage, sizes_of(study))
    for run in study.runs[:8]:
        end(study, run, "failed" if run is study.runs[1] else "finished")
    work = opened().open_work()
    assert work.enough is not None
    assert work.train == (study.runs[1],)
    assert work.whole.train == (study.runs[1], *study.runs[8:])


def test_runs_that_are_to_be_scored_are_waited_for(opened: Opened) -> None:
    study = opened()
    write_sizes(study.storage, sizes_of(study))
    for run in study.runs[:8]:
        end(study, run, scored=run is not study.runs[4])
    study.storage.write_bytes(f"checkpoints/{study.runs[4].run_id}/epoch-00002.safetensors", b"")
    work = opened().open_work()
    assert work.enough is None
    assert len(work.train) == 2


def test_weights_of_what_is_left_out_are_not_pruned(opened: Opened) -> None:
    keep = {"checkpoints": {"keep": [], "score": [1, "last"], "prune": "scored"}}
    study = opened(**keep)
    write_sizes(study.storage, sizes_of(study))
    cut = study.runs[9]
    name = f"checkpoints/{cut.run_id}/epoch-00001.safetensors"
    study.storage.write_bytes(name, b"of a run that a killed driver left")
    work = study.open_work()
    study.prune_scored(work.whole)
    assert study.storage.exists(name)


def test_sizes_that_are_damaged_or_of_another_grid_end_nothing(opened: Opened) -> None:
    study = opened()
    assert read_sizes(study.storage) == {}
    write_sizes(study.storage, sizes_of(study))
    assert read_sizes(study.storage) == sizes_of(study)
    for run in study.runs[:8]:
        end(study, run)
    grown = opened(data_sizes=[*GRID["data_sizes"], 25])
    assert grown.open_work().enough is None
    for content in (b"{", b"[1]", b'{"a": 3}', b'{"a": [1, 2]}'):
        study.storage.write_bytes(STOP_FILE, content)
        assert read_sizes(study.storage) == {}
        assert opened().open_work().enough is None
