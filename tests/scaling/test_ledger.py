"""An opened study: what it lacks, its scores by protocol, its table; without Ray."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from jobs.print_status import print_status
from scaling.alignment.protocol import scoring_protocols
from scaling.errors import StudyError
from scaling.frames import results_table
from scaling.layout import weights_name, weights_names
from scaling.ledger import OpenWork, Study, open_study
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


@pytest.fixture
def opened(tmp_path) -> Callable[[StudySpec], Study]:
    """A study with its results in the test's folder, nothing read of them yet."""
    return lambda spec: open_study(spec, tmp_path / "results")


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
    facts["run_id"] = run.run_id
    protocols = scoring_protocols(study.scoring, study.benchmarks)
    store.write_scores([AlignmentRecord(benchmark=b, protocol=p.text, **facts) for b, p in protocols.items()])


def test_runs_that_ended_are_not_trained_again_but_failed_ones_are(make_study, store, opened):
    study = make_study(seeds=[0, 1, 2, 3, 4])
    runs = expand_study(study)
    for run, status in zip(runs, ["finished", "diverged", "failed", "out_of_memory"], strict=False):
        kept = (2,) if status == "finished" else ()
        store.write_run(run_record(run, status, "why", kept=kept))
        keep(store.storage, run, *kept)
    work = opened(study).open_work()
    assert work.train == (runs[2], runs[4])
    assert tuple(work.score) == tuple((runs[i].run_id, 2) for i in (0, 2, 4))
    assert work.out_of_memory == (runs[3].run_id,)


def test_a_run_out_of_memory_is_tried_again_with_other_resources(make_study, store, opened):
    study = make_study(models=[VIT])
    (run,) = expand_study(study)
    store.write_run(run_record(run, "out_of_memory", "needs 9 GiB of 8; set resources.micro_batch to 4"))
    left = opened(study).open_work()
    assert left == OpenWork(out_of_memory=(run.run_id,))
    assert not left.is_empty, "the study is not complete"
    smaller = make_study(models=[VIT], resources={"micro_batch": 4})
    work = opened(smaller).open_work()
    assert (work.train, work.out_of_memory) == (tuple(expand_study(smaller)), ())
    assert tuple(work.score) == ((run.run_id, 2),)


def test_status_names_the_runs_that_do_not_fit(write_study, make_study, tmp_path):
    study = make_study(models=[VIT], storage=str(tmp_path / "results"))
    (run,) = expand_study(study)
    store = ResultsStore(Storage(tmp_path / "results" / "tiny"))
    store.write_run(run_record(run, "out_of_memory", "needs 9 GiB of 8; set resources.micro_batch"))

    def shown(spec: StudySpec) -> str:
        text = StringIO()
        print_status(open_study(spec), Console(file=text, width=200))
        return " ".join(text.getvalue().split())

    assert "out of memory needs 9 GiB of 8; set resources.micro_batch" in shown(study)
    assert "1 runs: 1 out of memory; 0 checkpoints to score" in shown(study)
    assert "1 out of memory (to be trained again); 1 checkpoints" in shown(
        study.model_copy(update={"resources": study.resources.model_copy(update={"micro_batch": 4})})
    )


def test_what_is_scored_is_pruned_and_not_asked_for_again(make_study, store, opened):
    study = make_study(checkpoints=PRUNING, training=TRAINING)
    (run,) = expand_study(study)
    store.write_run(run_record(run, "finished", None, kept=(0, 1, 2, 4)))
    keep(store.storage, run, 0, 1, 2, 4)
    assert opened(study).open_work().prune == {(run.run_id, epoch) for epoch in (0, 1, 2)}
    write_score(store, study, run, 0)
    write_score(store, study, run, 1, "failed")
    write_score(store, study, run, 4)
    work = opened(study).open_work()
    assert tuple(work.score) == ((run.run_id, 1), (run.run_id, 2))
    opened(study).prune_scored(work)  # as the next run does when a process was killed after scoring epoch 0
    assert there(store.storage, run) == [1, 2, 4]
    assert opened(study).open_work() == work
    write_score(store, study, run, 1)
    write_score(store, study, run, 2)
    opened(study).prune_scored(opened(study).open_work())
    assert there(store.storage, run) == [4]
    assert opened(study).open_work().is_empty
    opened(study).prune_scored(opened(study).open_work())
    assert there(store.storage, run) == [4]


def test_without_a_policy_nothing_is_pruned(make_study, store, opened):
    study = make_study(checkpoints=PRUNING | {"prune": "never"}, training=TRAINING)
    (run,) = expand_study(study)
    store.write_run(run_record(run, "finished", None, kept=(0, 1, 2, 4)))
    keep(store.storage, run, 0, 1, 2, 4)
    for epoch in (0, 1, 2, 4):
        write_score(store, study, run, epoch)
    work = opened(study).open_work()
    assert (work.prune, work.is_empty) == (frozenset(), True)
    opened(study).prune_scored(work)
    assert there(store.storage, run) == [0, 1, 2, 4]


