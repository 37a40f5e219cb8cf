"""MLflow mirrors the store, on a real SQLite store: nothing twice, nothing lost, and never in the way of a study."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from scaling.errors import StudyError
from scaling.protocol_text import protocol_digest
from scaling.records import AlignmentRecord, EpochRecord, ResultsStore, RunRecord, run_record
from scaling.storage import Storage
from scaling.study import expand_study
from scaling.study_log import StudyLog
from scaling.tracking import Tracker, connect, tracking_uri

N_EPOCHS = 3


@pytest.fixture(scope="module")
def sqlite_uri(tmp_path_factory) -> str:
    """One store for all tests here: making its tables takes seconds. Each test has a study name of its own."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(scope="module")
def client(sqlite_uri) -> MlflowClient:
    return connect(sqlite_uri)


@pytest.fixture
def study(make_study, request, sqlite_uri):
    return make_study(name=request.node.name.replace("[", "-").strip("]"), data_sizes=[2, 3], mlflow=sqlite_uri)


@pytest.fixture
def records(study, storage) -> list[RunRecord]:
    """A finished and a failed run in the store, with epochs and a score of the first."""
    store = ResultsStore(storage)
    first, second = expand_study(study)
    finished = run_record(first, "finished", None, n_params=10, flops=6e6, n_samples=20, epochs_done=3, train_s=1.0)
    failed = run_record(second, "failed", "OSError: no space left", ended_at=1.5e9)
    for record in (finished, failed):
        store.write_run(record)
    store.write_epochs([epoch_record(first.run_id, epoch) for epoch in range(N_EPOCHS + 1)])
    store.write_scores([score_record(first.run_id, 3, 0.25)])
    return [finished, failed]


def epoch_record(run_id: str, epoch: int) -> EpochRecord:
    loss = None if epoch == 0 else 1 / epoch
    facts = {"samples_seen": 20 * epoch, "flops": 2e6 * epoch, "lr": loss, "accuracy": 0.1 * epoch, "epoch_s": 0.1}
    return EpochRecord(run_id=run_id, epoch=epoch, loss=loss, **facts)


def score_record(run_id: str, epoch: int, score: float | None) -> AlignmentRecord:
    facts = {"samples_seen": 60, "flops": 6e6, "accuracy": 0.3, "region": "IT", "metric": "rsa", "layer": "layer4.0"}
    facts |= {"raw": 0.125, "ceiling": 0.5, "ceiling_kind": "x", "n_stimuli": 9, "n_neuroids": None, "reason": None}
    facts |= {"selection_raw": None, "status": "failed" if score is None else "scored", "score_s": 0.0}
    return AlignmentRecord(run_id=run_id, epoch=epoch, benchmark="suite.IT", score=score, **facts)


def stored(storage: Storage) -> Callable[[str], tuple[RunRecord | None, list[AlignmentRecord]]]:
    """What the store holds of a run."""
    store = ResultsStore(storage)
    return lambda run_id: (store.read_run(run_id), store.read_scores([run_id]))


def mirror(client: MlflowClient, study, storage: Storage, run_ids: list[str], status: str = "FINISHED", files=()):
    tracker = Tracker(client, study, storage, stored(storage))
    for run_id in run_ids:
        tracker.run_changed(run_id)
    return tracker.close(status, files)


def logged(client: MlflowClient, study) -> tuple[Run, dict[str, Run]]:
    """The study's parent run, and its children by run_id."""
    experiment = client.get_experiment_by_name(study.name)
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} <= {parent.info.run_id}, "its UI nests by this"
    by_id = {run.data.params["run_id"]: run for run in children}
    assert len(by_id) == len(children), "no run is there twice"
    return parent, by_id


def history(client: MlflowClient, run: Run, key: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key)]


