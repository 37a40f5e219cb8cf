"""A study that was not trained: records and scores as a planted law would give them, for tests of what comes after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from scaling.data.images import load_images
from scaling.data.subsets import nested_subset
from scaling.ledger import Study, open_study
from scaling.models.cost import model_cost, training_flops
from scaling.records import AlignmentRecord, run_record
from scaling.specs.dataset import DatasetSpec

REGION, BENCHMARK = "IT", "simulated-ventral-stream.IT"
NOISE = 0.01  # standard deviation of ln L
RESNETS = {"family": "resnet", "depth": 10, "sizes": [2, 4, 6, 8]}
STUDY = {
    "name": "planted", "dataset": "digits", "models": [RESNETS], "data_sizes": [10, 20, 40, 80], "seeds": [0, 1],
    "training": {"epochs": 2, "batch_size": 20, "lr": 0.05, "warmup_epochs": 1}, "benchmarks": [BENCHMARK],
}  # fmt: skip


def planted(n_params: float, samples_seen: float) -> float:
    """L = E + A N^-alpha + B D^-beta, about .4 to .9 over the grid."""
    return 0.05 + 9.0 * n_params**-0.4 + 6.0 * samples_seen**-0.5


def write_planted(folder: Path, noise: float = NOISE, flat: bool = False, **changes: object) -> Path:
    """The study file; its results stand in `folder`/results."""
    path = folder / "planted.yaml"
    path.write_text(yaml.safe_dump({**STUDY, "storage": str(folder / "results"), **changes}))
    study = open_study(path)
    data = load_images(DatasetSpec(name="digits"), folder)
    rng = np.random.default_rng(0)
    for run in study.runs:
        cost = model_cost(run.model, data.image_size, data.n_classes)
        n_samples = len(nested_subset(data.train.labels, run.images_per_class, run.seed))
        samples = n_samples * run.training.epochs
        level = 0.5 if flat else planted(cost.n_params, samples)
        error, misalignment = (level * np.exp(noise * rng.standard_normal()) for _ in range(2))
        point = {"samples_seen": samples, "accuracy": 1 - float(error)}
        point["flops"] = training_flops(cost.flops_per_image, samples)
        known = {"n_params": cost.n_params, "flops_per_image": cost.flops_per_image, "n_samples": n_samples}
        known |= {"epochs_done": run.training.epochs, "kept": (run.training.epochs,), "train_s": point["flops"] / 1e9}
        study.store.write_run(run_record(run, "finished", None, **known, **point))
        _write_score(study, run.run_id, run.training.epochs, 1 - float(misalignment), point)
    return path


def _write_score(study: Study, run_id: str, epoch: int, score: float, point: dict[str, float]) -> None:
    facts = {
        "raw": score, "ceiling": None, "ceiling_kind": "none", "score": score, "n_stimuli": 9, "n_neuroids": 9,
        "layer": "l", "region": REGION, "metric": "pls", "selection_raw": None, "reason": None, "status": "scored",
        "score_s": 0.0, "run_id": run_id, "epoch": epoch, "benchmark": BENCHMARK,
    }  # fmt: skip
    study.store.write_scores([AlignmentRecord(protocol=study.protocols[BENCHMARK].text, **facts, **point)])
