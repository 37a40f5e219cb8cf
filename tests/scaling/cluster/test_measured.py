"""What runs take, by what was measured of their shape: against the arithmetic by hand."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from jobs.progress_line import StudyProgress
from scaling.cluster.measured import MeasuredCost, own_images, recorded_cost
from scaling.models.cost import expected_cost, model_cost
from scaling.records import EpochRecord, run_record
from scaling.specs.run import RunSpec
from scaling.study import expand_study

MODELS = [
    {"family": "resnet", "depth": 10, "sizes": [2, 4]},
    {"family": "vit", "depth": 2, "heads": 3, "sizes": [12, 24]},
]


@pytest.fixture
def runs(make_study) -> list[RunSpec]:
    """Two ResNets and two ViTs, each on 20 and on 50 images for two epochs."""
    return expand_study(make_study(models=MODELS, data_sizes=[2, 5]))


@pytest.fixture
def cost(runs) -> MeasuredCost:
    """A unit an image."""
    images = {run.run_id: own_images(run, 10 * (run.images_per_class or 0)) for run in runs}
    return MeasuredCost(runs, {run_id: float(n) for run_id, n in images.items()}, images)


def epoch(run: RunSpec, number: int, images: float, seconds: float) -> EpochRecord:
    return EpochRecord(
        run_id=run.run_id, epoch=number, samples_seen=0, flops=0.0, loss=1.0, lr=1.0, accuracy=None, epoch_s=seconds,
        images_per_s=images / seconds, compute_share=1.0,
    )  # fmt: skip


def test_cost_is_what_was_expected_until_something_is_measured(runs, cost):
    assert [cost[run.run_id] for run in runs] == [40.0, 100.0] * 4
    assert not cost.in_seconds


def test_what_an_epoch_took_corrects_its_shape_then_its_family_then_all(runs, cost):
    small, large_data, other_resnet, _, vit, *_ = runs
    cost.learn_epoch(small, epoch(small, 1, images=20, seconds=5.0))  # a quarter second an image
    assert cost.in_seconds
    assert (cost[small.run_id], cost[large_data.run_id]) == (40 / 4, 100 / 4)
    assert cost[other_resnet.run_id] == 40 / 4, "of its family"
    assert cost[vit.run_id] == 40 / 4, "nothing else is known"
    cost.learn_epoch(other_resnet, epoch(other_resnet, 1, images=20, seconds=20.0))
    assert cost[other_resnet.run_id] == 40.0
    assert cost[vit.run_id] == 40 * (0.25 + 1) / 2
    cost.learn_epoch(small, epoch(small, 2, images=20, seconds=15.0))
    assert cost[small.run_id] == 40 * (5 + 15) / 40, "all that was measured, by its amount"


def test_runs_that_ended_before_count_until_their_shape_is_measured_now(runs, cost):
    small, large_data, *_ = runs
    cost.learn_stored(small, 3.0, 40.0)
    assert cost[large_data.run_id] == 100 * 3 / 40
    cost.learn_steps(small, images=10, seconds=2.0)
    cost.learn_steps(small, images=15, seconds=2.0)
    assert cost[large_data.run_id] == 100 * 2 / 15, "its first steps, as last told"
    cost.learn_epoch(small, epoch(small, 1, images=20, seconds=1.0))
    assert cost[large_data.run_id] == 100 / 20


@pytest.mark.parametrize("spent", [None, 0.25])
def test_the_cost_of_a_run_that_ended_is_what_was_expected_of_it(runs, spent):
    run = runs[0].model_copy(update={"objective": "simclr"})
    flops = None if spent is None else 4.0 * spent
    record = run_record(
        run, "finished", None, samples_seen=40, flops=4.0, flops_spent=flops,
        flops_per_image=model_cost(run.model, 8, 10).flops_per_image,
    )  # fmt: skip
    assert recorded_cost(run, record) == pytest.approx((spent or 1) * expected_cost(run, 20, 8, 10))
    assert recorded_cost(run, run_record(run, "failed", "power cut")) == 0


def test_time_left_is_the_work_over_the_slots_or_the_longest_run(runs, cost):
    progress = StudyProgress(Console(file=StringIO(), width=300), cost, 3, 0)
    assert "time left unknown yet" in progress.line()
    first, second, *_ = runs
    progress.started(first)
    progress.started(second)
    told = epoch(second, 1, images=50, seconds=50.0)  # a second an image: 560 s in all, 50 of them done
    cost.learn_epoch(second, told)
    progress.advanced(second, told)
    assert "about 255 s left" in progress.line(), "two at once"
    assert "1 images/s" in progress.line()
    for run in runs[2:]:
        progress.ended(run, failed=False)
    assert "about 50 s left" in progress.line(), "90 s on two, of which one has 50"
    for run in (first, second):
        progress.ended(run, failed=False)
    assert "left" not in progress.line()
    assert "images/s" not in progress.line()
