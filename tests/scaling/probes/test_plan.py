"""The probes of a study: trials, cost and its bound, what cannot be probed; the rates that come of their records."""

from __future__ import annotations

import math
import re

import pytest

from scaling.errors import StudyError
from scaling.probes.cells import grid_flops, group_names
from scaling.probes.plan import coarse_to_fine, plan_probes, trial_points
from scaling.probes.rating import find_rates
from scaling.rates import with_fields
from scaling.records import RunRecord, run_record
from scaling.specs.tune import TuneSpec
from scaling.study import expand_study, parse_study
from scaling.verify.images import ImageCounts

DIGITS = ImageCounts(8, 10, 1437, 139)
RANGE = {"lr": {"log": [0.003, 1]}}
GRID = {
    "models": [{"family": "resnet", "depth": 10, "sizes": [2, 4, 8]}], "data_sizes": [10, 30, 90], "seeds": [0, 1, 2],
    "training": {"epochs": 4, "batch_size": 10},
}  # fmt: skip


def planned(make_study, how: str = "probe", tune: dict | None = None, **changes):
    spec = make_study(**GRID | {"tune": {"how": how, "fields": RANGE, "share": 0.3} | (tune or {})} | changes)
    return spec, plan_probes(spec, expand_study(spec), DIGITS)


def test_rates_go_from_coarse_to_fine() -> None:
    assert coarse_to_fine(9) == [4, 2, 7, 1, 3, 6, 8, 0, 5]
    assert [sorted(coarse_to_fine(n)) for n in (4, 7, 30)] == [list(range(n)) for n in (4, 7, 30)]
    lr = [point["lr"] for point in trial_points(TuneSpec.model_validate({"how": "each", "fields": RANGE}))]
    assert sorted(lr) == [0.003, 0.0062, 0.0128, 0.0265, 0.0548, 0.113, 0.234, 0.484, 1.0]
    assert lr[0] == 0.0548


def test_further_fields_are_spread_over_their_ranges() -> None:
    fields = RANGE | {"weight_decay": {"log": [1e-5, 1e-2]}, "momentum": {"uniform": [0.5, 0.9]}}
    points = trial_points(TuneSpec.model_validate({"how": "each", "fields": fields, "trials": 27}))
    for name, low, high in (("weight_decay", 1e-5, 1e-2), ("momentum", 0.5, 0.9)):
        values = sorted(point[name] for point in points)
        assert low <= values[0] and values[-1] <= high  # noqa: PT018
        thirds = [
            low * (high / low) ** (i / 3) if name == "weight_decay" else low + (high - low) * i / 3 for i in (1, 2)
        ]
        assert [sum(value < third for value in values) for third in thirds] == pytest.approx([9, 18], abs=1)
    other = TuneSpec.model_validate({"how": "each", "fields": fields, "trials": 27, "seed": 1})
    assert trial_points(other) != points


def test_the_share_holds_and_trials_are_runs_with_a_seed_of_their_own(make_study) -> None:
    spec, plan = planned(make_study)
    assert plan.share <= 0.3
    assert plan.flops == pytest.approx(9 * sum(cell.flops for cell in plan.searched))
    assert {run.seed for run in plan.all_runs} == {3}
    assert {(run.keep_epochs, run.score_epochs, run.validation, run.study) for run in plan.all_runs} == {
        ((), (), 0.1, "tiny.probes")
    }
    assert len({run.run_id for run in plan.all_runs}) == 9 * len(plan.searched) >= 36
    again = plan_probes(spec, expand_study(spec), DIGITS)
    assert again.all_runs == plan.all_runs, "a function of the file and its images"


def test_each_searches_every_cell_and_has_to_be_meant(make_study) -> None:
    make = make_study(**GRID | {"tune": {"how": "each", "fields": RANGE}})
    with pytest.raises(StudyError, match=r"81 probes in 9 cells would take .*, 3 of the grid.s .*write share: 3"):
        plan_probes(make, expand_study(make), DIGITS)
    _, plan = planned(make_study, "each", {"share": 5})
    assert plan.searched == plan.grid
    assert plan.share == pytest.approx(3)


def test_what_exceeds_the_share_is_refused_with_its_numbers(make_study) -> None:
    with pytest.raises(StudyError, match=r"36 probes in 4 cells would take .* FLOP, 0.\d+ of .*above tune.share=0.001"):
        planned(make_study, tune={"share": 0.001})
    with pytest.raises(StudyError, match=r"above tune.share=0.5 \(study 'tiny', tune\); raise tune.share to 3, or "):
        planned(make_study, "each", {"share": 0.5})


