"""Benchmarks by name: expansion, order, near matches."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jobs.print_benchmarks import benchmark_rows
from scaling.alignment.regions import REGIONS
from scaling.alignment.suites.registry import (
    BENCHMARKS,
    benchmark_regions,
    build_benchmarks,
    check_benchmark_data,
)
from scaling.alignment.suites.simulated import SUITE
from scaling.errors import StudyError


def test_a_suite_is_all_its_benchmarks():
    assert benchmark_regions([SUITE]) == {f"{SUITE}.{region}": region for region in REGIONS}
    assert benchmark_regions(["kriegeskorte2008"]) == {
        "kriegeskorte2008.monkey-IT": "IT",
        "kriegeskorte2008.human-IT": "IT",
        "kriegeskorte2008.behavior": "behavior",
    }


def test_a_benchmark_named_twice_appears_once():
    names = [f"{SUITE}.IT", SUITE, f"{SUITE}.IT", "kriegeskorte2008.behavior"]
    assert list(benchmark_regions(names)) == [*(f"{SUITE}.{r}" for r in REGIONS), "kriegeskorte2008.behavior"]


def test_what_is_built_is_what_was_named(stimuli):
    built = build_benchmarks([f"{SUITE}.behavior", f"{SUITE}.V2"], stimuli)
    assert {b.name: b.region for b in built} == benchmark_regions([f"{SUITE}.behavior", f"{SUITE}.V2"])
    assert all(b.stimuli is stimuli for b in built)


def test_registered_regions_are_those_of_the_built_benchmarks(stimuli, kriegeskorte_dir):
    names = [SUITE, "kriegeskorte2008"]
    built = build_benchmarks(names, stimuli, kriegeskorte_dir)
    assert {b.name: b.region for b in built} == benchmark_regions(names)


def test_the_simulated_suite_needs_no_data():
    check_benchmark_data([SUITE], None)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], ["benchmarks is empty", SUITE]),
        (["kriegeskorte"], ["'kriegeskorte' is unknown", "did you mean 'kriegeskorte2008'"]),
        ([SUITE, "kriegeskorte2008.human_IT"], ["human_IT' is unknown", "did you mean 'kriegeskorte2008.human-IT'"]),
        (["MajajHong2015.IT"], ["'MajajHong2015.IT' is unknown", "did you mean 'majajhong2015.IT'"]),
    ],
)
def test_unknown_names(names, words):
    with pytest.raises(StudyError) as error:
        benchmark_regions(names)
    assert all(word in str(error.value) for word in words), error.value


def test_neither_torch_nor_ray_is_imported():
    modules = "scaling.alignment.suites.registry, scaling.data.recordings.fetch"
    code = f"import sys, {modules}; print({{'torch', 'ray'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_further_metrics_are_scored_where_they_are_named_alone(stimuli):
    assert "kriegeskorte2008.human-IT-whitened" not in benchmark_regions(["kriegeskorte2008"])
    names = ["kriegeskorte2008.human-IT-whitened", "kriegeskorte2008.behavior-pearson", "rajalingham2018.i1"]
    assert benchmark_regions(names) == {
        "kriegeskorte2008.behavior-pearson": "behavior",
        "kriegeskorte2008.human-IT-whitened": "IT",
        "rajalingham2018.i1": "behavior",
    }


def test_every_suite_says_what_it_is_of(tmp_path):
    (tmp_path / "cichy2014_92").mkdir()
    rows = {row["suite"]: row for row in benchmark_rows(tmp_path)}
    assert list(rows) == list(BENCHMARKS)
    assert all(all(row.values()) for row in rows.values())
    assert (rows["cichy2014"]["there"], rows["henaff2021"]["there"], rows[SUITE]["there"]) == ("yes", "no", "-")
    assert rows["cichy2014"]["region"] == "EVC, IT"
    assert "human-IT-pearson" in rows["kriegeskorte2008"]["benchmarks"]
