"""Preparation of images against torchvision's and timm's own transforms on Pillow images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

from scaling.alignment.features.activations import prepare_images
from scaling.alignment.features.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from scaling.errors import StudyError


def images(height, width, n=2):
    """Textured at every scale, so that antialiasing matters."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (n, 1 + height // 9, 1 + width // 9, 3)).repeat(9, 1).repeat(9, 2)
    noise = rng.integers(0, 256, (n, height, width, 3))
    return (0.7 * blocks[:, :height, :width] + 0.3 * noise).astype(np.uint8)


def by_pillow(pixels, *steps):
    compose = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    return torch.stack([compose(Image.fromarray(image)) for image in pixels])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(300, 400), (120, 90), (256, 256)], ids=["shrunk", "enlarged", "kept"])
def test_the_published_preprocessing_equals_torchvision(shape, interpolation):
    pixels = images(*shape)
    mode = transforms.InterpolationMode(interpolation)
    got = Preprocessing(interpolation=interpolation).apply(pixels)
    expected = by_pillow(pixels, transforms.Resize(256, mode), transforms.CenterCrop(224))
    assert got.shape == (2, 3, 224, 224)
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_squash_resizes_both_sides():
    pixels = images(200, 320)
    got = Preprocessing(96, 100, keep_aspect=False).apply(pixels)
    expected = by_pillow(pixels, transforms.Resize((100, 100)), transforms.CenterCrop(96))
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_square_is_prepare_images():
    pixels, mean, std = images(40, 60), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    got = Preprocessing.square(32, mean, std).apply(pixels)
    torch.testing.assert_close(got, prepare_images(pixels, 32, mean, std), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "convnext_atto"])
def test_a_timm_model_says_what_it_wants(name):
    model = timm.create_model(name)
    pixels = images(240, 280)
    config = timm.data.resolve_model_data_config(model)
    evaluate = timm.data.create_transform(**config)
    expected = torch.stack([evaluate(Image.fromarray(image)) for image in pixels])
    torch.testing.assert_close(Preprocessing.of_timm(model).apply(pixels), expected, rtol=0, atol=0)


def test_a_timm_model_at_another_size():
    got = Preprocessing.of_timm(timm.create_model("vgg11"), image_size=64)
    assert got == Preprocessing(64, 73)


def test_batches_do_not_matter():
    pixels = images(90, 100, 5)
    whole = Preprocessing(48, 64).apply(pixels)
    parts = [Preprocessing(48, 64).apply(pixels[start : start + 2]) for start in (0, 2, 4)]
    torch.testing.assert_close(whole, torch.cat(parts), rtol=0, atol=0)


@pytest.mark.parametrize(
    "change",
    [{"image_size": 200}, {"resize": 240}, {"resize": None}, {"mean": (0.5, 0.5, 0.5)}, {"std": (1.0, 1.0, 1.0)},
     {"interpolation": "bicubic"}, {"keep_aspect": False}],
)  # fmt: skip
def test_every_field_is_part_of_the_identity(change):
    assert replace(Preprocessing(), **change).identity() != Preprocessing().identity()


class Odd(nn.Module):
    def __init__(self, **config):
        super().__init__()
        self.pretrained_cfg = {"input_size": (3, 64, 64), "crop_mode": "center", **config}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Preprocessing(image_size=0, resize=None), ["image_size=0"]),
        (lambda: Preprocessing(image_size=224, resize=200), ["resize=200", "224"]),
        (lambda: Preprocessing(interpolation="nearest"), ["'nearest'", "bilinear"]),
        (lambda: Preprocessing(32, None, interpolation="bicubic"), ["'bicubic'", "resize"]),
        (lambda: Preprocessing.of_timm(Odd(input_size=(3, 64, 32))), ["Odd", "(3, 64, 32)"]),
        (lambda: Preprocessing.of_timm(Odd(input_size=(1, 64, 64))), ["(1, 64, 64)"]),
        (lambda: Preprocessing.of_timm(Odd(crop_mode="border")), ["'border'"]),
        (lambda: Preprocessing().apply(np.zeros((2, 8, 8, 3))), ["float64", "uint8"]),
        (lambda: Preprocessing().apply(np.zeros((8, 8, 3), np.uint8)), ["(8, 8, 3)"]),
        (lambda: Preprocessing.square(8, (0, 0, 0), (1, 1, 1)).apply(np.zeros((8, 8), np.uint8)), ["(8, 8)"]),
    ],
)
def test_bad_preprocessing(make, words):
    with pytest.raises(StudyError) as error:
        make()
    assert all(word in str(error.value) for word in words), error.value
