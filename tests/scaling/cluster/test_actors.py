"""What a scoring actor makes of weights that are lost, and of what else may fail; in this process, without Ray."""

from __future__ import annotations

import pytest

from scaling.alignment.scoring import scoring_options
from scaling.alignment.suites.registry import build_benchmarks
from scaling.cluster.actors import ScoringActor
from scaling.cluster.failures import LostWeights
from scaling.cluster.retries import Checkpoint
from scaling.data.shown import heldout_stimuli
from scaling.errors import DamagedFile
from scaling.layout import weights_name
from scaling.ledger import open_study
from scaling.train.loop import Training


@pytest.fixture
def scored(make_study, tmp_path, digits_data, monkeypatch):
    """An actor, a checkpoint of a run that is trained, and its storage."""
    monkeypatch.setattr("os.nice", lambda by: None)
    study = open_study(make_study(), tmp_path / "results")
    for _ in Training(study.runs[0], digits_data, study.storage).epochs():
        pass
    actor = ScoringActor(study.storage.uri, study.spec.scoring, study.protocols)
    heldout = heldout_stimuli(digits_data)
    actor.work = (
        build_benchmarks(study.spec.benchmarks, heldout),
        scoring_options(study.spec.scoring, lambda n: heldout),
        {},
    )
    return actor, Checkpoint(study.runs[0].run_id, 2, tuple(study.protocols)), study.storage


def test_weights_that_are_there_are_scored(scored):
    actor, checkpoint, _ = scored
    assert [record.status for record in actor.score(checkpoint, [])] == ["scored"]


@pytest.mark.parametrize("damage", ["missing", "cut off", "another file"])
def test_lost_weights_are_told_from_other_errors(scored, damage):
    actor, checkpoint, storage = scored
    name = weights_name(checkpoint.run_id, checkpoint.epoch)
    whole = storage.read_bytes(name)
    storage.delete(name)
    if damage != "missing":
        storage.write_bytes(name, whole[: len(whole) // 2] if damage == "cut off" else b"something else" * 99)
    with pytest.raises(LostWeights):
        actor.score(checkpoint, [])


@pytest.mark.parametrize("error", [DamagedFile("a benchmark's file"), OSError("S3 does not answer")])
def test_other_errors_stay_what_they_are(scored, error, monkeypatch):
    actor, checkpoint, _ = scored

    def raising(*words):
        raise error

    monkeypatch.setattr("scaling.alignment.score.score_checkpoint", raising)
    with pytest.raises(type(error)) as raised:
        actor.score(checkpoint, [])
    assert raised.value is error


def test_models_that_begin_alike_are_scored_once(make_study, tmp_path, digits_data, monkeypatch):
    """Untrained, runs on more or fewer images are one model; seeds are not, and trained weights neither."""
    from scaling.alignment import score

    monkeypatch.setattr("os.nice", lambda by: None)
    changes = {"data_sizes": [2, 3], "seeds": [0, 1], "checkpoints": {"score": [0, "last"]}}
    study = open_study(make_study(**changes), tmp_path / "results")
    for run in study.runs:
        list(Training(run, digits_data, study.storage).epochs())
    heldout = heldout_stimuli(digits_data)
    built = build_benchmarks(study.spec.benchmarks, heldout)
    options = scoring_options(study.spec.scoring, lambda n: heldout)
    actor = ScoringActor(study.storage.uri, study.spec.scoring, study.protocols)
    actor.work = (built, options, {})
    scored, whole = [], score.score_model
    monkeypatch.setattr(score, "score_model", lambda *words: scored.append(1) or whole(*words))
    found = {
        (run.run_id, epoch): actor.score(Checkpoint(run.run_id, epoch, tuple(study.protocols)), [])[0]
        for run in study.runs
        for epoch in run.score_epochs
    }
    assert len(found) == 8
    assert len(scored) == 2 + 4
    for (run_id, epoch), record in found.items():
        study.storage.delete_folder("scores")
        (alone,) = score.score_checkpoint(study.storage, run_id, epoch, built, options, study.protocols)
        assert record.model_dump(exclude={"score_s"}) == alone.model_dump(exclude={"score_s"})
