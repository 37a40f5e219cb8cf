"""The listener on the driver: what is scored, recorded and deleted; training here, scoring in this process, no Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from io import StringIO

import pytest
from rich.console import Console

from jobs.progress_line import StudyProgress
from scaling.alignment.score import score_checkpoint
from scaling.alignment.scoring import scoring_options
from scaling.alignment.suites.registry import build_benchmarks
from scaling.cluster.actors import Checkpoint, Score
from scaling.cluster.listener import StudyListener
from scaling.cluster.measured import MeasuredCost
from scaling.data.recordings.stimuli import select_stimuli
from scaling.layout import weights_name, weights_names
from scaling.ledger import Study, open_study
from scaling.records import AlignmentRecord, ResultsStore, run_record
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec
from scaling.storage import Storage
from scaling.study import expand_study
from scaling.tracking import Tracker
from scaling.train.loop import Training


class InlinePool:
    """Scores in this process, at the listener's next look; `broken` checkpoints fail as a dead actor's do."""

    def __init__(self, study: Study, data, broken: set[int] | None = None) -> None:
        self.storage, self.waiting, self.broken = study.storage, deque[Checkpoint](), broken or set()
        heldout = select_stimuli(data.heldout.images, data.heldout.labels, name="held-out")
        self.benchmarks = build_benchmarks(study.spec.benchmarks, heldout)
        self.options = scoring_options(study.spec.scoring, lambda n: heldout)
        self.protocols = study.protocols
        self.submitted: list[int] = []

    @property
    def n_open(self) -> int:
        return len(self.waiting)

    def submit(self, checkpoint: Checkpoint) -> None:
        self.waiting.append(checkpoint)
        self.submitted.append(checkpoint.epoch)

    def finished(self, timeout_s: float = 0.0) -> Iterator[Score]:
        while self.waiting:
            checkpoint = self.waiting.popleft()
            if checkpoint.epoch in self.broken:
                yield Score(checkpoint, [], "the actor died")
                continue
            records = self.score(checkpoint)
            yield Score(checkpoint, records, None)

    def score(self, checkpoint: Checkpoint) -> list[AlignmentRecord]:
        wanted = [benchmark for benchmark in self.benchmarks if benchmark.name in checkpoint.benchmarks]
        return score_checkpoint(self.storage, *checkpoint[:2], wanted, self.options, self.protocols)


@pytest.fixture
def study(make_study) -> StudySpec:
    return make_study(
        checkpoints={"keep": [2], "score": [0, 1, 2, 3, "last"], "prune": "scored"},
        training={"epochs": 4, "batch_size": 10, "lr": 0.05},
    )


@pytest.fixture
def opened(tmp_path) -> Callable[[StudySpec], Study]:
    return lambda spec: open_study(spec, tmp_path / "results")


@pytest.fixture
def session(opened, digits_data):
    """A listener on a study's open work, its pool, and what it said."""

    def start(spec: StudySpec, broken: set[int] | None = None) -> tuple[StudyListener, InlinePool, StringIO]:
        study, said = opened(spec), StringIO()
        work = study.open_work()
        study.prune_scored(work)
        ones = {run.run_id: 1 for run in work.train}
        progress = StudyProgress(Console(file=said, width=300), MeasuredCost(work.train, ones, ones), 0, 0)
        pool = InlinePool(study, digits_data, broken)
        return StudyListener(study, work, pool, Tracker(None, spec, study.storage, study.results), progress), pool, said

    return start


def there(storage: Storage, run: RunSpec) -> list[int]:
    return [epoch for epoch in range(9) if weights_name(run.run_id, epoch) in weights_names(storage, run.run_id)]


def train(run: RunSpec, data, storage: Storage, listener: StudyListener) -> None:
    listener.on_start(run)
    for record in Training(run, data, storage).epochs():
        listener.on_epochs(run, [record])
        listener.on_tick()
    listener.on_end(run, None)
    listener.drain()


def test_weights_go_once_they_are_scored(study, session, storage, opened, digits_data):
    (run,) = expand_study(study)
    listener, pool, _ = session(study)
    seen = []
    listener.on_start(run)
    for record in Training(run, digits_data, storage).epochs():
        listener.on_epochs(run, [record])
        listener.on_tick()
        seen.append(there(storage, run))
    assert seen == [[], [], [2], [2], [2, 4]]
    listener.on_end(run, None)
    listener.drain()
    assert there(storage, run) == [2, 4]
    assert pool.submitted == [0, 1, 2, 3, 4], "each once"
    assert [r.epoch for r in ResultsStore(storage).read_scores()] == [0, 1, 2, 3, 4]
    assert opened(study).open_work().is_empty


def test_what_could_not_be_scored_stays_and_goes_later(study, session, storage, opened, digits_data):
    (run,) = expand_study(study)
    listener, _, said = session(study, {1})
    train(run, digits_data, storage, listener)
    assert there(storage, run) == [1, 2, 4]
    assert f"not scored: run {run.run_id}, epoch 1: the actor died" in said.getvalue()
    assert tuple(opened(study).open_work().score) == ((run.run_id, 1),)
    listener, pool, _ = session(study)  # the next `scaling run`
    listener.drain()
    assert pool.submitted == [1]
    assert there(storage, run) == [2, 4]


