"""`scaling slurm`: the script, its checks and what it says; no Slurm is needed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from jobs.cli import app
from jobs.slurm.job import cpus_wanted, seconds
from scaling.specs.scoring import ScoringSpec
from scaling.study import expand_study

GPU = {
    "models": [
        {"family": "resnet", "depth": 10, "sizes": [2], "resources": {"gpus_per_worker": 0.5, "cpus_per_worker": 3}}
    ]
}
WIDE = {
    "models": [
        {"family": "vit", "depth": 2, "heads": 3, "sizes": [12], "resources": {"workers": 5, "cpus_per_worker": 2}}
    ],
    "data_sizes": [20],
}


@pytest.fixture
def slurm(write_study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command on the tiny study, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str, **changes: Any) -> Result:
        return CliRunner().invoke(app, ["slurm", str(write_study(**changes)), *words])

    return call


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 5400), ("90:30", 5430), ("12:00:00", 43200), ("2-12", 216000), ("1-01:30", 91800), ("1-00:00:01", 86401)],
)
def test_a_time_limit_is_read_as_slurm_reads_it(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize(
    ("words", "changes", "said"),
    [
        (["--time=soon"], {}, ["--time 'soon' is no time limit", "12:00:00"]),
        (["--time=1:2:3:4"], {}, ["--time '1:2:3:4'"]),
        (["--time=0"], {}, ["--time '0' is no time at all"]),
        (["--time=4"], {}, ["--notice 300 s leaves nothing of --time 4 (240 s)", "more time"]),
        (["--time=60", "--sbatch=time=90"], {}, ["--sbatch time is what the script says itself", "its own option"]),
        (["--time=60", "--sbatch=--nodes"], {}, ["--sbatch nodes is what the script says itself"]),
        (["--time=60", "--sbatch=partition gpu"], {}, ["--sbatch 'partition gpu' is no option", "partition=gpu"]),
        (["--time=60", "--sbatch=mem=1G\nrm -rf x"], {}, ["is no option of sbatch"]),
        (["--time=60", "--setup=module load x\nreboot"], {}, ["--setup", "more than a line"]),
        (["--time=60"], GPU, ["needs 0.5 GPUs", "the job has 0", "--gpus-per-node"]),
        (["--time=60", "--gpus-per-node=1", "--cpus-per-node=2"], GPU, ["needs 3 CPUs", "--cpus-per-node"]),
        (["--time=60", "--cpus-per-node=3", "--nodes=3"], WIDE, ["needs 10 CPUs", "the job has 9"]),
        (["--time=60"], {"storage": ""}, ["storage"]),
        (["--time=60", "--submit"], {}, ["no sbatch on the PATH", "sbatch tiny.sbatch"]),
    ],
)  # fmt: skip
def test_bad_input_is_one_message(slurm, monkeypatch, words, changes, said):
    monkeypatch.setenv("PATH", "/nowhere")
    result = slurm(*words, **changes)
    assert result.exit_code == 2, result.output
    assert all(part in result.output for part in said), result.output
    assert result.output.count("scaling: ") == 1


def test_a_refusal_of_slurms_is_told(slurm, tmp_path, monkeypatch):
    refuses = tmp_path / "bin" / "sbatch"
    refuses.parent.mkdir()
    refuses.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: gpus' >&2; exit 1\n")
    refuses.chmod(0o755)
    monkeypatch.setenv("PATH", f"{refuses.parent}:/usr/bin:/bin")
    result = slurm("--time=60", "--sbatch=partition=gpus", "--submit")
    assert result.exit_code == 2
    assert "Slurm refuses 'tiny.sbatch': sbatch: error: invalid partition specified: gpus" in result.output


def test_the_script_is_shell_and_asks_for_what_was_said(slurm, tmp_path, monkeypatch):
    monkeypatch.delenv("SCALING_CACHE_DIR")
    words = ("--nodes=4", "--gpus-per-node=2", "--time=12:00:00", "--notice=400", "--sbatch=partition=gpu", "--sbatch",
             "exclusive", "--setup=module load cuda", "--storage=a b", "--data-dir=data", "--no-mlflow")  # fmt: skip
    result = slurm(*words, **GPU)
    assert result.exit_code == 0, result.output
    script = tmp_path / "tiny.sbatch"
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text()
    asked = re.findall(r"^#SBATCH --(.*)$", text, re.MULTILINE)
    assert asked == [
        "job-name=tiny", f'chdir="{tmp_path}"',
        "output=tiny-%j.log", "open-mode=append", "nodes=4", "ntasks-per-node=1",
        "cpus-per-task=12", "time=12:00:00", "signal=B:USR1@400", "requeue", "gpus-per-node=2", "partition=gpu",
        "exclusive",
    ]  # fmt: skip
    assert text.index("\n#SBATCH --exclusive\n") < text.index("\nmodule load cuda\n") < text.index("ray symmetric-run")
    command = f"python -m jobs.cli run {tmp_path}/study.yaml --data-dir={tmp_path}/data '--storage=a b' --no-mlflow"
    assert f"  {command} &\n" in text


@pytest.mark.parametrize(
    ("changes", "nodes", "gpus", "scoring", "expected"),
    [
        ({}, 1, 0, ScoringSpec(), 1),
        (GPU, 4, 2, ScoringSpec(), 12),  # four runs share two GPUs, of 3 CPUs each
        (GPU, 1, 1, ScoringSpec(actors=2, cpus=1.5), 9),
        (WIDE, 4, 0, ScoringSpec(actors=2, cpus=1), 5),  # two workers of five on a node, and a part of scoring
    ],
)
def test_cpus_are_those_that_the_runs_ask_for(make_study, changes, nodes, gpus, scoring, expected):
    runs = expand_study(make_study(**changes))
    assert cpus_wanted(runs, scoring, nodes, gpus) == expected
