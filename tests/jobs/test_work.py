"""What a study lacks: statuses, scores, pruned weights; without Ray."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from jobs.status import print_status
from scaling.alignment.protocol import scoring_protocol
from scaling.errors import StudyError
from scaling.layout import weights_name, weights_names
from scaling.ledger import OpenWork, open_work, prune_scored
from scaling.records import AlignmentRecord, ResultsStore, run_record
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec
from scaling.storage import Storage
from scaling.study import expand_study

SUITE = "simulated-ventral-stream"
PRUNING = {"keep": ["last"], "score": [0, 1, 2, "last"], "prune": "scored"}
TRAINING = {"epochs": 4, "batch_size": 10, "lr": 0.05}
VIT = {"family": "vit", "depth": 2, "heads": 3, "sizes": [12]}  # no batch norm, whose statistics make another run


@pytest.fixture
def store(storage) -> ResultsStore:
    return ResultsStore(storage)


def keep(storage: Storage, run: RunSpec, *epochs: int) -> None:
    for epoch in epochs:
        storage.write_bytes(weights_name(run.run_id, epoch), b"weights")


def there(storage: Storage, run: RunSpec) -> list[int]:
    return [epoch for epoch in range(9) if weights_name(run.run_id, epoch) in weights_names(storage, run.run_id)]


def write_score(store: ResultsStore, study: StudySpec, run: RunSpec, epoch: int, status: str = "scored") -> None:
    """Scores of all the study's benchmarks."""
    facts = {"samples_seen": 9, "flops": 9.0, "accuracy": 0.5, "region": "IT", "metric": "rsa", "layer": "l"}
    facts |= {"raw": 0.5, "ceiling": 1.0, "ceiling_kind": "x", "score": 0.5, "n_stimuli": 9, "n_neuroids": None}
    facts |= {"selection_raw": None, "status": status, "reason": None, "score_s": 0.0, "epoch": epoch}
    facts |= {"protocol": scoring_protocol(study.scoring, study.benchmarks), "run_id": run.run_id}
    store.write_scores([AlignmentRecord(benchmark=name, **facts) for name in study.benchmarks])


def test_runs_that_ended_are_not_trained_again_but_failed_ones_are(make_study, store):
    study = make_study(seeds=[0, 1, 2, 3, 4])
    runs = expand_study(study)
    for run, status in zip(runs, ["finished", "diverged", "failed", "out_of_memory"], strict=False):
        kept = (2,) if status == "finished" else ()
        store.write_run(run_record(run, status, "why", kept=kept))
        keep(store.storage, run, *kept)
    work = open_work(study, store)
    assert work.train == (runs[2], runs[4])
    assert work.score == tuple((runs[i].run_id, 2) for i in (0, 2, 4))
    assert work.out_of_memory == (runs[3].run_id,)


def test_a_run_out_of_memory_is_tried_again_with_other_resources(make_study, store):
    study = make_study(models=[VIT])
    (run,) = expand_study(study)
    store.write_run(run_record(run, "out_of_memory", "needs 9 GiB of 8; set resources.micro_batch to 4"))
    left = open_work(study, store)
    assert left == OpenWork((), (), (run.run_id,))
    assert not left.is_empty, "the study is not complete"
    smaller = make_study(models=[VIT], resources={"micro_batch": 4})
    work = open_work(smaller, store)
    assert (work.train, work.out_of_memory) == (tuple(expand_study(smaller)), ())
    assert work.score == ((run.run_id, 2),)


def test_status_names_the_runs_that_do_not_fit(write_study, make_study, tmp_path):
    study = make_study(models=[VIT], storage=str(tmp_path / "results"))
    (run,) = expand_study(study)
    store = ResultsStore(Storage(tmp_path / "results" / "tiny"))
    store.write_run(run_record(run, "out_of_memory", "needs 9 GiB of 8; set resources.micro_batch"))

    def shown(spec: StudySpec) -> str:
        text = StringIO()
        print_status(spec, Console(file=text, width=200))
        return " ".join(text.getvalue().split())

    assert "out of memory needs 9 GiB of 8; set resources.micro_batch" in shown(study)
    assert "1 runs: 1 out of memory; 0 checkpoints to score" in shown(study)
    assert "1 out of memory, to be trained again; 1 checkpoints" in shown(
        study.model_copy(update={"resources": study.resources.model_copy(update={"micro_batch": 4})})
    )


