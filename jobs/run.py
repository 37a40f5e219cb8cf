"""Run a study: what is missing is trained and scored on Ray, tracked in MLflow, and answered by the analysis."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from scaling.alignment.commitment import read_commitment
from scaling.alignment.protocol import scoring_protocol
from scaling.alignment.scoring import scoring_options, with_convention
from scaling.alignment.suites.human_alignment import select_mapped
from scaling.alignment.suites.registry import build_benchmarks, check_benchmark_data, check_benchmark_names
from scaling.cluster.placement import check_capacity, local_capacity, training_capacity
from scaling.cluster.session import ray_session, wanted_address
from scaling.data.image_source import ImageSource, image_source
from scaling.data.images import ImageData, ImageSet, check_dataset
from scaling.data.recordings.stimuli import MAX_HELDOUT_STIMULI, Stimuli, choose_balanced, select_stimuli
from scaling.data.subsets import nested_subset
from scaling.errors import StudyError
from scaling.ledger import OpenWork, open_work, prune_scored
from scaling.models import check_model
from scaling.records import ResultsStore
from scaling.specs.resources import ResourceSpec
from scaling.specs.run import RunSpec, check_batches
from scaling.specs.study import StudySpec
from scaling.storage import Storage
from scaling.study import expand_study
from scaling.tracking import Tracker, connect, tracking_uri
from scaling.train.objectives.needs import check_maps

if TYPE_CHECKING:
    from scaling.alignment.benchmark import Benchmark
    from scaling.alignment.scoring import ScoringOptions

DATASET_FILE = "dataset.json"


def study_storage(study: StudySpec) -> Storage:
    """The study's own folder."""
    return Storage(study.storage).child(study.name)


@dataclass
class RunOptions:
    """How a study is run, beside the study file.

    cache_dir: where decoded images are kept; None: each node's own, see `default_cache_dir`.
    concurrency: runs at once on a cluster that grows when asked; None takes what fits the cluster as it is.
    """

    data_dir: Path
    address: str | None = None
    use_mlflow: bool = True
    concurrency: int | None = None
    cache_dir: Path | None = None
    console: Console = field(default_factory=Console)


def check_study(study: StudySpec, data_dir: Path) -> None:
    """Everything about a study that can be refused without decoding an image or starting Ray.

    Raises:
        StudyError: the first problem.
    """
    check_benchmark_names(study.benchmarks)
    read_commitment(study.scoring.commitment)
    check_dataset(study.dataset, data_dir)
    check_benchmark_data(study.benchmarks, data_dir)


def check_runs(runs: Sequence[RunSpec], data: ImageData) -> dict[str, int]:
    """The number of unique training images of every run, by run_id.

    Raises:
        StudyError: the decoded data cannot give a run: too few images a class, an image size no model takes, no
            maps where an objective needs them.
    """
    for model in dict.fromkeys(run.model for run in runs):
        check_model(model, data.image_size, f"dataset '{data.name}' of {data.image_size} pixels")
    subsets = dict.fromkeys((run.images_per_class, run.seed) for run in runs)
    found = {subset: nested_subset(data.train.labels, *subset) for subset in subsets}
    for run in runs:
        subset = found[run.images_per_class, run.seed]
        check_batches(run, len(subset), f"dataset '{data.name}'")
        check_maps(run, data, subset)
    return {run.run_id: len(found[run.images_per_class, run.seed]) for run in runs}


def check_same_data(storage: Storage, data: ImageData) -> None:
    """Refuse to mix runs on different images under one name: the first run's images are remembered.

    Raises:
        StudyError: the decoded data are not those that the study began with.
    """
    mark: dict[str, Any] = {
        "dataset": data.name,
        "n_train": len(data.train),
        "n_heldout": len(data.heldout),
        "sha256": data.digest(),
    }
    if data.skipped:
        mark["skipped"] = [place.partition(": ")[0] for place in data.skipped]
    if not storage.exists(DATASET_FILE):
        storage.write_bytes(DATASET_FILE, json.dumps(mark, indent=2).encode())
    elif (before := json.loads(storage.read_bytes(DATASET_FILE))) != mark:
        raise StudyError(
            f"dataset '{data.name}' now holds {len(data.train):,} + {len(data.heldout):,} images, not the "
            f"{before['n_train']:,} + {before['n_heldout']:,} that this study began with "
            f"({storage.path(DATASET_FILE)}); restore them, or give the study a new name"
        )


def run_study(study: StudySpec, options: RunOptions, train: bool = True) -> OpenWork:
    """Train and score what is missing; returns what is still open afterwards (nothing, if all went well).

    Raises:
        StudyError: anything that makes the study impossible, before the first run starts; runs that are missing
            where none are to be trained.
    """
    storage = study_storage(study)
    storage.check_writable()
    from jobs.answer import local_copies

    with storage.locked():
        store = ResultsStore(storage)
        check_study(study, options.data_dir)
        work = open_work(study, store)
        if work.train and not train:
            raise StudyError(
                f"{len(work.train)} of {len(expand_study(study))} runs of study '{study.name}' are not trained "
                f"({storage.uri}); `scaling run` trains them"
            )
        client = connect(tracking_uri(study, storage)) if options.use_mlflow else None
        tracker = Tracker(client, study, storage)
        for run in expand_study(study):
            tracker.run_changed(run.run_id)
        prune_scored(work, storage)
        if work.train or work.score:
            _do(study, work, storage, tracker, options)
        left = open_work(study, store)
        answered = _answer(study, options)
        with tempfile.TemporaryDirectory() as folder:
            files = local_copies(storage, Path(folder)) if answered else []
            problem = tracker.close("FINISHED" if left.is_empty else "FAILED", files)
        _say_where(study, storage, left, problem, options)
        return left


