"""The names in a study's folder, and who writes what; without torch, which the driver does not need for it.

    storage/NAME/                               made by              read again by
      .lock                                     the driver           a second driver, which it keeps out; in a bucket
                                                                     a folder, a file a driver: `driver_lock`
      dataset.json                              the driver           the driver: the images are those of the first run
      stop.json                                 the driver           everyone: sizes of a study with `stop`
      rates.json                                the driver           everyone: what a study with `tune` is trained at
      probes.json                               the driver           `scaling status`; of a study NAME.probes alone
      runs/RUN_ID.parquet                       the run's worker     everyone: one RunRecord
      models/MODEL_ID.parquet                   a scoring actor      everyone, of a zoo study: one ZooRecord
      epochs/RUN_ID.parquet                     the run's worker     the driver, for MLflow: its EpochRecords
      scores/RUN_ID-EPOCH.parquet               a scoring actor      everyone: AlignmentRecords of a checkpoint
      …/0-gathered-NUMBER-HEX.parquet           the driver           everyone: rows of many ended runs, whose own files
                                                                     are gone then; in each of the three folders
      checkpoints/RUN_ID/
        epoch-EPOCH.safetensors                 the run's worker     scoring actors, load_model, objective.start_from
        resume.safetensors                      the run's worker     the same run, started again; gone when it ends
        resume-damaged.txt                      the run's worker     people: why a run began anew
        branch-STEP.safetensors                 the run's worker     runs whose trunk it is; gone when they have ended
      answer/                                   the driver           people and `scaling recipe`: laws, recipes, figures
      verifications/                            the driver           `scaling verify`; of a study NAME.verify alone
      mlflow.db, mlflow-artifacts/              MLflow               `scaling ui`; only where results are local
      ray/                                      Ray                  nobody: gone when the runs are

Every folder may also hold `.HEX.part`, a file that is being written, or was when its writer was killed.
"""

from __future__ import annotations

from collections.abc import Iterable

from scaling.storage import Storage

LOCK = ".lock"
DATASET_FILE = "dataset.json"
STOP_FILE = "stop.json"
RATES_FILE = "rates.json"
PROBES_FILE = "probes.json"
RUNS, EPOCHS, SCORES, CHECKPOINTS = "runs", "epochs", "scores", "checkpoints"
MODELS = "models"
ANSWER = "answer"
VERIFICATIONS = "verifications"
ANSWER_INDEX = "index.json"  # in ANSWER, written last: an answer without it is not whole
MLFLOW_FILE, MLFLOW_ARTIFACTS = "mlflow.db", "mlflow-artifacts"
RAY_FOLDER = "ray"

ROWS = ".parquet"
GATHERED = "0-gathered-"
WEIGHTS = ".safetensors"


def run_name(run_id: str) -> str:
    return f"{RUNS}/{run_id}{ROWS}"


def model_name(model_id: str) -> str:
    return f"{MODELS}/{model_id}{ROWS}"


def epochs_name(run_id: str) -> str:
    return f"{EPOCHS}/{run_id}{ROWS}"


def scores_name(run_id: str, epoch: int) -> str:
    return f"{SCORES}/{run_id}-{epoch:05d}{ROWS}"


def owner(name: str) -> str:
    """The run that a file of `runs` or `scores` is of."""
    folder, _, file = name.rpartition("/")
    stem = file.removesuffix(ROWS)
    return stem.rpartition("-")[0] if folder == SCORES else stem


def gathered_name(folder: str, number: int, tag: str) -> str:
    """A file of the rows of many runs, before theirs in the order of names and after those that were gathered before.

    Read in this order, as pandas does, a row's last version is the valid one. tag: tells files of one number apart.
    """
    return f"{folder}/{GATHERED}{number:06d}-{tag}{ROWS}"


def is_gathered(name: str) -> bool:
    return name.rpartition("/")[2].startswith(GATHERED)


def gathered_number(name: str) -> int:
    return int(name.rpartition("/")[2].removeprefix(GATHERED).partition("-")[0])


def row_names(storage: Storage, folder: str) -> list[str]:
    """Names of all files of rows in RUNS, MODELS, EPOCHS or SCORES: one listing."""
    return [f"{folder}/{name}" for name in storage.names(folder, ROWS)]


def weights_name(run_id: str, epoch: int) -> str:
    return f"{CHECKPOINTS}/{run_id}/epoch-{epoch:05d}{WEIGHTS}"


def weights_names(storage: Storage, run_id: str) -> list[str]:
    """Names of all weights of a run that are there, by epoch: one listing."""
    folder = f"{CHECKPOINTS}/{run_id}"
    return [f"{folder}/{name}" for name in storage.names(folder, WEIGHTS) if name.startswith("epoch-")]


def resume_name(run_id: str) -> str:
    return f"{CHECKPOINTS}/{run_id}/resume{WEIGHTS}"


def branch_name(trunk: str, step: int) -> str:
    """A trunk's state after `step` optimizer steps, for a run that cools down from there."""
    return f"{CHECKPOINTS}/{trunk}/branch-{step:08d}{WEIGHTS}"


def branch_names(storage: Storage, trunk: str) -> list[str]:
    """Names of a trunk's states that are there, by step: one listing."""
    folder = f"{CHECKPOINTS}/{trunk}"
    return [f"{folder}/{name}" for name in storage.names(folder, WEIGHTS) if name.startswith("branch-")]


def resume_note(run_id: str) -> str:
    """Why a run's resume file was set aside."""
    return f"{CHECKPOINTS}/{run_id}/resume-damaged.txt"


def delete_weights(storage: Storage, run_id: str, epochs: Iterable[int]) -> None:
    """Remove a run's weights at some epochs; those that are gone are fine, one listing finds them."""
    wanted = [weights_name(run_id, epoch) for epoch in epochs]
    there = set(weights_names(storage, run_id)) if wanted else set()
    for name in wanted:
        if name in there:
            storage.delete(name)
