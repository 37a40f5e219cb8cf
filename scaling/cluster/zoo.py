"""The driver of a zoo study on Ray: every model that lacks a score is loaded once, by one of the scoring actors."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from scaling.alignment.commitment import read_commitment
from scaling.alignment.scoring import scoring_options, with_convention
from scaling.alignment.suites.human_alignment import select_mapped
from scaling.alignment.suites.registry import build_benchmarks, check_benchmark_data
from scaling.cluster.actors import Score, ScoringPool
from scaling.cluster.driver import RunOptions, one_line_ends
from scaling.cluster.placement import beside_scoring
from scaling.cluster.retries import Checkpoint
from scaling.cluster.session import ray_session, wanted_address
from scaling.cluster.shared_storage import check_shared
from scaling.cluster.stopping import StopSwitch
from scaling.data.image_source import image_source
from scaling.data.images import check_dataset
from scaling.data.shown import heldout_stimuli, training_stimuli
from scaling.zoo.listing import check_weights
from scaling.zoo.model import ZooModel
from scaling.zoo.study import ZooStudy

WAIT_S = 0.25


class Heard(Protocol):
    """Hears of models that are scored."""

    def ended(self, failed: bool) -> None: ...

    def say(self, message: str) -> None: ...

    def refresh(self) -> None: ...


HeardFactory = Callable[[int, int], AbstractContextManager[Heard]]  # (models done, all models) -> what hears of them
Work = dict[ZooModel, tuple[str, ...]]  # models -> benchmarks that they lack


@dataclass(frozen=True)
class ZooHearers:
    """progress: what is shown; switch: stops it all."""

    progress: HeardFactory
    switch: StopSwitch


def check_zoo(study: ZooStudy, work: Work, data_dir: Path, address: str | None) -> None:
    """Everything that can be refused before Ray starts; on a cluster, its nodes fetch weights themselves.

    Raises:
        StudyError: the first problem.
    """
    read_commitment(study.spec.scoring.commitment)
    check_dataset(study.spec.dataset, data_dir)
    check_benchmark_data(study.spec.benchmarks, data_dir)
    if wanted_address(address) is None:
        check_weights(list(work))


def score_zoo(study: ZooStudy, work: Work, options: RunOptions, hearers: ZooHearers) -> None:
    """Score all open work.

    Raises:
        StudyError: anything that makes the study impossible, before the first model.
        Stopped: an interrupt, a cluster or a storage that does not answer any more.
    """
    spec, address = study.spec, wanted_address(options.address)
    data = image_source(spec.dataset, options.data_dir, options.cache_dir).open()
    mapped = select_mapped(data.heldout, data.name)
    built = build_benchmarks(spec.benchmarks, heldout_stimuli(data), options.data_dir, spec.scoring.degrees, mapped)
    benchmarks = with_convention(built, spec.scoring)
    scoring = scoring_options(spec.scoring, partial(training_stimuli, data))
    n_models = len(study.models)
    with one_line_ends(), ray_session(address, False, hearers.switch) as nodes:
        if address is not None:
            check_shared(study.storage, nodes)
        homes = beside_scoring(spec.scoring, nodes)[1]
        zoo = {model.model_id: model for model in work}
        pool = ScoringPool(study.storage.uri, benchmarks, scoring, spec.scoring, study.protocols, homes, zoo)
        with hearers.progress(n_models - len(work), n_models) as shown:
            for model, names in work.items():
                pool.submit(Checkpoint(model.model_id, model.epoch, names))
            while pool.n_open:
                hearers.switch.check()
                for score in pool.finished(WAIT_S):
                    _took(study, zoo[score.checkpoint.run_id], score, shown)
                shown.refresh()


def _took(study: ZooStudy, model: ZooModel, score: Score, shown: Heard) -> None:
    study.scored(model, score.records)
    failed = [record for record in score.records if record.status == "failed"]
    for record in failed:
        shown.say(f"not scored: {model.label}: {record.benchmark}: {record.reason}")
    if score.error is not None:
        study.failed(model, score.error)
        shown.say(f"not scored: {model.label}: {score.error}")
    shown.ended(failed=score.error is not None or bool(failed))
