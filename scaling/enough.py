"""Does a study know enough to end? Feeds `analysis.stopping` from a study's grid, its records and scores."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from scaling.alignment.suites.registry import benchmark_regions
from scaling.errors import StudyError, known_names
from scaling.frames import objective_labels
from scaling.layout import STOP_FILE
from scaling.open_work import Enough, OpenWork
from scaling.specs.objective import objective_spec
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec
from scaling.storage import Storage

if TYPE_CHECKING:
    import pandas as pd

    from analysis.stopping.course import Course, FrameOf
    from analysis.stopping.rule import Look

ACCURACY, SIMULATED = "accuracy", "simulated"  # as regions of the analysis
LEAST_DISTINCT = 3  # sizes, and amounts of data, that a law of N and D needs


class RunSize(NamedTuple):
    """N, D and C of a run that is trained to its end."""

    n_params: int
    samples_seen: int
    flops: float


def check_stop(spec: StudySpec, runs: Sequence[RunSpec], where: str) -> None:
    """Refuse a stop that asks for what the study cannot tell.

    Raises:
        StudyError: a region that no benchmark is of, a family that no model is of.
    """
    if spec.stop is None:
        return
    regions = stop_regions(spec)
    if spec.stop.recipe not in regions:
        raise StudyError(
            f"stop.recipe='{spec.stop.recipe}' is no region of the study's benchmarks ({where}); "
            f"{known_names(spec.stop.recipe, regions)}"
        )
    families = list(dict.fromkeys(family_names(runs).values()))
    if spec.stop.family is not None and spec.stop.family not in families:
        raise StudyError(
            f"stop.family='{spec.stop.family}' is no family of the study ({where}); "
            f"{known_names(spec.stop.family, families)}"
        )


def stop_regions(spec: StudySpec) -> list[str]:
    """What may be asked: accuracy, and the regions as the analysis names them (simulated ones apart, if mixed)."""
    simulated: dict[str, set[bool]] = {}
    for name, region in benchmark_regions(spec.benchmarks).items():
        simulated.setdefault(region, set()).add(SIMULATED in name.lower())
    both = [f"{SIMULATED} {region}" for region, kinds in simulated.items() if len(kinds) == 2]
    return [ACCURACY, *simulated, *both]


def family_names(runs: Sequence[RunSpec]) -> dict[str, str]:
    """run_id -> its family as the analysis names it: objectives of a study are families of their own."""
    labels = objective_labels(objective_spec(run.objective) for run in runs)
    if len(set(labels.values())) < 2:
        return {run.run_id: run.model.family_name for run in runs}
    return {run.run_id: f"{run.model.family_name} {labels[objective_spec(run.objective)]}" for run in runs}


def build_course(
    spec: StudySpec, runs: Sequence[RunSpec], sizes: Mapping[str, RunSize], frame_of: FrameOf,
    memo: MutableMapping[str, Look],
) -> Course:  # fmt: skip
    """The course of a study with a `stop`.

    Args:
        sizes: of every run of the grid.
        frame_of: run_ids -> the study's frame of those runs, or None.
    """
    from analysis.stopping.course import Course
    from analysis.stopping.delta import Candidate
    from analysis.stopping.rule import StopRule

    stop, names = spec.stop, family_names(runs)
    assert stop is not None
    candidates = [Candidate(run.run_id, names[run.run_id], _configuration(run), *sizes[run.run_id]) for run in runs]
    asked = [stop.family] if stop.family is not None else list(dict.fromkeys(names.values()))
    rule = StopRule(
        stop.recipe, stop.budget, stop.factor, {name: _splits(name, candidates) for name in asked},
        stop.order, stop.round, stop.run_flops,
    )  # fmt: skip

    def named_frame(ids: Collection[str]) -> pd.DataFrame | None:
        frame = frame_of(ids)
        if frame is None:
            return None
        return frame.assign(family=frame["run_id"].map(names)).drop(columns="objective", errors="ignore")

    return Course(rule, candidates, named_frame, memo)


def _splits(family: str, candidates: Sequence[Any]) -> bool:
    """Whether a family's grid can hold a law of N and D."""
    own = [c for c in candidates if c.family == family]
    return all(len({getattr(c, axis) for c in own}) >= LEAST_DISTINCT for axis in ("n_params", "samples_seen"))


def _configuration(run: RunSpec) -> str:
    """What the seeds of a configuration share."""
    return run.model_copy(update={"seed": 0}).run_id


def shortened(work: OpenWork, course: Course, sizes: Mapping[str, RunSize], ended: Collection[str]) -> OpenWork:
    """Open work without what `stop` leaves out, once it is enough; runs that failed are open, and tell nothing yet.

    Args:
        ended: ids of the runs that have a record.
    """
    unscored = {run_id for run_id, _ in work.score} - {run.run_id for run in work.train}
    course.advance(lambda run_id: run_id in ended and run_id not in unscored)
    if not course.enough:
        return work
    beyond = {c.run_id for c in course.beyond()}
    left = sorted((run for run in work.train if run.run_id in beyond), key=lambda run: sizes[run.run_id].flops)
    out = {run.run_id: sizes[run.run_id].flops for run in left}
    share = sum(out.values()) / sum(size.flops for size in sizes.values())
    return replace(
        work,
        train=tuple(run for run in work.train if run.run_id not in out),
        score={place: names for place, names in work.score.items() if place[0] not in out},
        prune=frozenset(place for place in work.prune if place[0] not in out),  # nor are their weights touched
        enough=Enough(course.text(), tuple((run, out[run.run_id]) for run in left), share, work),
    )


def write_sizes(storage: Storage, sizes: Mapping[str, RunSize]) -> None:
    """Keep what the order of the runs rests on, so that `scaling status` needs no images."""
    storage.write_bytes(STOP_FILE, json.dumps({run_id: list(size) for run_id, size in sizes.items()}).encode())


def read_sizes(storage: Storage) -> dict[str, RunSize]:
    """What `write_sizes` kept; nothing where the file is missing or damaged: the next `scaling run` writes it anew."""
    if not storage.exists(STOP_FILE):
        return {}
    try:
        found = json.loads(storage.read_bytes(STOP_FILE))
        return {str(run_id): RunSize(int(N), int(D), float(C)) for run_id, (N, D, C) in found.items()}
    except (ValueError, TypeError, AttributeError):
        return {}
