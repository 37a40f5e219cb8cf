"""Epochs, budgets and horizons as axes of a study: what they become, and what is refused."""

from __future__ import annotations

import itertools

import pytest

from scaling.errors import StudyError
from scaling.grid import WITHIN
from scaling.models.cost import model_cost, training_flops
from scaling.specs.objective import objective_spec
from scaling.study import expand_study, parse_study

RESNET = {"family": "resnet", "depth": 10, "sizes": [2]}
BASE = {"name": "axes", "dataset": "digits", "models": [RESNET], "benchmarks": ["simulated-ventral-stream.IT"]}
FLAT = {"batch_size": 10, "schedule": "wsd"}
FASHION = {"name": "fashion", "path": "x", "image_size": 14, "classes": 10, "images_per_class": 6000}


def study(**changes):
    return parse_study(BASE | {"training": {"batch_size": 10}} | changes)


def runs(**changes):
    return expand_study(study(**changes))


def test_epochs_are_an_axis_whose_runs_are_those_of_training_epochs():
    grid = runs(data_sizes=[5, 2], epochs=[1, 4], seeds=[1, 0])
    cells = list(itertools.product([5, 2], [1, 4], [1, 0]))
    assert [(run.images_per_class, run.training.epochs, run.seed) for run in grid] == cells
    alone = [
        runs(data_sizes=[n], seeds=[seed], training={"epochs": e, "batch_size": 10})[0].run_id for n, e, seed in cells
    ]
    assert [run.run_id for run in grid] == alone
    assert [run.keep_epochs for run in grid[::2]] == [(1,), (4,), (1,), (4,)]


def test_a_presets_warmup_keeps_its_share_at_every_length():
    grid = runs(epochs=[15, 60], training={"preset": "small-resnet"})
    assert [run.training.warmup_epochs for run in grid] == [1, 4]