def test_a_study_is_one_parent_with_a_child_a_run(client, study, storage, records, tmp_path):
    figure = tmp_path / "score.png"
    figure.write_bytes(b"a figure")
    assert mirror(client, study, storage, [r.run_id for r in records], files=[figure]) is None
    parent, children = logged(client, study)
    assert (parent.info.run_name, parent.info.status) == (study.name, "FINISHED")
    assert [file.path for file in client.list_artifacts(parent.info.run_id)] == ["score.png"]
    assert set(children) == {record.run_id for record in records}
    finished, failed = (children[record.run_id] for record in records)
    assert (finished.info.status, failed.info.status) == ("FINISHED", "FAILED")
    assert failed.data.tags["reason"] == "OSError: no space left"
    assert (failed.info.start_time, failed.info.end_time) == (int(1.5e12), int(1.5e12)), "when it began is not known"
    assert json.loads(finished.data.params["spec"]) == json.loads(records[0].spec)
    assert finished.data.params["images_per_class"] == "2"
    assert history(client, finished, "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert history(client, finished, "samples_seen") == [(0, 0), (1, 20), (2, 40), (3, 60)]
    assert history(client, finished, "n_params") == [(3, 10)]
    assert history(client, finished, "score.suite.IT") == [(3, 0.25)]
    assert history(client, finished, "raw.suite.IT") == [(3, 0.125)]


def test_throughput_is_logged_by_epoch_and_for_the_run(client, study, storage):
    (run, _) = expand_study(study)
    store = ResultsStore(storage)
    facts = {"images_per_s": 250.0, "flops_per_s": 2e9, "compute_share": 0.97, "n_skipped": 3, "epochs_done": 3}
    record = run_record(run, "finished", None, **facts).model_copy(update={"variant": "resnet10t"})
    store.write_run(record)
    use = {"cpu": 0.5, "memory": 0.25, "gpu_memory": 0.125}
    shares = [{"images_per_s": 100.0 * epoch, "compute_share": epoch / 4} for epoch in (1, 2, 3)]
    shares[2]["node_use"] = json.dumps(use)
    epochs = [epoch_record(run.run_id, epoch) for epoch in range(4)]
    store.write_epochs([epochs[0], *(e.model_copy(update=s) for e, s in zip(epochs[1:], shares, strict=True))])
    mirror(client, study, storage, [run.run_id])
    logged_run = logged(client, study)[1][run.run_id]
    assert history(client, logged_run, "images_per_s") == [(1, 100.0), (2, 200.0), (3, 300.0)]
    assert history(client, logged_run, "compute_share") == [(1, 0.25), (2, 0.5), (3, 0.75)]
    system = {name: history(client, logged_run, name) for name in logged_run.data.metrics if name.startswith("system/")}
    assert system == {
        "system/cpu_utilization_percentage": [(3, 50.0)],
        "system/system_memory_usage_percentage": [(3, 25.0)],
        "system/gpu_0_memory_usage_percentage": [(3, 12.5)],
    }
    of_the_run = {name: history(client, logged_run, name) for name in ("run_images_per_s", "run_flops_per_s")}
    assert of_the_run == {"run_images_per_s": [(3, 250.0)], "run_flops_per_s": [(3, 2e9)]}
    assert history(client, logged_run, "run_compute_share") == [(3, 0.97)]
    assert history(client, logged_run, "n_skipped") == [(3, 3.0)]
    assert logged_run.data.params["variant"] == "resnet10t"


def test_epochs_that_a_killed_driver_did_not_log_are_there_once_the_run_has_ended(client, study, storage, records):
    """The run has saved three epochs when its driver dies, which has logged one; the next hears of the last alone."""
    (run, _), epochs = expand_study(study), ResultsStore(storage).read_epochs(records[0].run_id)
    epochs = [epoch.model_copy(update={"ended_at": 1e9 + epoch.epoch}) for epoch in epochs]
    ResultsStore(storage).write_epochs(epochs)
    StudyLog(client, study, storage).log_epochs(run, epochs[:2])
    StudyLog(client, study, storage).log_epochs(run, epochs[3:])
    assert history(client, logged(client, study)[1][run.run_id], "loss") == [(1, 1.0), (3, 1 / 3)]
    StudyLog(client, study, storage).log_run(records[0])
    assert sorted(history(client, logged(client, study)[1][run.run_id], "loss")) == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_a_run_out_of_memory_is_failed_with_its_reason_and_finished_after_a_retry(client, study, storage, records):
    run_ids, store = [record.run_id for record in records], ResultsStore(storage)
    reason = "needs 90 GiB of 80; set resources.micro_batch"
    store.write_run(records[1].model_copy(update={"status": "out_of_memory", "reason": reason}))
    mirror(client, study, storage, run_ids)
    child = logged(client, study)[1][run_ids[1]]
    tags = child.data.tags
    assert (child.info.status, tags["reason"], tags["scaling.logged"]) == ("FAILED", reason, "out_of_memory")
    assert "variant" not in child.data.params
    spec = json.loads(records[1].spec)
    spec["resources"]["micro_batch"] = 5
    done = {"status": "finished", "reason": None, "spec": json.dumps(spec), "image_size": 8}
    store.write_run(records[1].model_copy(update=done))
    assert mirror(client, study, storage, run_ids) is None, "MLflow refuses to change a parameter"
    child = logged(client, study)[1][run_ids[1]]
    assert (child.info.status, "reason" in child.data.tags) == ("FINISHED", False)
    assert (child.data.params["image_size"], json.loads(child.data.params["spec"])) == ("8", spec)


def everything(client: MlflowClient, study) -> dict[str, object]:
    parent, children = logged(client, study)
    runs = {"study": parent, **children}
    metrics = {name: {key: history(client, run, key) for key in run.data.metrics} for name, run in runs.items()}
    return {name: (run.info.run_id, run.data.params, run.data.tags, metrics[name]) for name, run in runs.items()}


def test_logged_twice_adds_nothing_and_what_is_new_is_added(client, study, storage, records):
    run_ids = [record.run_id for record in records]
    mirror(client, study, storage, run_ids)
    before = everything(client, study)
    mirror(client, study, storage, run_ids)
    assert everything(client, study) == before
    ResultsStore(storage).write_scores([score_record(run_ids[0], 2, 0.5), score_record(run_ids[0], 2, None)])
    mirror(client, study, storage, run_ids)
    _, children = logged(client, study)
    assert history(client, children[run_ids[0]], "score.suite.IT") == [(3, 0.25), (2, 0.5)]


def test_a_failed_run_that_finishes_later_is_finished_in_mlflow(client, study, storage, records):
    run_ids = [record.run_id for record in records]
    mirror(client, study, storage, run_ids, status="FAILED")
    assert logged(client, study)[0].info.status == "FAILED"
    ResultsStore(storage).write_run(records[1].model_copy(update={"status": "finished", "reason": None}))
    mirror(client, study, storage, run_ids)
    parent, children = logged(client, study)
    assert [parent.info.status, *(children[i].info.status for i in run_ids)] == ["FINISHED"] * 3


def test_a_run_that_mlflow_lacks_is_logged_by_the_next_study(client, study, storage, records):
    mirror(client, study, storage, [records[1].run_id])
    assert set(logged(client, study)[1]) == {records[1].run_id}
    mirror(client, study, storage, [record.run_id for record in records])
    assert set(logged(client, study)[1]) == {record.run_id for record in records}


def test_a_server_that_is_down_is_told_and_does_no_harm(client, study, storage, records, monkeypatch):
    """The study goes on, says what is missing, and the next one logs it all."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("scaling.tracking.CLOSE_S", 0.0)
    run_ids = [record.run_id for record in records]
    tracker = Tracker(MlflowClient("http://127.0.0.1:1"), study, storage, stored(storage))
    for run_id in run_ids:
        tracker.run_changed(run_id)
    problem = tracker.close("FINISHED", [Path("absent.png")])
    assert problem.startswith("MLflow did not take everything (")
    assert "127.0.0.1" in problem
    assert mirror(client, study, storage, run_ids) is None
    assert set(logged(client, study)[1]) == set(run_ids)


def test_a_damaged_file_is_told_and_the_other_runs_are_logged(client, study, storage, records):
    first, second = sorted(record.run_id for record in records)
    storage.write_bytes(f"epochs/{first}.parquet", b"PAR1")
    problem = mirror(client, study, storage, [first, second])
    assert f"epochs/{first}.parquet' is damaged: no whole Parquet file" in problem
    _, children = logged(client, study)
    assert "scaling.logged" not in children[first].data.tags, "so the next study logs it again"
    assert children[second].data.tags["scaling.logged"] in ("finished", "failed")


def test_without_mlflow_nothing_is_started(make_study, storage):
    tracker = Tracker(None, make_study(), storage, stored(storage))
    tracker.run_changed("anything")
    assert tracker.close("FINISHED", []) == "not connected (--no-mlflow)"


@pytest.mark.parametrize("case", ["closed port", "file in the way", "no database", "unknown scheme"])
def test_a_store_that_does_not_answer_is_refused(tmp_path, case):
    (tmp_path / "text").write_text("this is no database, though it is long enough to be one" * 20)
    uri = {
        "closed port": "http://127.0.0.1:1",
        "file in the way": f"sqlite:///{tmp_path}/text/mlflow.db",
        "no database": f"sqlite:///{tmp_path}/text",
        "unknown scheme": "gopher://127.0.0.1",
    }[case]
    with pytest.raises(StudyError) as error:
        connect(uri)
    assert f"mlflow='{uri}' does not answer (" in str(error.value)
    assert "--no-mlflow" in str(error.value)


def test_the_default_store_lies_beside_local_results(make_study, storage):
    assert tracking_uri(make_study(), storage) == f"sqlite:///{storage.root}/mlflow.db"
    assert tracking_uri(make_study(mlflow="http://host:5000"), storage) == "http://host:5000"
    remote = Storage("s3://bucket/tiny?region=eu-west-1")
    with pytest.raises(StudyError, match=r"storage='s3://bucket/tiny.*' is remote and mlflow is not set .*'tiny'"):
        tracking_uri(make_study(), remote)


ALL = "all; own; none; 8 deg"
DEFAULT = "split; own; none; 8 deg"


def write_score(storage: Storage, run_id: str, *scores: tuple[str, float]) -> None:
    """Scores of epoch 3, by protocol, and no others."""
    for name in storage.names("scores"):
        storage.delete(f"scores/{name}")
    ResultsStore(storage).write_scores(
        [score_record(run_id, 3, score).model_copy(update={"protocol": protocol}) for protocol, score in scores]
    )


def test_scores_by_several_protocols_stand_side_by_side(client, study, storage, records):
    run_id = records[0].run_id
    write_score(storage, run_id, (DEFAULT, 0.25), (ALL, 0.5))
    for _ in range(2):
        mirror(client, study, storage, [run_id])
    child = logged(client, study)[1][run_id]
    digest = protocol_digest(ALL)
    assert history(client, child, "score.suite.IT") == [(3, 0.25)]
    assert history(client, child, f"score.suite.IT/{digest}") == [(3, 0.5)]
    assert history(client, child, f"raw.suite.IT/{digest}") == [(3, 0.125)]
    assert child.data.tags[f"scaling.protocol.{digest}"] == ALL


@pytest.mark.parametrize("protocol", [DEFAULT, ALL], ids=["default", "all"])
def test_what_a_version_before_logged_is_not_logged_again(client, study, storage, records, protocol):
    """It named no protocol: its tag stands for the score that was there."""
    run_id = records[0].run_id
    write_score(storage, run_id, (DEFAULT, 0.25))
    mirror(client, study, storage, [run_id])  # leaves what versions before left, whatever the protocol
    write_score(storage, run_id, (protocol, 0.25))
    mirror(client, study, storage, [run_id])
    child = logged(client, study)[1][run_id]
    assert [key for key in child.data.metrics if key.startswith("score.")] == ["score.suite.IT"]
    write_score(storage, run_id, (protocol, 0.25), (DEFAULT if protocol == ALL else ALL, 0.75))
    mirror(client, study, storage, [run_id])
    child = logged(client, study)[1][run_id]
    if protocol == ALL:
        assert history(client, child, "score.suite.IT") == [(3, 0.25), (3, 0.75)]
    else:
        assert history(client, child, f"score.suite.IT/{protocol_digest(ALL)}") == [(3, 0.75)]


def test_runs_that_end_every_moment_are_mirrored_meanwhile(client, study, storage, records, monkeypatch):
    monkeypatch.setattr("scaling.tracking.FLUSH_INTERVAL_S", 0.3)
    tracker, seen = Tracker(client, study, storage, stored(storage)), threading.Event()
    monkeypatch.setattr(tracker, "_mirror", lambda log, run_id, news: seen.set())
    until = time.monotonic() + 20
    while not seen.is_set() and time.monotonic() < until:
        tracker.run_changed(records[0].run_id)
        time.sleep(0.05)
    assert seen.is_set(), "runs did not cease to end"
    tracker.close("FINISHED", [])


def test_a_stopped_study_does_not_wait_for_a_slow_server(client, study, storage, records, monkeypatch):
    tracker = Tracker(client, study, storage, stored(storage))
    monkeypatch.setattr(tracker, "_mirror", lambda log, run_id, news: time.sleep(30))
    tracker.run_changed(records[0].run_id)
    began = time.monotonic()
    assert tracker.close("KILLED", [], wait_s=0.2) == "MLflow did not take everything within 0.2 s"
    assert time.monotonic() - began < 5


def test_a_password_in_the_uri_is_not_told():
    with pytest.raises(StudyError) as error:
        connect("http://somebody:PASSWORD@127.0.0.1:1")
    assert "PASSWORD" not in str(error.value)
    assert "127.0.0.1:1' does not answer" in str(error.value)


def scored(run_id: str, epoch: int, benchmark: str, score: float) -> AlignmentRecord:
    changes = {"benchmark": benchmark, "region": benchmark.partition(".")[2]}
    return score_record(run_id, epoch, score).model_copy(update=changes)


@pytest.fixture
def live(client, study, storage, monkeypatch):
    """A tracker that flushes at once, and its study's first run, which has just trained two epochs, 5 s each."""
    monkeypatch.setattr("scaling.tracking.FLUSH_INTERVAL_S", 0.05)
    monkeypatch.setattr("scaling.tracking.PAUSE_S", 0.05)
    storage.write_bytes("dataset.json", json.dumps({"dataset": "digits", "sha256": "ab" * 32}).encode())
    run, began = expand_study(study)[0], time.time() - 10
    times = {epoch: {"epoch_s": 5.0, "ended_at": began + 5 * epoch} for epoch in (1, 2)}
    epochs = [epoch_record(run.run_id, epoch).model_copy(update=at) for epoch, at in times.items()]
    tracker = Tracker(client, study, storage, stored(storage))
    yield tracker, run, epochs
    if tracker._thread.is_alive():
        tracker.close("KILLED", [])


def end(storage: Storage, run, epochs) -> RunRecord:
    """Write what a worker writes when a run ends."""
    times = {"started_at": epochs[0].ended_at - 5.0, "ended_at": epochs[-1].ended_at + 0.5}
    record = run_record(run, "finished", None, epochs_done=2, kept=(1, 2), **times)
    ResultsStore(storage).write_epochs(epochs)
    ResultsStore(storage).write_run(record)
    return record


def until(what: Callable[[], object]) -> object:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.05)
    raise TimeoutError


