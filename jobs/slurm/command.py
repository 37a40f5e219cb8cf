"""The command `scaling slurm`: its options."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from jobs.arguments import CacheDir, DataDir, StorageOption, StudyFile, bad_input_ends, opened
from scaling.errors import StudyError


@bad_input_ends
def slurm(
    study: StudyFile,
    time: Annotated[str, typer.Option(help="The job's time limit, e.g. 12:00:00; it is sent again with work left.")],
    nodes: Annotated[int, typer.Option(min=1, help="Nodes.")] = 1,
    gpus_per_node: Annotated[int, typer.Option(min=0, help="GPUs of a node.")] = 0,
    cpus_per_node: Annotated[
        int | None, typer.Option(min=1, help="CPUs of a node [default: what the study's runs ask for].")
    ] = None,
    notice: Annotated[int, typer.Option(min=20, help="Seconds before the limit at which the study is stopped.")] = 300,
    requeues: Annotated[int, typer.Option(min=0, help="How often the job is sent again.")] = 100,
    sbatch: Annotated[
        list[str] | None, typer.Option(help="NAME or NAME=VALUE, e.g. partition=gpu, mem=200G; may be repeated.")
    ] = None,
    setup: Annotated[list[str] | None, typer.Option(help="A line of shell to begin with; may be repeated.")] = None,
    submit: Annotated[bool, typer.Option("--submit", help="Send it; else the script is only written.")] = False,
    out: Annotated[Path | None, typer.Option(help="The script [default: NAME.sbatch].")] = None,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
    storage: StorageOption = None,
    mlflow: Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Track in MLflow.")] = True,
) -> None:
    """Write the script of a Slurm job that runs the study, and send it: again and again, until all is done."""
    from jobs.slurm.job import SlurmJob, check_fits, cpus_wanted

    own = opened(study, storage)
    cpus = cpus_per_node or cpus_wanted(own.runs, own.spec.scoring, nodes, gpus_per_node)
    check_fits(own, nodes, cpus, gpus_per_node)
    arguments = [str(study.resolve())]
    folders = {"data-dir": data_dir, "cache-dir": cache_dir}
    arguments += [f"--{name}={folder.resolve()}" for name, folder in folders.items() if folder is not None]
    arguments += [f"--storage={storage}"] if storage is not None else []
    arguments += [] if mlflow else ["--no-mlflow"]
    job = SlurmJob(own.name, nodes, time, cpus, gpus_per_node, notice, requeues, tuple(sbatch or ()),
                   tuple(setup or ()), tuple(arguments))  # fmt: skip
    path = out or Path(f"{own.name}.sbatch")
    path.write_text(job.script())
    print(f"script: {path}")
    if submit:
        print(submitted(path))


def submitted(script: Path) -> str:
    """Send a script; Slurm's word.

    Raises:
        StudyError: no sbatch here, or it refuses.
    """
    program = shutil.which("sbatch")
    if program is None:
        raise StudyError(f"no sbatch on the PATH; submit '{script}' on a machine of the Slurm cluster: sbatch {script}")
    done = subprocess.run([program, str(script)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise StudyError(f"Slurm refuses '{script}': {' '.join(done.stderr.split())}; see --sbatch")
    return done.stdout.strip()
