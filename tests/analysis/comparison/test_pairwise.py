"""Pairs of models: differences of paired draws, their errors and corrected p, against closed forms."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from analysis import ScalingTable
from analysis.comparison.pairwise import compare_models, holm, paired_errors
from analysis.figures.pairs import plot_pairs


def table(raws, draws, **columns):
    names = [f"m{i}" for i in range(len(raws))]
    texts = [json.dumps(list(one)) if one is not None else None for one in draws]
    rows = {"label": names, "benchmark": "b.IT", "region": "IT", "raw": raws, "score": raws, "draws": texts}
    return ScalingTable.from_frame(pd.DataFrame(rows | columns))


def test_holm_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])) == pytest.approx([1.0, 1.0])


def test_what_models_share_cancels():
    """Draws with a shared part of sd 1 and own parts of sd .1: the difference has sd .14, and z follows."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal(4000)
    draws = [shared + 0.1 * rng.standard_normal(4000) for _ in range(3)]
    assert paired_errors(np.array(draws))[0, 1] == pytest.approx(np.std(draws[0] - draws[1], ddof=1))
    found = compare_models(table([0.1, 0.5, 0.48], draws), "b.IT")
    assert found.names == ("m1", "m2", "m0")
    expected = 2 * norm.sf(0.02 / np.std(draws[1] - draws[2], ddof=1))
    assert found.p[0, 1] == pytest.approx(expected)  # the largest of three: times 1
    assert found.p[0, 2] == pytest.approx(3 * 2 * norm.sf(0.4 / np.std(draws[0] - draws[1], ddof=1)))
    assert "2 of 3 pairs differ" in found.text()
    assert "not told from it: m2" in found.text()
    pairs = found.frame()
    assert (pairs["difference"] >= 0).all()
    assert len(pairs) == 3


def test_equal_models_do_not_differ_and_false_alarms_keep_the_level():
    rng = np.random.default_rng(1)
    alike = np.tile(rng.standard_normal(50), (2, 1))
    assert compare_models(table([0.4, 0.4], alike), "b.IT").p[0, 1] == 1.0
    alarms = 0
    for _ in range(300):  # 6 models of one truth, each estimate off by its own error
        off = 0.1 * rng.standard_normal(6)
        alarms += (
            compare_models(table(off, off[:, None] + 0.1 * rng.standard_normal((6, 200))), "b.IT").p < 0.05
        ).any()
    assert alarms / 300 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)


def test_what_is_refused_and_what_left_out():
    draws = np.random.default_rng(2).standard_normal((3, 30))
    assert compare_models(table([0.1, 0.2, 0.3], [draws[0], None, draws[2]]), "b.IT").left_out == ("m1",)
    with pytest.raises(ValueError, match="no column 'draws'"):
        compare_models(ScalingTable.from_frame(table([0.1], [draws[0]]).frame.drop(columns="draws")), "b.IT")
    with pytest.raises(ValueError, match="as many for each model"):
        compare_models(table([0.1, 0.2], [draws[0], draws[1][:25]]), "b.IT")
    with pytest.raises(ValueError, match="2 are needed"):
        compare_models(table([0.1], [draws[0]]), "b.IT")


def test_the_figure_marks_pairs_that_differ():
    rng = np.random.default_rng(3)
    found = compare_models(table([0.1, 0.5, 0.50001], rng.standard_normal((3, 100)) * 0.01), "b.IT")
    figure = plot_pairs([found, found])
    marks = figure.axes[0].lines[0].get_xydata()
    assert sorted(map(tuple, marks.tolist())) == [(0, 2), (1, 2), (2, 0), (2, 1)]
