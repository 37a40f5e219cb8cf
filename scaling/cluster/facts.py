"""What the driver needs to know of a study's images: looked at here, or on a node that reads them anyway."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from scaling.alignment.commitment import read_commitment
from scaling.alignment.scoring import FIT_IMAGES, ScoringOptions, scoring_options
from scaling.alignment.suites.human_alignment import MappedStimuli, select_mapped
from scaling.alignment.suites.registry import check_benchmark_data
from scaling.checks import check_runs
from scaling.cluster.failures import origin, reason_of
from scaling.data.image_source import ImageSource
from scaling.data.images import ImageData
from scaling.data.recordings.stimuli import Stimuli
from scaling.data.shown import heldout_stimuli, training_stimuli
from scaling.enough import RunSize
from scaling.errors import StudyError
from scaling.ledger import Study
from scaling.models.cost import expected_cost, model_cost, training_flops
from scaling.specs.objective import objective_spec
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec

T = TypeVar("T")
PATIENCE_S = 20.0  # until the driver says what it waits for


@dataclass(frozen=True)
class DataFacts:
    """source: pinned to the images that were seen; cost: expected, by run_id, see `expected_cost`; n_samples: likewise.

    heldout, mapped: stimuli that benchmarks show, a few hundred at most; others: training images for principal
    components, where they are asked for; skipped: images that cannot be decoded; sizes: of every run of the grid, by
    run_id, where the study has a `stop` or is one of probes; classes: their names by label, where they are known.
    """

    source: ImageSource
    cost: dict[str, float]
    n_samples: dict[str, int]
    heldout: Stimuli
    mapped: MappedStimuli | None
    others: Stimuli | None
    skipped: int
    sizes: dict[str, RunSize]
    classes: tuple[str, ...] = ()

    def scoring_options(self, study: StudySpec) -> ScoringOptions:
        """Raises: StudyError, as `scoring.scoring_options`."""
        return scoring_options(study.scoring, lambda n: self.others or self.heldout)


def check_without_images(spec: StudySpec, data_dir: Path) -> None:
    """What the driver of a cluster checks itself: the files of benchmarks, which it reads. Raises: StudyError."""
    read_commitment(spec.scoring.commitment)
    check_benchmark_data(spec.benchmarks, data_dir)


def look(spec: StudySpec, grid: Sequence[RunSpec], runs: Sequence[RunSpec], source: ImageSource) -> DataFacts:
    """Open the images, decoding them if that was not done here, and refuse what they cannot give.

    Args:
        grid: all runs of the study. runs: those that are to be trained.

    Raises:
        StudyError: as `load_images`, `check_runs` and `Study.check_same_data`.
    """
    data = source.open()
    n_samples = check_runs(runs, data)
    Study(spec, runs).check_same_data(data)
    others = FIT_IMAGES * spec.scoring.components if spec.scoring.reduction == "pca" else None
    return DataFacts(
        replace(source, digest=data.digest()),
        {run.run_id: expected_cost(run, n_samples[run.run_id], data.image_size, data.n_classes) for run in runs},
        n_samples,
        heldout_stimuli(data),
        select_mapped(data.heldout, data.name),
        None if others is None else training_stimuli(data, others),
        len(data.skipped),
        run_sizes(grid, data) if spec.stop is not None or any(run.validation for run in grid) else {},
        data.classes,
    )


def run_sizes(runs: Sequence[RunSpec], data: ImageData) -> dict[str, RunSize]:
    """N, samples seen and C of runs that are trained to their end, by run_id."""
    n_samples = check_runs(runs, data)
    found = {}
    for run in runs:
        cost = model_cost(run.model, data.image_size, data.n_classes)
        seen = n_samples[run.run_id] * run.training.epochs
        flops = training_flops(cost.flops_per_image, seen, objective_spec(run.objective).passes)
        found[run.run_id] = RunSize(cost.n_params, seen, flops)
    return found


def look_on_a_node(study: Study, runs: Sequence[RunSpec], source: ImageSource, say: Callable[[str], None]) -> DataFacts:
    """`look`, on a node that could train one of the runs: neither the driver's nor a head without CPUs decodes."""
    return on_a_node(partial(look, study.spec, study.runs, tuple(runs), source), study.spec, runs, say)


def on_a_node(task: Callable[[], T], spec: StudySpec, runs: Sequence[RunSpec], say: Callable[[str], None]) -> T:
    """What a task finds out about the images on a node that could train one of the runs."""
    import ray

    gpus = any(run.resources.gpus for run in runs)
    ref = ray.remote(_done).options(num_cpus=1, num_gpus=0.01 if gpus else 0).remote(task)
    if not ray.wait([ref], timeout=PATIENCE_S)[0]:
        say(f"waiting for a node to open dataset '{spec.dataset.name}'")
    return found(partial(ray.get, ref))


def _done(task: Callable[[], T]) -> T:
    return task()


def found(get: Callable[[], T]) -> T:
    """What a node found.

    Raises:
        StudyError: what it refused, or why it could not look.
    """
    from ray.exceptions import RayTaskError

    try:
        return get()
    except RayTaskError as error:
        cause = origin(error)
        if isinstance(cause, StudyError):
            raise cause from None
        raise StudyError(f"no node could open the images ({reason_of(error)}); mend it there, and run again") from error
