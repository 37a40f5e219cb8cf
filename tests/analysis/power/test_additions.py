"""What is added, what it costs, and which is named."""

import numpy as np
import pytest

from analysis.power.additions import WANTED, additions, best_addition
from analysis.power.assumed import AssumedLaw
from analysis.power.chances import chances
from analysis.power.grid import Grid
from analysis.power.power import plan_power
from analysis.power.prior import PRIORS, assume_published


def _runs(sizes: list[float], data: list[float], seeds: int = 1, epochs: int = 10) -> Grid:
    N, n = (np.repeat(a.ravel(), seeds) for a in np.meshgrid(sizes, data))
    return Grid.of_runs(N, n, epochs * n, 6 * N * epochs * n)


LAW = AssumedLaw(0.3, 0.2, 0.4, 0.3, 0.3, 1e5, 1e4, 0.05, 0.02, "planted")


def test_a_grid_counts_its_seeds_and_its_cost() -> None:
    grid = _runs([1e5, 2e5], [100, 1000], seeds=3)
    assert (len(grid), grid.seeds) == (4, 3)
    assert grid.cost == pytest.approx(3 * 6 * 3e5 * 10 * 1100)


def test_additions_cost_what_their_runs_do_and_come_cheapest_first() -> None:
    grid = _runs([1e5, 2e5, 8e5], [100, 1000, 2000], seeds=2)
    by_words = {a.words: a for a in additions(grid, LAW, 2000)}
    assert by_words["one more seed"].flops == pytest.approx(grid.cost / 2)
    assert by_words["one more size, of about 400,000 parameters"].flops == pytest.approx(2 * 6 * 4e5 * 10 * 3100)
    middle = 100 * np.sqrt(10)
    named = "one more data size, of about 320 images"
    assert by_words[named].flops == pytest.approx(2 * 6 * 11e5 * 10 * middle, rel=1e-6)
    costs = [a.flops for a in additions(grid, LAW, 2000)]
    assert costs == sorted(costs)


def test_no_more_images_are_asked_for_than_there_are() -> None:
    grid = _runs([1e5, 2e5, 4e5], [100, 300, 900])
    more = grid.with_data_size(1500)
    assert more.n_samples.max() == 1500
    assert more.samples_seen.max() == 15_000
    asked = [a.words for a in additions(grid, LAW, 1500) if "data size" in a.words]
    assert any("1,500" in words for words in asked)
    assert not any("2,700" in words for words in asked)
    assert not any("900" in a.words for a in additions(grid, LAW, 900))


def test_nothing_is_added_where_the_law_would_pass_one() -> None:
    """A smaller model than the cheapest, which is as bad as can be."""
    grid = _runs([1e5, 2e5, 4e5], [1000, 3000, 9000])
    worst = AssumedLaw(0.0, 0.5, 0.4, 0.5, 0.3, 1e5, 1e4, 0.05, 0.02, "planted")
    assert not any("50,000 parameters" in a.words for a in additions(grid, worst, 9000))
    assert any("50,000 parameters" in a.words for a in additions(grid, LAW, 9000))


def test_the_cheapest_that_is_enough_is_named() -> None:
    grid = _runs([1e5, 2e5, 4e5], [1000, 3000, 9000])
    power = plan_power({"resnet": grid}, {("IT", "resnet"): LAW}, 9000)
    (row,) = power.rows
    assert row.chances is not None
    assert row.chances.usable < WANTED <= row.chances.falls
    best = best_addition(grid, LAW, 9000)
    assert best is not None
    enough = [a for a in additions(grid, LAW, 9000) if a.chances.least >= WANTED]
    assert best == (enough[0] if enough else max(additions(grid, LAW, 9000), key=lambda a: a.chances.least))
    (warning,) = power.warnings()
    assert "IT, resnet: chance of a usable form" in warning
    assert best.words in warning


def test_what_is_likely_enough_has_no_warning() -> None:
    grid = _runs([1e5, 4e5, 16e5, 64e5], [1e3, 1e4, 1e5, 1e6], seeds=2)
    quiet = AssumedLaw(0.3, 0.2, 0.4, 0.3, 0.3, 1e5, 1e4, 0.005, 0.002, "planted")
    power = plan_power({"resnet": grid}, {("IT", "resnet"): quiet}, 1e6)
    assert power.warnings() == []
    assert power.to_dict()["rows"][0]["best_addition"] is None


def test_a_region_without_a_law_says_so() -> None:
    power = plan_power({"resnet": _runs([1e5], [10])}, {("saliency", "resnet"): "nothing is published of it"})
    assert power.warnings() == ["saliency, resnet: no chance can be stated, nothing is published of it"]


@pytest.mark.parametrize("region", PRIORS)
def test_a_grid_below_what_was_published_begins_at_its_start(region: str) -> None:
    small, large = _runs([1e3, 4e3], [100, 1000]), _runs([1e8, 4e8], [1e6, 1e7])
    law = assume_published(region, small)
    assert law is not None
    assert law.mean(small.n_params, small.samples_seen).max() == pytest.approx(PRIORS[region].start)
    inside = assume_published(region, large)
    assert inside is not None
    assert (inside.n_ref, inside.d_ref) == (1e5, 1e4)


def test_an_unpublished_region_has_no_prior() -> None:
    assert assume_published("saliency", _runs([1e3, 4e3], [100, 1000])) is None
    assert chances(_runs([1e3, 4e3, 1e4], [100, 1000, 9000]), LAW).least < 1
