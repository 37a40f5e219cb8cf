"""A study's store becomes a frame, and the frame's answer stands in the storage as long as it is the store's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis import Answer
from jobs.answer import answer_study
from scaling.errors import StudyError
from scaling.ledger import open_study
from scaling.records import AlignmentRecord, run_record
from scaling.specs.objective import objective_spec
from scaling.specs.study import StudySpec

BASELINE, TREATED = {"name": "harmonizer", "weight": 0}, {"name": "harmonizer", "weight": 3}
RESNET = {"family": "resnet", "depth": 10, "sizes": [2, 4]}
VIT = {"family": "vit", "depth": 2, "heads": 2, "sizes": [4, 8]}
BENCHMARK = "simulated-human-alignment.max_abs"


def _store(study: StudySpec, **scores: float) -> None:
    """A results store of finished runs: treated ones 0.3 higher, seeds 0.01 apart."""
    opened = open_study(study)
    for run in opened.runs:
        treated = getattr(objective_spec(run.objective), "weight", 0) > 0
        point = {"samples_seen": 40, "flops": 1e9 * run.model.size * (1 + treated), "accuracy": 0.9 + 0.002 * run.seed}
        known = point | {"n_params": 10_000 * run.model.size, "epochs_done": 2, "kept": (2,)}
        opened.store.write_run(run_record(run, "finished", None, **known))
        score = {"score": 0.1 * run.model.size / 4 + 0.3 * treated + 0.01 * run.seed} | scores
        facts = {"raw": 0.1, "ceiling": None, "ceiling_kind": "none", "n_stimuli": 9, "n_neuroids": None, "layer": "l"}
        facts |= {"region": "saliency", "metric": "saliency-max_abs", "selection_raw": None, "reason": None}
        facts |= {"status": "scored", "score_s": 0.0, "run_id": run.run_id, "epoch": 2, "benchmark": BENCHMARK}
        protocol = opened.protocols[BENCHMARK].text
        opened.store.write_scores([AlignmentRecord(protocol=protocol, **point, **facts, **score)])


@pytest.fixture
def study(make_study: Callable[..., StudySpec], tmp_path: Path) -> Callable[..., StudySpec]:
    return lambda **changes: make_study(
        **{"storage": str(tmp_path), "benchmarks": [BENCHMARK], "models": [RESNET], "seeds": [0, 1, 2], **changes}
    )


def test_a_family_that_left_the_study_leaves_the_storage(study: Callable[..., StudySpec]) -> None:
    both, alone = study(models=[RESNET, VIT]), study(models=[RESNET])
    _store(both)
    answer_study(open_study(both))
    storage = open_study(both).storage
    assert any("vit" in name for name in storage.names("answer"))
    assert answer_study(open_study(alone)).families == ("resnet",)
    assert not [name for name in storage.names("answer") if "vit" in name]


def test_a_saved_answer_is_read_and_not_made_again(
    study: Callable[..., StudySpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    twins = study(objectives=[BASELINE, TREATED])
    _store(twins)
    made = answer_study(open_study(twins))
    assert [twin.name for twin in made.twins] == ["size 2", "size 4"]
    with open_study(twins).answer_files() as folder:
        assert (folder / "accuracy-alignment.png").is_file()
    monkeypatch.setattr("jobs.answer.answer", pytest.fail)
    monkeypatch.setattr(Answer, "save", pytest.fail)
    assert answer_study(open_study(twins)).text() == made.text()


def test_scores_that_nothing_can_give_are_refused(study: Callable[..., StudySpec]) -> None:
    percent = study()
    _store(percent, score=43.0)
    with pytest.raises(StudyError, match=r"has no answer: score=43 .*divide percentages by 100"):
        answer_study(open_study(percent))


def test_nothing_scored_is_no_answer(study: Callable[..., StudySpec]) -> None:
    with pytest.raises(StudyError, match="has no finished, scored run"):
        answer_study(open_study(study(name="untouched")))
