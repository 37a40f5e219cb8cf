"""What `scaling plan` says of a grid's power: by what is published, by a pilot, by the study's own runs."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from analysis.power.assumed import AssumedLaw
from jobs.cli import app
from jobs.power import own_laws, planned_grids, read_pilot, regions_of, study_power
from scaling.cluster.plan import plan_study
from scaling.ledger import open_study
from scaling.study import load_study

TABLE = Path(__file__).parents[2] / "jobs/studies/fashion_by_hand.csv"
RESNET = {"family": "resnet", "depth": 10, "sizes": [2, 4, 8]}
VIT = {"family": "vit", "depth": 2, "heads": 3, "sizes": [12]}
GRID = {
    "models": [RESNET, VIT],
    "data_sizes": [2, 20, "all"],
    "seeds": [0, 1],
    "benchmarks": ["simulated-ventral-stream.IT"],
}


def plan(study: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["plan", str(study), "--throughput", "1e8", *words])


def said(result: Result) -> str:
    return " ".join(result.output.split())


def test_chances_of_each_region_and_family_by_what_is_published(write_study) -> None:
    result = plan(write_study(**GRID))
    assert result.exit_code == 0, result.output
    found = re.findall(r"^\s*(accuracy|IT)\s+(resnet|vit)\s+(-\d+) %\s+(0\.\d{3})\s+([01]\.\d\d)\s+([01]\.\d\d)\s*$",
                       result.output, re.MULTILINE)  # fmt: skip
    assert [row[:2] for row in found] == [("accuracy", "resnet"), ("accuracy", "vit"), ("IT", "resnet"), ("IT", "vit")]
    assert all(row[5] == "0.00" for row in found if row[1] == "vit"), "a single size has no form in N"
    assert "assumed of all: published study (Gokce & Schrimpf 2025), begun at this grid's cheapest" in said(result)
    assert "warning: IT, vit: chance of" in said(result)
    assert "3 configurations; chinchilla has 5 parameters and needs 7 at least" in said(result)


def test_a_grid_has_the_runs_of_the_plan(write_study) -> None:
    planned = plan_study(open_study(write_study(**GRID)), Path(), None, 1e8)
    grid = planned_grids(planned)["resnet"]
    runs = [item for item in planned.runs if item.run.model.family == "resnet"]
    assert (len(grid), grid.seeds) == (9, 2)
    assert grid.cost == pytest.approx(sum(item.flops for item in runs))
    assert set(grid.n_params) == {item.n_params for item in runs}
    assert planned.n_train == 1437


def test_a_family_of_two_objectives_is_two(write_study) -> None:
    study = write_study(**GRID | {"models": [RESNET], "objectives": ["supervised", "simclr"]})
    assert set(planned_grids(plan_study(open_study(study), Path(), None, 1e8))) == {
        "resnet supervised",
        "resnet simclr",
    }


def test_simulated_regions_stand_apart_where_real_ones_are_scored() -> None:
    assert regions_of(("simulated-ventral-stream.IT",)) == ["accuracy", "IT"]
    both = regions_of(("simulated-ventral-stream", "kriegeskorte2008"))
    assert both[-2:] == ["IT", "simulated IT"]
    assert both[0] == "accuracy"


def test_a_pilot_gives_law_and_noise(write_study, tmp_path: Path) -> None:
    study = write_study(**GRID)
    result = plan(study, "--pilot", str(TABLE))
    assert result.exit_code == 0, result.output
    assert f"pilot '{TABLE}', its law (weakly identified)" in said(result)
    assert "published study" in said(result), "of the family that the pilot has not"
    opened = open_study(study)
    rows = study_power(opened, plan_study(opened, Path(), None, 1e8), read_pilot(TABLE)).rows
    law = {(row.region, row.family): row.law for row in rows}["IT", "resnet"]
    assert isinstance(law, AssumedLaw)
    assert law.noise == pytest.approx(_seed_noise("IT", "resnet"))


def _seed_noise(region: str, family: str) -> float:
    """Pooled standard deviation of ln(1 - score) within configurations, by pandas."""
    rows = pd.read_csv(TABLE)
    rows = rows[(rows.region == region) & (rows.family == family)]
    groups = np.log(1 - rows.score).groupby([rows.n_params, rows.n_samples])
    return float((groups.var() * (groups.count() - 1)).sum() / (groups.count() - 1).sum()) ** 0.5


def test_a_study_takes_its_own_runs_once_they_are_scored() -> None:
    def opened(lacking: tuple[str, ...], **records: str) -> Any:
        found = {name: SimpleNamespace(run_id=name, epochs=6, status=status) for name, status in records.items()}
        return SimpleNamespace(
            records=found, protocols={"IT": "p"}, lacking=lambda run_id, epoch: lacking,
            table=lambda: pd.read_csv(TABLE),
        )  # fmt: skip

    assert own_laws(opened(())) == {}
    assert own_laws(opened((), a="failed")) == {}
    assert own_laws(opened(("IT",), a="finished")) == {}, "scored by another protocol, or not yet"
    study = opened((), a="finished", b="failed")
    law = own_laws(study)["IT", "resnet"]
    assert isinstance(law, AssumedLaw)
    assert law.source == "this study's runs, its law (weakly identified)"


BAD_PILOTS = {
    "no such table": (lambda p: p / "none.csv", "none.csv", "another path"),
    "no such study": (lambda p: p / "none.yaml", "none.yaml", "YAML file"),
    "a folder without results": (lambda p: p, "holds no scored runs", "results folder"),
    "a table without regions": (lambda p: _written(p / "t.csv", "n_params,score\n1e5,.5\n"), "family", "columns"),
    "a table out of limits": (
        lambda p: _written(p / "t.csv", "family,region,score\na,IT,51\n"),
        "score",
        "percentages",
    ),
}


@pytest.mark.parametrize("case", BAD_PILOTS)
def test_a_bad_pilot_is_refused_with_one_message(case: str, write_study, tmp_path: Path) -> None:
    make, *words = BAD_PILOTS[case]
    result = plan(write_study(**GRID), "--pilot", str(make(tmp_path)))
    assert result.exit_code == 2, result.output
    assert "runs, 0 done" not in result.output, "refused before anything is planned"
    assert all(word in result.output for word in words), result.output
    assert result.output.count("scaling:") == 1


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_study_that_was_not_run_is_no_pilot(write_study) -> None:
    study = write_study(**GRID)
    result = plan(study, "--pilot", str(study))
    assert result.exit_code == 2
    assert "run it first: scaling run STUDY" in result.output
    assert load_study(study).name in result.output
