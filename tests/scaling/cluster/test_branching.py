"""Trunks first, branches as soon as their state is there; states go when nobody needs them. No Ray."""

from __future__ import annotations

from scaling.cluster.branching import LOOK_S, BranchOffers, BranchStates
from scaling.layout import branch_name, branch_names
from scaling.ledger import open_study
from scaling.open_work import OpenWork, prune_branches
from scaling.study import expand_study, parse_study

STUDY = {
    "name": "tiny", "dataset": "digits", "models": [{"family": "resnet", "depth": 10, "sizes": [2, 4]}],
    "data_sizes": [5], "horizons": {"epochs": [1, 2, 4]}, "training": {"schedule": "wsd", "batch_size": 10},
    "benchmarks": ["simulated-ventral-stream.IT"],
}  # fmt: skip


def anywhere(shape):
    return True


def runs_of(**changes):
    return expand_study(parse_study(STUDY | changes))


def states_of(storage, runs, clock=lambda: 0.0):
    return BranchStates(storage, runs, dict.fromkeys([run.run_id for run in runs], 50), clock)


def test_trunks_start_first_and_branches_once_their_state_is_there():
    runs = runs_of()
    small, large = runs[:3], runs[3:]
    cost = {run.run_id: run.training.epochs * run.model.size for run in runs}
    there, going = set(), {run.run_id for run in runs}
    offers = BranchOffers(runs, cost, lambda run: run.run_id in there, going.__contains__)
    assert offers.n_left == 6
    for trunk in (large[2], small[2]):
        assert offers.look(anywhere) == trunk
        offers.take(trunk)
    assert offers.look(anywhere) == "wait"
    there.add(small[0].run_id)
    assert offers.look(anywhere) == small[0]
    there.update(run.run_id for run in runs)
    assert offers.look(anywhere) == large[1], "the longest"
    offers.take(large[1])
    there.clear()
    assert offers.look(anywhere) == "wait"
    going.discard(small[2].run_id)
    for run in (small[1], small[0]):
        assert offers.look(anywhere) == run, "its trunk goes on no more: it begins with what there is"
        offers.take(run)
    going.discard(large[2].run_id)
    offers.take(offers.look(anywhere))
    assert (offers.look(anywhere), offers.n_left) == ("over", 0)


def test_a_shape_that_does_not_fit_is_passed_over():
    models = [STUDY["models"][0], {"family": "vit", "heads": 2, "sizes": [8], "resources": {"cpus_per_worker": 2}}]
    runs, going = runs_of(models=models), set()
    cost = {run.run_id: run.resources.cpus_per_worker for run in runs}
    offers = BranchOffers(runs, cost, lambda run: True, going.__contains__)
    assert offers.look(anywhere).resources.cpus_per_worker == 2
    assert offers.look(lambda shape: shape.cpus_per_worker == 1).resources.cpus_per_worker == 1
    assert offers.look(lambda shape: False) == "wait"


def test_a_folder_is_listed_once_a_while(storage, monkeypatch):
    runs, now, listed = runs_of(), [0.0], []
    names = type(storage).names
    monkeypatch.setattr(type(storage), "names", lambda self, *words: listed.append(1) or names(self, *words))
    states = states_of(storage, runs, lambda: now[0])
    for _ in range(9):
        assert not states.is_there(runs[0])
    assert len(listed) == 1
    storage.write_bytes(branch_name(runs[2].run_id, 4), b"x")
    now[0] = LOOK_S
    assert states.is_there(runs[0])
    assert not states.is_there(runs[1])
    assert len(listed) == 2


def test_a_state_goes_when_no_open_run_needs_it(storage):
    runs = runs_of()
    states, trunk = states_of(storage, runs), runs[2].run_id
    for step in (4, 8):
        storage.write_bytes(branch_name(trunk, step), b"x")
    states.release(trunk)
    states.release(runs[0].run_id)
    states.release(runs[0].run_id)
    assert branch_names(storage, trunk) == [branch_name(trunk, 8)]


def test_what_a_killed_process_left_goes_at_the_next_start(tmp_path):
    study = open_study(parse_study(STUDY | {"storage": str(tmp_path)}))
    trunks = [run.run_id for run in study.runs if run.branches]
    for trunk in trunks:
        study.storage.write_bytes(branch_name(trunk, 4), b"x")
    prune_branches(study.storage, study.runs, OpenWork(train=study.runs[:1]))
    assert [len(branch_names(study.storage, trunk)) for trunk in trunks] == [1, 0]


def test_a_trunk_that_takes_no_step_before_a_cooldown_has_nothing_to_wait_for(storage):
    runs = runs_of(training={"schedule": "wsd", "batch_size": 50, "cooldown_share": 0.9})
    assert [run.cooldown_start(50) for run in runs] == [0] * 6
    assert states_of(storage, runs).is_there(runs[0])
    assert runs[2].branch_steps(50) == frozenset()