@pytest.mark.parametrize("status", ["finished", "diverged"])
def test_a_further_benchmark_on_pruned_epochs_is_refused(make_study, store, opened, status):
    study = make_study(checkpoints=PRUNING, training=TRAINING)
    (run,) = expand_study(study)
    store.write_run(run_record(run, status, None, kept=(0, 1, 2, 4)))
    keep(store.storage, run, 2, 4)
    for epoch in (0, 1, 2, 4):
        write_score(store, study, run, epoch)
    assert opened(study).open_work().is_empty
    wider = study.model_copy(update={"benchmarks": (*study.benchmarks, f"{SUITE}.V1")})
    words = rf"epoch 0 of {status} run {run.run_id} .* were pruned .*still there: 2, 4; checkpoints\.prune"
    with pytest.raises(StudyError, match=words):
        opened(wider).open_work()
    fewer = study.checkpoints.model_copy(update={"score": (2, "last")})
    work = opened(wider.model_copy(update={"checkpoints": fewer})).open_work()
    assert tuple(work.score) == ((run.run_id, 2), (run.run_id, 4))


def test_an_epoch_that_was_not_kept_is_refused(make_study, store, opened):
    study = make_study(checkpoints={"score": [1, "last"]})
    (run,) = expand_study(study)
    store.write_run(run_record(run, "finished", None, kept=(2,)))
    keep(store.storage, run, 2)
    with pytest.raises(StudyError, match=rf"epoch 1 of finished run {run.run_id} .* was not kept \(kept: 2;"):
        opened(study).open_work()
    store.write_run(run_record(run, "diverged", "loss became nan", kept=()))
    assert tuple(opened(study).open_work().score) == ()


@pytest.mark.parametrize("scored_before", [False, True])
def test_a_finished_run_whose_weights_are_gone_is_trained_again(make_study, store, opened, scored_before):
    """Deleted by hand, or lost with a disk; nothing else would ever score them."""
    study = make_study()
    (run,) = expand_study(study)
    store.write_run(run_record(run, "finished", None, kept=(2,)))
    if scored_before:
        write_score(store, study, run, 2)
        assert opened(study).open_work().is_empty, "what is scored needs no weights"
        study = make_study(benchmarks=[*study.benchmarks, f"{SUITE}.V1"])
    ledger = opened(study)
    work = ledger.open_work()
    assert (work.train, tuple(work.score)) == ((run,), ((run.run_id, 2),))
    assert work.gone == {run.run_id: "the weights of epoch 2 are gone"}
    ledger.reopen(run.run_id, work.gone[run.run_id])
    record = store.read_run(run.run_id)
    assert (record.status, record.reason) == ("failed", "the weights of epoch 2 are gone; it is trained again")
    assert ledger.open_work().train == opened(study).open_work().train == (run,)


def test_one_listing_of_a_folder_and_only_of_runs_that_lack_scores(make_study, store, opened, monkeypatch):
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
    ledger = opened(wider)
    work = ledger.open_work()
    assert ledger.open_work() == work
    assert tuple(work.score) == tuple((run.run_id, epoch) for run in runs[1:] for epoch in (0, 1, 2))
    assert listed == ["runs", "scores", *(f"checkpoints/{run.run_id}" for run in runs[1:3])]


def test_a_further_benchmark_scores_nothing_else(make_study, store, opened):
    study = make_study()
    (run,) = expand_study(study)
    store.write_run(run_record(run, "finished", None, kept=(2,)))
    keep(store.storage, run, 2)
    write_score(store, study, run, 2)
    wider = opened(study).scored_by([f"{SUITE}.V1"])
    assert wider.open_work().score == {(run.run_id, 2): (f"{SUITE}.V1",)}
    assert opened(study).open_work().is_empty


def planted(store: ResultsStore, study: StudySpec, opened) -> dict[str, str]:
    """A finished run with a score of every benchmark; the protocols by benchmark."""
    for run in expand_study(study):
        known = {"n_params": 9, "n_samples": 9, "samples_seen": 9, "flops": 9.0, "accuracy": 0.5, "kept": (2,)}
        store.write_run(run_record(run, "finished", None, **known, epochs_done=2))
        write_score(store, study, run, 2)
    return {name: protocol.text for name, protocol in opened(study).protocols.items()}


def test_a_table_holds_one_protocol_and_counts_the_others(make_study, store, opened):
    study = make_study(benchmarks=[f"{SUITE}.IT", f"{SUITE}.V1"])
    planted(store, study, opened)
    other = make_study(benchmarks=[f"{SUITE}.IT"], scoring={"commitment": "all"})
    (run,) = expand_study(study)
    before = store.read_checkpoint_scores(run.run_id, 2)
    (it,) = [score for score in before if score.benchmark == f"{SUITE}.IT"]
    theirs = it.model_copy(update={"protocol": opened(other).protocols[f"{SUITE}.IT"].text, "score": 0.9})
    stranger = before[0].model_copy(update={"benchmark": "majajhong2015.IT"})
    store.write_scores([*before, theirs, stranger])
    table = opened(study).table()
    assert dict(zip(table["benchmark"], table["score"], strict=True)) == {f"{SUITE}.IT": 0.5, f"{SUITE}.V1": 0.5}
    assert table.attrs["left_out"] == {
        f"{SUITE}.IT scored by another protocol (all; own; none; 8 deg; folds by label, two-way draws)": 1,
        "benchmark majajhong2015.IT, which is not the study's": 1,
    }
    assert list(opened(other).table()["score"]) == [0.9]


