"""Which run starts next, as Tune's search hears it; no Ray."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from scaling.cluster.offers import Offers
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


def test_without_a_stop_tune_gets_the_grid_longest_first_and_no_search(make_study: Any, monkeypatch: Any) -> None:
    from scaling.cluster import schedule

    made = []

    class Tuner:
        def __init__(self, trainable: Any, **words: Any) -> None:
            made.append(words)

        def fit(self) -> None: ...

    monkeypatch.setattr(schedule.tune, "Tuner", Tuner)
    runs = runs_of(make_study)
    storage = SimpleNamespace(delete_folder=lambda name: None, uri="x", is_local=True, child=lambda name: storage,
                              path=lambda: "/tmp/x")  # fmt: skip
    cost = {run.run_id: float(i % 3) for i, run in enumerate(runs)}
    schedule.train_runs(runs, None, storage, None, lambda shape: 2, cost)  # type: ignore[arg-type]
    (words,) = made
    longest = sorted(runs, key=lambda run: -cost[run.run_id])
    assert words["param_space"] == {"run": {"grid_search": [run.model_dump(mode="json") for run in longest]}}
    config = words["tune_config"]
    assert (config.search_alg, config.num_samples, config.max_concurrent_trials, config.reuse_actors) == (
        None,
        1,
        2,
        True,
    )
