"""An assembly whose neuroids name their subjects, as a benchmark that is scored subject by subject."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scaling.alignment.benchmark import Benchmark
from scaling.alignment.metrics.ceilings import Convention
from scaling.alignment.metrics.results import CeilingKind, Index
from scaling.alignment.metrics.subjects import SubjectAssembly
from scaling.alignment.pooled import PooledBenchmark
from scaling.data.recordings.assemblies import Assembly
from scaling.data.recordings.stimuli import StimulusFiles, StimulusSet
from scaling.errors import StudyError

SIDES = {"train", "test"}
ALONE = "subject"  # the name of the subject where a recording names none


def subjects_benchmark(
    assembly: Assembly, stimuli: StimulusSet, metric: str, note: str = "", ceiled: Convention = "r/c"
) -> PooledBenchmark:
    """One part a subject; ceilings as given, else by halves of the repetitions of the scored stimuli, else none.

    Raises:
        StudyError: a subject without a name, sides of the split that are neither train nor test, a group on both, too
            few stimuli or groups; as `Benchmark`.
    """
    names = np.full(len(assembly.neuroid_ids), ALONE) if assembly.subject is None else assembly.subject.astype(str)
    without = sum(not name.strip() for name in names)
    if without:
        raise StudyError(f"{assembly.name}: {without} neuroids without a subject; name each one's")
    _check_images(assembly, stimuli)
    kind = _ceiling_kind(assembly)
    parts = [
        Benchmark(
            assembly.name, assembly.region, metric, stimuli, _of_subject(assembly, name, names == name, kind), kind,
            ceiled, part=name, note=note,
        )
        for name in dict.fromkeys(names.tolist())
    ]  # fmt: skip
    for part in parts:  # what folds would refuse is refused here
        for split in part.assembly.splits:
            part.assembly.inner(split.train)
    return PooledBenchmark(tuple(parts))


def _ceiling_kind(assembly: Assembly) -> CeilingKind:
    if assembly.ceiling is not None:
        return "published"
    return "split_half" if len(assembly.repetitions) > 1 else "none"


def _of_subject(assembly: Assembly, name: str, columns: NDArray[np.bool_], kind: CeilingKind) -> SubjectAssembly:
    test = held_out_stimuli(assembly)
    responses = assembly.responses[:, :, columns]
    scored = responses if test is None else responses[:, test]
    return SubjectAssembly(
        subject=name,
        responses=assembly.mean()[:, columns],
        repetitions=scored if kind == "split_half" else None,
        test=test,
        groups=assembly.group,
        ceilings=None if assembly.ceiling is None else np.asarray(assembly.ceiling, dtype=np.float64)[columns],
    )


def held_out_stimuli(assembly: Assembly) -> Index | None:
    """Positions of the stimuli that are held out, or None."""
    if assembly.split is None:
        return None
    sides = assembly.split.astype(str)
    unknown = sorted(set(sides.tolist()) - SIDES)
    if unknown:
        raise StudyError(f"{assembly.name}: split {unknown[0]!r} is neither train nor test; write one a stimulus")
    return np.flatnonzero(sides == "test")


def _check_images(assembly: Assembly, stimuli: StimulusSet) -> None:
    """Refuse a split that shows an image on both sides, under two ids."""
    test = held_out_stimuli(assembly)
    if test is None or not isinstance(stimuli, StimulusFiles):
        return
    files = np.array(stimuli.filenames)
    shared = np.intersect1d(files[test], np.delete(files, test))
    if len(shared):
        raise StudyError(
            f"{assembly.name}: {len(shared)} images are on both sides of the split, first {shared[0]}; "
            "put each on one side"
        )
