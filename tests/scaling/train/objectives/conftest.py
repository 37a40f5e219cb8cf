"""Digits with planted importance maps, and objectives without a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from scaling.data.images import ImageData, ImageSet
from scaling.models import build_model
from scaling.specs.run import RunSpec
from scaling.train.batch import Batch
from scaling.train.batches import to_input
from scaling.train.objectives.base import Objective
from scaling.train.objectives.registry import build_objective


@pytest.fixture(scope="session")
def mapped_data(digits_data: ImageData) -> ImageData:
    """Digits whose maps are their own ink; two images in three have one."""
    train = digits_data.train
    maps = train.images.mean(-1).astype(np.float32)
    maps[::3] = np.nan
    return replace(digits_data, train=ImageSet(train.images, train.labels, maps))


@pytest.fixture(scope="session")
def make_batch(mapped_data: ImageData) -> Callable[..., Batch]:
    """The first `n` training images with their maps, as the loop gives them."""

    def make(n: int = 6, place: tuple[int, int] = (0, 0), share: slice = slice(None)) -> Batch:
        train, index = mapped_data.train, np.arange(n)[share]
        maps = torch.from_numpy(train.maps[index])
        return Batch(
            to_input(train.images[index], mapped_data.mean, mapped_data.std, torch.device("cpu")),
            torch.from_numpy(train.labels[index]),
            place,
            share,
            n,
            maps.nan_to_num(0.0),
            maps.isfinite().all(2).all(1),
        )

    return make


@pytest.fixture
def build(mapped_data: ImageData) -> Callable[..., tuple[nn.Module, Objective]]:
    """A run's model and objective on the first 50 images, in training mode."""

    def make(run: RunSpec) -> tuple[nn.Module, Objective]:
        torch.manual_seed(0)
        model = build_model(run.model, mapped_data.image_size, mapped_data.n_classes).train()
        return model, build_objective(run, mapped_data, np.arange(50), model).train()

    return make
