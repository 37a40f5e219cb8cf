"""A study as a job of a real Slurm on this machine, of two nodes: cut off by its time limit, sent again, finished."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from slurm_cluster import missing, run, slurm_cluster
from tests_jobs import results, scaling, wait_for, write_quickstart

pytestmark = [pytest.mark.campaign, pytest.mark.skipif(bool(missing()), reason=missing() or "there is a Slurm")]
LONG = 3600.0  # on a busy machine; Slurm waits 2 minutes before a job that is sent again


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[dict[str, str]]:
    with slurm_cluster(tmp_path / "slurm", nodes=2, cpus=2) as environment:
        yield environment


def submit(study: Path, slurm: dict[str, str], *words: str) -> str:
    """The id of the job."""
    said = scaling("slurm", study, "--time=2:00:00", "--submit", "--no-mlflow", *words, cwd=study.parent, env=slurm)
    assert said.returncode == 0, said.stdout
    return str(said.stdout.split()[-1])


def about(job: str, slurm: dict[str, str]) -> dict[str, str]:
    words = run("scontrol", "show", "job", job, "--oneliner", **slurm).split()
    return dict(word.split("=", 1) for word in words if "=" in word)


def minutes(job: str, slurm: dict[str, str]) -> int:
    """For which it runs."""
    hours, part, _ = about(job, slurm)["RunTime"].split(":")
    return 60 * int(hours) + int(part)


def ended(job: str, slurm: dict[str, str]) -> bool:
    return about(job, slurm)["JobState"] in ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED")


def test_two_studies_share_the_nodes_and_one_is_cut_off_and_goes_on(tmp_path: Path, slurm: dict[str, str]) -> None:
    """The limit is lowered while a run goes on, so that Slurm cuts the job off at any speed of the machine."""
    cut = write_quickstart(tmp_path, data_sizes=[70])
    other = tmp_path / "other" / "quickstart.yaml"
    other.parent.mkdir()
    write_quickstart(other.parent, data_sizes=[2])
    store = tmp_path / "results" / "quickstart"
    job = submit(cut, slurm, "--nodes=2", "--cpus-per-node=1", "--notice=120")
    beside = submit(other, slurm, "--nodes=1", "--cpus-per-node=1", "--notice=120")
    log, other_log = tmp_path / f"quickstart-{job}.log", other.parent / f"quickstart-{beside}.log"

    wait_for("a finished run", lambda: list(store.glob("runs/*.parquet")), LONG)
    run("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes(job, slurm) + 3}", **slurm)
    wait_for("the job sent again", lambda: about(job, slurm)["Restarts"] == "1", LONG)
    n_before = len(list(store.glob("runs/*.parquet")))
    run("scontrol", "update", f"JobId={job}", "TimeLimit=120", **slurm)
    for number in (job, beside):
        wait_for(f"the end of job {number}", lambda number=number: ended(number, slurm), LONG)

    assert about(job, slurm)["JobState"] == "COMPLETED", log.read_text()
    assert about(beside, slurm)["JobState"] == "COMPLETED", other_log.read_text()
    said = log.read_text()
    assert said.count("terminated: the same command goes on") == 1
    assert f"work is left: job {job} is sent again" in said
    assert 0 < n_before < 8, "it was cut off before its end"
    assert list(Path("/tmp").glob(f"ray-{job}-*")) == [], "the clusters leave nothing"
    undisturbed = tmp_path / "undisturbed" / "quickstart.yaml"
    undisturbed.parent.mkdir()
    write_quickstart(undisturbed.parent, data_sizes=[70])
    assert scaling("run", undisturbed, "--no-mlflow", cwd=undisturbed.parent, timeout_s=LONG).returncode == 0
    expected = results(undisturbed.parent / "results" / "quickstart")
    for name, table in results(store).items():
        pd.testing.assert_frame_equal(table, expected[name], check_exact=True, check_dtype=False)
