"""The driver of a study on Ray: what is missing is trained and scored, checkpoints as they appear."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scaling.alignment.pooled import AnyBenchmark
from scaling.alignment.scoring import ScoringOptions, with_convention
from scaling.alignment.suites.registry import build_benchmarks
from scaling.checks import check_study
from scaling.cluster.facts import DataFacts, check_without_images, look, look_on_a_node
from scaling.cluster.failures import first_line
from scaling.cluster.measured import MeasuredCost, cost_shape, own_images, recorded_cost
from scaling.cluster.offers import Offering
from scaling.cluster.placement import Node, beside_scoring, capacity_problems, check_capacity, most_at_once, needs_gpu
from scaling.cluster.progress import Progress, ProgressFactory
from scaling.cluster.room import Room
from scaling.cluster.session import growing_nodes, local_nodes, nodes_to_come, ray_session, wanted_address
from scaling.cluster.shared_storage import check_shared
from scaling.cluster.stopping import GOES_ON, Stopped, StopSwitch, files_refused
from scaling.cluster.watch import cluster_lost
from scaling.data.image_source import image_source
from scaling.enough import write_sizes
from scaling.errors import StorageError, StudyError
from scaling.layout import DATASET_FILE
from scaling.ledger import OpenWork, Study
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec
from scaling.tracking import Tracker

Say = Callable[[str], None]


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
class Hearers:
    """What hears of a study while it runs. say: one line, before there is a progress; switch: stops it all."""

    tracker: Tracker
    progress: ProgressFactory
    say: Say
    switch: StopSwitch


@dataclass(frozen=True)
class Prepared:
    """What training and scoring need, once the images were looked at."""

    facts: DataFacts
    benchmarks: list[AnyBenchmark]
    scoring: ScoringOptions


def check_before(study: Study, options: RunOptions) -> None:
    """Everything that can be refused before Ray starts; on a cluster, its nodes look at the images and not the driver.

    Raises:
        StudyError: the first problem.
    """
    if wanted_address(options.address) is None:
        check_study(study.spec, options.data_dir)
    else:
        check_without_images(study.spec, options.data_dir)


def do_work(study: Study, work: OpenWork, options: RunOptions, hearers: Hearers) -> None:
    """Train and score all of a study's open work.

    Raises:
        StudyError: anything that makes the study impossible, before the first run starts.
        Stopped: an interrupt, a cluster or a storage that does not answer any more.
    """
    work = work.whole if work.train else work  # a run that is tried again may change what is known
    address = wanted_address(options.address)
    source = image_source(study.spec.dataset, options.data_dir, options.cache_dir)
    plan = None
    if address is None:  # all is refused here that can be, before Ray starts
        check_capacity(study.spec, work.train, local_nodes(needs_gpu(study.spec, work.train)), "this machine")
        plan = prepare(study.spec, options, look(study.spec, study.runs, work.train, source))
    dashboard = any(run.resources.most_workers > 1 for run in work.train)
    with one_line_ends(), ray_session(address, dashboard, hearers.switch) as nodes:
        admit(study.spec, work.train, nodes, options.concurrency, hearers.say)
        if plan is None:
            check_shared(study.storage, nodes)
            plan = prepare(study.spec, options, look_on_a_node(study, work.train, source, hearers.say))
        _train_and_score(study, work, options, hearers, plan, nodes)


def prepare(spec: StudySpec, options: RunOptions, facts: DataFacts) -> Prepared:
    """The benchmarks on a study's images, and how they are scored.

    Raises:
        StudyError: as `build_benchmarks` and `scoring_options`.
    """
    shown = (facts.heldout, options.data_dir, spec.scoring.degrees, facts.mapped, facts.classes)
    built = build_benchmarks(spec.benchmarks, *shown)
    return Prepared(facts, with_convention(built, spec.scoring), facts.scoring_options(spec))


def admit(study: StudySpec, runs: Sequence[RunSpec], nodes: Sequence[Node], concurrency: int | None, say: Say) -> None:
    """Refuse runs that do not fit the nodes, or wait for nodes where the cluster grows, or is said to, and say so.

    Raises:
        StudyError: a run that no node will ever hold.
    """
    problems = capacity_problems(study, runs, nodes, "the cluster")
    if not problems:
        return
    if concurrency is None:
        grown = (*nodes, *growing_nodes())
        check_capacity(study, runs, grown, "the cluster, grown as far as it may,")
    say(f"waiting for nodes that the cluster does not have yet: {problems[0]}")


def _train_and_score(
    study: Study, work: OpenWork, options: RunOptions, hearers: Hearers, plan: Prepared, nodes: Sequence[Node]
) -> None:
    from scaling.cluster.actors import ScoringPool
    from scaling.cluster.branching import BranchOffers, BranchStates
    from scaling.cluster.listener import StudyListener
    from scaling.cluster.offers import LongestFirst, Offers
    from scaling.cluster.probing import cell_asha
    from scaling.cluster.schedule import train_runs

    spec = study.spec
    facts, benchmarks, scoring = plan.facts, plan.benchmarks, plan.scoring
    if spec.stop is not None:
        write_sizes(study.storage, facts.sizes)
    for run_id, reason in work.gone.items():
        study.reopen(run_id, reason)
        hearers.say(f"to be trained again: run {run_id}: {reason}")
    free, homes = beside_scoring(spec.scoring, nodes)
    cost = measured_cost(study, work.train, facts)
    with hearers.progress(cost, len(study.runs) - len(work.train), len(work.score)) as shown:
        _say_left_out(facts, spec, shown)
        pool = ScoringPool(study.storage.uri, benchmarks, scoring, spec.scoring, study.protocols, homes)
        states = BranchStates(study.storage, work.train, facts.n_samples)
        check = hearers.switch.check
        listener = StudyListener(study, work, pool, hearers.tracker, shown, check, states.release, cost)
        offers: Offering
        if spec.stop is not None:
            at_once = options.concurrency or most_at_once(work.train, free)
            offers = Offers(study.course(facts.sizes), work.train, listener.is_settled, at_once)
        elif spec.horizons is not None:
            offers = BranchOffers(work.train, cost, states.is_there, listener.goes_on)
        else:
            offers = LongestFirst(work.train, cost, cost_shape)
        if work.train:
            judge = cell_asha(study, facts.sizes)
            room = Room(nodes_to_come, spec.scoring, options.concurrency)
            with saving_at_an_end(room, hearers.switch):
                train_runs(offers, work.train, facts.source, study.storage, listener, room, spec.max_failures, judge)
        if isinstance(offers, Offers) and offers.enough:
            shown.say(f"enough is known: {offers.enough}")
        listener.drain()


@contextmanager
def saving_at_an_end(room: Room, switch: StopSwitch) -> Iterator[None]:
    """Where the study is stopped and the cluster still answers, what goes on writes its resume files first."""
    try:
        yield
    except KeyboardInterrupt:  # Ray's own in place of the switch's, at times
        if switch.stopped is not None and not switch.stopped.lost:
            from scaling.cluster.notices import stop_soon  # with Ray, which the driver has by now

            stop_soon(room.going)
        raise


def measured_cost(study: Study, runs: Sequence[RunSpec], facts: DataFacts) -> MeasuredCost:
    """Of runs to train, corrected by what the study's finished ones took."""
    images = {run.run_id: own_images(run, facts.n_samples[run.run_id]) for run in runs}
    cost = MeasuredCost(runs, facts.cost, images)
    for record in study.records.values():
        if record.status == "finished" and record.train_s:
            run = RunSpec.model_validate_json(record.spec)
            cost.learn_stored(run, record.train_s, recorded_cost(run, record))
    return cost


def _say_left_out(facts: DataFacts, study: StudySpec, shown: Progress) -> None:
    if facts.skipped:
        left_out = f"{facts.skipped:,} images that cannot be decoded are left out"
        shown.say(f"dataset '{study.dataset.name}': {left_out} (listed in {DATASET_FILE})")


@contextmanager
def one_line_ends() -> Iterator[None]:
    """What ends a study from outside ends it with one line: a cluster that is gone, a place that takes no more.

    Raises:
        Stopped: in place of the exception.
    """
    try:
        yield
    except StorageError as error:
        raise files_refused(error) from error
    except StudyError:
        raise
    except ConnectionError as error:  # of Ray's: a file system's have other types
        raise cluster_lost(first_line(error)) from error
    except OSError as error:
        raise files_refused(error) from error
    except Exception as error:
        from ray.exceptions import RayError
        from ray.tune import TuneError

        if isinstance(error, RayError):
            raise cluster_lost(first_line(error)) from error
        if isinstance(error, TuneError):
            raise Stopped(f"Ray Tune gave up ({str(error).strip().splitlines()[-1]}); {GOES_ON}") from error
        raise