def metric_at(client: MlflowClient, run: Run, key: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.timestamp / 1000) for metric in client.get_metric_history(run.info.run_id, key)]


def child_with(client: MlflowClient, study, filters: str) -> Run | None:
    experiment = client.get_experiment_by_name(study.name)
    found = client.search_runs([experiment.experiment_id], filters) if experiment else []
    return found[0] if found else None


def test_epochs_and_scores_appear_while_a_run_trains_with_the_trainings_own_times(client, study, storage, live):
    tracker, run, epochs = live
    tracker.epochs_ended(run, epochs[:1])
    child = until(lambda: child_with(client, study, "metrics.accuracy > 0"))
    assert child.info.status == "RUNNING"
    assert child.info.start_time / 1000 == pytest.approx(epochs[0].ended_at - 5, abs=0.002)
    assert metric_at(client, child, "loss") == [(1, pytest.approx(epochs[0].ended_at, abs=0.002))]
    ResultsStore(storage).write_scores([scored(run.run_id, 1, "suite.IT", 0.5)])
    tracker.run_changed(run.run_id)
    until(lambda: child_with(client, study, "metrics.IT > 0.4"))
    tracker.epochs_ended(run, epochs[1:])
    until(lambda: len(history(client, child, "loss")) == 2)
    record = end(storage, run, epochs)
    tracker.run_changed(run.run_id)
    assert tracker.close("FINISHED", []) is None
    child = logged(client, study)[1][run.run_id]
    assert history(client, child, "loss") == [(1, 1.0), (2, 0.5)], "nothing is there twice"
    assert metric_at(client, child, "IT") == [(1, pytest.approx(epochs[0].ended_at, abs=0.002))]
    assert child.info.status == "FINISHED"
    seconds = (child.info.end_time - child.info.start_time) / 1000
    assert seconds == pytest.approx(record.ended_at - record.started_at, abs=0.005)


