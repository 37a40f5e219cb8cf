"""Tables and options through the real command: what is asked is answered, or refused with one message."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis import Recipe, fit_law
from jobs.arguments import column_map, conditions
from jobs.cli import app
from jobs.tables import read_table
from scaling.errors import StudyError

STUDY = Path(__file__).parents[2] / "jobs/studies/quickstart.yaml"


def _frame() -> pd.DataFrame:
    N, D = (a.ravel().round() for a in np.meshgrid(np.geomspace(1e5, 1e8, 6), np.geomspace(1e4, 1e7, 6)))
    y = 0.3 + 20 * N**-0.35 + 15 * D**-0.4
    names = {"family": "resnet", "region": "IT", "seed": 0, "images_per_class": 10}
    return pd.DataFrame({"n_params": N, "samples_seen": D, "flops": 6 * N * D, "score": 1 - y} | names)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    frame = _frame()
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_csv(tmp_path / "T.TXT", index=False, sep=";", decimal=",")
    frame.rename(columns={"score": "val_loss"}).astype({"val_loss": object}).assign(
        val_loss=lambda f: f["val_loss"].where(f.index != 6, "-")
    ).to_csv(tmp_path / "text.csv", index=False)
    frame.drop(columns="region").to_csv(tmp_path / "no_region.csv", index=False)
    pd.concat([frame, frame.assign(region=" ")]).to_csv(tmp_path / "blank.csv", index=False)
    parts = [frame.drop(columns="region").assign(area=area) for area in ("V4", "IT")]
    pd.concat(parts).to_csv(tmp_path / "areas.csv", index=False)
    pd.concat([part.assign(benchmark="b." + part["area"]).drop(columns="area") for part in parts]).to_csv(
        tmp_path / "benchmarks.csv", index=False
    )
    pd.concat([part.assign(area=["TE", "PIT"][i]) for i, part in enumerate(parts)]).to_csv(
        tmp_path / "rois.csv", index=False
    )
    pd.concat([frame.assign(benchmark=name) for name in "ab"]).to_csv(tmp_path / "two.csv", index=False)
    twice = frame.assign(run_id=[f"r{i}" for i in range(len(frame))])
    pd.concat([twice, twice.assign(score=0.1)]).to_csv(tmp_path / "twice.csv", index=False)
    (tmp_path / "t.xlsx").write_bytes(b"PK\x03\x04")
    Recipe.from_law(fit_law(read_table(tmp_path / "t.csv"), "chinchilla", bootstrap=0)).save(tmp_path / "r.json")
    return tmp_path


FIT = ("--bootstrap", "0")
ANSWERED = {
    "a number": ("fit t.csv --where images_per_class=10", ["36 rows"]),
    "a number as a float": ("fit t.csv --where images_per_class=10.0 --where seed=0", ["36 rows"]),
    "capitals, semicolons, decimal commas": ("fit T.TXT --region IT", ["36 rows"]),
    "rows without a region": ("fit blank.csv", ["36 rows", "left out: 36 rows, region missing"]),
    "rows without the region asked": ("fit blank.csv --region IT", ["36 rows", "left out: 36 rows, region missing"]),
    "rows without a region in a mean": ("fit blank.csv --mean", ["36 rows", "left out: 36 rows, region missing"]),
    "regions in another column": ("fit areas.csv --column region=area", ["V4", "IT"]),
    "one region of another column": ("fit areas.csv --where area=IT", ["36 rows"]),
    "benchmarks each": ("fit benchmarks.csv --column region=benchmark", ["b.V4", "b.IT"]),
    "a mean over benchmarks": ("fit two.csv --mean", ["36 rows"]),
    "a table by its URI": ("fit file://FOLDER/t.csv --region IT", ["36 rows"]),
    "a recipe by its URI": ("recipe file://FOLDER/r.json --flops 1e14", ["chinchilla"]),
    "a recipe of a table": ("recipe t.csv --flops 1e14 --family resnet --where seed=0 --score 0.5", ["chinchilla"]),
}  # fmt: skip
RECIPE = "recipe t.csv --flops 1e14"
REFUSED = {
    "text in a target": ("fit text.csv --target val_loss", ["val_loss='-' (row 6 of text.csv) is no number"]),
    "text in a mean of a target": ("fit text.csv --target val_loss --mean", ["val_loss='-' (row 6 of text.csv)"]),
    "text in a column that is mapped": ("fit text.csv --column loss=val_loss", ["loss='-' (row 6 of text.csv)"]),
    "text in a recipe": ("recipe text.csv --flops 1e14 --target val_loss", ["val_loss='-' (row 6 of text.csv)"]),
    "a number that no row has": ("fit t.csv --where seed=3", ["no row has seed='3'; the table's values: 0"]),
    "a condition twice": ("fit t.csv --where seed=0 --where seed=1", ["--where seed=… is given twice"]),
    "a column of two meanings": ("fit t.csv --column raw=seed --column loss=seed", ["names 'seed' as raw and as loss"]),
    "two columns of one meaning": ("fit t.csv --column flops=seed", ["two columns are called ['flops']"]),
    "another suffix": ("fit t.xlsx", ["'t.xlsx' is no table by its name", ".csv, .tsv, .txt", ".gz", "Parquet"]),
    "no file": ("fit absent.CSV", ["no table at absent.CSV"]),
    "a mean and a region": ("fit t.csv --mean --region IT", ["--mean or --region IT, not both"]),
    "a region where there are none": ("fit no_region.csv --region IT", ["no column 'region'"]),
    "a mean where there are no regions": ("fit no_region.csv --mean", ["no column 'region'"]),
    "regions mixed": ("fit areas.csv", ["no column 'region'", "'area' holds IT, V4", "--column region='area'"]),
    "regions of other names mixed": ("fit rois.csv", ["no column 'region'", "'area' holds PIT, TE"]),
    "regions mixed in a recipe": ("recipe areas.csv --flops 1e14", ["--column region='area'"]),
    "regions mixed in a report": ("report --table areas.csv --out out", ["--column region='area'"]),
    "benchmarks mixed": ("fit benchmarks.csv", ["rows of 2 benchmarks (b.IT, b.V4)", "--where benchmark=b.V4"]),
    "two benchmarks of a region": ("fit two.csv --region IT", ["region IT has rows of 2 benchmarks (a, b)"]),
    "a run twice": ("fit twice.csv", ["run_id='r0' has 2 rows", "differ in score"]),
    "storage of a table": (f"{RECIPE} --storage x", ["a table takes no --storage"]),
    "conditions of a recipe": ("recipe r.json --flops 1e14 --where seed=0 --column a=b --family x --target loss",
                               ["a saved recipe takes no --family, --target, --where, --column"]),
    "conditions of a study": ("recipe STUDY --flops 1e14 --where seed=0 --score 0.3 --target loss --column a=b",
                              ["recipe of a study takes no --score, --target, --where, --column; give its results"]),
    "weights of a study": ("score STUDY --weights w.pth --pretrained --json --image-size 8 --layer a --images cifar10",
                           ["takes no --pretrained, --weights, --layer, --image-size, --images, --json"]),
    "storage of a model": ("score --model timm:resnet18 --storage x", ["score of a model takes no --storage"]),
    "a place to write a report": ("report --table t.csv --out s3://b/x", ["'s3://b/x' is a URI; give a local folder"]),
    **{f"{words.split()[0]} of a place that does not answer": (words, ["s3://bucket", "cannot be"])
       for place in ("s3://bucket/t.csv?endpoint_override=127.0.0.1:1&scheme=http&region=x&connect_timeout=1",)
       for words in (f"fit {place}", f"recipe {place} --flops 1e14", f"report --table {place} --out out")},
}  # fmt: skip


def _invoke(words: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, BaseException | None]:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    command = [str(STUDY) if word == "STUDY" else word.replace("FOLDER", str(folder)) for word in words.split()]
    result = CliRunner().invoke(app, [*command, *(FIT if command[0] == "fit" else ())], env={"COLUMNS": "300"})
    return result.exit_code, result.output, result.exception


@pytest.mark.parametrize("case", ANSWERED)
def test_what_is_asked_is_answered(case: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, said = ANSWERED[case]
    status, output, _ = _invoke(words, folder, monkeypatch)
    assert status == 0, output
    assert [part for part in said if part not in output] == [], output


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_answered_is_refused_with_one_message(
    case: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, said = REFUSED[case]
    status, output, error = _invoke(words, folder, monkeypatch)
    assert isinstance(error, SystemExit), repr(error)
    assert status == 2, output
    assert [part for part in said if part not in output] == [], output
    assert not (folder / "out").exists()
    assert not (folder / "s3:").exists()


def test_conditions_stay_text_until_the_column_says_what_they_are() -> None:
    assert conditions(["is_ssl=false", "lr=0.1,0.2"]) == {"is_ssl": "false", "lr": ["0.1", "0.2"]}
    assert column_map(["flops=C"]) == {"C": "flops"}
    with pytest.raises(StudyError, match="given twice"):
        conditions(["a=1", "a=2"])


def test_a_results_folder_takes_a_map_of_columns(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="holds no scored runs"):
        read_table(tmp_path / "v1.2", columns={"x": "flops"})
