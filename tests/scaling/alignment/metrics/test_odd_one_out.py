"""Odd one out: brute force over triplets, ties, and an interval that counts triplets of one image together."""

from __future__ import annotations

import numpy as np
import pytest

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.odd_one_out import OddOneOutMetric, Triplets, agrees, dot_products
from scaling.errors import StudyError

N, METRIC = 40, OddOneOutMetric()


def triplets(n, seed=0, n_images=N):
    rng = np.random.default_rng(seed)
    return rng.random((n, n_images)).argpartition(3, axis=1)[:, :3]


@pytest.mark.parametrize("width", [7, 6000])
def test_the_odd_one_is_brute_force(width):
    x = 0.5 + np.random.default_rng(1).standard_normal((N, width))
    images = triplets(300)
    (found,) = METRIC.evaluate(Representation.of(x), [Triplets(images, 0.6767)], None)
    np.testing.assert_allclose(dot_products(Representation.of(x)), x @ x.T, rtol=1e-9, atol=1e-9)
    odd = []
    for i, j, k in images:
        pairs = [x[i] @ x[j], x[i] @ x[k], x[j] @ x[k]]
        odd.append((k, j, i)[int(np.argmax(pairs))])  # of equals the first, in Brain-Score's order
    share = np.mean(odd == images[:, 2])
    assert found.raw == share
    assert found.ceiled == pytest.approx((share - 1 / 3) / (0.6767 - 1 / 3))


def test_ties_go_to_the_first_pair():
    similarity = np.array([[0, 2, 2], [2, 0, 1], [2, 1, 0]])
    assert agrees(similarity, np.array([[0, 1, 2], [0, 2, 1], [1, 2, 0]])).tolist() == [1.0, 1.0, 0.0]


def test_chance_is_a_third():
    x = np.random.default_rng(2).standard_normal((N, 30))
    (found,) = METRIC.evaluate(Representation.of(x), [Triplets(triplets(4000), 0.6767)], None)
    assert found.raw == pytest.approx(1 / 3, abs=0.08)


def test_the_interval_is_that_of_images_not_of_triplets():
    """Its spread is that of weighted shares of drawn images, far from that of as many independent trials."""
    rng = np.random.default_rng(3)
    x, images = rng.standard_normal((200, 3)), triplets(20_000, 4, 200)
    x[:60] *= 0.1  # images on which the model has nothing to say
    people = x * np.where(np.arange(200) < 60, 30.0, 1.0)[:, None] @ np.diag([1.0, 1.0, 0.2])
    kept = agrees(people @ people.T, images) == 1.0
    (found,) = METRIC.evaluate(Representation.of(x), [Triplets(images[kept], 0.6767)], None)
    draws = found.draws(400, 0)
    assert draws.mean() == pytest.approx(found.raw, abs=0.01)
    direct = []
    for draw in rng.integers(0, 200, (400, 200)):
        weights = np.bincount(draw, minlength=200)[images[kept]].prod(axis=1)
        direct.append(weights @ found.agreed / weights.sum())
    assert draws.std() == pytest.approx(np.std(direct), rel=0.25)
    assert draws.std() > 2 * np.sqrt(found.raw * (1 - found.raw) / kept.sum())


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.array([[0, 1, N]]), "1 triplets that are not of three of the 40 stimuli"),
        (np.array([[0, 1, 1], [0, 1, 2]]), "1 triplets"),
        (np.zeros((0, 3), int), "without triplets"),
        (np.zeros((2, 2), int), "give Triplets"),
    ],
)
def test_triplets_that_are_none(images, words):
    assert words in METRIC.check(Triplets(images, 0.6767), N)


def test_triplets_are_not_halved():
    with pytest.raises(StudyError, match="not halved"):
        METRIC.take(Triplets(triplets(9), 0.6767), np.arange(0, N, 2))
