"""Tables and recipes by path, as the commands read them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.tables import ask_table, fit_table, read_table
from scaling.errors import StudyError

TABLE = Path(__file__).parents[2] / "jobs/studies/fashion_by_hand.csv"


def test_a_table_is_told_by_its_name_and_its_rows_are_chosen(tmp_path: Path) -> None:
    chosen = read_table(TABLE, {"family": "resnet", "region": ["IT", "V1"]})
    assert len(chosen) == 2 * 40
    chosen.frame.to_parquet(tmp_path / "t.parquet")
    assert len(read_table(tmp_path / "t.parquet")) == 80
    with pytest.raises(FileNotFoundError, match="no Parquet file or folder"):
        read_table(tmp_path / "other.parquet")
    with pytest.raises(StudyError, match="holds no scored runs; give a study's results folder"):
        read_table(tmp_path / "study")


def test_a_column_map_goes_by_path(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    read_table(TABLE).frame.rename(columns={"n_params": "Model Size"}).to_csv(path, index=False)
    fitted = fit_table(path, "power_law", ("n_params",), "IT", columns={"Model Size": "n_params"}, bootstrap=0)
    assert fitted.laws["IT"].axes == ("n_params",)


def test_a_saved_recipe_is_asked_by_its_path(tmp_path: Path) -> None:
    made = ask_table(TABLE, 1e14, region="accuracy", family="resnet", bootstrap=0)
    made.recipe.save(tmp_path / "recipe.json")
    asked = ask_table(tmp_path / "recipe.json", 1e14, 0.9, "accuracy", where={"ignored": "here"})
    assert asked.allocation == made.allocation
    assert json.loads(json.dumps(asked.to_dict()))["reach"]["score"] == 0.9
