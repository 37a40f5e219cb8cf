"""Suites of benchmarks by name, and the checks that a study makes before anything starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scaling.alignment import human, simulated
from scaling.alignment.behavior import Trials
from scaling.alignment.benchmark import REGIONS, SALIENCY, Benchmark
from scaling.alignment.human import MappedStimuli
from scaling.alignment.own import build_recording, read_own_header
from scaling.data import brainscore, kriegeskorte
from scaling.data.placement import MODEL_DEGREES
from scaling.data.recordings import Header
from scaling.data.stimuli import Stimuli
from scaling.errors import StudyError, known_names

FILE = "file:"  # before the path of anyone's own recording


class Setting(NamedTuple):
    """What a study shows: its held-out images, its data directory, the visual angle that a model's input spans.

    mapped: the held-out images that have importance maps, and the maps; None: no image has one.
    """

    heldout: Stimuli
    data_dir: Path | None
    model_degrees: float = MODEL_DEGREES
    mapped: MappedStimuli | None = None


@dataclass(frozen=True)
class Suite:
    """Benchmarks that share their stimuli.

    Attributes:
        regions: benchmark → region, in the order that `build` returns them; the benchmark is named 'suite.benchmark'.
        build: setting of the study → benchmarks.
        check: data directory → None, or StudyError for files that are missing or wrong.
    """

    regions: dict[str, str]
    build: Callable[[Setting], list[Benchmark]]
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


def build_neural(name: str, setting: Setting) -> list[Benchmark]:
    """One region each of a data set that Brain-Score publishes, by PLS, ceiled as Brain-Score does since 2026.

    Raises:
        StudyError: as `brainscore.read_neural`.
    """
    stimuli, assemblies = brainscore.read_neural(name, setting.data_dir, setting.model_degrees)
    return [
        Benchmark(
            f"{name}.{assembly.region}", assembly.region, "pls", stimuli, assembly.responses, "brain_score", "r2/c",
            strata=None if assembly.strata is None else np.array(assembly.strata),
        )
        for assembly in assemblies
    ]  # fmt: skip


def build_rajalingham(setting: Setting) -> list[Benchmark]:
    """Consistency of a model's choices with people's (i2n), by a readout of the penultimate layer.

    As in Brain-Score's public benchmark, the readout is fitted on the images that are then shown. The score is
    raw / √(correlation between halves of the trials), its `r/c`.

    Raises:
        StudyError: as `brainscore.read_rajalingham`.
    """
    stimuli, trials = brainscore.read_rajalingham(setting.data_dir, setting.model_degrees)
    choices = Trials.of(trials.stimulus_id, trials.sample, trials.choice, trials.distractor, stimuli.ids)
    name = f"{brainscore.RAJALINGHAM}.i2n"
    return [Benchmark(name, "behavior", "i2n", stimuli, choices, "split_half", readout_only=True)]


def _own_suite(path: Path, header: Header) -> Suite:
    return Suite(
        regions={region: region for region in header.regions},
        build=lambda setting: build_recording(path, setting.model_degrees),
        check=lambda data_dir: build_recording(path),
    )


def _published(name: str) -> Suite:
    regions = brainscore.PUBLISHED[name].selection.regions
    return Suite(
        regions={region: region for region in regions},
        build=lambda setting: build_neural(name, setting),
        check=lambda data_dir: brainscore.check_published(name, data_dir),
    )


def _human(name: str) -> Suite:
    return Suite(
        regions=dict.fromkeys(human.REDUCTIONS, SALIENCY),
        build=lambda setting: human.build_human(name, setting.heldout, setting.mapped),
        check=lambda data_dir: None,
    )


BENCHMARKS: dict[str, Suite] = {
    simulated.SUITE: Suite(
        regions={region: region for region in REGIONS},
        build=lambda setting: simulated.build_simulated(setting.heldout),
        check=lambda data_dir: None,
    ),
    kriegeskorte.NAME: Suite(
        regions={"monkey-IT": "IT", "human-IT": "IT", "behavior": "behavior"},
        build=lambda setting: build_kriegeskorte(setting.data_dir),
        check=kriegeskorte.load_kriegeskorte,
    ),
    brainscore.MAJAJHONG: _published(brainscore.MAJAJHONG),
    brainscore.FREEMANZIEMBA: _published(brainscore.FREEMANZIEMBA),
    brainscore.RAJALINGHAM: Suite(
        regions={"i2n": "behavior"},
        build=build_rajalingham,
        check=lambda data_dir: brainscore.check_published(brainscore.RAJALINGHAM, data_dir),
    ),
    human.SUITE: _human(human.SUITE),
    human.SIMULATED_SUITE: _human(human.SIMULATED_SUITE),
}


def benchmark_regions(names: Sequence[str]) -> dict[str, str]:
    """Full benchmark name → region for suites ('kriegeskorte2008'), benchmarks ('kriegeskorte2008.human-IT') and files.

    'file:PATH' is anyone's own recording or spatial maps; PATH is absolute or relative to the working directory, `~` is
    the home folder. The recording's own name is the suite's: 'mine2026.IT'.

    In the order of the suites, files last; a benchmark that is named twice, or with its suite, appears once. Reads no
    data but the names in those files.

    Raises:
        StudyError: no names, or an unknown one; lists the known names, nearest first. A file that is missing or
            damaged, or whose name is taken.
    """
    return _named(names)[1]


def check_benchmark_names(names: Sequence[str]) -> None:
    """Refuse unknown benchmark names. Raises StudyError as `benchmark_regions`."""
    benchmark_regions(names)


def check_benchmark_data(names: Sequence[str], data_dir: Path | None) -> None:
    """Refuse benchmarks whose files are missing, unreadable or of the wrong size.

    A file of anyone's own is read as a whole: nobody has checked it before.

    Raises:
        StudyError: names the file, what is wrong with it and the remedy; also unknown benchmark names.
    """
    for suite in _named(names)[0]:
        suite.check(data_dir)


def build_benchmarks(
    names: Sequence[str],
    heldout: Stimuli,
    data_dir: Path | None = None,
    model_degrees: float = MODEL_DEGREES,
    mapped: MappedStimuli | None = None,
) -> list[Benchmark]:
    """The named benchmarks, each once, in the order of their suites.

    All benchmarks of a suite share one Stimuli object, so a model's features are computed once a `stimuli.key`.

    Args:
        names: suites, single benchmarks or files. heldout: the study's held-out images, which the simulated suite
            shows. data_dir: folder that holds the suites' folders; None where no suite needs files. model_degrees:
            visual angle that a model's input spans, in which stimuli of a known size are placed. mapped: held-out
            images with importance maps, which human alignment compares saliency with.

    Raises:
        StudyError: unknown names, missing or damaged files, held-out images that a suite cannot use.
    """
    suites, wanted = _named(names)
    setting = Setting(heldout, data_dir, model_degrees, mapped)
    built = [benchmark for suite in suites for benchmark in suite.build(setting)]
    return [benchmark for benchmark in built if benchmark.name in wanted]


def _named(names: Sequence[str]) -> tuple[list[Suite], dict[str, str]]:
    """The suites that hold what is named, and full name → region of what is named; see `benchmark_regions`."""
    if not names:
        raise StudyError(f"benchmarks is empty; name at least one of: {', '.join(BENCHMARKS)}, {FILE}PATH")
    known, asked = _with_files(names)
    regions = _full_names(known)
    for name in asked:
        if name not in known and name not in regions:
            raise StudyError(
                f"benchmark {name!r} is unknown; {known_names(name, [*known, *regions])}; or {FILE}PATH of your own"
            )
    wanted = {full: region for full, region in regions.items() if full in asked or full.rpartition(".")[0] in asked}
    return [suite for name, suite in known.items() if any(f"{name}.{part}" in wanted for part in suite.regions)], wanted


def _with_files(names: Sequence[str]) -> tuple[dict[str, Suite], list[str]]:
    """Every suite, those of the files among the names last; the names, files replaced by what they are called."""
    known, paths = dict(BENCHMARKS), dict[str, Path]()
    for path in own_files(names):
        header = read_own_header(path)
        if header.name in known or header.name in _full_names(known):
            raise StudyError(
                f"{path}: name {header.name!r} is also that of {paths.get(header.name, 'a published benchmark')}; "
                "give the recording another name"
            )
        known[header.name], paths[header.name] = _own_suite(path, header), path
    return known, [*(name for name in names if not name.startswith(FILE)), *paths]


def own_files(names: Sequence[str]) -> list[Path]:
    """The paths of the files among benchmark names, each once; absolute, as processes differ in working directory."""
    named = dict.fromkeys(name.removeprefix(FILE) for name in names if name.startswith(FILE))
    return list(dict.fromkeys(Path(os.path.abspath(os.path.expanduser(path))) for path in named))


def _full_names(suites: Mapping[str, Suite]) -> dict[str, str]:
    return {f"{suite}.{part}": region for suite, s in suites.items() for part, region in s.regions.items()}
