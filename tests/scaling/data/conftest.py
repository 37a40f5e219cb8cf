"""Data sets on disk that the tests of this folder read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter


@pytest.fixture(scope="session")
def photo() -> Callable[..., np.ndarray]:
    """(height, width, 3) uint8 of smooth noise, as photographs are smooth."""

    def make(height: int, width: int, seed: int = 0) -> np.ndarray:
        noise = np.random.default_rng(seed).normal(size=(height, width, 3))
        smooth = gaussian_filter(noise, (3, 3, 0)) * 10 * 30 + 128
        return smooth.clip(0, 255).astype(np.uint8)

    return make


@pytest.fixture
def picture_folder(tmp_path: Path, photo: Callable[..., np.ndarray]) -> Path:
    """`pictures`: 2 classes of JPEG and PNG files of many shapes, 10 for training and 4 held out."""
    shapes = [(40, 60), (61, 40), (33, 33), (50, 41), (90, 47)]
    for split, n in (("train", 5), ("val", 2)):
        for label, name in enumerate(("n01_cat", "n02_dog")):
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                suffix = ("JPEG", "png", "jpg")[i % 3]
                Image.fromarray(photo(*shapes[i], seed=10 * label + i)).save(folder / f"{name}_{9 - i}.{suffix}")
    return tmp_path
