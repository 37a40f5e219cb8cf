"""The priors are what the published table gives."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis import FittedLaw, ScalingTable, fit_law
from analysis.power.prior import D_REF, N_REF, PRIORS

FLAGS = ("is_pretrained", "is_random", "is_ssl", "is_adv", "is_ablation")
AXES = ("n_params", "samples_seen")
LEAST = 15  # configurations of a family and data set whose scatter counts


def _rows(published: ScalingTable, fits: dict, region: str) -> ScalingTable:
    """Rows of the published fit `compute_chinchilla`, of one region."""
    rows = fits["compute_chinchilla"]["rows"]
    table = published.with_accuracy().select(
        region=region, dataset=rows["keep"]["dataset"], **dict.fromkeys(FLAGS, False)
    )
    table = table.with_columns(family=table.column("family").replace(rows["arch_family_aliases"]))
    table = table.mean_over("region", require=("family", "accuracy", "samples_seen", "n_params"))
    images = table.column("images_per_class")
    limited = table.column("family").isin(["ConvNeXt", "ConvNeXtFlex", "ViT", "ViTFlex"])
    return table.where((~limited | images.isna() | (images == 300).fillna(False)).to_numpy(dtype=bool))


@pytest.fixture(scope="module")
def fits(data_dir: Path) -> dict:
    path = data_dir / "gokce2025" / "published_fits.json"
    if not path.exists():
        pytest.skip(f"{path} is not there; set SCALING_DATA_DIR")
    return json.loads(path.read_text())


@pytest.mark.parametrize("region", PRIORS)
def test_a_regions_prior_is_computed_again(region: str, published: ScalingTable, fits: dict) -> None:
    rows, prior = _rows(published, fits, region), PRIORS[region]
    assert len(rows) == fits["compute_chinchilla"]["n_points"]
    law = fit_law(rows, "chinchilla", AXES, bootstrap=0)
    p = law.params
    found = (p["E"], p["A"] * N_REF ** -p["alpha"], p["alpha"], p["B"] * D_REF ** -p["beta"], p["beta"])
    assert found == pytest.approx((prior.E, prior.A, prior.alpha, prior.B, prior.beta), abs=6e-4)
    assert prior.start == pytest.approx(np.quantile(law.y, 0.95), abs=0.006)
    noise = _seed_noise(law)
    assert prior.noise == pytest.approx(noise, abs=6e-4)
    assert prior.scatter == pytest.approx(_scatter(rows, noise), abs=1.5e-3)


def _by_configuration(law: FittedLaw, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    _, at, count = np.unique(law.rows.clusters(AXES), return_inverse=True, return_counts=True)
    return np.bincount(at, values) / count, at, count


def _seed_noise(law: FittedLaw) -> float:
    log_y = np.log(law.y)
    mean, at, count = _by_configuration(law, log_y)
    return float(np.sqrt(np.sum((log_y - mean[at]) ** 2) / np.sum(count - 1)))


def _scatter(rows: ScalingTable, noise: float) -> float:
    """Median over families and data sets of the robust spread of configurations, less what 1.5 seeds leave of noise."""
    spread = []
    for _, part in rows.group("family", "dataset"):
        if len(np.unique(part.clusters(AXES))) < LEAST:
            continue
        law = fit_law(part, "chinchilla", AXES, bootstrap=0)
        mean, _, count = _by_configuration(law, law.residuals())
        spread.append(1.4826 * np.median(np.abs(mean)) * np.sqrt(len(count) / (len(count) - len(law.names))))
    assert len(spread) == 4
    return float(np.sqrt(max(0.0, np.median(spread) ** 2 - noise**2 / 1.5)))
