"""Suites of benchmarks by name, and the checks that a study makes before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaling.alignment import simulated
from scaling.alignment.behavior import Trials
from scaling.alignment.benchmark import REGIONS, Benchmark
from scaling.data import brainscore, kriegeskorte
from scaling.data.stimuli import Stimuli
from scaling.errors import StudyError, known_names


@dataclass(frozen=True)
class Suite:
    """Benchmarks that share their stimuli.

    Attributes:
        regions: benchmark → region, in the order that `build` returns them; the benchmark is named 'suite.benchmark'.
        build: (held-out stimuli of the study, data directory) → benchmarks.
        check: data directory → None, or StudyError for files that are missing or wrong.
    """

    regions: dict[str, str]
    build: Callable[[Stimuli, Path | None], list[Benchmark]]
    check: Callable[[Path | None], object]


def build_kriegeskorte(data_dir: Path | None) -> list[Benchmark]:
    """Monkey IT, human IT and similarity judgments by RSA on 92 object images.

    The monkey RDM is a single published one, without a ceiling; the others have a ceiling over subjects.

    Raises:
        StudyError: as `load_kriegeskorte`.
    """
    data = kriegeskorte.load_kriegeskorte(data_dir)
    name = kriegeskorte.NAME
    return [
        Benchmark(f"{name}.monkey-IT", "IT", "rsa", data.stimuli, data.monkey_it, "none"),
        Benchmark(f"{name}.human-IT", "IT", "rsa", data.stimuli, data.human_it, "subjects"),
        Benchmark(f"{name}.behavior", "behavior", "rsa", data.stimuli, data.judgments, "subjects"),
    ]


def build_neural(name: str, data_dir: Path | None) -> list[Benchmark]:
    """One region each of a data set that Brain-Score publishes, by PLS, ceiled as Brain-Score does since 2026.

    Raises:
        StudyError: as `brainscore.read_neural`.
    """
    stimuli, assemblies = brainscore.read_neural(name, data_dir)
    return [
        Benchmark(
            f"{name}.{assembly.region}", assembly.region, "pls", stimuli, assembly.responses, "brain_score", "r2/c",
            strata=None if assembly.strata is None else np.array(assembly.strata),
        )
        for assembly in assemblies
    ]  # fmt: skip


def build_rajalingham(data_dir: Path | None) -> list[Benchmark]:
    """Consistency of a model's choices with people's (i2n), by a readout of the penultimate layer.

    As in Brain-Score's public benchmark, the readout is fitted on the images that are then shown. The score is
    raw / √(correlation between halves of the trials), its `r/c`.

    Raises:
        StudyError: as `brainscore.read_rajalingham`.
    """
    stimuli, trials = brainscore.read_rajalingham(data_dir)
    choices = Trials.of(trials.stimulus_id, trials.sample, trials.choice, trials.distractor, stimuli.ids)
    name = f"{brainscore.RAJALINGHAM}.i2n"
    return [Benchmark(name, "behavior", "i2n", stimuli, choices, "split_half", readout_only=True)]


def _published(name: str) -> Suite:
    regions = brainscore.PUBLISHED[name].selection.regions
    return Suite(
        regions={region: region for region in regions},
        build=lambda heldout, data_dir: build_neural(name, data_dir),
        check=lambda data_dir: brainscore.check_published(name, data_dir),
    )


BENCHMARKS: dict[str, Suite] = {
    simulated.SUITE: Suite(
        regions={region: region for region in REGIONS},
        build=lambda heldout, data_dir: simulated.build_simulated(heldout),
        check=lambda data_dir: None,
    ),
    kriegeskorte.NAME: Suite(
        regions={"monkey-IT": "IT", "human-IT": "IT", "behavior": "behavior"},
        build=lambda heldout, data_dir: build_kriegeskorte(data_dir),
        check=kriegeskorte.load_kriegeskorte,
    ),
    brainscore.MAJAJHONG: _published(brainscore.MAJAJHONG),
    brainscore.FREEMANZIEMBA: _published(brainscore.FREEMANZIEMBA),
    brainscore.RAJALINGHAM: Suite(
        regions={"i2n": "behavior"},
        build=lambda heldout, data_dir: build_rajalingham(data_dir),
        check=lambda data_dir: brainscore.check_published(brainscore.RAJALINGHAM, data_dir),
    ),
}


def benchmark_regions(names: Sequence[str]) -> dict[str, str]:
    """Full benchmark name → region for suites ('kriegeskorte2008') and benchmarks ('kriegeskorte2008.human-IT').

    In the order of the suites; a benchmark that is named twice, or with its suite, appears once. Touches no data.

    Raises:
        StudyError: no names, or an unknown one; lists the known names, nearest first.
    """
    if not names:
        raise StudyError(f"benchmarks is empty; name at least one of: {', '.join(BENCHMARKS)}")
    regions = {f"{suite}.{part}": region for suite, s in BENCHMARKS.items() for part, region in s.regions.items()}
    for name in names:
        if name not in BENCHMARKS and name not in regions:
            raise StudyError(f"benchmark {name!r} is unknown; {known_names(name, [*BENCHMARKS, *regions])}")
    return {full: region for full, region in regions.items() if full in names or full.rpartition(".")[0] in names}


def check_benchmark_names(names: Sequence[str]) -> None:
    """Refuse unknown benchmark names; touches no data. Raises StudyError as `benchmark_regions`."""
    benchmark_regions(names)


def check_benchmark_data(names: Sequence[str], data_dir: Path | None) -> None:
    """Refuse benchmarks whose files are missing, unreadable or of the wrong size.

    Raises:
        StudyError: names the file, what is wrong with it and the remedy; also unknown benchmark names.
    """
    for suite in _suites(names):
        suite.check(data_dir)


def build_benchmarks(names: Sequence[str], heldout: Stimuli, data_dir: Path | None = None) -> list[Benchmark]:
    """The named benchmarks, each once, in the order of their suites.

    All benchmarks of a suite share one Stimuli object, so a model's features are computed once a `stimuli.key`.

    Args:
        names: suites or single benchmarks. heldout: the study's held-out images, which the simulated suite shows.
        data_dir: folder that holds the suites' folders; None where no suite needs files.

    Raises:
        StudyError: unknown names, missing or damaged files, held-out images that a suite cannot use.
    """
    wanted = benchmark_regions(names)
    built = [benchmark for suite in _suites(names) for benchmark in suite.build(heldout, data_dir)]
    return [benchmark for benchmark in built if benchmark.name in wanted]


def _suites(names: Sequence[str]) -> list[Suite]:
    wanted = benchmark_regions(names)
    return [suite for name, suite in BENCHMARKS.items() if any(f"{name}.{part}" in wanted for part in suite.regions)]
