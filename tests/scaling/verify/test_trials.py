"""The runs of a verification: one compute, three sizes, the study's training, a seed that it has not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scaling.data.portions import ImageCounts
from scaling.errors import StudyError
from scaling.ledger import open_study
from scaling.specs.study import StudySpec
from scaling.study import expand_study
from scaling.verify.study import file_name, forget, read_all, read_beside, verifying_study, write
from scaling.verify.trials import BESIDE, fresh_seed, plan_trials, seconds_of

DIGITS = ImageCounts(image_size=8, n_classes=10, n_train=1_437, least=139)
RESNETS = [{"family": "resnet", "depth": 10, "sizes": [2, 4, 8]}]
Make = Callable[..., StudySpec]


def planned(study: StudySpec, n_params: float = 20_000, flops: float = 2e9):
    return plan_trials(expand_study(study), n_params, flops, DIGITS, 7, "tiny.verify")


def test_three_sizes_at_one_compute(make_study: Make) -> None:
    found = planned(make_study(models=RESNETS))
    assert [trial.label for trial in found.trials] == list(BESIDE)
    assert not found.left_out
    for trial in found.trials:
        assert trial.flops == pytest.approx(2e9, rel=0.06)
        assert (trial.run.seed, trial.run.study) == (7, "tiny.verify")
        assert trial.run.score_epochs == (trial.run.training.epochs,)
        assert trial.samples_seen == trial.n_samples * trial.run.training.epochs
    first, third, triple = (trial.n_params for trial in found.trials)
    assert third < first / 2 < first * 2 < triple


def test_no_run_of_a_verification_is_one_of_the_grid(make_study: Make) -> None:
    study = make_study(models=RESNETS, data_sizes=["all"], training={"epochs": 2, "batch_size": 10, "lr": 0.05})
    own = expand_study(study)
    trials = plan_trials(own, 19_902, 3 * 137_344.0 * 1_437 * 2, DIGITS, 1, "tiny.verify").trials
    assert trials[0].run.model == own[1].model
    assert trials[0].run.training == own[1].training
    assert trials[0].run.images_per_class is None
    assert not {trial.run.run_id for trial in trials} & {run.run_id for run in own}


def test_training_is_that_of_the_family(make_study: Make) -> None:
    family = {"family": "vit", "depth": 2, "heads": 2, "sizes": [4, 8], "training": {"optimizer": "adamw", "lr": 0.002}}
    trials = planned(make_study(models=[family]), n_params=2_000, flops=1e9).trials
    assert {(t.run.training.optimizer, t.run.training.lr) for t in trials} == {("adamw", 0.002)}


def test_a_size_that_is_another_s_is_left_out_and_said(make_study: Make) -> None:
    found = planned(make_study(models=RESNETS), n_params=2_000)
    assert [trial.label for trial in found.trials] == ["recommended"]
    assert all("is that of 'recommended'" in reason for reason in found.left_out)
    assert len(found.left_out) == 2


def test_a_size_that_cannot_be_trained_is_left_out_unless_it_is_recommended(make_study: Make) -> None:
    found = planned(make_study(models=RESNETS), n_params=40_000, flops=1e7)
    assert [trial.label for trial in found.trials] == ["recommended", "a third of its N"]
    assert "fewer than one of each of 10 classes" in found.left_out[0]
    with pytest.raises(StudyError, match="raise --flops"):
        planned(make_study(models=RESNETS), flops=1e5)


def test_batches_that_the_images_cannot_fill_are_refused(make_study: Make) -> None:
    study = make_study(models=RESNETS, training={"epochs": 2, "batch_size": 20, "lr": 0.05})
    with pytest.raises(StudyError, match=r"batch_size=20 exceeds the 10 images .*verification"):
        planned(study, flops=137_344 * 3 * 10)


def test_what_starts_from_weights_is_refused(make_study: Make) -> None:
    objective = {"name": "harmonizer", "weight": 0, "start_from": "/a/study"}
    study = make_study(models=RESNETS, dataset="simulated-clickme", objective=objective)
    with pytest.raises(StudyError, match="start_from='/a/study' has no weights for resnet-10 w6"):
        plan_trials(expand_study(study), 40_000, 1e10, DIGITS, 7, "tiny.verify")


@pytest.mark.parametrize(
    ("taken", "dataset", "seed"), [([0], "digits", 1), ([3, 1], "digits", 4), ([2021], "simulated-clickme", 2023)]
)
def test_seeds_are_fresh(taken: list[int], dataset: str, seed: int) -> None:
    assert fresh_seed(taken, dataset) == seed


def test_the_verifying_study_has_the_study_s_settings_and_a_folder_of_its_own(make_study: Make, tmp_path) -> None:
    spec = make_study(models=RESNETS, storage=str(tmp_path), scoring={"commitment": "all"}, seeds=[0, 1],
                      checkpoints={"score": [1, "last"]})  # fmt: skip
    study = open_study(spec)
    runs = [trial.run for trial in planned(spec).trials]
    derived = verifying_study(study, runs)
    assert derived.storage.path() == f"{tmp_path}/tiny.verify"
    assert (derived.spec.scoring, derived.spec.benchmarks) == (spec.scoring, spec.benchmarks)
    assert derived.spec.seeds == (7,)
    assert derived.tracking_uri == f"sqlite:///{tmp_path}/tiny/mlflow.db"
    assert derived.spec.checkpoints.score == ("last",)
    assert [run.run_id for run in derived.open_work().train] == [run.run_id for run in runs]


def test_file_names_tell_apart_what_reads_alike() -> None:
    names = {file_name(1e15, "IT", family, 1) for family in ("resnet a=1", "resnet a-1")}
    assert len(names) == 2
    assert all(name.startswith("1e+15-IT-resnet-a-1-seed1-") for name in names)


def test_verifications_are_found_by_study_and_by_folder(make_study: Make, tmp_path) -> None:
    study = open_study(make_study(storage=str(tmp_path)))
    assert read_all(study) == {}
    write(study, "a.json", "{}")
    assert read_all(study) == read_beside(tmp_path / "tiny") == read_beside(f"{tmp_path}/tiny/") == {"a.json": b"{}"}
    forget(study, "a.json")
    assert read_all(study) == {}


def test_no_record_no_time() -> None:
    assert seconds_of([], [], 1e9) is None
