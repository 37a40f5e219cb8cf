"""Which run starts next, as Tune's search hears it; no Ray."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from scaling.cluster.offers import LongestFirst, Offers
from scaling.study import expand_study


class Plan:
    """A course that is enough after a number of settled runs."""

    def __init__(self, order: list[str], last: int, ahead: int) -> None:
        self.order, self.last, self.ahead = order, last, ahead
        self.enough, self.looked = False, 0

    def advance(self, settled: Any) -> None:
        while self.looked < len(self.order) and settled(self.order[self.looked]):
            self.looked += 1
        self.enough = self.looked >= self.last

    def may_start(self, n_slots: int) -> list[str]:
        return self.order[: self.looked + max(self.ahead, n_slots)]

    def text(self) -> str:
        return "known"


def runs_of(make_study: Any, **changes: Any) -> list[Any]:
    return expand_study(make_study(data_sizes=[2, 3, 4, 5, 6], **changes))


def test_each_open_run_is_offered_once_in_the_courses_order(make_study: Any) -> None:
    runs = runs_of(make_study)
    order = [run.run_id for run in reversed(runs)]
    done = {order[0]}  # trained before
    offers = Offers(Plan(order, 99, 2), [run for run in runs if run.run_id not in done], done.__contains__, lambda s: 1)  # type: ignore[arg-type]
    taken = []
    for _ in range(2):
        run = offers.look()
        assert run == offers.look(), "to look takes nothing"
        offers.take(run)
        taken.append(run.run_id)
    assert taken == order[1:3]
    assert offers.look() == "wait", "two ahead of what is settled"
    done.add(order[1])
    assert offers.look().run_id == order[3]
    assert (offers.enough, offers.n_left) == ("", 2)


def test_it_is_over_once_it_is_enough_or_none_is_left(make_study: Any) -> None:
    runs = runs_of(make_study)
    order, done = [run.run_id for run in runs], set[str]()
    offers = Offers(Plan(order, 2, 1), runs, done.__contains__, lambda s: 3)  # type: ignore[arg-type]
    for _ in range(3):  # as many as there are slots
        offers.take(offers.look())
    assert offers.look() == "wait"
    done |= set(order[:2])
    assert (offers.look(), offers.enough, offers.n_left) == ("over", "known", 2)
    offers = Offers(Plan(order, 99, 9), runs[:1], set(order[1:]).__contains__, lambda s: 1)  # type: ignore[arg-type]
    offers.take(offers.look())
    assert (offers.look(), offers.enough) == ("over", "")


def test_a_search_ends_where_the_next_run_has_another_shape(make_study: Any) -> None:
    from scaling.cluster.schedule import _Search

    small, large = runs_of(make_study)[0], runs_of(make_study, resources={"cpus_per_worker": 2})[1]
    order, ticks = [small.run_id, large.run_id], []
    listener = SimpleNamespace(on_tick=lambda: ticks.append(1))
    done: set[str] = set()
    offers = Offers(Plan(order, 99, 2), [small, large], done.__contains__, lambda s: 1)  # type: ignore[arg-type]
    search = _Search(offers, small.resources, listener)  # type: ignore[arg-type]
    assert search.suggest("a") == {"run": small.model_dump(mode="json")}
    assert search.suggest("b") == search.FINISHED
    assert offers.look() == large, "and it is the next search's"
    search = _Search(offers, large.resources, listener)  # type: ignore[arg-type]
    assert search.suggest("c") == {"run": large.model_dump(mode="json")}
    assert search.suggest("d") == search.FINISHED
    assert ticks == []


def test_while_it_waits_scores_are_taken(make_study: Any) -> None:
    from scaling.cluster.schedule import _Search

    runs = runs_of(make_study)
    order, done = [run.run_id for run in runs], set[str]()
    listener = SimpleNamespace(on_tick=lambda: done.add(order[0]))
    search = _Search(Offers(Plan(order, 99, 1), runs, done.__contains__, lambda s: 1), runs[0].resources, listener)  # type: ignore[arg-type]
    assert search.suggest("a")
    assert search.suggest("b") is None
    assert search.suggest("b") == {"run": runs[1].model_dump(mode="json")}


def test_the_longest_is_next_by_what_is_known_when_it_is_asked(make_study: Any) -> None:
    runs = runs_of(make_study)
    cost = {run.run_id: float(i) for i, run in enumerate(runs)}
    offers = LongestFirst(runs, cost)
    assert offers.look() == offers.look() == runs[4], "to look takes nothing"
    offers.take(runs[4])
    cost[runs[0].run_id] = 9.0  # it was measured to take longer
    taken = []
    while (run := offers.look()) != "over":
        offers.take(run)
        taken.append(run)
    assert taken == [runs[0], runs[3], runs[2], runs[1]]
    assert offers.n_left == 0


def test_shapes_follow_each_other_the_longest_first_in_each(make_study: Any) -> None:
    small, large = runs_of(make_study), runs_of(make_study, resources={"cpus_per_worker": 2})
    runs = [small[0], large[1], small[2], large[3]]
    offers = LongestFirst(runs, {run.run_id: float(i) for i, run in enumerate(runs)})
    taken = []
    while (run := offers.look()) != "over":
        offers.take(run)
        taken.append(run)
    assert taken == [small[2], small[0], large[3], large[1]]


def test_tune_asks_for_every_run_and_runs_that_share_a_process_have_trials_of_their_own(
    make_study: Any, monkeypatch: Any
) -> None:
    from scaling.cluster import schedule

    made, kinds = [], []

    class Tuner:
        def __init__(self, trainable: Any, **words: Any) -> None:
            made.append(words)

        def fit(self) -> None:
            search = made[-1]["tune_config"].search_alg
            while search.suggest("a") != search.FINISHED:
                pass

    monkeypatch.setattr(schedule.tune, "Tuner", Tuner)
    monkeypatch.setattr(schedule.tune, "with_parameters", lambda kind, **words: kinds.append(kind) or kind)
    monkeypatch.setattr(schedule.tune, "with_resources", lambda kind, placed: placed)
    shapes = [{}, {"cpus_per_worker": 0.5}, {"gpus_per_worker": 0.25}, {"gpus_per_worker": 1}, {"workers": 2}]
    runs = [run for shape in shapes for run in runs_of(make_study, resources=shape)[:2]]
    storage = SimpleNamespace(delete_folder=lambda name: None, uri="x", is_local=True, child=lambda name: storage,
                              path=lambda: "/tmp/x")  # fmt: skip
    offers = LongestFirst(runs, {run.run_id: 1.0 for run in runs})
    schedule.train_runs(offers, None, storage, None, lambda shape: 2)  # type: ignore[arg-type]
    names = [kind.__name__ for kind in kinds]
    assert sorted(names) == ["LaneTrainable"] * 2 + ["RunTrainable"] * 2 + ["launch_distributed"]
    configs = [words["tune_config"] for words in made]
    assert {(config.num_samples, config.max_concurrent_trials) for config in configs} == {
        (n, 2) for n in (10, 8, 6, 4, 2)
    }
    assert sorted(config.reuse_actors for config in configs) == [False] + [True] * 4
