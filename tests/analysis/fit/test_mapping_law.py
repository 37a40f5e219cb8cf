"""The law over stimuli and compute: planted parameters come back, and the sentence says what they say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.fit.mapping import fit_mapping_law


def planted(b, beta, a=0.2, alpha=0.3, noise=0.002, seed=0):
    rng, rows = np.random.default_rng(seed), []
    for run, flops in enumerate(np.repeat(np.logspace(11, 14, 5), 2)):
        for n in (25, 50, 100, 200, 400, 960):
            for order in range(3):
                y = 0.3 + a * (flops / 1e11) ** -alpha + b * (n / 25) ** -beta
                rows.append((f"r{run}", flops, n, order, 1.0 - y * np.exp(noise * rng.standard_normal())))
    return pd.DataFrame(rows, columns=["run_id", "flops", "mapping_samples", "seed", "score"])


@pytest.mark.parametrize(
    ("b", "beta", "a", "word"), [(0.3, 0.5, 0.002, "stimuli gain more"), (0.02, 1.0, 0.3, "compute gains more")]
)
def test_planted_parameters_and_the_sentence(b, beta, a, word):
    law = fit_mapping_law(planted(b, beta, a), n_boot=30)
    truth = 0.3 + a * (1e13 / 1e11) ** -0.3 + b * (500 / 25) ** -beta
    assert law.predict(1e13, 500)[0] == pytest.approx(truth, rel=0.005)
    expected = b * ((960 / 25) ** -beta - (1060 / 25) ** -beta), a * (1e3**-0.3 - 1e4**-0.3)
    for gain, true in zip(law.gains(), expected, strict=True):
        assert gain[0] == pytest.approx(true, rel=0.25, abs=5e-4)
    assert law.sentence().endswith(word)


def test_of_one_model_compute_is_no_axis():
    frame = planted(0.3, 0.5)
    law = fit_mapping_law(frame[frame["run_id"] == "r0"], n_boot=10)
    assert law.gains()[1] == pytest.approx(np.zeros(11))


def test_bad_frames():
    frame = planted(0.3, 0.5)
    with pytest.raises(ValueError, match="no column 'flops'"):
        fit_mapping_law(frame.drop(columns="flops"))
    with pytest.raises(ValueError, match="2 numbers of stimuli"):
        fit_mapping_law(frame[frame["mapping_samples"] < 100])
