"""Shared rows for the tests of analysis/: the published data where it is at hand, and planted laws."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from analysis import ScalingTable
from analysis.fit.forms import evaluate_form, find_form

settings.register_profile("analysis", database=None, deadline=None, derandomize=True)
settings.load_profile("analysis")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of public data: SCALING_DATA_DIR, or ../shared/data beside the checkout."""
    named = os.environ.get("SCALING_DATA_DIR")
    return Path(named) if named else ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def published_csv(data_dir: Path) -> Path:
    path = data_dir / "gokce2025" / "benchmark_scores.csv"
    if not path.exists():
        pytest.skip(f"{path} is not there; set SCALING_DATA_DIR")
    return path


@pytest.fixture(scope="session")
def published(published_csv: Path) -> ScalingTable:
    return ScalingTable.from_csv(published_csv)


@pytest.fixture(scope="session")
def plain(published: ScalingTable) -> ScalingTable:
    """Supervised models trained from scratch on ImageNet or EcoSet."""
    flags = dict.fromkeys(("is_pretrained", "is_random", "is_ssl", "is_adv", "is_ablation"), False)
    return published.select(dataset=["imagenet", "ecoset"], **flags)


PLANTED = {
    "constant": {"E": 0.6},
    "power_law": {"E": 0.35, "A": 0.45 * 1e14**0.18, "alpha": 0.18},
    "shifted_power_law": {"E": 0.35, "A": 0.45 * 1e15**0.3, "alpha": 0.3, "shift": 1e15},
    "chinchilla": {"E": 0.4, "A": 0.2 * 3e5**0.45, "alpha": 0.45, "B": 0.35 * 1e4**0.3, "beta": 0.3},
    "data_constrained": {
        "E": 0.4, "A": 0.2 * 3e5**0.45, "alpha": 0.45, "B": 0.35 * 1e4**0.3, "beta": 0.3, "R_star": 8.0,
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def plant() -> Callable[..., ScalingTable]:
    """plant(form, n=8, noise=0.0, seed=0): runs on a grid whose score follows PLANTED[form], log-normal noise."""

    def make(form: str, n: int = 8, noise: float = 0.0, seed: int = 0) -> ScalingTable:
        rng = np.random.default_rng(seed)
        N, D = (a.ravel() for a in np.meshgrid(np.geomspace(3e5, 3e8, n), np.geomspace(1e4, 1e8, n)))
        frame = pd.DataFrame({
            "n_params": N, "samples_seen": D, "n_samples": D / np.tile([1, 4, 20, 100], len(D))[: len(D)],
            "flops_per_image": 500 * N**0.9,
        })  # fmt: skip
        frame["flops"] = 3 * frame["flops_per_image"] * frame["samples_seen"]
        law = find_form(form)
        X = [frame[name].to_numpy() for name in law.default_axes]
        frame["score"] = 1 - evaluate_form(law, PLANTED[form], X) * np.exp(rng.normal(0, noise, len(frame)))
        return ScalingTable.from_frame(frame)

    return make


@pytest.fixture(scope="session")
def planted_params() -> dict[str, dict[str, float]]:
    return PLANTED
