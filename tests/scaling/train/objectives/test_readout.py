"""The readout against scikit-learn's ridge and a direct evaluation of generalised cross-validation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from scaling.train.objectives.readout import PENALTIES, fit_readout

CLASSES = 4


def planted(n: int, d: int, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(n + d)
    labels = random.integers(0, CLASSES, n)
    centres = np.random.default_rng(d).normal(size=(CLASSES, d))
    x = (centres[labels] + noise * random.normal(size=(n, d))) * random.uniform(0.01, 100, d) + 3
    return torch.from_numpy(x), torch.from_numpy(labels)


def direct_gcv(x: np.ndarray, labels: np.ndarray, penalty: float) -> float:
    n, y = len(x), np.eye(CLASSES)[labels]
    z = (x - x.mean(0)) / x.std(0)
    hat = z @ np.linalg.solve(z.T @ z + penalty * np.eye(z.shape[1]), z.T) + 1 / n
    return float(np.sum((y - hat @ y) ** 2) / (1 - np.trace(hat) / n) ** 2)


@pytest.mark.parametrize(("n", "d", "noise"), [(60, 8, 1.0), (60, 8, 6.0), (30, 50, 1.0)])
def test_the_readout_is_the_ridge_of_least_gcv(n, d, noise):
    x, labels = planted(n, d, noise)
    readout = fit_readout([(x[:13], labels[:13]), (x[13:], labels[13:])], CLASSES)
    errors = {n * p: direct_gcv(x.numpy(), labels.numpy(), n * p) for p in PENALTIES}
    assert readout.penalty == min(errors, key=errors.__getitem__)
    z = (x - x.mean(0)) / x.std(0, correction=0)
    ridge = Ridge(alpha=readout.penalty).fit(z, np.eye(CLASSES)[labels])
    np.testing.assert_allclose(readout.weights, ridge.coef_.T, atol=1e-8)
    assert readout.predict(x).tolist() == ridge.predict(z).argmax(1).tolist()


def test_a_constant_feature_changes_nothing():
    x, labels = planted(60, 8, 1.0)
    wider = torch.cat([x, torch.full((60, 1), 7.0)], 1)
    alone, beside = fit_readout([(x, labels)], CLASSES), fit_readout([(wider, labels)], CLASSES)
    np.testing.assert_allclose(beside.weights[:8], alone.weights, atol=1e-10)
    assert beside.predict(wider).tolist() == alone.predict(x).tolist()
