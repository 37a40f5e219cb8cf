"""A store that version 0.1.0 wrote before the rooms of this package were rebuilt: fixed rows, headers and ids."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import scaling
from scaling.checkpoints.tensors import load_tensors, save_tensors
from scaling.errors import StudyError
from scaling.layout import resume_name, weights_name
from scaling.ledger import Study, open_study
from scaling.models import build_model
from scaling.specs.run import RunSpec
from scaling.storage import Storage
from scaling.train.loop import Training

FINISHED, HALF_WAY = "00219b3e06de", "df769f7ffd78"
BENCHMARK = "simulated-ventral-stream.IT"


def spec_text(images_per_class: int) -> str:
    """A run's spec as it stands in `runs/` and in a checkpoint's header."""
    training = {
        "recipe": None, "epochs": 2, "batch_size": 10, "cap_batch": False, "optimizer": "sgd", "lr": 0.05,
        "lr_batch": None, "lr_scaling": "linear", "momentum": 0.9, "weight_decay": 0.0001, "weight_decay_end": None,
        "schedule": "cosine", "warmup_epochs": 0, "min_lr": 0.0, "loss": "cross_entropy", "label_smoothing": 0.0,
        "clip_norm": None, "augmentation": "none", "min_crop": 0.08, "policy": "none", "randaugment_magnitude": 9.0,
        "colour_jitter": 0.0, "erasing": 0.0, "mixup": 0.0, "cutmix": 0.0, "repeated_augmentation": 1,
        "drop_path": 0.0, "ema": 0.0, "precision": "float32", "sync_batch_norm": True,
    }  # fmt: skip
    resources = {
        "workers": 1, "cpus_per_worker": 1, "gpus_per_worker": 0.0, "micro_batch": None, "channels_last": False,
        "compile": False, "deterministic": False,
    }  # fmt: skip
    dataset = {
        "name": "digits", "path": None, "format": None, "image_size": None, "stored_size": None, "decode": "once",
        "corrupt": "stop", "blur_maps": False,
    }  # fmt: skip
    model = {"family": "resnet", "size": 2, "depth": 10, "heads": None, "variant": None, "asked": None}
    return json.dumps({
        "study": "tiny", "model": model, "dataset": dataset, "images_per_class": images_per_class, "seed": 0,
        "objective": "supervised", "training": training, "resources": resources, "keep_epochs": [2],
        "score_epochs": [2],
    })  # fmt: skip


RUN = {
    "run_id": FINISHED, "study": "tiny", "status": "finished", "reason": None, "family": "resnet", "size": 2,
    "depth": 10, "dataset": "digits", "image_size": 8, "images_per_class": 2, "n_samples": 20, "seed": 0,
    "objective": "supervised", "epochs": 2, "epochs_done": 2, "kept_epochs": "[2]", "n_params": 5180,
    "flops_per_image": 37952.0, "samples_seen": 40, "flops": 4554240.0, "loss": 1.5, "accuracy": 0.25, "train_s": 0.5,
    "started_at": 1.0, "ended_at": 2.0, "spec": spec_text(2), "images_per_s": 80.0, "flops_per_s": 9e6,
    "compute_share": 0.9, "variant": None, "n_skipped": 0,
}  # fmt: skip
# The protocol was the whole study's, followed by every file that it named: here by one that it no longer names.
SCORE = {
    "run_id": FINISHED, "epoch": 2, "samples_seen": 40, "flops": 4554240.0, "accuracy": 0.25, "benchmark": BENCHMARK,
    "region": "IT", "metric": "ridge", "layer": "layer4.0", "commitment": "split", "raw": 0.8, "raw_error": 0.01,
    "raw_low": 0.77, "raw_high": 0.83, "ceiling": 0.95, "ceiling_kind": "split_half", "ceiled": "r/c",
    "score": 0.84, "n_stimuli": 150, "n_neuroids": 48, "selection_raw": 0.78, "selection_leak": 0.0,
    "layer_scores": '{"layer4.0": 0.78}', "protocol": "split; own; none; 8 deg; mine.nc 1a2b3c4d", "status": "scored",
    "reason": None, "score_s": 0.2,
}  # fmt: skip


def write_rows(storage: Storage, name: str, row: dict[str, object]) -> None:
    with storage.new_file(name) as path:
        pq.write_table(pa.Table.from_pylist([row]), path)


@pytest.fixture
def earlier(make_study, tmp_path: Path, digits_data) -> Study:
    """One run finished and scored, one interrupted after its first epoch, with its resume file."""
    study = open_study(make_study(data_sizes=[2, 3]), tmp_path)
    write_rows(study.storage, f"runs/{FINISHED}.parquet", RUN)
    write_rows(study.storage, f"scores/{FINISHED}-00002.parquet", SCORE)
    facts = {"run": json.loads(spec_text(2)), "epoch": 2, "samples_seen": 40, "flops": 4554240.0, "accuracy": 0.25}
    facts |= {"image_size": 8, "n_classes": 10, "mean": [0.3, 0.3, 0.3], "std": [0.4, 0.4, 0.4]}
    torch.manual_seed(0)
    model = build_model(study.runs[0].model, 8, 10)
    save_tensors(study.storage, weights_name(FINISHED, 2), model.state_dict(), {"checkpoint": json.dumps(facts)})
    interrupt(study, digits_data)
    return study


def interrupt(study: Study, data) -> None:
    """Leave the second run's resume file as it is after an epoch, with the header of that version."""
    training = Training(study.runs[1], data, study.storage)
    training._clock.due = lambda interval_s: True  # type: ignore[method-assign]
    epochs = training.epochs()
    first = next(epochs)
    epochs.close()
    tensors, _ = load_tensors(study.storage, resume_name(HALF_WAY))
    progress = {"epoch": 1, "step": 0, "loss_sum": 0.0, "seconds": 0.0, "busy_s": 0.0, "train_s": 0.25}
    header = {"progress": json.dumps(progress), "history": json.dumps([first.model_dump()])}
    save_tensors(study.storage, resume_name(HALF_WAY), tensors, header)


