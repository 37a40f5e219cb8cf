"""Activations by hook and image preparation."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import nn

from scaling.alignment.activations import collect_activations, prepare_images
from scaling.errors import StudyError


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(144, 5)
    )


@pytest.fixture
def images():
    return torch.randn(10, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_layers_are_flattened_outputs_in_eval_mode(model, images):
    got = collect_activations(model, ["0", "2", "5"], images, batch_size=4)
    with torch.no_grad():
        expected = model.eval()[0](images)
    assert list(got) == ["0", "2", "5"]
    assert all(values.dtype == np.float32 for values in got.values())
    np.testing.assert_allclose(got["0"], expected.flatten(1).numpy(), atol=1e-5)
    np.testing.assert_allclose(got["5"], model(images).detach().numpy(), atol=1e-5)


def test_repeated_calls_agree_and_batches_hardly_matter(model, images):
    first = collect_activations(model, ["5"], images, batch_size=4)["5"]
    np.testing.assert_array_equal(first, collect_activations(model, ["5"], images, batch_size=4)["5"])
    np.testing.assert_allclose(first, collect_activations(model, ["5"], images, batch_size=10)["5"], atol=1e-5)
    np.testing.assert_array_equal(first, collect_activations(model, ["5"], images.numpy(), batch_size=4)["5"])


def test_the_model_is_left_as_it_was(model, images):
    model.train()
    model[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    collect_activations(model, ["0"], images)
    assert model.training
    assert not model[1].training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_hooks_are_removed_after_a_failure(model):
    with pytest.raises(RuntimeError):
        collect_activations(model, ["0"], torch.zeros(2, 4, 8, 8))
    assert not any(module._forward_hooks for module in model.modules())


def test_tokens_of_a_vision_transformer():
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=3)
    got = collect_activations(vit, ["blocks.1", "fc_norm"], torch.zeros(3, 3, 32, 32), batch_size=2)
    assert got["blocks.1"].shape == (3, 17 * 192)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.pair, self.twice, self.idle, self.table = Pair(), nn.ReLU(), nn.Linear(2, 2), Table()

    def forward(self, x):
        self.table(x)
        first, _ = self.pair(x.flatten(1))
        return self.twice(self.twice(first) - 1)


class Pair(nn.Module):
    def forward(self, x):
        return x, 2 * x


class Table(nn.Module):
    def forward(self, x):
        return {"x": x}


def test_tuples_give_their_first_tensor_and_reused_modules_their_last_output(images):
    got = collect_activations(Branches(), ["pair", "twice"], images)
    flat = images.flatten(1).numpy()
    np.testing.assert_array_equal(got["pair"], flat)
    np.testing.assert_allclose(got["twice"], np.maximum(np.maximum(flat, 0) - 1, 0))


@pytest.mark.parametrize(
    ("layers", "n", "words"),
    [
        (["pairs"], 2, ["'pairs'", "Branches", "did you mean 'pair'"]),
        ([], 2, ["no layers"]),
        ([""], 2, ["''"]),
        (["pair"], 0, ["0 images"]),
        (["idle"], 2, ["'idle'", "did not run"]),
        (["table"], 2, ["'table'", "dict"]),
    ],
)
def test_bad_layers(layers, n, words):
    with pytest.raises(StudyError) as error:
        collect_activations(Branches(), layers, torch.zeros(n, 3, 4, 4))
    assert all(word in str(error.value) for word in words), error.value


def test_prepared_images_are_normalised_channels_first():
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    images.flags.writeable = False
    got = prepare_images(images, 8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    expected = (images / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7]
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-6)


def test_resizing_is_antialiased_and_keeps_the_mean():
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = 255  # finer than the small image can show: must become grey
    small = prepare_images(stripes, 8, (0, 0, 0), (1, 1, 1))
    assert small.shape == (1, 3, 8, 8)
    np.testing.assert_allclose(small.numpy(), 0.5, atol=0.05)
    flat = np.full((70, 10, 14, 3), 51, np.uint8)
    np.testing.assert_allclose(prepare_images(flat, 32, (0, 0, 0), (1, 1, 1)).numpy(), 0.2, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "size"),
    [(np.zeros((2, 8, 8, 3)), 8), (np.zeros((8, 8, 3), np.uint8), 8), (np.zeros((2, 8, 8, 3), np.uint8), 0)],
)
def test_bad_images(images, size):
    with pytest.raises(StudyError, match="prepare_images"):
        prepare_images(images, size, (0, 0, 0), (1, 1, 1))
