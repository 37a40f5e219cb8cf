"""Where verifications stand: a study NAME.verify beside the study, whose runs enter no law.

Its folder is like any study's, `storage/NAME.verify/` (see `scaling.layout`), with its own lock, records, scores and
checkpoints; `verifications/` holds a JSON file each, written before the first of its runs starts. In MLflow it is an
experiment of its own in the study's store.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from scaling import layout
from scaling.ledger import Study
from scaling.specs.run import RunSpec
from scaling.specs.study import VERIFY, StudySpec
from scaling.storage import Storage

# What a verification has of its study; all else (the grid, checkpoints, when to stop) it has of its own
SHARED = ("dataset", "parametrization", "benchmarks", "training", "resources", "scoring", "storage", "max_failures")


def verifying_study(study: Study, runs: Sequence[RunSpec] = (), track: bool = True) -> Study:
    """The study that holds a study's verifications, opened with some of their runs.

    Args:
        track: in the study's own MLflow store.
    """
    own = study.spec
    fields = {name: getattr(own, name) for name in SHARED}
    families = {run.model.family for run in runs}
    models = tuple(family for family in own.models if family.family in families) or own.models
    seeds = tuple(dict.fromkeys(run.seed for run in runs)) or own.seeds
    objective = runs[0].objective if runs else own.all_objectives[0]
    spec = StudySpec(
        name=own.name + VERIFY, models=models, seeds=seeds, objective=objective,
        mlflow=study.tracking_uri if track else own.mlflow, **fields,
    )  # fmt: skip
    return Study(spec, runs)


def read_all(study: Study) -> dict[str, bytes]:
    """Every verification of a study, as it was written, by the name of its file."""
    return _read(verifying_study(study, track=False).storage)


def read_beside(results: str | Path) -> dict[str, bytes]:
    """`read_all` of the study whose results stand in a folder (or URI), without its study file."""
    beside, name = Storage.of_file(str(results).rstrip("/"))
    return _read(beside.child(name + VERIFY))


def _read(storage: Storage) -> dict[str, bytes]:
    names = storage.names(layout.VERIFICATIONS, ".json")
    return {name: storage.read_bytes(f"{layout.VERIFICATIONS}/{name}") for name in names}


def write(study: Study, name: str, text: str) -> None:
    """Write a verification; the file appears whole."""
    storage = verifying_study(study, track=False).storage
    storage.write_bytes(f"{layout.VERIFICATIONS}/{name}", text.encode())


def forget(study: Study, name: str) -> None:
    """Remove a verification of which no run was started."""
    verifying_study(study, track=False).storage.delete(f"{layout.VERIFICATIONS}/{name}")


def file_name(flops: float, region: str, family: str, seed: int) -> str:
    """A name that people can read; a digest keeps those apart that would read alike."""
    digest = hashlib.sha256(repr((flops, region, family, seed)).encode()).hexdigest()[:8]
    readable = re.sub(r"[^\w.+-]+", "-", f"{flops:.4g}-{region}-{family}-seed{seed}")
    return f"{readable}-{digest}.json"
