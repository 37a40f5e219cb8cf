"""What can be refused of a study before anything starts: first without its images, then with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scaling.alignment.commitment import read_commitment
from scaling.alignment.suites.registry import check_benchmark_data
from scaling.data.images import ImageData, check_dataset
from scaling.data.portions import check_stated
from scaling.data.subsets import run_images
from scaling.models import build_model, check_model
from scaling.specs.model import ModelSpec
from scaling.specs.run import RunSpec, check_batches
from scaling.specs.study import StudySpec
from scaling.train.objectives.needs import check_maps


def check_study(study: StudySpec, data_dir: Path) -> None:
    """Everything about a study that can be refused without decoding an image or starting Ray.

    Raises:
        StudyError: the first problem.
    """
    read_commitment(study.scoring.commitment)
    check_dataset(study.dataset, data_dir)
    check_benchmark_data(study.benchmarks, data_dir)


def check_runs(runs: Sequence[RunSpec], data: ImageData) -> dict[str, int]:
    """The number of unique training images of every run, by run_id.

    Raises:
        StudyError: the decoded data cannot give a run: too few images a class, an image size no model takes, no
            maps where an objective needs them.
    """
    if runs:
        check_stated(runs[0].dataset, data)
    for model in dict.fromkeys(run.model for run in runs):
        check_model(model, data.image_size, f"dataset '{data.name}' of {data.image_size} pixels")
    for model, rate in {run.model: run.training.drop_path for run in runs if run.model.family == "timm"}.items():
        _check_drop_path(model, rate, data)
    alike = {_images(run): run for run in runs}
    found = {key: run_images(data.train.labels, run)[0] for key, run in alike.items()}
    for run in runs:
        subset = found[_images(run)]
        check_batches(run, len(subset), f"dataset '{data.name}'")
        check_maps(run, data, subset)
    return {run.run_id: len(found[_images(run)]) for run in runs}


def _check_drop_path(model: ModelSpec, rate: float, data: ImageData) -> None:
    """A timm model tells whether it has blocks to drop once it is built, here without memory."""
    if not rate:
        return
    import torch

    from scaling.models.drop_path import set_drop_path

    with torch.device("meta"):
        set_drop_path(build_model(model, data.image_size, data.n_classes), rate)


def _images(run: RunSpec) -> tuple[int | None, int, float]:
    """What determines which images a run trains on."""
    return run.images_per_class, run.seed, run.validation
