"""Figures and the report: drawn from any table, self-contained, honest about what is missing."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import ScalingTable, build_report, fit_law, plot_score_against_compute
from analysis.figures.style import save_figure


@pytest.fixture(scope="module")
def study(plant: Callable[..., ScalingTable]) -> ScalingTable:
    """25 runs, two regions, simulated benchmarks, accuracy."""
    rows = plant("chinchilla", n=5, noise=0.01).frame
    parts = [rows.assign(region=r, benchmark=f"simulated-{r}", run_id=[f"r{i}" for i in rows.index], family="cnn",
                         dataset="digits", accuracy=np.linspace(0.1, 0.9, len(rows)))
             for r in ("V1", "IT")]  # fmt: skip
    return ScalingTable.from_frame(pd.concat(parts))


def test_report_draws_everything_into_one_page(study: ScalingTable, tmp_path: Path) -> None:
    report = build_report(study, bootstrap=40)
    report.save(tmp_path)
    names = {section.name for section in report.sections}
    assert {"compute_neural", "by_region", "by_family", "by_dataset", "isoflop", "optimum", "residuals",
            "extrapolation", "accuracy_digits"} <= names  # fmt: skip
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == len(report.sections)
    assert "http" not in page.replace("http-equiv", "")
    assert "simulated" in page
    assert set(json.loads((tmp_path / "laws.json").read_text())) == set(report.laws)
    assert all((tmp_path / f"{name}.svg").exists() for name in names)
    assert report.to_dict()["figures"]


def test_report_of_a_poor_table_says_what_it_lacks(tmp_path: Path) -> None:
    frame = pd.DataFrame({"flops": np.geomspace(1e14, 1e18, 30), "score": np.linspace(0.1, 0.3, 30)})
    report = build_report(ScalingTable.from_frame(frame), bootstrap=20)
    report.save(tmp_path)
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


def test_a_zoo_without_compute_has_its_accuracy_and_alignment(tmp_path: Path) -> None:
    """No law, and each left out by its reason; one section for what the accuracies are of, flags or not."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"model": [f"m{i}" for i in range(24)], "family": ["a", "b"] * 12, "region": "IT",
                          "accuracy": rng.uniform(0.5, 0.9, 24), "score": rng.uniform(0.2, 0.5, 24),
                          "is_pretrained": True, "dataset": ["x", "y", "z"] * 8, "accuracy_of": "top-1"})  # fmt: skip
    report = build_report(ScalingTable.from_frame(frame), bootstrap=20)
    assert [section.name for section in report.sections] == ["accuracy_top-1"]
    assert "24 models" in report.sections[0].figure.axes[0].get_title() or len(report.table) == 24
    assert "no column 'flops'" in report.skipped["compute"]
    assert not report.laws
    assert report.save(tmp_path).is_file()
