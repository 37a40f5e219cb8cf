"""Ridge with one penalty for all units: equal to scikit-learn's, and folds inside equal to fits without them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.ridge import ALPHAS
from scaling.alignment.metrics.shared_ridge import BRAIN_SCORE_ALPHAS, EEG_ALPHAS, _Solved, shared_ridge
from scaling.alignment.metrics.splits import StimulusSplit
from scaling.errors import StudyError

SPLIT = StimulusSplit(np.arange(0, 48), np.arange(48, 60))
INNER = [np.arange(start, 48, 5) for start in range(5)]


def data(width, noise=1.0, seed=0):
    """60 stimuli, features on an offset, 7 noisy units."""
    rng = np.random.default_rng(seed)
    x = 3.0 + rng.standard_normal((60, width)) * np.linspace(20.0, 0.1, width)
    y = x[:, :9] @ rng.standard_normal((9, 7)) + 5.0
    return x, y + noise * y.std(axis=0) * rng.standard_normal(y.shape)


@pytest.mark.parametrize("width", [12, 47, 48, 200, 5000])
def test_brain_scores_ridgecv_is_scikit_learns(width):
    x, y = data(width)
    model = RidgeCV(BRAIN_SCORE_ALPHAS).fit(x[SPLIT.train], y[SPLIT.train])
    found = shared_ridge(Representation.of(x), y, SPLIT, (), BRAIN_SCORE_ALPHAS, relative=False)
    assert found.alpha == model.alpha_
    np.testing.assert_allclose(found.predictions, model.predict(x[SPLIT.test]), rtol=1e-8)


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0, 100.0])
@pytest.mark.parametrize("width", [12, 47, 200])
def test_penalties_that_are_not_tried_are_worse_than_the_one_chosen(width, noise, monkeypatch):
    tried = []
    error = _Solved._error
    monkeypatch.setattr(_Solved, "_error", lambda self, freedom: tried.append(self.alpha) or error(self, freedom))
    for seed in range(5):
        x, y = data(width, noise, seed)
        found = shared_ridge(Representation.of(x), y, SPLIT, (), ALPHAS, relative=True)
        x, y = x[SPLIT.train] - x[SPLIT.train].mean(axis=0), y[SPLIT.train]
        penalties = ALPHAS * np.sum(x**2) / 48
        errors = [leave_one_out(x, y, alpha) for alpha in penalties]
        assert found.alpha == pytest.approx(penalties[int(np.argmin(errors))], rel=1e-12)
    assert len(tried) < 5 * len(ALPHAS)


def leave_one_out(x, y, alpha):
    """Sum of squared errors of fits without each stimulus in turn, the mean refitted too; by the hat matrix."""
    hat = x @ np.linalg.solve(x.T @ x + alpha * np.eye(x.shape[1]), x.T) + 1 / len(x)
    return np.sum(((y - hat @ y) / (1 - np.diag(hat))[:, None]) ** 2)


@pytest.mark.parametrize("width", [12, 5000])
def test_brain_scores_ridge_is_scikit_learns(width):
    x, y = data(width)
    expected = Ridge(alpha=1.0).fit(x[SPLIT.train], y[SPLIT.train]).predict(x[SPLIT.test])
    found = shared_ridge(Representation.of(x), y, SPLIT, (), [1.0], relative=False)
    np.testing.assert_allclose(found.predictions, expected, rtol=1e-8)


@pytest.mark.parametrize("width", [12, 200])
@pytest.mark.parametrize("alphas", [[3.0], BRAIN_SCORE_ALPHAS])
def test_inner_folds_are_fits_without_them(width, alphas):
    x, y = data(width)
    found = shared_ridge(Representation.of(x), y, SPLIT, INNER, alphas, relative=False)
    for part, predicted in zip(INNER, found.inner, strict=True):
        rest = np.delete(np.arange(48), part)
        expected = Ridge(alpha=found.alpha).fit(x[rest], y[rest]).predict(x[part])
        np.testing.assert_allclose(predicted, expected, rtol=1e-7, atol=1e-8)


def test_relative_penalties_do_not_see_the_scale_of_features():
    x, y = data(100)
    one, other = (shared_ridge(Representation.of(x * scale), y, SPLIT, INNER) for scale in (1.0, 1e-3))
    np.testing.assert_allclose(one.predictions, other.predictions, rtol=1e-6)
    np.testing.assert_allclose(np.concatenate(one.inner), np.concatenate(other.inner), rtol=1e-6)


def test_constant_features_predict_the_mean():
    _, y = data(12)
    found = shared_ridge(Representation.of(np.ones((60, 4))), y, SPLIT, INNER)
    np.testing.assert_allclose(found.predictions, np.tile(y[:48].mean(axis=0), (12, 1)))
    np.testing.assert_allclose(found.inner[0][0], np.delete(y[:48], INNER[0], axis=0).mean(axis=0))


def test_the_published_penalties():
    assert (len(BRAIN_SCORE_ALPHAS), len(EEG_ALPHAS)) == (99, 23)
    for alphas in (BRAIN_SCORE_ALPHAS, EEG_ALPHAS):
        assert (alphas[0], alphas[-1]) == (0.01, 1e7)
        assert (np.diff(alphas) > 0).all()


def test_bad_input():
    x, y = data(12)
    with pytest.raises(StudyError, match="features of 60 stimuli, responses of 59"):
        shared_ridge(Representation.of(x), y[:59], SPLIT)
    with pytest.raises(StudyError, match="penalties above 0"):
        shared_ridge(Representation.of(x), y, SPLIT, (), [-1.0])