def test_a_table_says_what_is_left_out(make_study, store, opened):
    study = make_study(seeds=[0, 1, 2, 3], checkpoints={"keep": [0, 1, 2], "score": [0, 1, 2]})
    runs = expand_study(study)
    planted(store, study, opened)
    store.write_run(run_record(runs[1], "failed", "a reason"))
    write_score(store, study, runs[0], 0)
    write_score(store, study, runs[0], 1)
    write_score(store, study, runs[2], 2, "failed")
    store.storage.delete(f"scores/{runs[3].run_id}-00002.parquet")
    table = opened(study).table()
    assert list(table["run_id"]) == [runs[0].run_id]
    assert table.attrs["left_out"] == {
        "run failed": 1, "untrained (epoch 0)": 1, "earlier checkpoint": 1, "run without scores": 1,
        f"{SUITE}.IT: score failed": 1,
    }  # fmt: skip
    assert list(opened(study).table(all_epochs=True)["epoch"]) == [1, 2]


def test_a_table_names_objectives_by_what_tells_them_apart(make_study, store, opened):
    objectives = ["supervised", {"name": "ffgsm", "epsilon": 1}, {"name": "ffgsm", "epsilon": 2}]
    study = make_study(objectives=objectives)
    planted(store, study, opened)
    table = opened(study).table()
    assert list(table["objective"]) == ["supervised", "ffgsm epsilon=1", "ffgsm epsilon=2"]
    assert list(table["objective_name"]) == ["supervised", "ffgsm", "ffgsm"]
    assert table["objective_weight"].isna().all()


def test_an_unscored_study_has_no_table(make_study, opened):
    with pytest.raises(StudyError, match="no finished, scored run; run it first"):
        opened(make_study()).table()


def test_a_saved_answer_is_replaced_as_a_whole(make_study, opened, tmp_path):
    study = opened(make_study())
    for names in (["index.json", "recipe-resnet.json", "recipe-vit.json"], ["index.json", "recipe-resnet.json"]):
        folder = tmp_path / f"new-{len(names)}"
        folder.mkdir()
        for name in names:
            (folder / name).write_text(f"{name} of {len(names)}")
        study.save_answer(folder)
        with study.answer_files() as saved:
            assert sorted(path.name for path in saved.iterdir()) == names
            assert (saved / "index.json").read_text() == f"index.json of {len(names)}"


def test_a_results_folder_without_its_study(make_study, store, opened):
    study = make_study(seeds=[0, 1])
    planted(store, study, opened)
    run = expand_study(study)[0]
    (score,) = store.read_checkpoint_scores(run.run_id, 2)
    store.write_scores([score, score.model_copy(update={"protocol": "all; own; none; 8 deg"})])
    table = results_table(store.storage.root)
    assert len(table) == 2
    assert table.attrs["left_out"] == {f"{SUITE}.IT scored by another protocol (all; own; none; 8 deg)": 1}
    with pytest.raises(StudyError, match="holds no scored runs"):
        results_table(Path(store.storage.root) / "nothing")


def test_results_carry_the_studys_own_protocol_however_it_was_written(make_study, store, opened):
    study = make_study()
    (run,) = expand_study(study)
    own = planted(store, study, opened)[f"{SUITE}.IT"]
    (score,) = store.read_checkpoint_scores(run.run_id, 2)
    other = score.model_copy(update={"protocol": "all; own; none; 8 deg"})
    store.storage.delete(f"scores/{run.run_id}-00002.parquet")
    store.write_scores([score.model_copy(update={"protocol": f"{own}; mine.nc 12345678"}), other])
    record, scores = opened(study).results(run.run_id)
    assert record == store.read_run(run.run_id)
    assert sorted(score.protocol for score in scores) == sorted([own, other.protocol])
    assert opened(study).results("unknown") == (None, [])


@pytest.mark.parametrize("content", [b"[]", b"{}", b"null", b'{"dataset": "digits"}', b"garbage"])
def test_a_damaged_mark_of_the_images_is_refused_and_not_replaced(make_study, store, opened, digits_data, content):
    store.storage.write_bytes("dataset.json", content)
    with pytest.raises(StudyError, match=r"dataset\.json' is damaged.*; if they are, delete the file"):
        opened(make_study()).check_same_data(digits_data)
    assert store.storage.read_bytes("dataset.json") == content


def test_a_study_scored_otherwise_says_so(make_study, store, opened):
    planted(store, make_study(), opened)
    with pytest.raises(StudyError, match=r"no finished, scored run \(1 x .*scored by another protocol"):
        opened(make_study(scoring={"commitment": "all"})).table()