def test_weights_that_a_resumed_run_writes_again_go_again(study, session, storage, opened, digits_data):
    """A driver killed after epochs 0 and 1 were scored and deleted; the run starts over, as without a resume file."""
    (run,) = expand_study(study)
    listener, pool, _ = session(study)
    epochs = Training(run, digits_data, storage).epochs()
    for record in (next(epochs), next(epochs)):
        listener.on_epochs(run, [record])
        listener.on_tick()
    assert (pool.submitted, there(storage, run)) == ([0, 1], [])
    for name in storage.names(f"checkpoints/{run.run_id}"):
        storage.delete(f"checkpoints/{run.run_id}/{name}")
    listener, pool, _ = session(study)
    train(run, digits_data, storage, listener)
    assert pool.submitted == [2, 3, 4]
    assert there(storage, run) == [2, 4]


def test_a_checkpoint_with_a_failed_benchmark_stays(study, session, storage, opened, digits_data, monkeypatch):
    (run,) = expand_study(study)
    listener, pool, said = session(study)
    listener.on_start(run)
    for record in Training(run, digits_data, storage).epochs():
        listener.on_epochs(run, [record])
    record = pool.score(Checkpoint(run.run_id, 0, tuple(pool.protocols)))[0]
    failed = record.model_copy(update={"status": "failed", "score": None, "reason": "no images"})
    pool.waiting.clear()
    monkeypatch.setattr(
        pool, "finished", lambda *_: [Score(Checkpoint(run.run_id, 0, tuple(pool.protocols)), [failed], None)]
    )
    listener.on_tick()
    assert there(storage, run) == [0, 1, 2, 3, 4]
    assert f"not scored: {failed.benchmark}, run {run.run_id}: no images" in said.getvalue()


def test_a_process_given_up_is_recorded_as_failed(study, session, storage, opened):
    (run,) = expand_study(study)
    listener, _, said = session(study)
    listener.on_end(run, "the worker died")
    record = ResultsStore(storage).read_run(run.run_id)
    assert (record.status, record.reason) == ("failed", "the worker died")
    assert f"failed: {run.label()} ({run.run_id}): the worker died" in said.getvalue()


def test_a_process_that_left_no_record_is_a_failed_run_with_a_reason(study, session, storage, opened):
    """As when a launcher ends without a word; the record of an earlier try does not speak for this one."""
    (run,) = expand_study(study)
    listener, _, said = session(study)
    listener.on_end(run, None)
    store = ResultsStore(storage)
    assert store.read_run(run.run_id).reason == "its process ended without a record"
    assert f"failed: {run.label()} ({run.run_id}): its process ended without a record" in said.getvalue()
    store.write_run(run_record(run, "failed", "power cut"))
    listener, _, _ = session(study)
    listener.on_end(run, None)
    assert store.read_run(run.run_id).reason == "its process ended without a record"
    listener, _, _ = session(study)
    store.write_run(run_record(run, "failed", "ValueError: its own"))
    listener.on_end(run, None)
    assert store.read_run(run.run_id).reason == "ValueError: its own", "written by this try"


@pytest.mark.parametrize("ended", [True, False])
def test_a_finished_run_with_lost_weights_is_trained_again_by_the_next_study(
    study, session, storage, opened, digits_data, ended, monkeypatch
):
    (run,) = expand_study(study)
    listener, pool, said = session(study, {1})
    lost = Score(Checkpoint(run.run_id, 1, tuple(pool.protocols)), [], "epoch 1 is not what was written", lost=True)
    if ended:
        train(run, digits_data, storage, listener)
        monkeypatch.setattr(pool, "finished", lambda *_: [lost])
        listener.on_tick()
    else:
        with monkeypatch.context() as patch:
            patch.setattr(pool, "finished", lambda *_: [lost])
            listener.on_start(run)
            listener.on_tick()
        assert ResultsStore(storage).read_run(run.run_id) is None
        train(run, digits_data, storage, listener)
    record = ResultsStore(storage).read_run(run.run_id)
    assert (record.status, "epoch 1 is not what was written" in record.reason) == ("failed", True)
    assert f"to be trained again, by the next `scaling run`: run {run.run_id}" in said.getvalue()
    assert opened(study).open_work().train == (run,)


@pytest.mark.parametrize("resources", [{}, {"micro_batch": 5}])
def test_out_of_memory_is_said_and_not_overwritten_unless_it_was_an_earlier_try(
    session, make_study, storage, resources
):
    vit = {"family": "vit", "depth": 2, "heads": 3, "sizes": [12]}  # without batch norm: the same run
    before, study = make_study(models=[vit]), make_study(models=[vit], resources=resources)
    (run,) = expand_study(study)
    listener, _, said = session(study)
    (tried,) = expand_study(before)
    ResultsStore(storage).write_run(run_record(tried, "out_of_memory", "needs 9 GiB of 8"))
    listener.on_end(run, "the worker died")
    record = ResultsStore(storage).read_run(run.run_id)
    expected = ("failed", "the worker died") if resources else ("out_of_memory", "needs 9 GiB of 8")
    assert (record.status, record.reason) == expected
    assert f"{expected[0].replace('_', ' ')}: {run.label()}" in said.getvalue()
    assert ", 1 failed" in listener._progress.line()