def test_a_run_that_still_trains_when_its_study_ends_is_killed_and_goes_on_later(client, study, storage, live):
    tracker, run, epochs = live
    tracker.epochs_ended(run, epochs[:1])
    tracker.close("KILLED", [])
    assert logged(client, study)[1][run.run_id].info.status == "KILLED"
    again = Tracker(client, study, storage, stored(storage))
    again.epochs_ended(run, epochs)
    end(storage, run, epochs)
    again.run_changed(run.run_id)
    assert again.close("FINISHED", []) is None
    child = logged(client, study)[1][run.run_id]
    assert (child.info.status, history(client, child, "loss")) == ("FINISHED", [(1, 1.0), (2, 0.5)])


def test_the_best_checkpoint_is_found_among_the_logged_models(client, study, storage, live):
    tracker, run, epochs = live
    end(storage, run, epochs)
    for epoch, scores in {1: (0.7, 0.2), 2: (0.5, 0.4)}.items():
        names = ("suite.IT", "simulated.IT", "suite.V1")
        values = (*scores, 0.1)
        ResultsStore(storage).write_scores([scored(run.run_id, epoch, *one) for one in zip(names, values, strict=True)])
    tracker.run_changed(run.run_id)
    assert tracker.close("FINISHED", []) is None
    experiment, digest = client.get_experiment_by_name(study.name).experiment_id, ("ab" * 32)[:36]
    asked = {"field_name": "metrics.IT", "ascending": False, "dataset_name": "digits", "dataset_digest": digest}
    models = client.search_logged_models([experiment], order_by=[asked])
    assert [(model.tags["scaling.epoch"], str(model.status)) for model in models] == [("1", "READY"), ("2", "READY")]
    assert models[0].tags["scaling.weights"].endswith(f"checkpoints/{run.run_id}/epoch-00001.safetensors")
    found = {metric.key: (metric.value, metric.dataset_digest) for metric in models[0].metrics}
    assert found["IT"] == (0.7, digest)
    assert (found["simulated IT"][0], found["V1"][0], found["score.suite.IT"][0]) == (0.2, 0.1, 0.7)
    filters = "metrics.IT > 0.4 and metrics.V1 > 0 and tags.family = 'resnet' and tags.size = '2'"
    child = child_with(client, study, filters)
    assert (child.data.tags["scaling.run_id"], child.data.tags["probe"]) == (run.run_id, "false")
    inputs = {entry.dataset.name: entry.tags[0].value for entry in child.inputs.dataset_inputs}
    assert inputs == {"digits": "training", "simulated-ventral-stream.IT": "evaluation"}
    outputs = {(output.model_id, output.step) for output in child.outputs.model_outputs}
    assert outputs == {(model.model_id, int(model.tags["scaling.epoch"])) for model in models}


