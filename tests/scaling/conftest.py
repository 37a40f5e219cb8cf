"""Stimuli and recordings that the tests of alignment and recordings share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from scaling.data.recordings.kriegeskorte import BRAIN_FILE, JUDGMENTS_FILE, NAME, STIMULI_FILE
from scaling.data.recordings.stimuli import Stimuli, select_stimuli


@pytest.fixture(scope="session")
def digits():
    """(training pixels, training labels, held-out Stimuli): 1,437 images in [0, 1] and 300 others, balanced."""
    data = load_digits()
    images = np.round(data.images / 16 * 255).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:1437], order[1437:]
    return data.data[train] / 16, data.target[train], select_stimuli(images[test], data.target[test])


@pytest.fixture(scope="session")
def stimuli() -> Stimuli:
    """60 noise images of 4 categories."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    return Stimuli(images, tuple(map(str, range(60))), np.arange(60) % 4, "noise images")


@pytest.fixture(scope="session")
def kriegeskorte_dir() -> Path:
    """The folder that holds kriegeskorte2008/; skips where a file is absent."""
    given = os.environ.get("SCALING_DATA_DIR")
    root = Path(given) if given else Path(__file__).parents[3] / "shared" / "data"
    for name in (STIMULI_FILE, BRAIN_FILE, JUDGMENTS_FILE):
        if not (root / NAME / name).is_file():
            pytest.skip(f"{root / NAME / name} is absent: run `scaling fetch {NAME}`")
    return root
