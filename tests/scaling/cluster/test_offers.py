"""Which run starts next, as Tune's search hears it; no Ray."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from scaling.cluster.offers import LongestFirst, Offers
from scaling.cluster.placement import Node
from scaling.cluster.trial import GROUP_SHARE, HEAD
from scaling.specs.scoring import ScoringSpec
from scaling.study import expand_study

HERE = [Node("n", 9)]


def anywhere(shape: Any) -> bool:
    return True


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
    offers = Offers(Plan(order, 99, 2), [run for run in runs if run.run_id not in done], done.__contains__, 1)  # type: ignore[arg-type]
    taken = []
    for _ in range(2):
        run = offers.look(anywhere)
        assert run == offers.look(anywhere), "to look takes nothing"
        offers.take(run)
        taken.append(run.run_id)
    assert taken == order[1:3]
    assert offers.look(anywhere) == "wait", "two ahead of what is settled"
    done.add(order[1])
    assert offers.look(anywhere).run_id == order[3]
    assert (offers.enough, offers.n_left) == ("", 2)


def test_it_is_over_once_it_is_enough_or_none_is_left(make_study: Any) -> None:
    runs = runs_of(make_study)
    order, done = [run.run_id for run in runs], set[str]()
    offers = Offers(Plan(order, 2, 1), runs, done.__contains__, 3)  # type: ignore[arg-type]
    for _ in range(3):  # as many as there are slots
        offers.take(offers.look(anywhere))
    assert offers.look(anywhere) == "wait"
    done |= set(order[:2])
    assert (offers.look(anywhere), offers.enough, offers.n_left) == ("over", "known", 2)
    offers = Offers(Plan(order, 99, 9), runs[:1], set(order[1:]).__contains__, 1)  # type: ignore[arg-type]
    offers.take(offers.look(anywhere))
    assert (offers.look(anywhere), offers.enough) == ("over", "")


def search_of(offers: Any, listener: Any, nodes: Any = HERE) -> Any:
    from scaling.cluster.room import Room
    from scaling.cluster.schedule import _Search

    return _Search(offers, listener, Room(lambda: nodes, ScoringSpec(cpus=0)))


def test_a_search_offers_runs_of_all_shapes_while_they_fit(make_study: Any) -> None:
    small, large = runs_of(make_study)[0], runs_of(make_study, resources={"cpus_per_worker": 2})[1]
    order, ticks = [small.run_id, large.run_id], []
    listener = SimpleNamespace(on_tick=lambda: ticks.append(1))
    offers = Offers(Plan(order, 99, 2), [small, large], set().__contains__, 1)  # type: ignore[arg-type]
    search = search_of(offers, listener, [Node("n", 2)])
    assert search.suggest("a") == {"run": small.run_id, "resources": small.resources.model_dump(mode="json")}
    assert search.suggest("b") is None, "two CPUs are not free"
    assert ticks == [1]
    search.room.leave(small.run_id)
    assert search.suggest("c")["run"] == large.run_id
    assert search.suggest("d") == search.FINISHED


def test_while_it_waits_scores_are_taken(make_study: Any) -> None:
    runs = runs_of(make_study)
    order, done = [run.run_id for run in runs], set[str]()
    listener = SimpleNamespace(on_tick=lambda: done.add(order[0]))
    search = search_of(Offers(Plan(order, 99, 1), runs, done.__contains__, 1), listener)  # type: ignore[arg-type]
    assert search.suggest("a")
    assert search.suggest("b") is None
    assert search.suggest("b")["run"] == runs[1].run_id


def test_the_longest_is_next_by_what_is_known_when_it_is_asked(make_study: Any) -> None:
    runs = runs_of(make_study)
    cost = {run.run_id: float(i) for i, run in enumerate(runs)}
    offers = LongestFirst(runs, cost)
    assert offers.look(anywhere) == offers.look(anywhere) == runs[4], "to look takes nothing"
    offers.take(runs[4])
    cost[runs[0].run_id] = 9.0  # it was measured to take longer
    taken = []
    while (run := offers.look(anywhere)) != "over":
        offers.take(run)
        taken.append(run)
    assert taken == [runs[0], runs[3], runs[2], runs[1]]
    assert offers.n_left == 0


def test_a_shape_that_does_not_fit_is_passed_over(make_study: Any) -> None:
    small, large = runs_of(make_study), runs_of(make_study, resources={"cpus_per_worker": 2})
    runs = [small[0], large[1], small[2], large[3]]
    offers = LongestFirst(runs, {run.run_id: float(i) for i, run in enumerate(runs)})
    assert offers.look(lambda shape: shape.cpus_per_worker == 1) == small[2]
    assert offers.look(lambda shape: False) == "wait"
    taken = []
    while (run := offers.look(anywhere)) != "over":
        offers.take(run)
        taken.append(run)
    assert taken == [large[3], small[2], large[1], small[0]], "one queue"


def test_of_runs_of_a_kind_the_first_alone_is_compared(make_study: Any) -> None:
    runs = runs_of(make_study)
    cost, asked = {run.run_id: float(i) for i, run in enumerate(runs)}, []

    class Cost(dict[str, float]):
        def __getitem__(self, run_id: str) -> float:
            asked.append(run_id)
            return cost[run_id]

    offers = LongestFirst(runs, Cost(cost), lambda run: "one kind")
    asked.clear()
    assert offers.look(anywhere) == runs[4]
    assert asked == [runs[4].run_id]


def test_tune_asks_for_every_run_and_runs_that_share_a_process_have_trials_of_their_own(
    make_study: Any, monkeypatch: Any
) -> None:
    from scaling.cluster import schedule
    from scaling.cluster.room import Room

    made, places = [], []

    class Tuner:
        def __init__(self, trainable: Any, **words: Any) -> None:
            made.append(words)
            self.placement = trainable

        def fit(self) -> None:
            search = made[-1]["tune_config"].search_alg
            while (config := search.suggest("a")) != search.FINISHED:
                places.append((config["run"], self.placement(config).bundles))

    monkeypatch.setattr(schedule.tune, "Tuner", Tuner)
    monkeypatch.setattr(schedule.tune, "with_parameters", lambda kind, **words: kind)
    monkeypatch.setattr(schedule.tune, "with_resources", lambda kind, placed: placed)
    shapes = [{}, {"cpus_per_worker": 0.5}, {"gpus_per_worker": 0.25}, {"gpus_per_worker": 1}, {"workers": 2}]
    runs = [run for i, shape in enumerate(shapes) for run in runs_of(make_study, resources=shape, seeds=[i])[:2]]
    storage = SimpleNamespace(delete_folder=lambda name: None, uri="x", is_local=True, child=lambda name: storage,
                              path=lambda: "/tmp/x")  # fmt: skip
    offers = LongestFirst(runs, {run.run_id: float(-i) for i, run in enumerate(runs)})
    room = Room(lambda: [Node("n", 99, 9)], ScoringSpec(cpus=0))
    schedule.train_runs(offers, runs, None, storage, None, room)  # type: ignore[arg-type]
    (words,) = made
    assert words["tune_config"].num_samples == 10
    assert words["tune_config"].reuse_actors
    each = [{"CPU": 1.0}, {"CPU": 0.5}, {"CPU": 1.0, "GPU": 0.25}, {"CPU": 1.0, "GPU": 1.0}, {HEAD: GROUP_SHARE}]
    assert places == [(run.run_id, [each[i // 2]]) for i, run in enumerate(runs)]