def test_what_is_scored_is_pruned_and_not_asked_for_again(make_study, store):
    study = make_study(checkpoints=PRUNING, training=TRAINING)
    (run,) = expand_study(study)
    store.write_run(run_record(run, "finished", None, kept=(0, 1, 2, 4)))
    keep(store.storage, run, 0, 1, 2, 4)
    assert open_work(study, store).prune == {(run.run_id, epoch) for epoch in (0, 1, 2)}
    write_score(store, study, run, 0)
    write_score(store, study, run, 1, "failed")
    write_score(store, study, run, 4)
    work = open_work(study, store)
    assert work.score == ((run.run_id, 1), (run.run_id, 2))
    prune_scored(work, store.storage)  # as the next run does when a process was killed after scoring epoch 0
    assert there(store.storage, run) == [1, 2, 4]
    assert open_work(study, store) == work
    write_score(store, study, run, 1)
    write_score(store, study, run, 2)
    prune_scored(open_work(study, store), store.storage)
    assert there(store.storage, run) == [4]
    assert open_work(study, store).is_empty
    prune_scored(open_work(study, store), store.storage)
    assert there(store.storage, run) == [4]


def test_without_a_policy_nothing_is_pruned(make_study, store):
    study = make_study(checkpoints=PRUNING | {"prune": "never"}, training=TRAINING)
    (run,) = expand_study(study)
    store.write_run(run_record(run, "finished", None, kept=(0, 1, 2, 4)))
    keep(store.storage, run, 0, 1, 2, 4)
    for epoch in (0, 1, 2, 4):
        write_score(store, study, run, epoch)
    work = open_work(study, store)
    assert (work.prune, work.is_empty) == (frozenset(), True)
    prune_scored(work, store.storage)
    assert there(store.storage, run) == [0, 1, 2, 4]


@pytest.mark.parametrize("status", ["finished", "diverged"])
def test_a_further_benchmark_on_pruned_epochs_is_refused(make_study, store, status):
    study = make_study(checkpoints=PRUNING, training=TRAINING)
    (run,) = expand_study(study)
    store.write_run(run_record(run, status, None, kept=(0, 1, 2, 4)))
    keep(store.storage, run, 2, 4)
    for epoch in (0, 1, 2, 4):
        write_score(store, study, run, epoch)
    assert open_work(study, store).is_empty
    wider = study.model_copy(update={"benchmarks": (*study.benchmarks, f"{SUITE}.V1")})
    words = rf"epoch 0 of {status} run {run.run_id} .* were pruned .*still there: 2, 4; checkpoints\.prune"
    with pytest.raises(StudyError, match=words):
        open_work(wider, store)
    fewer = study.checkpoints.model_copy(update={"score": (2, "last")})
    work = open_work(wider.model_copy(update={"checkpoints": fewer}), store)
    assert work.score == ((run.run_id, 2), (run.run_id, 4))


def test_an_epoch_that_was_not_kept_is_refused(make_study, store):
    study = make_study(checkpoints={"score": [1, "last"]})
    (run,) = expand_study(study)
    store.write_run(run_record(run, "finished", None, kept=(2,)))
    keep(store.storage, run, 2)
    with pytest.raises(StudyError, match=rf"epoch 1 of finished run {run.run_id} .* was not kept \(kept: 2;"):
        open_work(study, store)
    store.write_run(run_record(run, "diverged", "loss became nan", kept=()))
    assert open_work(study, store).score == ()


def test_weights_that_were_never_scored_and_are_gone_do_not_stop_a_study(make_study, store):
    """Deleted by hand: scoring this checkpoint fails, with a reason, and the others go on."""
    study = make_study()
    (run,) = expand_study(study)
    store.write_run(run_record(run, "finished", None, kept=(2,)))
    assert open_work(study, store).score == ((run.run_id, 2),)


def test_one_listing_a_run_and_only_of_runs_that_lack_scores_of_scored_epochs(make_study, store, monkeypatch):
    study = make_study(seeds=[0, 1, 2, 3], checkpoints={"score": [0, 1, 2]})
    wider = study.model_copy(update={"benchmarks": (*study.benchmarks, f"{SUITE}.V1")})
    runs = expand_study(study)
    for run in runs[:3]:
        store.write_run(run_record(run, "finished", None, kept=(0, 1, 2)))
        keep(store.storage, run, 0, 1, 2)
    for epoch in (0, 1, 2):
        write_score(store, wider, runs[0], epoch)
        write_score(store, study, runs[1], epoch)
    listed, names, exists = [], Storage.names, Storage.exists
    monkeypatch.setattr(Storage, "names", lambda self, *place: listed.append(place[0]) or names(self, *place))
    monkeypatch.setattr(Storage, "exists", lambda self, name: listed.append(name) or exists(self, name))
    work = open_work(wider, store)
    assert work.score == tuple((run.run_id, epoch) for run in runs[1:] for epoch in (0, 1, 2))
    assert listed == ["runs", "scores", f"checkpoints/{runs[1].run_id}"]
