"""Figures and the report: drawn from any table, self-contained, honest about what is missing."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import (
    ScalingTable,
    fit_command,
    fit_law,
    plot_score_against_compute,
    recipe_command,
    report_command,
)
from analysis.style import save_figure


@pytest.fixture(scope="module")
def study(plant: Callable[..., ScalingTable]) -> ScalingTable:
    """25 runs, two regions, simulated benchmarks, accuracy."""
    rows = plant("chinchilla", n=5, noise=0.01).frame
    parts = [rows.assign(region=r, benchmark=f"simulated-{r}", run_id=[f"r{i}" for i in rows.index], family="cnn",
                         dataset="digits", accuracy=np.linspace(0.1, 0.9, len(rows)))
             for r in ("V1", "IT")]  # fmt: skip
    return ScalingTable.from_frame(pd.concat(parts))


def test_report_draws_everything_into_one_page(study: ScalingTable, tmp_path: Path) -> None:
    report = report_command(study, tmp_path, bootstrap=40)
    names = {section.name for section in report.sections}
    assert {"compute_neural", "by_region", "by_family", "by_dataset", "isoflop", "optimum", "residuals",
            "extrapolation", "accuracy_digits"} <= names  # fmt: skip
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(report.sections)
    assert "http" not in page.replace("http-equiv", "")
    assert "simulated" in page
    assert set(json.loads((tmp_path / "laws.json").read_text())) == set(report.laws)
    assert all((tmp_path / f"{name}.svg").exists() for name in names)
    assert report.to_dict()["figures"]


def test_report_of_a_poor_table_says_what_it_lacks(tmp_path: Path) -> None:
    frame = pd.DataFrame({"flops": np.geomspace(1e14, 1e18, 30), "score": np.linspace(0.1, 0.3, 30)})
    report = report_command(ScalingTable.from_frame(frame), tmp_path, bootstrap=20)
    assert {"families", "split of compute", "accuracy"} <= set(report.skipped)
    assert "Not shown" in (tmp_path / "report.html").read_text()


def test_figures_are_the_same_twice(study: ScalingTable, tmp_path: Path) -> None:
    laws = {r: fit_law(part, bootstrap=20) for r, part in study.group("region")}
    for name in ("a", "b"):
        save_figure(plot_score_against_compute(study, laws), tmp_path / f"{name}.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_figure_names_models_units_and_simulation(study: ScalingTable) -> None:
    figure = plot_score_against_compute(study)
    assert "simulated" in figure.get_suptitle()
    panel = figure.axes[0]
    assert "25 models" in panel.get_title(loc="left")
    assert "FLOP" in panel.get_xlabel()


def test_commands_answer_in_text_and_in_json(study: ScalingTable) -> None:
    fit = fit_command(study, region="IT", bootstrap=30, extrapolate=True)
    assert "status:" in fit.text()
    recipe = recipe_command(study, flops=1e18, score=0.45, region="IT", bootstrap=30)
    assert "parameters N" in recipe.text()
    for answer in (fit, recipe):
        assert json.loads(json.dumps(answer.to_dict()))
    each = fit_command(study, bootstrap=0)
    assert set(each.laws) == {"V1", "IT"}
    with pytest.raises(ValueError, match="no row has region='V4'"):
        recipe_command(study, flops=1e18, region="V4")


def test_command_falls_back_to_a_law_in_compute_for_one_size(study: ScalingTable) -> None:
    one = study.where(study.values("n_params") == study.values("n_params")[0])
    answer = recipe_command(one, flops=1e18, region="IT", bootstrap=30)
    assert answer.allocation
    assert answer.allocation.n_params is None
    assert answer.allocation.fallback