@pytest.mark.parametrize(
    ("how", "tune", "changes", "has", "lacks"),
    [
        ("probe", {"share": 0.15}, {}, ["raise tune.share to", "lower tune.trials from 9 to", "seeds"], ["each"]),
        ("probe", {"share": 0.05, "trials": 4}, {}, ["raise tune.share to", "larger models"], ["lower tune.trials"]),
        ("probe", {"share": 0.5}, {"seeds": [0], "data_sizes": [10]}, ["with 18 seeds", "study 'tiny'"], ["raise"]),
        (
            "probe", {"share": 0.5},
            {"budgets": [1e9], "data_sizes": None, "seeds": [0], "training": {"batch_size": 10}},
            ["all cells cost alike", "seeds"], ["raise", "larger models"],
        ),
        ("each", {"share": 0.5}, {}, ["how: probe, share: "], ["lower tune.trials"]),
        ("each", {"share": 0.5}, {"seeds": [0], "data_sizes": [10]}, ["raise tune.share to 9"], ["how: probe"]),
    ],
)  # fmt: skip
def test_remedies_are_those_that_work(make_study, how, tune, changes, has, lacks) -> None:
    grid = {name: value for name, value in (GRID | changes).items() if value is not None}
    base = {"tune": {"how": how, "fields": RANGE} | tune}
    spec = make_study(**grid | base) if "data_sizes" in grid else budgeted(make_study, grid | base)
    with pytest.raises(StudyError) as refused:
        plan_probes(spec, expand_study(spec), DIGITS)
    said = str(refused.value)
    for word in has:
        assert word in said, said
    for word in lacks:
        assert word not in said.partition("); ")[2], said
    if raised := re.search(r"raise tune.share to ([\d.]+)", said):
        again = spec.model_copy(update={"tune": spec.tune.model_copy(update={"share": float(raised[1])})})
        plan_probes(again, expand_study(again), DIGITS)
    if fewer := re.search(r"lower tune.trials from 9 to (\d+)", said):
        again = spec.model_copy(update={"tune": spec.tune.model_copy(update={"trials": int(fewer[1])})})
        plan_probes(again, expand_study(again), DIGITS)
    more = int(re.search(r"with (\d+) seeds", said)[1])
    again = spec.model_copy(update={"seeds": tuple(range(more))})
    plan_probes(again, expand_study(again), DIGITS)


def budgeted(make_study, changes: dict):
    """A study of budgets alone: the test study has data sizes and epochs."""
    own = make_study().model_dump(include={"name", "dataset", "benchmarks"})
    return parse_study(own | changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_sizes": [1], "training": {"epochs": 2, "batch_size": 5}}, r"1 images a class leave none to train on"),
        (
            {"data_sizes": [2], "training": {"epochs": 2, "batch_size": 20}},
            r"batch_size=20 exceeds the 10 images .*probe",
        ),
    ],
)
def test_cells_too_small_to_hold_images_out_of_are_refused(make_study, changes: dict, words: str) -> None:
    with pytest.raises(StudyError, match=words):
        planned(make_study, "each", {"share": 9}, **changes)


def test_families_have_laws_of_their_own_and_shares_of_their_own_grids(make_study) -> None:
    vits = {"family": "vit", "depth": 2, "heads": 2, "sizes": [4, 8, 16, 32], "training": {"optimizer": "adamw"}}
    ranges = {"families": {"vit": {"lr": {"log": [1e-4, 1e-2]}}}}
    _, plan = planned(make_study, tune=ranges, models=[*GRID["models"], vits], seeds=[0, 1, 2, 3])
    tried: dict[str, set[float]] = {"resnet": set(), "vit": set()}
    for run in plan.all_runs:
        tried[run.model.family].add(run.training.lr)
    assert (min(tried["vit"]), max(tried["vit"])) == (1e-4, 1e-2)
    assert tuple(RANGE["lr"]["log"]) == (min(tried["resnet"]), max(tried["resnet"]))
    for group in ("resnet", "vit"):
        own, grid = ([c for c in cells if c.group == group] for cells in (plan.searched, plan.grid))
        assert 9 * sum(cell.flops for cell in own) <= 0.3 * grid_flops(grid)
    twice = [
        {**GRID["models"][0], "sizes": [2]},
        {**GRID["models"][0], "sizes": [4], "training": {"optimizer": "adamw"}},
    ]
    names = group_names(expand_study(make_study(**GRID | {"models": twice})))
    assert set(names.values()) == {"resnet sgd", "resnet adamw"}