def test_ids_are_what_they_were(earlier: Study):
    assert [run.run_id for run in earlier.runs] == [FINISHED, HALF_WAY]
    stored = RunSpec.model_validate_json(spec_text(2))
    assert (stored.resources.channels_last, stored.resources.compile) == (False, False), "chosen by device since"
    said = {"has_batch_norm": True, "resources": earlier.runs[0].resources}
    assert stored.model_copy(update=said) == earlier.runs[0], "which it did not say"
    assert stored.run_id == FINISHED
    assert RunSpec.model_validate_json(spec_text(3)).run_id == HALF_WAY


def test_what_is_done_is_not_done_again_and_what_was_interrupted_goes_on(earlier: Study, digits_data):
    work = earlier.open_work()
    assert [run.run_id for run in work.train] == [HALF_WAY]
    assert work.score == {(HALF_WAY, 2): (BENCHMARK,), (FINISHED, 2): (BENCHMARK,)}, "ridge's folds follow labels since"
    records = list(Training(earlier.runs[1], digits_data, earlier.storage).epochs())
    assert [record.epoch for record in records] == [2], "the first epoch is not trained again"
    record = earlier.run_ended(HALF_WAY)
    assert (record.status, record.epochs_done, record.train_s > 0.25) == ("finished", 2, True)


def test_its_scores_are_read_and_enter_no_law_beside_those_of_another_protocol(earlier: Study):
    with pytest.raises(StudyError, match=f"1 x {BENCHMARK} scored by another protocol"):
        earlier.table()
    (score,) = earlier.store.read_scores()
    earlier.store.write_scores([score.model_copy(update={"protocol": earlier.protocols[BENCHMARK].text})])
    table = open_study(earlier.spec, earlier.storage.root.rpartition("/")[0]).table()
    assert table[["run_id", "benchmark", "score"]].values.tolist() == [[FINISHED, BENCHMARK, 0.84]]
    assert table["objective"].tolist() == ["supervised"]


def test_its_weights_are_read(earlier: Study):
    model = scaling.load_model(FINISHED, study=earlier.storage.root)
    assert (model.info.run.run_id, model.info.accuracy) == (FINISHED, 0.25)
