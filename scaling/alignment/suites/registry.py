"""Suites of benchmarks by name, and the checks that a study makes before anything starts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from scaling.alignment.pooled import AnyBenchmark
from scaling.alignment.regions import REGIONS, SALIENCY
from scaling.alignment.suites import cowley as suite_cowley
from scaling.alignment.suites import human_alignment, human_imaging, odd_one_out, people, simulated
from scaling.alignment.suites import split_sets as suite_split_sets
from scaling.alignment.suites.about import ABOUT
from scaling.alignment.suites.file import build_recording, check_recording, own_metric, read_own_header
from scaling.alignment.suites.human_alignment import MappedStimuli
from scaling.alignment.suites.recordings import (
    KRIEGESKORTE,
    build_kriegeskorte,
    build_neural,
    build_rajalingham,
    other_kinds,
)
from scaling.alignment.suites.suite import Shown, Suite
from scaling.data.recordings import (
    brainscore,
    cichy,
    cifar10h,
    cowley,
    geirhos,
    geirhos2021,
    hebart,
    henaff,
    kriegeskorte,
    split_sets,
)
from scaling.data.recordings.recording import Header
from scaling.data.recordings.stimuli import Stimuli
from scaling.data.recordings.visual_angle import MODEL_DEGREES
from scaling.errors import StudyError, known_names

FILE = "file:"  # before the path of anyone's own recording


def _own_suite(path: Path, header: Header) -> Suite:
    return Suite(
        regions={region: region for region in header.regions},
        build=lambda shown: build_recording(path, shown.model_degrees),
        check=lambda data_dir: check_recording(path),
        ceilings="bound" if header.is_maps else "correlation",
        of_units=header.has_subjects,
        placed=True,
        mapped=dict.fromkeys(header.regions, own_metric(header)),
    )


def _published(name: str) -> Suite:
    regions = brainscore.PUBLISHED[name].selection.regions
    return Suite(
        regions={region: region for region in regions},
        build=lambda shown: build_neural(name, shown),
        check=lambda data_dir: brainscore.check_published(name, data_dir),
        ceilings="reliability",
        placed=True,
        about=ABOUT[name],
        mapped=dict.fromkeys(regions, "pls"),
    )


def _split(name: str) -> Suite:
    return Suite(
        regions={region: region for region in split_sets.SETS[name].regions},
        build=lambda shown: suite_split_sets.build_split_set(name, shown),
        check=lambda data_dir: split_sets.read_split_set(name, data_dir, MODEL_DEGREES),
        ceilings="reliability",
        of_units=True,
        placed=True,
        about=ABOUT[name],
    )


def _human(name: str) -> Suite:
    return Suite(
        regions=dict.fromkeys(human_alignment.REDUCTIONS, SALIENCY),
        build=lambda shown: human_alignment.build_human(name, shown.heldout, shown.mapped),
        check=lambda data_dir: None,
        ceilings="bound",
        about=ABOUT[name],
    )


BENCHMARKS: dict[str, Suite] = {
    simulated.SUITE: Suite(
        about=ABOUT[simulated.SUITE],
        regions={region: region for region in REGIONS},
        build=lambda shown: simulated.build_simulated(shown.heldout),
        check=lambda data_dir: None,
        mapped=dict.fromkeys(REGIONS[:4], "ridge"),
    ),
    kriegeskorte.NAME: Suite(
        about=ABOUT[kriegeskorte.NAME],
        regions=KRIEGESKORTE,
        further=other_kinds(KRIEGESKORTE),
        build=lambda shown: build_kriegeskorte(shown.data_dir),
        check=kriegeskorte.load_kriegeskorte,
    ),
    cowley.NAME: Suite(
        about=ABOUT[cowley.NAME],
        regions=suite_cowley.PARTS,
        build=suite_cowley.build_cowley,
        check=lambda data_dir: [cowley.read_session(name, data_dir) for name in cowley.SESSIONS],
        of_units=True,
    ),
    henaff.NAME: Suite(
        about=ABOUT[henaff.NAME],
        regions={"V1": "V1"},
        build=human_imaging.build_henaff,
        check=henaff.read_henaff,
        of_units=True,
    ),
    cichy.NAME: Suite(
        about=ABOUT[cichy.NAME],
        regions={"EVC": "EVC", "IT": "IT"},
        build=human_imaging.build_cichy,
        check=human_imaging.check_cichy,
    ),
    cifar10h.NAME: Suite(
        about=ABOUT[cifar10h.NAME],
        regions=dict.fromkeys(people.CIFAR10H, "behavior"),
        build=people.build_cifar10h,
        check=cifar10h.read_cifar10h,
        ceilings="bound",
    ),
    geirhos.NAME: Suite(
        about=ABOUT[geirhos.NAME],
        regions=dict.fromkeys(people.GEIRHOS, "behavior"),
        build=people.build_geirhos,
        check=people.check_geirhos,
        ceilings="bound",
    ),
    geirhos2021.NAME: Suite(
        about=ABOUT[geirhos2021.NAME],
        regions=dict.fromkeys(geirhos2021.SETS, "behavior"),
        build=people.build_geirhos2021,
        check=people.check_geirhos2021,
        ceilings="bound",
        placed=True,
    ),
    hebart.NAME: Suite(
        about=ABOUT[hebart.NAME],
        regions={odd_one_out.MATCH: "behavior"},
        build=odd_one_out.build_hebart,
        check=lambda data_dir: hebart.read_hebart(data_dir, MODEL_DEGREES),
        ceilings="bound",
        placed=True,
    ),
    **{name: _split(name) for name in split_sets.SETS},
    brainscore.MAJAJHONG: _published(brainscore.MAJAJHONG),
    brainscore.FREEMANZIEMBA: _published(brainscore.FREEMANZIEMBA),
    brainscore.RAJALINGHAM: Suite(
        about=ABOUT[brainscore.RAJALINGHAM],
        regions={"i2n": "behavior"},
        further={"i1": "behavior", "i2": "behavior"},
        build=build_rajalingham,
        check=lambda data_dir: brainscore.check_published(brainscore.RAJALINGHAM, data_dir),
        placed=True,
    ),
    human_alignment.SUITE: _human(human_alignment.SUITE),
    human_alignment.SIMULATED_SUITE: _human(human_alignment.SIMULATED_SUITE),
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


def benchmark_suites(names: Sequence[str]) -> dict[str, Suite]:
    """Full benchmark name → its suite; raises as `benchmark_regions`."""
    known, _ = _with_files(names)
    of = {f"{suite}.{part}": s for suite, s in known.items() for part in (*s.regions, *s.further)}
    return {name: of[name] for name in benchmark_regions(names)}


def file_benchmarks(names: Sequence[str]) -> dict[str, Path]:
    """Full benchmark name → the file that holds it, of the files among the names; raises as `benchmark_regions`."""
    headers = {path: read_own_header(path) for path in own_files(names)}
    return {f"{header.name}.{region}": path for path, header in headers.items() for region in header.regions}


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
    classes: tuple[str, ...] = (),
) -> list[AnyBenchmark]:
    """The named benchmarks, each once, in the order of their suites.

    All benchmarks of a suite share one Stimuli object, so a model's features are computed once a `stimuli.key`.

    Args:
        names: suites, single benchmarks or files. heldout: the study's held-out images, which the simulated suite
            shows. data_dir: folder that holds the suites' folders; None where no suite needs files. model_degrees:
            visual angle that a model's input spans, in which stimuli of a known size are placed. mapped: held-out
            images with importance maps, which human alignment compares saliency with. classes: names by label of the
            classes that models are trained on.

    Raises:
        StudyError: unknown names, missing or damaged files, held-out images that a suite cannot use.
    """
    suites, wanted = _named(names)
    shown = Shown(heldout, data_dir, model_degrees, mapped, classes)
    built = [benchmark for suite in suites for benchmark in suite.build(shown)]
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
    wanted = {full: region for full, region in regions.items() if full in asked or _by_suite(full, asked, known)}
    suites = [s for name, s in known.items() if any(f"{name}.{part}" in wanted for part in (*s.regions, *s.further))]
    return suites, wanted


def _by_suite(full: str, asked: Sequence[str], known: Mapping[str, Suite]) -> bool:
    """Whether a benchmark is named by its suite, which its further ones are not."""
    suite, _, part = full.rpartition(".")
    return suite in asked and part in known[suite].regions


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
    parts = {suite: {**s.regions, **s.further} for suite, s in suites.items()}
    return {f"{suite}.{part}": region for suite, own in parts.items() for part, region in own.items()}
