"""kill -9 of a training process, a scoring actor and the driver: the tables end the same, row for row."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from tests_jobs import kill_anywhere, results, scaling, seeded_moments, write_quickstart

from scaling.ledger import open_study

MANY_IMAGES = [70]  # of the quickstart's data sizes: half of its runs, those that take long enough to be killed
N_RUNS = 8


@pytest.mark.campaign  # test_s3.py does the same to a study in a bucket
def test_killed_anywhere_a_study_ends_with_the_same_tables(quickstart: tuple[Path, Path, str], tmp_path: Path) -> None:
    path, undisturbed = write_quickstart(tmp_path, data_sizes=MANY_IMAGES), quickstart[1]
    store = tmp_path / "results/quickstart"
    kill_anywhere(["run", path], tmp_path, lambda: len(list((store / "runs").glob("*.parquet"))), seeded_moments())
    done = [file for file in (store / "runs").glob("*.parquet") if pd.read_parquet(file).status[0] == "finished"]
    before = {file: file.stat().st_mtime_ns for file in done}
    assert 0 < len(before) < N_RUNS, (tmp_path / "log").read_text()

    again = scaling("run", path, cwd=tmp_path)

    assert again.returncode == 0, again.stdout
    assert {file: file.stat().st_mtime_ns for file in before} == before, "a finished run was trained again"
    expected, found = results(undisturbed / "results/quickstart"), results(store)
    assert len(found["runs"]) == N_RUNS
    for name, table in expected.items():
        table = table[table.run_id.isin(found["runs"].run_id)].reset_index(drop=True)
        pd.testing.assert_frame_equal(found[name], table, check_exact=True, check_dtype=False)


def test_a_second_driver_of_a_study_in_a_bucket_is_told_who_runs_it(tmp_path: Path, s3: str) -> None:
    path = write_quickstart(tmp_path, mlflow=f"sqlite:///{tmp_path}/mlflow.db")
    with open_study(path, s3).locked():
        second = scaling("run", path, "--storage", s3, cwd=tmp_path)
    assert second.returncode == 2
    assert "another `scaling run` is writing to 's3://" in second.stdout
    assert f", process {os.getpid()}, since 20" in second.stdout
    assert not (tmp_path / "mlflow.db").exists()
