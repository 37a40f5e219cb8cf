"""`scaling recipe --stimuli` through the real command: what alignment compute and stimuli give, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from jobs.cli import app

SIZES = (25, 50, 100, 200, 400)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """t.csv: two computes by two seeds, whose misalignment is .4 + (n/25)^-.5 / 4, less .1 at a tenfold compute."""
    rows = []
    for compute, seed in ((1e12, 0), (1e12, 1), (1e13, 0), (1e13, 1)):
        better = 0.1 * (compute > 1e12) + 0.001 * seed
        curve = [
            {"mapping_samples": n, "seed": order, "score": 0.6 - 0.25 * (n / 25) ** -0.5 + better}
            for n in SIZES for order in (0, 1)
        ]  # fmt: skip
        rows.append({
            "run_id": f"r{compute:g}-{seed}", "family": "resnet", "size": 4 + 10 * (compute > 1e12), "seed": seed,
            "flops": compute, "benchmark": "mine.V4", "region": "V4", "score": 0.6, "mapping_samples": 400,
            "mapping_curve": json.dumps(curve),
        })  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    pd.DataFrame(rows).drop(columns="mapping_curve").to_csv(tmp_path / "none.csv", index=False)
    return tmp_path


def _invoke(folder: Path, words: str):
    args = [str(folder / word) if word.endswith((".csv", ".json")) else word for word in words.split()]
    return CliRunner().invoke(app, ["recipe", *args], env={"COLUMNS": "200"})


def test_a_table_is_asked(folder: Path) -> None:
    result = _invoke(folder, "t.csv --flops 1e13 --stimuli 100 --json")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.output)
    assert found["score"]["value"] == pytest.approx(0.5 + 0.1 + 0.0005 - 0.025, abs=1e-3)
    assert found["more_stimuli"]["gain"]["value"] == pytest.approx(0.125 - 0.25 * (200 / 25) ** -0.5, abs=1e-3)
    assert found["status"] == "undetermined"
    assert found["buy"] == "compute"
    assert "compute gains more" in _invoke(folder, "t.csv --flops 1e13 --stimuli 100 --region V4").output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("t.csv --flops 1e13 --stimuli 0", "stimuli=0 must be 1 or more"),
        ("t.csv --flops 0 --stimuli 100", "flops=0 must be above 0"),
        ("t.csv --flops 1e13 --stimuli 100 --region IT", "unknown region 'IT'; mapping curves are there of V4"),
        ("t.csv --flops 1e13 --stimuli 100 --family vit", "unknown family 'vit'; mapping curves are there of resnet"),
        ("t.csv --flops 1e13 --stimuli 100 --score .5", "recipe --stimuli takes no --score"),
        ("t.csv --flops 1e13 --stimuli 100 --storage x", "a table takes no --storage"),
        ("r.json --flops 1e13 --stimuli 100", "a saved recipe takes no --stimuli"),
        ("none.csv --flops 1e13 --stimuli 100", "no score has a mapping_curve; score with `scoring: {mapping:"),
        ("t.csv --flops 1e13 --stimuli nan", "no finite number"),
    ],
)
def test_bad_input(folder: Path, words: str, said: str) -> None:
    result = _invoke(folder, words)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
