"""What a plan says before Ray starts, against what the models and the data really are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner, Result

from jobs.cli import app
from jobs.print_map import MOST_COLUMNS, columns_of
from scaling.cluster.plan import plan_study
from scaling.layout import weights_name
from scaling.ledger import open_study
from scaling.models import build_model
from scaling.models.cost import training_memory
from scaling.records import ResultsStore, run_record
from scaling.specs.run import RunSpec
from scaling.storage import Storage
from scaling.study import expand_study, load_study

RESNET = {"family": "resnet", "depth": 10, "sizes": [2]}
VIT = {"family": "vit", "depth": 2, "heads": 3, "sizes": [12]}
GRID = {"models": [RESNET, VIT], "data_sizes": [2, "all"], "training": {"epochs": 3, "batch_size": 10}}
# Forward FLOPs of one 8 x 8 image, counted by hand in tests/scaling/test_models.py
FLOPS = {"resnet": 37952, "vit": 2 * 3 * 2**2 * 12 * 16 + 2 * (17 * 2 * 12 * 12**2 + 4 * 17**2 * 12) + 2 * 12 * 10}
N_SAMPLES = {2: 20, None: 1437}


class Row(NamedTuple):
    n_params: int
    n_samples: int
    epochs: int
    samples_seen: int
    flops: float
    gib: float
    seconds: float


def plan(study: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["plan", str(study), *words])


def rows(printed: str, runs: list[RunSpec]) -> list[Row]:
    """The numbers of each run's line; the run's id begins it, and 'done' may end it."""
    found = []
    for run in runs:
        (line,) = re.findall(rf"^\s*{run.run_id} .*$", printed, re.MULTILINE)
        words = line.replace(",", "").removesuffix("done").split()
        found.append(Row(*map(int, words[-7:-3]), *map(float, words[-3:])))
    return found


def test_the_table_holds_n_images_samples_and_compute(write_study):
    study = write_study(**GRID)
    result = plan(study, "--throughput", "1e6")
    runs = expand_study(load_study(study))
    assert result.exit_code == 0, result.output
    for run, row in zip(runs, rows(result.output, runs), strict=True):
        model = build_model(run.model, 8, 10)
        flops = 3 * FLOPS[run.model.family] * 3 * N_SAMPLES[run.images_per_class]
        memory = training_memory(run.model, 8, 10, 10, "sgd")
        assert row.n_params == sum(p.numel() for p in model.parameters())
        assert (row.n_samples, row.epochs, row.samples_seen) == (n := N_SAMPLES[run.images_per_class], 3, 3 * n)
        assert row.flops == pytest.approx(flops, rel=5e-3), "printed with three digits"
        assert row.gib == pytest.approx(memory / 2**30, abs=5e-4)
        assert row.seconds == pytest.approx(flops / 1e6, abs=0.051)
    total = 3 * 3 * sum(FLOPS.values()) * (20 + 1437)
    stated = re.search(r"total: (\S+) FLOP, (\d+) s of training \((.*) FLOP/s a worker, as stated\)", result.output)
    assert float(stated[1]) == pytest.approx(total, rel=5e-3)
    assert (int(stated[2]), stated[3]) == (round(total / 1e6), "1e+06")


def test_workers_share_a_runs_time_and_memory(write_study):
    study = load_study(write_study(models=[VIT], training={"batch_size": 10}, resources={"workers": 2}))
    (shared,) = plan_study(open_study(study), Path(), None, 1e6).runs
    unshared = study.model_copy(update={"resources": type(study.resources)()})
    (alone,) = plan_study(open_study(unshared), Path(), None, 1e6).runs
    assert shared.train_s == alone.train_s / 2
    assert shared.memory_bytes == training_memory(shared.run.model, 8, 10, 5, "sgd")
    assert alone.memory_bytes == training_memory(alone.run.model, 8, 10, 10, "sgd")


def test_timed_runs_of_one_model_take_as_long_as_their_samples(write_study):
    """Without --throughput each model is timed here once, and time is proportional to the samples seen."""
    study = load_study(write_study(models=[RESNET], data_sizes=[2, 20], training={"epochs": 3, "batch_size": 10}))
    planned = plan_study(open_study(study), Path(), None, None)
    short, long = planned.runs
    assert long.train_s == pytest.approx(10 * short.train_s, rel=1e-9)
    assert 1e-6 < short.train_s / short.samples_seen < 0.1, "seconds an image of a tiny model"
    assert planned.how_timed == "a few steps of each model timed here"


def test_what_finished_runs_took_corrects_the_times_of_their_shape_and_what_is_left(write_study):
    models = [RESNET | {"sizes": [2, 4]}]
    spec = load_study(write_study(models=models, data_sizes=[2, 20], training={"epochs": 3, "batch_size": 10}))
    short, long, *_ = expand_study(spec)
    store = ResultsStore(Storage(spec.storage).child(spec.name))
    store.write_run(run_record(short, "finished", None, kept=(3,), train_s=7.0))
    store.storage.write_bytes(weights_name(short.run_id, 3), b"weights")
    planned = plan_study(open_study(spec), Path(), None, None)
    times = {item.run.run_id: item.train_s for item in planned.runs}
    assert times[short.run_id] == pytest.approx(7.0)
    assert times[long.run_id] == pytest.approx(70.0)
    assert planned.how_timed.endswith(", corrected by what 1 finished runs took")
    left = [item for item in planned.runs if item.run != short]
    assert planned.images_per_s == pytest.approx(sum(item.samples_seen for item in left) / planned.wall_s)


def test_finished_runs_are_done_and_cost_nothing_more(write_study):
    study = write_study(**GRID)
    spec = load_study(study)
    first, *others = expand_study(spec)
    store = ResultsStore(Storage(spec.storage).child(spec.name))
    store.write_run(run_record(first, "finished", None, kept=(3,)))
    store.storage.write_bytes(weights_name(first.run_id, 3), b"weights")
    store.write_run(run_record(others[0], "failed", "power cut"))
    result = plan(study, "--throughput", "1e6")
    assert "4 runs, 1 done" in result.output
    assert re.findall(r"^\s*(\w{12}) .* done\s*$", result.output, re.MULTILINE) == [first.run_id]
    planned = plan_study(open_study(spec), Path(), None, 1e6)
    left = [item.train_s for item in planned.runs[1:]]
    bound = max(sum(left) / planned.shapes[0].slots, max(left))
    assert bound <= planned.wall_s * (1 + 1e-9) <= 4 / 3 * bound * (1 + 1e-9), "longest first (Graham 1969)"


def test_what_the_machine_cannot_give_is_listed_and_ends_with_status_2(write_study):
    models = [RESNET, VIT | {"resources": {"workers": 2, "gpus_per_worker": 8, "cpus_per_worker": 5000}}]
    study = write_study(models=models, data_sizes=[2])
    result = plan(study, "--throughput", "1e6")
    assert result.exit_code == 2
    assert len(rows(result.output, expand_study(load_study(study)))) == 2, "the table is printed all the same"
    refused = [line for line in " ".join(result.output.split()).split("refused: ")[1:] if "vit-2 w12" in line]
    assert ["needs 10000 CPUs" in refused[0], "needs 16 GPUs" in refused[1]] == [True, True]
    assert len(refused) == 2


def test_what_of_a_preset_was_fitted_to_the_runs_length_is_said(write_study):
    training = {"preset": "convnext", "epochs": 30, "batch_size": 10}
    convnext = {"family": "convnext", "depth": 4, "sizes": [8]}
    study = write_study(models=[convnext], data_sizes=[2], training=training)
    said = " ".join(plan(study, "--throughput", "1e6").output.split())
    assert "preset convnext: warmup_epochs 20 of 300 -> 2 of 30 (the same share)" in said
    assert "average of the weights: half-life 4.4 of 60 steps" in said


def test_the_grid_is_shown_as_a_map_and_what_trunks_save(write_study):
    horizons = {"horizons": {"epochs": [1, 2, 10]}, "training": {"schedule": "wsd", "batch_size": 10}}
    result = plan(write_study(models=[RESNET | {"sizes": [2, 4]}], data_sizes=[5], **horizons), "--throughput", "1e6")
    assert result.exit_code == 0, result.output
    one = 3 * FLOPS["resnet"] * 50
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert "N \\ D 50 1e+02 5e+02" in lines
    assert f"5.2e+03 {one:.2g} {2 * one:.2g} {10 * one:.2g}" in lines
    total, alone = (float(re.search(rf"{said} (\S+) FLOP", result.output)[1]) for said in ("total:", "would cost"))
    assert total / alone == pytest.approx((10 + 0.2 * 3) / 13, rel=2e-2)
    runs = re.findall(r"^ *\w{12} .*$", result.output, re.MULTILINE)
    spent = [[float(word) for word in line.split()[-4:-2]] for line in runs]
    assert sum(row[1] for row in spent) == pytest.approx(total, rel=1e-2)
    assert [row[0] == row[1] for row in spent] == [False, False, True] * 2
    assert [line.split()[-6].replace(",", "") for line in runs] == ["1", "2", "10"] * 2, "epochs"


def test_many_amounts_of_data_share_columns():
    columns = columns_of([10 * 2**k for k in range(20)])
    assert sorted(set(columns.values())) == list(range(MOST_COLUMNS))
    assert list(columns.values()) == sorted(columns.values())
    assert columns_of([5, 3, 3]) == {3: 0, 5: 1}
