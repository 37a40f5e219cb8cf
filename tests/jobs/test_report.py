"""`scaling report`: of a study, a results folder, or a table; what makes no sense is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.report import report_of
from scaling.errors import StudyError
from scaling.ledger import open_study
from scaling.records import AlignmentRecord, run_record

TABLE = Path(__file__).parents[2] / "jobs/studies/fashion_by_hand.csv"
BENCHMARK = "simulated-ventral-stream.IT"


def _store(path: Path) -> Path:
    """Finished, scored runs of a study file; returns its results folder."""
    study = open_study(path)
    for run in study.runs:
        size = float(run.model.size)
        point = {"samples_seen": 40, "flops": 1e9 * size, "accuracy": 0.5 + 0.01 * size}
        study.store.write_run(
            run_record(run, "finished", None, **point, n_params=int(1e4 * size), epochs_done=2, kept=(2,))
        )
        facts: dict[str, Any] = {"raw": 0.1, "ceiling": None, "ceiling_kind": "none", "n_stimuli": 9, "n_neuroids": 3}
        facts |= {"region": "IT", "metric": "ridge", "selection_raw": None, "reason": None, "layer": "l"}
        facts |= {"status": "scored", "score_s": 0.0, "run_id": run.run_id, "epoch": 2, "benchmark": BENCHMARK}
        protocol = study.protocols[BENCHMARK].text
        study.store.write_scores([AlignmentRecord(protocol=protocol, **point, **facts, score=0.2 + 0.02 * size)])
    return Path(study.storage.path())


@pytest.fixture
def study(write_study: Callable[..., Path]) -> Path:
    return write_study(models=[{"family": "resnet", "depth": 10, "sizes": [2, 4, 6, 8]}])


def test_a_study_and_its_results_folder_make_the_same_page(study: Path, tmp_path: Path) -> None:
    folder = _store(study)
    done = CliRunner().invoke(app, ["report", str(study), "--out", str(tmp_path / "page")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "page/report.html").read_text()
    assert "<b>IT, resnet</b>: misalignment falls by" in page
    assert "simulated benchmark" in page
    assert report_of(folder, None, {}, {}, None).html() == page


def test_a_table_is_a_study_where_one_wrote_it_and_a_table_where_it_is_asked_as_one() -> None:
    rows = {"family": "resnet", "region": ["IT"]}
    of_study, of_table = report_of(TABLE, None, rows, {}, None), report_of(None, TABLE, rows, {}, None)
    assert {s.name for s in of_study.statements} >= {"IT, resnet", "accuracy, resnet"}
    assert {s.name for s in of_table.statements} >= {"N and D", "region IT"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give one STUDY, TABLE or RESULTS_FOLDER"),
        (["{study}", "--table", "{table}"], "give one STUDY, TABLE or RESULTS_FOLDER"),
        (["{study}", "--where", "family=vit"], "--where does not go with this source: a study's report is of all"),
        (["{study}", "--column", "n_params=N"], "--column does not go with this source"),
        (["{table}", "--storage", "elsewhere"], "--storage does not go with this source: it is for a study file"),
        (["{study}"], "study 'tiny' has no finished, scored run"),
        (["{folder}/nothing"], "holds no scored runs; give a study's results folder"),
        (["--table", "{folder}/no.csv"], "no table at"),
        (["{table}", "--where", "family=swin"], "no row has family='swin'"),
    ],
)
def test_what_makes_no_sense_is_refused(study: Path, tmp_path: Path, words: list[str], said: str) -> None:
    named = [word.format(study=study, table=TABLE, folder=tmp_path) for word in words]
    done = CliRunner().invoke(app, ["report", *named, "--out", str(tmp_path / "page")])
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert not (tmp_path / "page").exists()


def test_a_file_in_the_way_is_named(study: Path, tmp_path: Path) -> None:
    (tmp_path / "page").write_text("")
    done = CliRunner().invoke(app, ["report", str(TABLE), "--where", "region=IT", "--out", str(tmp_path / "page")])
    assert done.exit_code == 2
    assert str(tmp_path / "page") in done.stderr


def test_storage_of_a_results_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="--storage does not go with this source"):
        report_of(tmp_path, None, {}, {}, "s3://elsewhere")
