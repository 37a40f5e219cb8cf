"""Whitened first convolutions, and flips that alternate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from scaling.errors import StudyError
from scaling.storage import Storage
from scaling.train.augment.apply import Look, to_eval_input
from scaling.train.batches import Draw
from scaling.train.loop import Training
from scaling.train.whiten import EPSILON

WIDE = {"family": "resnet", "depth": 10, "sizes": [64]}
WHOLE = slice(None)


def test_the_first_outputs_of_a_whitened_model_are_uncorrelated_and_of_variance_one(make_run, digits_data, storage):
    """Their second moments are l / (l + 5e-4) on the diagonal, 0 elsewhere; the filters of the - mirror them."""
    run = make_run(models=[WIDE], data_sizes=[30], training={"whiten": True, "epochs": 1, "batch_size": 30})
    training = Training(run, digits_data, storage)
    weight = training.model.conv1.weight.detach()
    look = Look(digits_data.mean, digits_data.std, torch.device("cpu"), 8)
    pixels = to_eval_input(digits_data.train.images[training.subset], look)
    patches = functional.unfold(pixels, 3).transpose(1, 2).flatten(0, 1).double()
    values = torch.linalg.eigvalsh(patches.T @ patches / len(patches)).flip(0)
    outputs = patches @ weight[:27].flatten(1).double().T
    expected = torch.diag(values / (values + EPSILON))
    torch.testing.assert_close(outputs.T @ outputs / len(outputs), expected, atol=2e-3, rtol=0)
    assert torch.equal(weight[27:54], -weight[:27])
    plain = Training(make_run(models=[WIDE], data_sizes=[30]), digits_data, storage)
    assert torch.equal(weight[54:], plain.model.conv1.weight[54:]), "the others stay as drawn"


def test_a_narrow_layer_whitens_along_the_largest_eigenvectors(make_run, digits_data, tmp_path):
    weights = []
    for size in (8, 64):
        run = make_run(models=[WIDE | {"sizes": [size]}], data_sizes=[5], training={"whiten": True, "batch_size": 10})
        weights.append(Training(run, digits_data, Storage(tmp_path / str(size))).model.conv1.weight)
    torch.testing.assert_close(weights[0][:4], weights[1][:4])
    assert torch.equal(weights[0][4:], -weights[0][:4])


def test_a_model_without_a_first_convolution_of_colours_is_refused(make_run, digits_data, storage, monkeypatch):
    run = make_run(data_sizes=[5], training={"whiten": True, "batch_size": 10})
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))
    monkeypatch.setattr("scaling.train.build.build_model", lambda *of: linear)
    with pytest.raises(StudyError, match=r"whiten=true needs a model that begins with a convolution .*set it to false"):
        Training(run, digits_data, storage)


def test_flips_alternate_whatever_the_batch_and_half_are_flipped():
    """In two epochs in a row every image is seen both ways; in the next but one as in the first."""
    images = np.random.default_rng(0).permutation(2000)
    flips = [Draw(3, (epoch, 1), WHOLE, 2000, images).flips(np.random.default_rng(0)) for epoch in range(4)]
    assert (flips[0] ^ flips[1]).all()
    assert np.array_equal(flips[0], flips[2])
    assert np.array_equal(flips[1], flips[3])
    assert abs(flips[0].mean() - 0.5) < 4 * 0.5 / np.sqrt(2000)
    part = Draw(3, (2, 7), slice(1, None, 2), 10, images[:10]).flips(np.random.default_rng(1))
    assert np.array_equal(part, flips[0][:10][1::2])
