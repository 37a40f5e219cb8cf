"""Runs under mup: checkpoints, heads of objectives, weights to start from, and the names of results."""

from __future__ import annotations

import pytest
import torch

from scaling.checkpoints.load import load_model
from scaling.enough import family_names
from scaling.errors import StudyError
from scaling.frames import results_frame
from scaling.layout import weights_name
from scaling.models import build_model
from scaling.models.mup.parametrize import OutputLinear
from scaling.models.mup.ratios import width_ratios
from scaling.records import ResultsStore
from scaling.specs.model import ModelSpec
from scaling.storage import Storage
from scaling.study import expand_study
from scaling.train.loop import Training
from scaling.verify.images import ImageCounts
from scaling.verify.sizes import model_near

RESNET = {"family": "resnet", "depth": 10, "sizes": [4]}
MUP = RESNET | {"parametrization": "mup", "base_size": 2}
SIMCLR = {"name": "simclr", "hidden": 16, "output": 8}
DINO = {"name": "dino", "local_crops": 1, "hidden": 16, "bottleneck": 8, "prototypes": 12, "teacher_momentum": 0.01}


def train(run, data, storage) -> Training:
    training = Training(run, data, storage)
    list(training.epochs())
    return training


def test_a_checkpoint_gives_back_the_model_with_its_multiplier(make_run, digits_data, storage):
    run = make_run(models=[MUP])
    trained = train(run, digits_data, storage).model.eval()
    loaded = load_model(storage.path(weights_name(run.run_id, 2)), verify=True)
    images = torch.randn(3, 3, 8, 8)
    assert isinstance(loaded.get_classifier(), OutputLinear)
    assert torch.equal(loaded(images), trained(images))
    assert loaded.info.run == run
    assert ResultsStore(storage).read_run(run.run_id).family == "resnet mup 2"


@pytest.mark.parametrize(("objective", "layer"), [(SIMCLR, "projection.0"), (DINO, "head.mlp.0")])
def test_heads_that_read_features_are_output_layers(make_run, digits_data, storage, objective, layer):
    training = Training(make_run(models=[MUP], objective=objective, data_sizes=[10]), digits_data, storage)
    head = training.objective.get_submodule(layer)
    assert isinstance(head, OutputLinear)
    assert head.r_in == 2
    ratios = {
        name: ratio for name, ratio in width_ratios(training.objective).items() if not name.startswith("teacher.")
    }
    rates = {name: ratio.rate("sgd") for name, ratio in ratios.items() if ratio.rate("sgd") != 1}
    assert rates == {f"{layer}.weight": 2.0} | ({"teacher_head.mlp.0.weight": 2.0} if objective is DINO else {})
    groups = {id(p): group["rate_factor"] for group in training.optimizer.param_groups for p in group["params"]}
    assert groups[id(head.weight)] == 2
    list(training.epochs())


@pytest.mark.parametrize(("objective", "layer", "factor"), [(SIMCLR, "projection.0", 2**0.5), (DINO, "head.mlp.0", 1)])
def test_heads_begin_with_the_bases_std(make_run, digits_data, storage, objective, layer, factor):
    drawn = []
    for family in (MUP, RESNET):
        training = Training(make_run(models=[family], objective=objective, data_sizes=[10]), digits_data, storage)
        drawn.append(training.objective.get_submodule(layer).weight)
    assert torch.allclose(drawn[0], factor * drawn[1])


def test_weights_of_another_parametrization_are_refused(make_run, digits_data, storage, tmp_path):
    base = Storage(tmp_path / "base")
    plain, ours = make_run(models=[RESNET]), make_run(models=[MUP])
    for run in (plain, ours):
        train(run, digits_data, base)

    def start(family, run):
        objective = {"name": "ffgsm", "start_from": str(tmp_path / "base" / weights_name(run.run_id, 2))}
        return Training(make_run(models=[family], objective=objective), digits_data, storage)

    with pytest.raises(StudyError, match=r"are of parametrization standard, and .* is of mup 2: .*start_from"):
        start(MUP, plain)
    with pytest.raises(StudyError, match=r"are of parametrization mup 2, and .* is of standard"):
        start(RESNET, ours)
    start(MUP, ours)


def test_a_study_of_both_keeps_them_apart_by_family(make_study, digits_data, storage):
    study = make_study(models=[RESNET, MUP, MUP | {"base_size": 8}])
    runs = expand_study(study)
    names = ["resnet", "resnet mup 2", "resnet mup 8"]
    assert list(family_names(runs).values()) == names
    for run in runs:
        train(run, digits_data, storage)
    records = list(ResultsStore(storage).read_runs().values())
    assert sorted(record.family for record in records) == names
    assert results_frame(records, []).attrs["left_out"] == {"run without scores": 3}


def test_verification_builds_other_widths_in_the_same_parametrization():
    models = [ModelSpec(family="resnet", size=size, depth=10, parametrization="mup", base_size=4) for size in (4, 8)]
    found = model_near(models, 1e6, ImageCounts(8, 10, 1000, 100))
    assert (found.model.parametrization, found.model.base_size) == ("mup", 4)
    assert found.model.size > 8
    assert isinstance(build_model(found.model, 8, 10).get_classifier(), OutputLinear)


def test_lars_is_refused_where_a_run_is_trained_too(make_run, digits_data, storage):
    run = make_run(models=[MUP])
    lars = run.model_copy(update={"training": run.training.model_copy(update={"optimizer": "lars"})})
    with pytest.raises(StudyError, match="optimizer=lars with parametrization=mup"):
        Training(lars, digits_data, storage)
