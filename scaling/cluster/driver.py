"""The driver of a study on Ray: what is missing is trained and scored, checkpoints as they appear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scaling.alignment.benchmark import Benchmark
from scaling.alignment.scoring import ScoringOptions, scoring_options, with_convention
from scaling.alignment.suites.human_alignment import select_mapped
from scaling.alignment.suites.registry import build_benchmarks
from scaling.checks import check_runs
from scaling.cluster.placement import check_capacity, local_capacity, training_capacity
from scaling.cluster.progress import Progress, ProgressFactory
from scaling.cluster.session import ray_session, wanted_address
from scaling.data.image_source import ImageSource, image_source
from scaling.data.shown import heldout_stimuli, training_stimuli
from scaling.layout import DATASET_FILE
from scaling.ledger import OpenWork, Study
from scaling.specs.resources import ResourceSpec
from scaling.tracking import Tracker


@dataclass(frozen=True)
class RunOptions:
    """How a study is run, beside the study file.

    cache_dir: where decoded images are kept; None: each node's own, see `default_cache_dir`.
    concurrency: runs at once on a cluster that grows when asked; None takes what fits the cluster as it is.
    """

    data_dir: Path
    address: str | None = None
    concurrency: int | None = None
    cache_dir: Path | None = None


@dataclass(frozen=True)
class Session:
    """What runs and scores need on the connected cluster.

    source: of the images; cost: expected, by run_id; slots: runs at once of a shape.
    """

    source: ImageSource
    benchmarks: list[Benchmark]
    scoring: ScoringOptions
    cost: dict[str, float]
    slots: Callable[[ResourceSpec], int]


def do_work(study: Study, work: OpenWork, options: RunOptions, tracker: Tracker, progress: ProgressFactory) -> None:
    """Train and score all of a study's open work.

    Raises:
        StudyError: anything that makes the study impossible, before the first run starts.
    """
    address = wanted_address(options.address)
    if address is None:
        needs_gpu = any(run.resources.gpus_per_worker for run in work.train) or study.spec.scoring.gpus > 0
        check_capacity(study.spec, work.train, local_capacity(needs_gpu), "this machine")
    source = image_source(study.spec.dataset, options.data_dir, options.cache_dir).pinned()
    data = source.open()
    n_samples = check_runs(work.train, data)
    study.check_same_data(data)
    mapped = select_mapped(data.heldout, data.name)
    degrees = study.spec.scoring.degrees
    built = build_benchmarks(study.spec.benchmarks, heldout_stimuli(data), options.data_dir, degrees, mapped)
    benchmarks = with_convention(built, study.spec.scoring)
    scoring = scoring_options(study.spec.scoring, partial(training_stimuli, data))
    for run_id, reason in work.gone.items():
        study.reopen(run_id, reason)
    dashboard = any(run.resources.workers > 1 for run in work.train)
    with ray_session(address, dashboard) as capacity:
        from scaling.cluster.schedule import concurrency
        from scaling.models.cost import expected_cost

        if options.concurrency is None:
            check_capacity(study.spec, work.train, capacity, "the cluster")
        room = training_capacity(study.spec, capacity)
        size = (data.image_size, data.n_classes)
        cost = {run.run_id: expected_cost(run, n_samples[run.run_id], *size) for run in work.train}
        session = Session(
            source, benchmarks, scoring, cost, slots=lambda shape: options.concurrency or concurrency(shape, room)
        )
        with progress(cost, len(study.runs) - len(work.train), len(work.score)) as shown:
            if data.skipped:
                left_out = f"{len(data.skipped):,} images that cannot be decoded are left out"
                shown.say(f"dataset '{data.name}': {left_out} (listed in {DATASET_FILE})")
            _train_and_score(study, work, tracker, session, shown)


def _train_and_score(study: Study, work: OpenWork, tracker: Tracker, session: Session, progress: Progress) -> None:
    from scaling.cluster.actors import ScoringPool
    from scaling.cluster.listener import StudyListener
    from scaling.cluster.schedule import train_runs

    spec = study.spec.scoring
    pool = ScoringPool(study.storage.uri, session.benchmarks, session.scoring, spec, study.protocols)
    listener = StudyListener(study, work, pool, tracker, progress)
    if work.train:
        failures = study.spec.max_failures
        train_runs(work.train, session.source, study.storage, listener, session.slots, session.cost, failures)
    listener.drain()