def _answer(study: StudySpec, options: RunOptions) -> bool:
    """Fit, save and print the laws and recipes, if anything is scored."""
    from jobs.answer import answer_study, print_answer

    try:
        answer = answer_study(study)
    except StudyError as error:
        options.console.print(f"no laws: {error}", highlight=False)
        return False
    print_answer(answer, options.console)
    return True


def _say_where(study: StudySpec, storage: Storage, left: OpenWork, problem: str | None, options: RunOptions) -> None:
    def say(text: str) -> None:
        options.console.print(text, highlight=False, soft_wrap=True)

    say(f"\nresults, recipes and figures: {storage.path() if storage.is_local else storage.uri}")
    say(f"MLflow: {tracking_uri(study, storage)} (open it with `scaling ui`)")
    if problem:
        say(f"{problem}; the next `scaling run` logs what is missing")
    if left.out_of_memory:
        say(
            f"out of memory: {len(left.out_of_memory)} runs, named by `scaling status`; they are trained again with "
            "other resources (a smaller resources.micro_batch, more workers)"
        )
    if left.train or left.score:
        say(f"unfinished: {len(left.train)} runs, {len(left.score)} checkpoints to score; run again to go on")


def _do(study: StudySpec, work: OpenWork, storage: Storage, tracker: Tracker, options: RunOptions) -> None:
    address = wanted_address(options.address)
    if address is None:
        needs_gpu = any(run.resources.gpus_per_worker for run in work.train) or study.scoring.gpus > 0
        check_capacity(study, work.train, local_capacity(needs_gpu), "this machine")
    source = image_source(study.dataset, options.data_dir, options.cache_dir).pinned()
    data = source.open()
    if data.skipped:
        skipped = f"{len(data.skipped):,} images that cannot be decoded are left out (listed in {DATASET_FILE})"
        options.console.print(f"dataset '{data.name}': {skipped}", highlight=False)
    n_samples = check_runs(work.train, data)
    check_same_data(storage, data)
    heldout = heldout_stimuli(data)
    built = build_benchmarks(
        study.benchmarks, heldout, options.data_dir, study.scoring.degrees, select_mapped(data.heldout, data.name)
    )
    benchmarks = with_convention(built, study.scoring)
    scoring = scoring_options(study.scoring, partial(training_stimuli, data))
    dashboard = any(run.resources.workers > 1 for run in work.train)
    with ray_session(address, dashboard) as capacity:
        from scaling.cluster.schedule import concurrency
        from scaling.models.cost import expected_cost

        if options.concurrency is None:
            check_capacity(study, work.train, capacity, "the cluster")
        room = training_capacity(study, capacity)
        session = Session(
            source,
            benchmarks,
            scoring,
            cost={
                run.run_id: expected_cost(run, n_samples[run.run_id], data.image_size, data.n_classes)
                for run in work.train
            },
            slots=lambda shape: options.concurrency or concurrency(shape, room),
        )
        _train_and_score(study, work, storage, tracker, session, options.console)


def training_stimuli(data: ImageData, n: int) -> Stimuli:
    """Training images as stimuli, which are not scored: at most n."""
    return _stimuli(data.train, n, f"{data.name} training")


def heldout_stimuli(data: ImageData) -> Stimuli:
    """Held-out images as stimuli: a few hundred at most."""
    return _stimuli(data.heldout, MAX_HELDOUT_STIMULI, f"{data.name} held-out")


def _stimuli(images: ImageSet, n: int, name: str) -> Stimuli:
    """At most n images, balanced; no other is read."""
    chosen = choose_balanced(images.labels, n)
    stimuli = select_stimuli(images.images[chosen], images.labels[chosen], len(chosen), name=name)
    return replace(stimuli, ids=tuple(f"{name}-{index}" for index in chosen))


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


def _train_and_score(
    study: StudySpec, work: OpenWork, storage: Storage, tracker: Tracker, session: Session, console: Console
) -> None:
    from jobs.progress import StudyProgress
    from scaling.cluster.actors import ScoringPool
    from scaling.cluster.listener import StudyListener
    from scaling.cluster.schedule import train_runs

    protocol = scoring_protocol(study.scoring, study.benchmarks)
    pool = ScoringPool(storage.uri, session.benchmarks, session.scoring, study.scoring, protocol)
    n_done = len(expand_study(study)) - len(work.train)
    with StudyProgress(console, session.cost, n_done) as progress:
        listener = StudyListener(storage, work, pool, tracker, progress)
        if work.train:
            train_runs(work.train, session.source, storage, listener, session.slots, session.cost, study.max_failures)
        listener.drain()
