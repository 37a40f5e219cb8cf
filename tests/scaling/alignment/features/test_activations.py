"""Activations by hook and image preparation."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import nn

from scaling.alignment.features.activations import (
    collect_activations,
    copy_columns,
    prepare_images,
    probe_model,
    stream_activations,
)
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


class Windows(nn.Module):
    def forward(self, x):
        return x.reshape(len(x) * 2, -1)


class Scalar(nn.Module):
    def forward(self, x):
        return x.mean()


class Nothing(nn.Module):
    def forward(self, x):
        return x[:, :0]


def test_tuples_give_their_first_tensor_and_reused_modules_their_last_output(images):
    got = collect_activations(Branches(), ["pair", "twice"], images)
    flat = images.flatten(1).numpy()
    np.testing.assert_array_equal(got["pair"], flat)
    np.testing.assert_allclose(got["twice"], np.maximum(np.maximum(flat, 0) - 1, 0))


@pytest.mark.parametrize("collect", [False, True], ids=["streamed", "collected"])
def test_what_later_modules_do_in_place_is_not_seen(images, collect):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3))
    expected = model[0](images).detach().flatten(1).numpy()
    assert (expected < 0).any()
    if collect:
        got = collect_activations(model, ["0"], images, batch_size=10)["0"]
    else:
        got = next(stream_activations(model, {"0": copy_columns}, [images]))["0"]
    np.testing.assert_array_equal(got, expected)


def test_memory_order_is_that_of_the_shape_whatever_the_strides(images):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).to(memory_format=torch.channels_last)
    batch = images.to(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = model(batch).contiguous().flatten(1).numpy()
    np.testing.assert_array_equal(collect_activations(model, ["1"], batch)["1"], expected)


def test_low_precision_and_vectors_become_float32_matrices(images):
    class Sums(nn.Module):
        def forward(self, x):
            return x.sum(dim=(1, 2, 3)).bfloat16()

    got = collect_activations(nn.Sequential(Sums()), ["0"], images)["0"]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got[:, 0], images.sum(dim=(1, 2, 3)).bfloat16().float().numpy())


class Counting(nn.Module):
    """Counts its own runs."""

    runs = 0

    def forward(self, x):
        self.runs += 1
        return x + 1


def test_the_pass_ends_behind_the_last_wanted_layer(images):
    model = nn.Sequential(Counting(), Counting(), Counting())
    full = collect_activations(model, ["0", "1"], images, batch_size=4)
    probe = probe_model(model, ["0", "1"], images[:1])
    for counting in model:
        counting.runs = 0
    batches = [images[:4], images[4:8], images[8:]]
    parts = list(stream_activations(model, dict.fromkeys(["1", "0"], copy_columns), batches, probe.calls))
    assert [counting.runs for counting in model] == [3, 3, 0]
    for layer in ("0", "1"):
        np.testing.assert_array_equal(np.concatenate([part[layer] for part in parts]), full[layer])


def test_a_layer_that_runs_again_is_waited_for(images):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.step, self.after = Counting(), Counting()

        def forward(self, x):
            return self.after(self.step(self.step(self.step(x))))

    model = Recurrent()
    probe = probe_model(model, ["step"], images[:1])
    assert probe.calls == {"step": 3}
    (got,) = stream_activations(model, {"step": copy_columns}, [images], probe.calls)
    np.testing.assert_allclose(got["step"], images.flatten(1) + 3, rtol=1e-6)
    assert model.after.runs == 1  # the probe's


def test_a_stream_leaves_no_trace_when_it_is_abandoned(model, images):
    model.train()
    stream = stream_activations(model, {"0": copy_columns}, [images, images], {"0": 1})
    next(stream)
    assert not torch.is_inference_mode_enabled()
    stream.close()
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_columns_are_copied_alone(model, images):
    whole = collect_activations(model, ["0"], images)["0"]
    (got,) = stream_activations(model, {"0": lambda output: copy_columns(output, slice(30, 70))}, [images])
    np.testing.assert_array_equal(got["0"], whole[:, 30:70])
    assert got["0"].flags.c_contiguous
    assert got["0"].base is None


def test_a_probe_gives_widths_in_the_order_of_running_and_the_largest_tensor(images):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 9, 1), nn.Flatten(), nn.Linear(81, 100))
    probe = probe_model(model, ["4", "2", "0"], images[:1])
    assert list(probe.widths.items()) == [("0", 144), ("2", 81), ("4", 100)]
    assert probe.calls == {"0": 1, "2": 1, "4": 1}
    assert probe.image_bytes == 3 * 8 * 8 * 4
    assert probe_model(nn.Sequential(nn.Conv2d(3, 8, 3)), ["0"], images[:1]).image_bytes == 8 * 6 * 6 * 4
    assert not any(module._forward_hooks for module in model.modules())


def test_images_of_another_size_are_refused(images):
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    ragged = [torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 9, 9)]

    class Ragged:
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return ragged[index.start // 2]

    with pytest.raises(StudyError, match="'0' has 196 features for one batch of images and 144 for another"):
        collect_activations(model, ["0"], Ragged(), batch_size=2)


@pytest.mark.parametrize(
    ("module", "words"),
    [(Windows(), ["(4, 96)", "2 images"]), (Scalar(), ["()", "2 images"]), (Nothing(), ["(2, 0, 8, 8)", "empty"])],
)
def test_layers_without_a_row_an_image(module, words):
    with pytest.raises(StudyError) as error:
        collect_activations(nn.Sequential(module), ["0"], torch.zeros(2, 3, 8, 8))
    assert all(word in str(error.value) for word in ["'0'", *words]), error.value


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
