"""Verifications: their text, their JSON, how they are counted and drawn."""

from __future__ import annotations

import pytest
from scipy.stats import beta

from analysis import Estimate
from analysis.figures.calibration import plot_calibration
from analysis.verify.calibration import calibrate, calibration_rows, exact_interval, verifications_text
from analysis.verify.predict import Prediction
from analysis.verify.verification import Trial, Verification, read_verifications

SAID = Prediction(
    law=Estimate(value=0.86, low=0.84, high=0.88), run=Estimate(value=0.86, low=0.83, high=0.89), status="ok"
)
FACTS = {"run_id": "a", "model": "resnet w8", "how": "a size", "n_params": 100, "n_samples": 50, "epochs": 2,
         "flops": 1e15, "spec": "{}"}  # fmt: skip


def trial(label: str = "recommended", got: float | None = 0.87, **changes: object) -> Trial:
    outcome = {} if got is None else {"status": "finished", "got": {"IT": got}}
    return Trial(**{"label": label, "predictions": {"IT": SAID}, **FACTS, **outcome, **changes})


def verification(*trials: Trial, **changes: object) -> Verification:
    facts = {
        "study": "s",
        "flops": 1e15,
        "region": "IT",
        "family": "resnet",
        "law": "f",
        "largest_flops": 1e14,
        "seed": 3,
    }
    return Verification(**{**facts, "trials": trials or (trial(),), **changes})


@pytest.mark.parametrize(
    ("got", "said"),
    [
        (0.87, "got 0.870: inside the law's interval"),
        (0.885, "got 0.885: inside that of one run"),
        (0.9, "got 0.900: above both"),
        (0.8, "got 0.800: below both"),
    ],
)
def test_an_outcome_in_words(got: float, said: str) -> None:
    predicted = "predicted 0.860 [0.840, 0.880], one run [0.830, 0.890]"
    assert trial(got=got).outcome("IT") == f"{predicted}, {said}"


def test_what_has_no_score_says_why() -> None:
    lost = trial(got=None, status="diverged", reason="loss is nan at epoch 3")
    assert lost.outcome("IT").endswith(", diverged: loss is nan at epoch 3")
    assert trial(got=None).outcome("IT").endswith(", open")
    assert trial(predictions={}).outcome("IT") == "no prediction, got 0.870"
    assert trial(predictions={}).outcome("V1") == "no prediction, finished"


def test_the_text_names_budget_models_and_ranking() -> None:
    found = verification(trial(), trial("a third of its N", 0.8), left_out=("three times its N: too large",))
    text = found.text()
    assert text.startswith("resnet at 1e+15 FLOP (10 times the largest run's), best for IT")
    assert "recommended: resnet w8, N = 100, 50 images x 2 epochs, C = 1e+15" in text
    assert "left out: three times its N: too large" in text
    assert "highest of 'recommended' (recommended 0.870, a third of its N 0.800; one run each)" in text
    assert "within the study's" in verification(largest_flops=2e15).headline()


def test_json_comes_back_and_other_files_are_refused() -> None:
    found = verification(simulated=True)
    assert read_verifications({"a.json": found.model_dump_json().encode()}) == (found,)
    for content in (b"", b"{}", b'{"version": 2}'):
        with pytest.raises(ValueError, match=r"'b\.json' is no verification of this version .*move it away"):
            read_verifications({"b.json": content})


def test_a_question_is_known_again() -> None:
    found = verification()
    assert found.of(1e15, "IT", "resnet")
    assert not any((found.of(2e15, "IT", "resnet"), found.of(1e15, "V1", "resnet"), found.of(1e15, "IT", "vit")))
    assert found.ended
    assert not verification(trial(got=None)).ended


def test_coverage_is_counted_by_interval_and_region() -> None:
    every = [verification(trial(got=got)) for got in (0.87, 0.885, 0.9)] + [verification(trial(got=None))]
    found = calibrate(every)
    assert found.coverage("law") == (1, 3)
    assert found.coverage("run") == (2, 3)
    assert found.coverage("run", "IT") == (2, 3)
    assert "held 2 of 3 outcomes (IT 2 of 3)" in found.lines()[0]
    assert found.lines()[1].endswith("held 1")


@pytest.mark.parametrize(("held", "n"), [(0, 5), (2, 3), (7, 7), (19, 20)])
def test_shares_are_those_of_clopper_and_pearson(held: int, n: int) -> None:
    low, high = exact_interval(held, n)
    assert low == pytest.approx(beta.ppf(0.025, held, n - held + 1) if held else 0.0)
    assert high == pytest.approx(beta.ppf(0.975, held + 1, n - held) if held < n else 1.0)


def test_rows_hold_what_the_figure_shows() -> None:
    every = [verification(trial(), trial("three times its N", 0.9), family=family) for family in ("resnet", "vit")]
    rows = calibration_rows(every)
    assert len(rows) == 4
    assert rows[0] == {
        "region": "IT", "family": "resnet", "flops": 1e15, "model": "recommended", "predicted": 0.86, "law_low": 0.84,
        "law_high": 0.88, "run_low": 0.83, "run_high": 0.89, "got": 0.87,
    }  # fmt: skip
    figure = plot_calibration(every)
    assert figure is not None
    assert "holds 2 of 4" in figure.axes[0].get_title(loc="left")


def test_nothing_came_out_nothing_is_drawn() -> None:
    assert plot_calibration([verification(trial(got=None))]) is None
    assert verifications_text([]) == ""
    assert calibrate([]).lines() == []
