"""A probe's training: what it measures after each epoch, and what it tells again when it is resumed."""

from __future__ import annotations

import math

import pytest
import torch
from killed import save_after_every_step
from torch.nn import functional

from scaling.data.subsets import run_images
from scaling.layout import weights_names
from scaling.records import ResultsStore
from scaling.specs.run import RunSpec
from scaling.storage import Storage
from scaling.train.loop import Training

SIMCLR = {"objective": {"name": "simclr", "hidden": 16, "output": 8}, "training": {"epochs": 1, "batch_size": 10}}


def probe(make_run, **changes) -> RunSpec:
    training = {"training": {"epochs": 3, "batch_size": 10, "lr": 0.05}}
    run = make_run(**{"data_sizes": [20]} | training | changes)
    return run.model_copy(update={"validation": 0.2, "keep_epochs": (), "score_epochs": ()})


def test_the_validation_loss_is_the_cross_entropy_of_what_it_did_not_train_on(make_run, digits_data, storage) -> None:
    run = probe(make_run)
    training = Training(run, digits_data, storage)
    epochs = list(training.epochs())
    _, held = run_images(digits_data.train.labels, run)
    pixels = torch.from_numpy(digits_data.train.images[held] / 255).float()
    mean, std = torch.tensor(digits_data.mean).float(), torch.tensor(digits_data.std).float()
    with torch.no_grad():
        logits = training.model.eval()(((pixels - mean) / std).permute(0, 3, 1, 2))
    expected = float(functional.cross_entropy(logits, torch.from_numpy(digits_data.train.labels[held])))
    assert epochs[-1].validation_loss == pytest.approx(expected, rel=1e-5)
    assert [math.isfinite(e.validation_loss) for e in epochs] == [True] * 3
    record = ResultsStore(storage).read_run(run.run_id)
    assert (record.validation_loss, record.accuracy) == (epochs[-1].validation_loss, None)
    assert (record.n_samples, record.samples_seen) == (160, 480)
    assert weights_names(storage, run.run_id) == [], "a probe keeps no weights"


def test_a_model_without_classifier_is_judged_by_its_readout(make_run, digits_data, storage) -> None:
    (epoch,) = Training(probe(make_run, **SIMCLR), digits_data, storage).epochs()
    assert 0 < epoch.validation_loss < 1, "the squared error of chance is .9"


def test_a_run_that_is_no_probe_has_none_and_the_id_that_it_had(make_run, digits_data, storage) -> None:
    run = make_run()
    assert [epoch.validation_loss for epoch in Training(run, digits_data, storage).epochs()] == [None, None]
    assert "lr" not in run.label()
    assert run.run_id == "00219b3e06de"
    ids = {run.model_copy(update={"validation": share}).run_id for share in (0.0, 0.1, 0.2)}
    assert len(ids) == 3


def test_resumed_it_tells_all_its_epochs_in_their_order(make_run, digits_data, tmp_path, monkeypatch) -> None:
    save_after_every_step(monkeypatch.setattr)
    run, whole, killed = probe(make_run), Storage(tmp_path / "whole"), Storage(tmp_path / "killed")
    expected = [(e.epoch, e.validation_loss) for e in Training(run, digits_data, whole).epochs()]
    first = Training(run, digits_data, killed).epochs()
    next(first), next(first)
    again = [(e.epoch, e.validation_loss) for e in Training(run, digits_data, killed).epochs()]
    assert again == expected
    assert [e.epoch for e in ResultsStore(killed).read_epochs(run.run_id)] == [1, 2, 3]