def test_a_logged_model_whose_process_was_killed_is_found_again(client, study, storage, live):
    tracker, run, epochs = live
    end(storage, run, epochs)
    tracker.run_changed(run.run_id)
    tracker.close("FINISHED", [])
    child = logged(client, study)[1][run.run_id].info.run_id
    for tag in ("scaling.model.2", "scaling.logged"):
        client.delete_tag(child, tag)
    assert mirror(client, study, storage, [run.run_id]) is None
    models = client.search_logged_models([client.get_experiment_by_name(study.name).experiment_id])
    assert sorted(model.tags["scaling.epoch"] for model in models) == ["1", "2"]


def test_what_a_server_did_not_take_is_logged_once_it_is_back(client, study, storage, live, monkeypatch):
    tracker, run, epochs = live
    away, tries = threading.Event(), []
    away.set()

    def answering(method):
        def call(*args, **kwargs):
            tries.append(method.__name__)
            if away.is_set():
                raise ConnectionError("the server is away")
            return method(*args, **kwargs)

        return call

    for name in ("log_batch", "create_run", "search_runs", "get_experiment_by_name"):
        monkeypatch.setattr(client, name, answering(getattr(client, name)))
    tracker.epochs_ended(run, epochs[:1])
    until(lambda: len(tries) > 2)
    assert tracker.problem == "MLflow did not take everything (the server is away)"
    began = time.monotonic()
    tracker.epochs_ended(run, epochs[1:])
    assert time.monotonic() - began < 0.5, "nobody waits for it"
    end(storage, run, epochs)
    tracker.run_changed(run.run_id)
    away.clear()
    assert tracker.close("FINISHED", []) is None
    child = logged(client, study)[1][run.run_id]
    assert metric_at(client, child, "loss") == [(e.epoch, pytest.approx(e.ended_at, abs=0.002)) for e in epochs]