@pytest.mark.parametrize("objective", ["supervised", "simclr"])
def test_budgets_are_spent_within_a_hundredth_by_as_many_images_as_there_are(objective):
    models = [{"family": "resnet", "depth": 10, "sizes": [4, 16]}, {"family": "vit", "heads": 2, "sizes": [12]}]
    budgets = [2e12, 3e13]
    grid = runs(dataset=FASHION, models=models, budgets=budgets, seeds=[0, 1], objective=objective)
    assert len(grid) == 3 * 2 * 2
    for run, budget in zip(grid[::2], budgets * 3, strict=True):
        cost = model_cost(run.model, 14, 10)
        seen = 10 * run.images_per_class * run.training.epochs
        flops = training_flops(cost.flops_per_image, seen, objective_spec(objective).passes)
        assert flops == pytest.approx(budget, rel=WITHIN)
        wanted = budget / (flops / seen)
        assert run.training.epochs in {-(-wanted // 60_000), max(1, round(wanted / 60_000))}
        assert run.images_per_class <= 6000


def test_what_is_written_is_checked_at_the_lengths_that_are():
    training = FLAT | {"warmup_epochs": 12, "ema_half_life_epochs": 2}
    grid = runs(epochs=[50, 100], training=training)
    assert [(run.training.epochs, run.training.warmup_epochs) for run in grid] == [(50, 12), (100, 12)]
    assert [run.training.epochs for run in runs(horizons={"epochs": [30, 40]}, training=training)] == [30, 40]
    with pytest.raises(StudyError, match=r"warm-up of 12 epochs .* the last 2\.6 of epochs=13"):
        study(epochs=[13, 100], training=FLAT | {"warmup_epochs": 12})


def test_budgets_beside_data_sizes_share_the_runs_that_are_the_same():
    one = 3 * model_cost(runs()[0].model, 14, 10).flops_per_image
    grid = runs(dataset=FASHION, data_sizes=[100, 6000], epochs=[1, 2], budgets=[one * 60_000, one * 77_000])
    cells = [(run.images_per_class, run.training.epochs) for run in grid]
    assert cells == [(100, 1), (100, 2), (6000, 1), (6000, 2), (3850, 2)]


def test_facts_of_the_images_have_no_part_in_a_runs_id():
    bare = {name: value for name, value in FASHION.items() if name not in ("classes", "images_per_class")}
    assert runs(dataset=FASHION)[0].run_id == runs(dataset=bare)[0].run_id


def test_horizons_of_epochs_are_the_same_runs_and_know_their_trunk():
    training = FLAT | {"warmup_epochs": 0.2}
    shared = runs(data_sizes=[5, 7], horizons={"epochs": [1, 2, 4]}, seeds=[0, 1], training=training)
    alone = runs(data_sizes=[5, 7], epochs=[1, 2, 4], seeds=[0, 1], training=training)
    assert [run.run_id for run in shared] == [run.run_id for run in alone]
    by_id = {run.run_id: run for run in shared}
    for run in shared:
        if run.training.epochs == 4:
            assert (run.trunk, run.branches) == (None, ((1, run.images_per_class), (2, run.images_per_class)))
            continue
        trunk = by_id[run.trunk]
        assert (trunk.training.epochs, run.branches) == (4, ())
        assert (trunk.seed, trunk.images_per_class) == (run.seed, run.images_per_class)
    n = shared[0].images_per_class * 10
    assert shared[4].branch_steps(n) == {shared[0].cooldown_start(n), shared[2].cooldown_start(n)} == {4, 8}


def test_horizons_of_growing_data_show_each_image_once_in_nested_order():
    shared = runs(horizons={"data": [5, 9, 30]}, training=FLAT)
    assert [(run.images_per_class, run.training.epochs, run.training.order) for run in shared] == [
        (5, 1, "nested"), (9, 1, "nested"), (30, 1, "nested")
    ]  # fmt: skip
    assert {run.trunk for run in shared[:2]} == {shared[2].run_id}
    assert shared[2].branch_steps(300) == {shared[0].cooldown_start(50), shared[1].cooldown_start(90)} == {4, 7}
    assert shared[0].run_id != runs(data_sizes=[5], training=FLAT | {"epochs": 1})[0].run_id, "another training"


HORIZONS = {"horizons": {"epochs": [1, 4]}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": [2, 4], "training": {"epochs": 3}}, ["training.epochs is written beside epochs", "keep one"]),
        ({"epochs": [2, 4], "models": [RESNET | {"training": {"epochs": 2}}]}, ["models[0].training.epochs", "epochs"]),
        ({"epochs": [2, 2]}, ["two runs of the grid are the same", "epochs"]),
        ({"epochs": [0]}, ["epochs[0]=0", "greater than 0"]),
        ({"budgets": [0]}, ["budgets[0]=0", "greater than 0"]),
        ({"budgets": ["inf"]}, ["budgets[0]=", "finite"]),
        ({"budgets": [1e8], "training": {"epochs": 3}}, ["training.epochs is written beside budgets"]),
        ({"budgets": [1e8], "dataset": FASHION | {"classes": None}}, ["not given: classes", "set dataset.classes"]),
        ({"budgets": [1e8], "dataset": {"name": "x", "path": "x"}}, ["image_size, classes, images_per_class"]),
        ({"budgets": [1e5]}, ["budgets=1e+05", "within 1%", "resnet-10 w2", "raise the budget"]),
        ({"budgets": [3e8, 3.001e8]}, ["two runs of the grid are the same", "budget"]),
        (HORIZONS, ["schedule='cosine'", "write schedule: wsd, or epochs: [1, 4] in place of horizons"]),
        (HORIZONS | {"training": FLAT | {"epochs": 4}}, ["training.epochs is written beside horizons"]),
        (HORIZONS | {"epochs": [1]}, ["horizons and epochs are both given"]),
        (HORIZONS | {"stop": {"recipe": "IT", "budget": 1e9, "factor": 2}}, ["horizons and stop are both given"]),
        (HORIZONS | {"checkpoints": {"score": [1, "last"]}}, ["checkpoints.score", "trunk's"]),
        (HORIZONS | {"training": FLAT | {"warmup_share": 0.1}}, ["warmup_share=0.1", "write warmup_epochs"]),
        (HORIZONS | {"training": FLAT | {"ema_half_life_share": 0.05}}, ["ema_half_life_share", "half_life_epochs"]),
        (HORIZONS | {"training": FLAT | {"weight_decay_end": 0.4}}, ["weight_decay_end=0.4", "leave it out"]),
        (HORIZONS | {"training": {"preset": "small-resnet", "schedule": "wsd"}},
         ["warmup_epochs is 0.0666667 of epochs=1 and 0.266667 of epochs=4", "preset 'small-resnet'", "write warmup"]),
        (HORIZONS | {"training": FLAT, "objective": "dino"}, ["objective 'dino'", "momentum"]),
        ({"horizons": {}}, ["give either epochs, or data"]),
        ({"horizons": {"epochs": [1], "data": [2]}}, ["give either epochs, or data"]),
        ({"horizons": {"epochs": [4]}}, ["a horizon of 4 alone shares nothing"]),
        ({"horizons": {"epochs": [1, 4, 2]}}, ["2 follows 4", "ascend"]),
        ({"horizons": {"epochs": [1, 4, 4]}}, ["4 follows 4", "each once"]),
        ({"horizons": {"data": [5, 9]}, "data_sizes": [3], "training": FLAT}, ["horizons.data", "data_sizes"]),
        ({"horizons": {"data": [5, 9]}, "training": FLAT | {"warmup_epochs": 0.1}}, ["warmup_epochs", "warmup_steps"]),
        ({"horizons": {"data": [5, 9]}, "training": FLAT | {"cap_batch": True}}, ["cap_batch=True", "false"]),
        ({"horizons": {"data": [5, 9]}, "training": FLAT, "objective": {"name": "ffgsm", "start_from": "/a"}},
         ["start_from", "horizons.data"]),
        ({"training": {"cooldown_share": 0.3}}, ["cooldown_share=0.3", "schedule='wsd'", "'cosine'"]),
        ({"training": FLAT | {"epochs": 3, "cooldown_epochs": 4}}, ["cooldown_epochs=4", "epochs=3", "lower it"]),
        ({"training": FLAT | {"cooldown_share": 1.5}}, ["training.cooldown_share=1.5", "less than or equal to 1"]),
        ({"training": FLAT | {"cooldown_share": 0.3, "cooldown_epochs": 1}}, ["one thing, the cooldown"]),
        ({"training": FLAT | {"epochs": 4, "warmup_epochs": 3.5}}, ["warm-up of 3.5", "cooldown", "0.8 of epochs=4"]),
        ({"training": FLAT | {"warmup_share": 0.9}}, ["warm-up of 9 epochs reaches into the cooldown"]),
        ({"training": {"warmup_share": 0.1, "warmup_epochs": 1}}, ["one thing, the warm-up"]),
        ({"training": FLAT | {"order": "nested"}}, ["order='nested'", "epochs=10", "set epochs: 1"]),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(changes, words):
    with pytest.raises(StudyError) as error:
        study(**changes)
    assert [word for word in words if word not in str(error.value)] == [], str(error.value)
    assert "\n" not in str(error.value)
