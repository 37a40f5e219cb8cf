"""Error bars against direct bootstraps on the same draws, and their coverage of planted correlations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import pearsonr, spearmanr

from scaling.alignment.metrics import error_bars as errorbars
from scaling.alignment.metrics.error_bars import (
    bootstrap_draws,
    bootstrap_rsa,
    bootstrap_scores,
    fold_error,
    nan_median,
    percentile_interval,
    split_score,
)
from scaling.alignment.metrics.rsa import rsa, upper_triangle
from scaling.alignment.metrics.splits import StimulusSplit, k_folds, shuffle_splits, split_correlations
from scaling.alignment.numerics import pearson
from scaling.errors import StudyError


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def mapping(rng, n=40, q=6, n_splits=4, rho=0.6):
    """Splits, responses and predictions that correlate at rho with them."""
    y = rng.standard_normal((n, q)) + 5
    splits = shuffle_splits(n, n_splits, train_size=0.6, seed=1)
    noise = rng.standard_normal((n, q))
    return [(rho * y + np.sqrt(1 - rho**2) * noise)[split.test] for split in splits], y, splits


def direct_scores(predictions, y, splits, over, n_boot, seed):
    """Draw by draw: repeat the rows, take the columns, correlate."""
    draws, columns = bootstrap_draws(y.shape, n_boot, seed)
    scores = []
    for draw, column in zip(draws, columns, strict=True):
        column = np.arange(y.shape[1]) if over == "stimuli" else column
        medians = []
        for p, split in zip(predictions, splits, strict=True):
            times = [np.sum(draw == i) if over != "neuroids" else 1 for i in split.test]
            rows = np.repeat(np.arange(len(split.test)), times)
            medians.append(np.median([pearsonr(p[rows, j], y[split.test][rows, j]).statistic for j in column]))
        scores.append(np.mean(medians))
    return np.array(scores)


def test_split_score_is_the_mean_of_medians_with_brain_scores_error(rng):
    r = rng.uniform(-1, 1, (10, 7))
    medians = np.median(r, axis=1)
    assert split_score(r).score == pytest.approx(medians.mean())
    assert split_score(r).error == pytest.approx(medians.std(ddof=0) / np.sqrt(10))
    assert fold_error(medians) == split_score(r).error


def test_constant_neuroids_and_splits_are_left_out(rng):
    r = rng.uniform(-1, 1, (10, 7))
    r[:, 3], r[4] = np.nan, np.nan
    kept = np.delete(np.delete(r, 3, axis=1), 4, axis=0)
    assert split_score(r) == pytest.approx(split_score(kept))
    assert np.isnan(split_score(np.full((3, 2), np.nan)).score)
    assert split_score(np.full((3, 2), np.nan)).error is None
    assert fold_error([0.5]) is None
    assert fold_error([0.5, np.nan, 0.7]) == pytest.approx(0.1 / np.sqrt(2))


def test_nan_median_equals_numpys(rng):
    values = rng.standard_normal((20, 9))
    values[rng.random(values.shape) < 0.4] = np.nan
    values[0], values[1, :] = np.nan, np.arange(9.0)
    np.testing.assert_allclose(nan_median(values)[1:], np.nanmedian(values[1:], axis=1))
    assert np.isnan(nan_median(values)[0])
    assert nan_median(np.array([-np.inf, -np.inf, 1.0])) == -np.inf


@pytest.mark.parametrize("over", ["stimuli", "neuroids", "both"])
def test_bootstrap_of_a_mapping_equals_a_direct_one(rng, over, monkeypatch):
    predictions, y, splits = mapping(rng)
    expected = direct_scores(predictions, y, splits, over, n_boot=30, seed=5)
    np.testing.assert_allclose(bootstrap_scores(predictions, y, splits, over, 30, seed=5), expected, atol=1e-12)
    monkeypatch.setattr(errorbars, "BLOCK_ELEMENTS", 6 * 7)  # seven draws at a time
    np.testing.assert_allclose(bootstrap_scores(predictions, y, splits, over, 30, seed=5), expected, atol=1e-12)
    low, high = percentile_interval(bootstrap_scores(predictions, y, splits, over, 30, seed=5))
    assert (low, high) == pytest.approx(tuple(np.percentile(expected, [2.5, 97.5])), abs=1e-12)


def test_the_draws_of_stimuli_do_not_depend_on_what_else_is_drawn(rng):
    stimuli, neuroids = bootstrap_draws((20, 5), 8, seed=2)
    np.testing.assert_array_equal(stimuli, bootstrap_draws((20, 900), 8, seed=2)[0])
    np.testing.assert_array_equal(neuroids, bootstrap_draws((7, 5), 8, seed=2)[1])
    assert not np.array_equal(stimuli, bootstrap_draws((20, 5), 8, seed=3)[0])


def test_the_same_split_many_times_does_not_narrow_the_interval(rng):
    predictions, y, splits = mapping(rng, n_splits=1)
    once = bootstrap_scores(predictions, y, splits, n_boot=50)
    np.testing.assert_allclose(bootstrap_scores(predictions * 9, y, splits * 9, n_boot=50), once, atol=1e-12)


def test_offset_and_scale_do_not_change_a_bootstrap(rng):
    predictions, y, splits = mapping(rng)
    expected = bootstrap_scores(predictions, y, splits, n_boot=40)
    shifted = bootstrap_scores([1e-6 * p - 1e-3 for p in predictions], 1e6 * y + 1e9, splits, n_boot=40)
    np.testing.assert_allclose(shifted, expected, atol=1e-8)


def test_constant_predictions_and_neuroids(rng):
    predictions, y, splits = mapping(rng)
    constant = [np.full_like(p, 0.1) for p in predictions]
    np.testing.assert_array_equal(bootstrap_scores(constant, y, splits, n_boot=20), 0.0)
    fixed = np.full_like(y, 0.1)
    assert np.isnan(bootstrap_scores(predictions, fixed, splits, n_boot=20)).all()
    assert np.isnan(percentile_interval(bootstrap_scores(predictions, fixed, splits, n_boot=20))).all()
    partly = y.copy()
    partly[:, 0] = 0.1
    others = bootstrap_scores([p[:, 1:] for p in predictions], y[:, 1:], splits, "stimuli", 20)
    np.testing.assert_allclose(bootstrap_scores(predictions, partly, splits, "stimuli", 20), others, atol=1e-12)


def test_draws_of_a_single_distinct_stimulus_are_undefined():
    y = np.arange(4.0)[:, None]
    split = StimulusSplit(np.array([3]), np.array([0, 1]))
    samples = bootstrap_scores([y[:2]], y, [split], "stimuli", 200)
    draws = bootstrap_draws((4, 1), 200, 0)[0]
    both = np.array([{0, 1} <= set(draw) for draw in draws])
    np.testing.assert_array_equal(np.isnan(samples), ~both)
    np.testing.assert_allclose(samples[both], 1.0)


def test_the_interval_of_one_neuroid_covers_its_correlation(rng):
    """Bivariate normal, rho = .6, 80 stimuli, one part that holds them all out: 120 recordings, exact to 2 %."""
    covered = 0
    everything = [StimulusSplit(np.array([80]), np.arange(80))]
    for _ in range(120):
        y = rng.standard_normal((81, 1))
        p = 0.6 * y + 0.8 * rng.standard_normal((81, 1))
        low, high = percentile_interval(bootstrap_scores([p[:80]], y, everything, "stimuli", 300))
        covered += low < 0.6 < high
    assert 0.87 <= covered / 120 <= 0.99


def test_the_interval_over_neuroids_covers_the_population_median(rng):
    """Neuroids whose correlations are spread about .5 and known almost exactly: only their sampling counts."""
    covered = 0
    splits = k_folds(2000, 2)
    for _ in range(60):
        rho = np.clip(0.5 + 0.15 * rng.standard_normal(25), -0.95, 0.95)
        y = rng.standard_normal((2000, 25))
        p = rho * y + np.sqrt(1 - rho**2) * rng.standard_normal(y.shape)
        low, high = percentile_interval(
            bootstrap_scores([p[split.test] for split in splits], y, splits, "neuroids", 200)
        )
        covered += low < 0.5 < high
    assert 0.85 <= covered / 60 <= 1.0


def test_the_interval_over_both_holds_the_score_and_is_the_widest(rng):
    predictions, y, splits = mapping(rng, n=200, q=30)
    score = split_score(split_correlations(predictions, y, splits)).score
    widths = {}
    for over in ("stimuli", "neuroids", "both"):
        low, high = percentile_interval(bootstrap_scores(predictions, y, splits, over, 500))
        assert low < score < high
        widths[over] = high - low
    assert widths["both"] > max(widths["stimuli"], widths["neuroids"])


def rdms(rng, n=12, ties=False):
    x = rng.standard_normal((n, 5))
    pair = [squareform(pdist(z)) for z in (x, x + rng.standard_normal((n, 5)))]
    return [np.round(2 * d) / 2 for d in pair] if ties else pair


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("kind", "correlate"), [("spearman", spearmanr), ("pearson", pearsonr)])
def test_bootstrap_of_rsa_equals_a_direct_one(rng, kind, correlate, ties):
    model, target = rdms(rng, ties=ties)
    expected = []
    for draw in bootstrap_draws((12, 1), 40, seed=4)[0]:
        rows, columns = np.triu_indices(12, k=1)
        different = draw[rows] != draw[columns]
        pairs = draw[rows][different], draw[columns][different]
        expected.append(correlate(model[pairs], target[pairs]).statistic)
    np.testing.assert_allclose(bootstrap_rsa(model, target, kind, 40, seed=4), expected, atol=1e-12)
    low, high = percentile_interval(bootstrap_rsa(model, target, kind, 40, seed=4))
    assert (low, high) == pytest.approx(tuple(np.percentile(expected, [2.5, 97.5])), abs=1e-12)
    assert low < rsa(model, target, kind) < high


def test_rsa_interval_covers_the_correlation_of_many_stimuli(rng):
    """The value that 400 stimuli approach, from recordings of 40; the bootstrap is known to be conservative."""
    mix = rng.standard_normal((6, 6))

    def pair(n):
        x = rng.standard_normal((n, 6))
        return squareform(pdist(x)), squareform(pdist(x @ mix + rng.standard_normal((n, 6))))

    truth = np.mean([rsa(*pair(400)) for _ in range(5)])
    intervals = [percentile_interval(bootstrap_rsa(*pair(40), n_boot=200)) for _ in range(40)]
    assert np.mean([low < truth < high for low, high in intervals]) >= 0.85


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_bootstrap_of_constant_rdms(rng, kind):
    target, constant = rdms(rng)[0], 0.1 * (1 - np.eye(12))
    np.testing.assert_array_equal(bootstrap_rsa(constant, target, kind, 20), 0.0)
    assert np.isnan(bootstrap_rsa(target, constant, kind, 20)).all()
    assert np.isnan(percentile_interval(bootstrap_rsa(target, constant, kind, 20))).all()


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_a_draw_of_one_stimulus_has_no_pairs(rng, kind):
    model, target = rdms(rng, n=3)
    samples = bootstrap_rsa(model, target, kind, 300)
    distinct = np.array([len(set(draw)) for draw in bootstrap_draws((3, 1), 300, 0)[0]])
    assert np.isnan(samples[distinct < 3]).all()  # two stimuli make one pair: constant
    np.testing.assert_allclose(samples[distinct == 3], pearson(*_as_columns(model, target, kind))[0], atol=1e-12)


def _as_columns(model, target, kind):
    pairs = [upper_triangle(x) for x in (model, target)]
    pairs = [np.argsort(np.argsort(p)) for p in pairs] if kind == "spearman" else pairs
    return [np.asarray(p, dtype=float)[:, None] for p in pairs]


def test_percentiles_leave_out_undefined_samples():
    samples = np.append(np.linspace(0, 1, 101), [np.nan] * 7)
    assert percentile_interval(samples) == pytest.approx((0.025, 0.975))
    assert percentile_interval(samples, level=0.5) == pytest.approx((0.25, 0.75))


Y = np.random.default_rng(0).standard_normal((20, 3))
SPLITS = k_folds(20, 2)
PREDICTIONS = [Y[split.test] for split in SPLITS]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bootstrap_scores(PREDICTIONS, Y, SPLITS, over="images"), ["'images'", "stimuli"]),
        (lambda: bootstrap_scores(PREDICTIONS[:1], Y, SPLITS), ["(10, 3)", "one a split"]),
        (lambda: bootstrap_scores(PREDICTIONS, Y[:, :2], SPLITS), ["(10, 3)", "(10, 2)"]),
        (lambda: bootstrap_scores([], Y, []), ["none"]),
        (lambda: bootstrap_scores(PREDICTIONS, Y * np.nan, SPLITS), ["60 values", "finite"]),
        (lambda: bootstrap_scores(PREDICTIONS, Y, SPLITS, n_boot=0), ["n_boot=0"]),
        (lambda: bootstrap_rsa(np.eye(4), np.eye(4), "whitened"), ["'whitened'", "'pearson'"]),
        (lambda: bootstrap_rsa(np.eye(4), np.eye(5)), ["(4, 4)", "(5, 5)"]),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(StudyError) as error:
        call()
    assert all(word in str(error.value) for word in words), error.value