def planted_rate(n_params: float, seen: float) -> float:
    return 0.1 * (n_params / 2e4) ** -0.3 * (seen / 1000) ** -0.2


def records_of(plan, best=planted_rate) -> dict[str, RunRecord]:
    """Losses about a planted law of rates."""
    found = {}
    for cell in plan.searched:
        for run in plan.runs[cell.key]:
            seen = 0.9 * cell.samples_seen
            off = math.log(run.training.lr / best(cell.n_params, seen))
            known = {"n_params": cell.n_params, "n_samples": int(seen) // 4, "epochs_done": 4, "flops": cell.flops}
            loss = 0.5 * math.exp(0.1 * off * off)
            found[run.run_id] = run_record(run, "finished", None, validation_loss=loss, **known)
    return found


def test_a_planted_law_is_found_and_every_cell_gets_its_rate(make_study) -> None:
    spec, plan = planned(make_study)
    rates = find_rates(plan, spec.tune, records_of(plan))
    assert set(rates.cells) == {cell.key for cell in plan.grid}
    for cell in plan.grid:
        assert rates.cells[cell.key]["lr"] == pytest.approx(planted_rate(cell.n_params, cell.samples_seen), rel=0.02)
        assert rates.cells[cell.key]["lr"] == float(f"{rates.cells[cell.key]['lr']:.3g}")
    law = rates.report["laws"]["resnet"]
    assert law["coefficients"][1:] == pytest.approx([-0.3, -0.2], abs=0.01)
    (told,) = rates.report["sensitivity"]
    assert told["cost"] == pytest.approx(math.expm1(0.1 * math.log(2) ** 2), rel=1e-3)


def test_each_gives_every_cell_its_own_best_and_compares_exponents(make_study) -> None:
    spec, plan = planned(make_study, "each", {"share": 5})
    rates = find_rates(plan, spec.tune, records_of(plan))
    for cell in plan.grid:
        assert rates.cells[cell.key]["lr"] == pytest.approx(
            planted_rate(cell.n_params, 0.9 * cell.samples_seen), rel=0.01
        )
    told = rates.report["sensitivity"][0]["exponents"]
    assert told["n_cells"] == 9
    assert set(told["change"]) == {"alpha", "beta"}
    assert told["change"]["alpha"]["value"] < 0, "a rate that is too large for large models flattens the law"


def test_beyond_the_range_a_rate_is_clipped_and_that_is_said(make_study) -> None:
    spec, plan = planned(make_study, models=[GRID["models"][0] | {"sizes": [2, 4, 16]}])
    steep = find_rates(plan, spec.tune, records_of(plan, lambda n, d: 0.05 * (n / 5e3) ** -0.9))
    noted = [cell for cell in steep.report["grid"] if cell["note"]]
    assert noted and all(cell["fields"]["lr"] == 0.003 for cell in noted)  # noqa: PT018
    assert "beyond the range that was tried" in noted[0]["note"]


def test_best_rates_at_the_end_of_the_range_tell_nothing(make_study) -> None:
    spec, plan = planned(make_study)
    with pytest.raises(StudyError, match=r"of 4 cells the best lr lies at the high end in 4 .*tune.fields.lr"):
        find_rates(plan, spec.tune, records_of(plan, lambda n, d: 10.0))
    lost = {run_id: r.model_copy(update={"status": "diverged"}) for run_id, r in records_of(plan).items()}
    with pytest.raises(StudyError, match=r"no trial of resnet-10 w2, .* has a loss"):
        find_rates(plan, spec.tune, lost)


def test_further_fields_are_those_of_the_best_trials(make_study) -> None:
    fields = RANGE | {"weight_decay": {"log": [1e-5, 1e-2]}}
    spec, plan = planned(make_study, tune={"fields": fields})
    records = records_of(plan)
    rates = find_rates(plan, spec.tune, records)
    best = [min(plan.runs[c.key], key=lambda run: records[run.run_id].validation_loss) for c in plan.searched]
    middle = sorted(run.training.weight_decay for run in best)[(len(best) - 1) // 2 : len(best) // 2 + 1]
    for values in rates.cells.values():
        assert middle[0] * 0.99 <= values["weight_decay"] <= middle[-1] * 1.01


def test_a_run_takes_fields_checked(make_run) -> None:
    run = with_fields(make_run(), {"lr": 0.123})
    assert run.training == make_run().training.model_copy(update={"lr": 0.123})
