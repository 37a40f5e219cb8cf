"""Where probes stand: a study NAME.probes beside the study, whose runs enter no law of scores.

Its folder is like any study's, `storage/NAME.probes/` (see `scaling.layout`), with its own lock, records and resume
files; `probes.json` lists its runs, so that `scaling status` needs no images. In MLflow it is an experiment of its own
in the study's store.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from scaling.layout import PROBES_FILE
from scaling.ledger import Study
from scaling.specs.run import RunSpec
from scaling.specs.study import PROBES, StudySpec
from scaling.storage import Storage

# What probes have of their study; the grid, when to stop and what is kept they have of their own
SHARED = ("dataset", "models", "benchmarks", "training", "resources", "scoring", "storage", "max_failures", "tune")


def probing_study(study: Study, runs: Sequence[RunSpec], track: bool = True) -> Study:
    """The study that holds a study's probes, opened with them. track: in the study's own MLflow store."""
    fields = {name: getattr(study.spec, name) for name in SHARED}
    spec = StudySpec(
        name=study.name + PROBES, seeds=tuple({run.seed for run in runs}) or study.spec.seeds,
        mlflow=study.tracking_uri if track else study.spec.mlflow, **fields,
    )  # fmt: skip
    return Study(spec, runs)


def write_probes(study: Study, runs: Sequence[RunSpec]) -> None:
    """List a study's probes, before the first of them starts."""
    text = json.dumps([run.model_dump(mode="json") for run in runs])
    _folder(study).write_bytes(PROBES_FILE, text.encode())


def listed_probes(study: Study) -> Study | None:
    """A study's probes as they were listed; None before the first `scaling run`, or where the list is damaged."""
    if not _folder(study).exists(PROBES_FILE):
        return None
    try:
        runs = [RunSpec.model_validate(run) for run in json.loads(_folder(study).read_bytes(PROBES_FILE))]
    except ValueError:
        return None
    return probing_study(study, runs, track=False)


def _folder(study: Study) -> Storage:
    return Storage(study.spec.storage).child(study.name + PROBES)
