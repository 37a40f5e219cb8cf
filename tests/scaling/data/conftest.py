"""Data sets on disk that the tests of this folder read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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


@pytest.fixture
def mapped(tmp_path: Path, encode: Callable[..., bytes], photo: Callable[..., np.ndarray]) -> Path:
    """ClickMe's layout, 20 training and 6 held-out images, some with a map, in two shards."""
    for split, n in (("train-0", 8), ("train-1", 12), ("test-0", 6)):
        coded = [encode(photo(20, 25, seed), "JPEG") for seed in range(n)]
        maps = [encode(photo(20, 25, 50 + seed)[..., 0], "JPEG") if seed % 3 else None for seed in range(n)]
        (tmp_path / "mapped").mkdir(exist_ok=True)
        rows = {"image": coded, "heatmap": maps, "label": [i % 2 for i in range(n)]}
        pq.write_table(pa.table(rows), tmp_path / f"mapped/{split}.parquet")
    return tmp_path
