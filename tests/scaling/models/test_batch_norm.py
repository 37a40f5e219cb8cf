"""Which models have batch norm is a fact of the family; statistics of less than a batch are part of a run's id."""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from scaling.errors import StudyError
from scaling.models import FAMILIES, build_model, has_batch_norm
from scaling.models.ladder import LADDERS, ladder_models
from scaling.specs.model import ModelSpec
from scaling.specs.objective import SPECS
from scaling.specs.run import RunSpec
from scaling.storage import Storage
from scaling.train.distributed.worker import Worker
from scaling.train.loop import Training

RESNET, VIT = {"family": "resnet", "depth": 10, "sizes": [2]}, {"family": "vit", "depth": 2, "heads": 3, "sizes": [12]}
TIMM = (
    "resnet18",
    "vit_tiny_patch16_224",
    "convnextv2_atto",
    "mobilenetv3_small_050",
    "resnetv2_50x1_bit",
    "levit_128s",
)


def built_with_batch_norm(spec: ModelSpec) -> bool:
    with torch.device("meta"):
        model = build_model(spec, 224, 10)
    return any(isinstance(module, _BatchNorm) for module in model.modules())


@pytest.mark.parametrize("family", LADDERS)
def test_a_familys_fact_is_that_of_its_models(family):
    ladder = [spec for _, spec in ladder_models(family)]
    for spec in (ladder[0], ladder[len(ladder) // 2], ladder[-1]):
        assert has_batch_norm(spec) == built_with_batch_norm(spec), spec
    assert set(LADDERS) | {"timm"} == set(FAMILIES), "a new family is to be tested here"


@pytest.mark.parametrize("name", TIMM)
def test_timms_models_are_asked_one_by_one(name):
    spec = ModelSpec(family="timm", size=1, variant=name)
    assert has_batch_norm(spec) == built_with_batch_norm(spec)


def test_an_objectives_fact_is_that_of_its_modules(make_run, digits_data, storage):
    maps = {"harmonizer": {"name": "harmonizer", "weight": 0}}
    for name in SPECS:
        run = make_run(models=[VIT], objective=maps.get(name, name), training={"batch_size": 10, "epochs": 3000})
        if name == "harmonizer":
            continue  # it has no modules, and these images no maps
        objective = Training(run, digits_data, storage).objective
        heads = [module for module in objective.modules() if isinstance(module, _BatchNorm)]
        assert run.has_batch_norm == bool(heads), name


def ids(make_run, resources: list[dict], **study: object) -> list[str]:
    training = {"epochs": 2, "batch_size": 20} | study.pop("training", {})
    return [make_run(resources=given, training=training, **study).run_id for given in resources]


def test_micro_batches_enter_the_id_where_batch_norm_sees_them(make_run):
    """20 images: two workers' shares are 10."""
    resources = [{}, {"micro_batch": 20}, {"workers": 2, "micro_batch": 10}, {"micro_batch": 10}, {"micro_batch": 5},
                 {"workers": 2, "micro_batch": 5}]  # fmt: skip
    whole, as_large, as_shares, *split = ids(make_run, resources, models=[RESNET])
    assert whole == as_large == as_shares, "no micro-batch is made"
    assert len({whole, *split}) == 4
    assert len(set(ids(make_run, resources, models=[VIT]))) == 1, "a sum over images, however it is taken"


def test_workers_enter_the_id_where_they_are_not_synchronised(make_run):
    resources = [{}, {"workers": 2}, {"workers": 4, "cpus_per_worker": 3}]
    apart = {"training": {"sync_batch_norm": False}}
    assert len(set(ids(make_run, resources, models=[RESNET]))) == 1, "a run may go on with another number of workers"
    assert len(set(ids(make_run, resources, models=[RESNET], **apart))) == 3
    assert len(set(ids(make_run, resources, models=[VIT], **apart))) == 1
    simclr = {"name": "simclr", "hidden": 8}
    assert len(set(ids(make_run, resources, models=[VIT], objective=simclr, **apart))) == 3, "its projection has one"


def test_runs_of_older_stores_keep_their_ids(make_run):
    """They do not say whether there is batch norm; those with micro-batches are other runs than today's."""
    run = make_run(models=[RESNET], resources={"micro_batch": 5})
    old = json.loads(run.model_dump_json())
    del old["has_batch_norm"]
    plain = make_run(models=[RESNET])
    assert RunSpec.model_validate(old).run_id == plain.run_id == "00219b3e06de"
    assert run.run_id != plain.run_id


def test_a_run_whose_id_leaves_its_statistics_out_is_not_trained(make_run, digits_data, storage):
    run = make_run(models=[RESNET], resources={"micro_batch": 5}).model_copy(update={"has_batch_norm": False})
    with pytest.raises(StudyError, match=r"of \{'workers': 1, 'micro_batch': 5\}, and the run's id says whole batches"):
        list(Training(run, digits_data, storage).epochs())
    run = make_run(models=[RESNET], training={"batch_size": 10, "sync_batch_norm": False}, resources={"workers": 2})
    with pytest.raises(StudyError, match=r"whole batches, and the run's id says \{'workers': 2\} .*1 workers\)"):
        list(Training(run, digits_data, storage, Worker()).epochs())


def test_the_same_statistics_are_the_same_run_and_the_same_numbers(make_run, digits_data, tmp_path):
    """A micro-batch of a whole share changes nothing, bit for bit."""
    runs = [make_run(models=[RESNET], resources=given) for given in ({}, {"micro_batch": 10})]
    losses = [
        [record.loss for record in Training(run, digits_data, Storage(tmp_path / str(index))).epochs()]
        for index, run in enumerate(runs)
    ]
    assert runs[0].run_id == runs[1].run_id
    assert losses[0] == losses[1]
