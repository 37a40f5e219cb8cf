"""Epochs, budgets and horizons as axes of a study: what they become, and what is refused."""

from __future__ import annotations

import itertools

import pytest

from scaling.checks import check_runs
from scaling.errors import StudyError
from scaling.grid import WITHIN
from scaling.models.cost import model_cost, training_flops
from scaling.specs.objective import objective_spec
from scaling.specs.training import TrainingSpec
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


WSD = {"batch_size": 16, "schedule": "wsd"}
LONG = {"sizes": [2, 4]}


@pytest.mark.parametrize(
    ("field", "training", "budgets"),
    [
        ("warmup_epochs", {"warmup_epochs": 12}, [1e12]),
        ("cooldown_epochs", {"schedule": "wsd", "cooldown_epochs": 15}, [1e12]),
        ("ema_half_life_epochs", {"ema_half_life_epochs": 1}, [1e12]),
        ("order", {"schedule": "wsd", "order": "nested"}, [1.4e8]),
    ],
)
def test_budgets_alone_check_durations_in_their_cells(field, training, budgets):
    grid = runs(models=[RESNET | LONG], budgets=budgets, training={"batch_size": 16} | training)
    assert [getattr(run.training, field) for run in grid] == [training[field]] * 2
    if field != "order":
        assert min(run.training.epochs for run in grid) > 12


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budgets": [1e10, 1e11], "training": {"batch_size": 16, "warmup_epochs": 2}, "models": [
            RESNET | {"sizes": [2, 4, 8, 16]}]},
         ["a.yaml, models[0].training", "warmup_epochs=2 leaves none of epochs=", "resnet-10 w", "images/class",
          "budgets=1e+10", "write warmup_share", "raise the budget"]),
        ({"epochs": [2, 9], "training": {"warmup_epochs": 3}},
         ["a.yaml", "epochs=2", "resnet-10 w2, all images/class, 2 epochs", "write warmup_share"]),
        ({"epochs": [2, 9], "training": WSD | {"cooldown_epochs": 3}}, ["a.yaml", "2 epochs", "write cooldown_share"]),
        ({"epochs": [2, 99], "training": {"ema_half_life_epochs": 1}}, ["a.yaml", "epochs=2", "ema_half_life_share"]),
        ({"epochs": [18, 60], "checkpoints": {"score": [{"every": 50}]}},
         ["{every: 50} names no epoch of a run of epochs=18", "resnet-10 w2", "a.yaml, checkpoints.score", "'last'"]),
        ({"epochs": [18, 60], "checkpoints": {"keep": [{"every": 70}, "last"]}},
         ["{every: 70} names no epoch of a run of epochs=60", "a.yaml, checkpoints.keep"]),
        ({"epochs": [18, 60], "checkpoints": {"score": [{"every": 50}, {"every": 30}]}}, ["{every: 50}", "epochs=18"]),
        ({"horizons": {"data": [5, 9]}, "training": FLAT | {"order": "shuffled"}},
         ["training.order='shuffled' contradicts horizons.data", "order: nested"]),
        ({"horizons": {"data": [5, 9]}, "models": [RESNET | {"training": {"order": "shuffled"}}], "training": FLAT},
         ["models[0].training.order='shuffled'"]),
        ({"budgets": [1e30]}, ["budgets=1e+30", "epochs of all 1,390 images", "resnet-10 w2", "100,000", "a.yaml"]),
        ({"epochs": [1, 10**11]}, ["epochs[1]=100000000000", "less than or equal to 100000"]),
        ({"training": {"epochs": 10**11}}, ["training.epochs=100000000000", "100000"]),
        ({"horizons": {"epochs": [1, 10**11]}, "training": FLAT}, ["horizons.epochs[1]=100000000000", "100000"]),
        ({"checkpoints": {"keep": [{"every": 1, "stop": 10**12}]}}, ["checkpoints.keep[0]=", "100000"]),
        ({"budgets": [1e12], "models": [RESNET | {"training": {"lrr": 1}}]},
         ["unknown field 'lrr' (a.yaml, models[0].training); did you mean 'lr'"]),
        (HORIZONS | {"training": FLAT, "objective": "dino"}, ["write epochs: [1, 4] in place of horizons"]),
        (HORIZONS | {"training": FLAT | {"cooldown_share": 1}},
         ["cooldown_share=1 is all of epochs=1", "horizons share nothing", "lower it"]),
        ({"horizons": {"epochs": [2, 4]}, "training": FLAT | {"cooldown_epochs": 2}}, ["cooldown_epochs=2 is all of"]),
        ({"horizons": {"data": [5, 9]}, "training": FLAT | {"cooldown_share": 1}}, ["data_sizes: [5, 9] in place of"]),
        ({"training": FLAT | {"cooldown_share": 0.2, "cooldown_epochs": 1}}, ["one thing, the cooldown"]),
        ({"training": {"cooldown_share": 0.2}}, ["cooldown_share=0.2 belongs to schedule='wsd'"]),
        ({"training": {"cooldown": "sqrt"}}, ["cooldown='sqrt' belongs to schedule='wsd'"]),
        ({"budgets": [1e7]}, ["images, as many of each of 10 classes, in 1 epoch spend"]),
        ({"budgets": [1e10, 1.001e10]}, ["two runs", "budgets=1e+10 and budgets=1.001e+10", "images/class"]),
    ],
)  # fmt: skip
def test_lengths_that_cannot_be_name_their_cell_and_a_remedy(changes, words):
    with pytest.raises(StudyError) as error:
        parse_study(BASE | {"training": {"batch_size": 10}} | changes, "a.yaml")
    assert [word for word in words if word not in str(error.value)] == [], str(error.value)
    assert "\n" not in str(error.value)


def test_schedules_that_name_none_of_a_short_run_are_lenient_beside_others():
    grid = runs(epochs=[18, 60], checkpoints={"score": [{"every": 50}, "last"], "keep": [{"every": 15}]})
    assert [run.keep_epochs for run in grid] == [(15, 18), (15, 30, 45, 50, 60)]
    assert [run.score_epochs for run in grid] == [(18,), (50, 60)]


def test_a_stored_training_holds_fields_that_a_file_may_not_write():
    for training in (TrainingSpec(), TrainingSpec(schedule="wsd", cooldown_epochs=2, warmup_epochs=1)):
        assert TrainingSpec.model_validate(training.model_dump()) == training


@pytest.mark.parametrize(("run", "words"), [
    ({"horizons": {"data": [20, 500]}, "training": FLAT}, r"\(horizons\.data of study 'axes'\); lower it$"),
    ({"data_sizes": [500]}, r"\(data_sizes of study 'axes'\); lower it or write 'all'$"),
])  # fmt: skip
def test_more_images_than_there_are_name_the_field_and_the_study(run, words, digits_data):
    with pytest.raises(StudyError, match=words):
        check_runs(runs(**run), digits_data)