def test_epochs_of_versions_that_noted_no_time_are_counted_back_from_the_runs_end(client, study, storage, live):
    tracker, run, epochs = live
    record = end(storage, run, epochs)
    ResultsStore(storage).write_epochs([epoch.model_copy(update={"ended_at": None}) for epoch in epochs])
    tracker.run_changed(run.run_id)
    tracker.close("FINISHED", [])
    child = logged(client, study)[1][run.run_id]
    times = [record.ended_at - 5, record.ended_at]
    assert [at for _, at in metric_at(client, child, "loss")] == pytest.approx(times, abs=0.002)


def test_the_studys_run_has_a_note_that_renewing_keeps_current(client, study, storage, tmp_path):
    laws, figure = tmp_path / "laws.txt", tmp_path / "score.png"
    figure.write_bytes(b"a figure")
    for text in ("IT ~ 1 - 2 C^-0.1", "a line\n" * 2000):
        laws.write_text(text)
        assert mirror(client, study, storage, [], files=[laws, figure]) is None
        parent, _ = logged(client, study)
        note = parent.data.tags["mlflow.note.content"]
        assert f"get-artifact?path=score.png&run_uuid={parent.info.run_id}" in note
        assert text.splitlines()[0] in note
        assert len(note) <= 5000
    assert "IT ~" not in note
    assert "the rest: `laws.txt`" in note
