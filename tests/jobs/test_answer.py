"""A study's store becomes a frame, and the frame's answer stands in the storage as long as it is the store's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import Answer
from jobs.answer import answer_study, local_copies, objective_names, study_frame
from jobs.run import study_storage
from scaling.errors import StudyError
from scaling.study import StudySpec, expand_study
from scaling.train.objectives.spec import objective_spec

BASELINE, TREATED = {"name": "harmonizer", "weight": 0}, {"name": "harmonizer", "weight": 3}
RESNET = {"family": "resnet", "depth": 10, "sizes": [2, 4]}
VIT = {"family": "vit", "depth": 2, "heads": 2, "sizes": [4, 8]}
BENCHMARK = "simulated-human-alignment"


def _store(study: StudySpec, **scores: float) -> None:
    """A results store of finished runs: treated ones 0.3 higher, seeds 0.01 apart."""
    folder, rows = Path(study_storage(study).root), []
    for run in expand_study(study):
        treated = getattr(objective_spec(run.objective), "weight", 0) > 0
        rows.append({
            "run_id": run.run_id, "family": run.model.family, "size": run.model.size, "depth": run.model.depth,
            "seed": run.seed, "images_per_class": run.images_per_class, "status": "finished", "reason": None,
            "objective": objective_spec(run.objective).name, "epochs": 2, "epoch": 2, "n_params": 1e4 * run.model.size,
            "samples_seen": 40.0, "flops": 1e9 * run.model.size * (1 + treated), "accuracy": 0.9 + 0.002 * run.seed,
            "score": 0.1 * run.model.size / 4 + 0.3 * treated + 0.01 * run.seed, "region": "saliency",
            "benchmark": f"{BENCHMARK}.max_abs", **scores,
        })  # fmt: skip
    frame = pd.DataFrame(rows)
    of_scores = ["epoch", "score", "region", "benchmark"]
    for name, part in (("runs", frame.drop(columns=of_scores)), ("scores", frame.assign(status="scored"))):
        (folder / name).mkdir(parents=True, exist_ok=True)
        kept = ["run_id", "status", "reason", "accuracy", "flops", "samples_seen", *of_scores]
        (part if name == "runs" else part[kept]).to_parquet(folder / name / "part.parquet")


@pytest.fixture
def study(make_study: Callable[..., StudySpec], tmp_path: Path) -> Callable[..., StudySpec]:
    return lambda **changes: make_study(
        **{"storage": str(tmp_path), "benchmarks": [BENCHMARK], "models": [RESNET], "seeds": [0, 1, 2], **changes}
    )


def test_a_frame_says_what_each_objective_is(study: Callable[..., StudySpec]) -> None:
    several = study(objectives=["supervised", BASELINE, TREATED])
    _store(several)
    frame = study_frame(several)
    told = frame[["objective", "objective_name", "objective_weight"]].drop_duplicates().set_index("objective")
    assert told["objective_name"].to_dict() == {
        "supervised": "supervised", "harmonizer weight=0": "harmonizer", "harmonizer weight=3": "harmonizer",
    }  # fmt: skip
    assert np.isnan(told["objective_weight"]["supervised"])
    assert told["objective_weight"].to_list()[1:] == [0.0, 3.0]
    assert frame.attrs["left_out"] == {}


def test_objectives_are_told_apart_by_the_options_in_which_they_differ(make_study: Callable[..., StudySpec]) -> None:
    names = objective_names(make_study(objectives=["supervised", "simclr", BASELINE, TREATED]))
    assert list(names.values()) == ["supervised", "simclr", "harmonizer weight=0", "harmonizer weight=3"]
    assert list(objective_names(make_study(objective=TREATED)).values()) == ["harmonizer"]


def test_a_family_that_left_the_study_leaves_the_storage(study: Callable[..., StudySpec]) -> None:
    both, alone = study(models=[RESNET, VIT]), study(models=[RESNET])
    _store(both)
    answer_study(both)
    storage = study_storage(both)
    assert any("vit" in name for name in storage.names("answer"))
    assert answer_study(alone).families == ("resnet",)
    assert not [name for name in storage.names("answer") if "vit" in name]


def test_a_saved_answer_is_read_and_not_made_again(
    study: Callable[..., StudySpec], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    twins = study(objectives=[BASELINE, TREATED])
    _store(twins)
    made = answer_study(twins)
    assert [twin.name for twin in made.twins] == ["size 2", "size 4"]
    names = [path.name for path in local_copies(study_storage(twins), tmp_path)]
    assert "accuracy-alignment.png" in names
    monkeypatch.setattr("jobs.answer.answer", pytest.fail)
    monkeypatch.setattr(Answer, "save", pytest.fail)
    assert answer_study(twins).text() == made.text()


def test_scores_that_nothing_can_give_are_refused(study: Callable[..., StudySpec]) -> None:
    percent = study()
    _store(percent, score=43.0)
    with pytest.raises(StudyError, match=r"has no answer: score=43 .*divide percentages by 100"):
        answer_study(percent)


def test_nothing_scored_is_no_answer(study: Callable[..., StudySpec]) -> None:
    with pytest.raises(StudyError, match="has no scores to fit"):
        answer_study(study(name="untouched"))
