"""Anyone's own recordings and spatial maps as benchmarks, from files in our plain format."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from scaling.alignment.benchmark import Benchmark
from scaling.alignment.metrics.registry import METRICS, NeuroidMetric
from scaling.alignment.metrics.results import CeilingKind
from scaling.alignment.metrics.subjects import SubjectMetric
from scaling.alignment.pooled import AnyBenchmark, PooledBenchmark
from scaling.alignment.regions import check_region
from scaling.alignment.suites.by_subject import subjects_benchmark
from scaling.data.recordings import recording as recordings
from scaling.data.recordings import spatial_maps as maps
from scaling.data.recordings.assemblies import Assembly
from scaling.data.recordings.recording import Header
from scaling.data.recordings.visual_angle import MODEL_DEGREES
from scaling.errors import StudyError

RECORDING_METRICS = tuple(name for name, metric in METRICS.items() if isinstance(metric, NeuroidMetric))
SUBJECT_METRICS = (
    "ridge_units",
    *(name for name, metric in METRICS.items() if isinstance(metric, SubjectMetric) and name != "ridge_units"),
)
MAP_METRICS = ("spatial",)  # of each kind of file the first is the default

SHOWN_AT_ONCE = 32

_NAME = re.compile(r"\w[\w .-]*")  # of a recording: it becomes part of names in tables and in MLflow


def build_recording(path: Path, model_degrees: float = MODEL_DEGREES) -> Sequence[AnyBenchmark]:
    """Anyone's own recording, one benchmark a region; or spatial maps, one benchmark of metric 'spatial'.

    One with subjects, a split, groups or ceilings is scored by subject, see `pooled`, by ridge regression with one
    penalty for a subject's units. Another by PLS, or as its file says; the splits keep its labels in proportion. PLS
    and ridge are ceiled by √(split-half reliability), `r/c`, where there are two repetitions or more; maps by the
    highest correlation between two of their neuroids. The images are read where models are scored, so they have to be
    readable at the same path on every node of a cluster.

    Args:
        path: .nc or .npz; see `scaling.data.recordings`, `recording` and `spatial_maps`.
        model_degrees: visual angle that a model's
            input spans.

    Raises:
        StudyError: what `recordings.read_header`, `read_recording` and `read_maps` refuse; a name, region or metric
            that benchmarks do not have; too few stimuli for the metric; maps without a ceiling. Names the file.
    """
    with _naming(path):
        header = read_own_header(path)
        build = _build_maps if header.is_maps else _build_subjects if header.has_subjects else _build_regions
        return build(path, header, model_degrees)


def check_recording(path: Path) -> None:
    """Refuse before anything is trained what scoring would refuse of a file: as `build_recording`, every image shown.

    Raises:
        StudyError: also an image that cannot be decoded, or has not the size of the others. Names the file.
    """
    stimuli = build_recording(path)[0].parts[0].stimuli
    with _naming(path):
        for _ in stimuli.batches(SHOWN_AT_ONCE):
            pass


def read_own_header(path: Path) -> Header:
    """What a file is called; its responses are not read.

    Raises:
        StudyError: as `recordings.read_header`; a name, region or metric that benchmarks do not have. Names the file.
    """
    if not path.is_file():
        raise StudyError(
            f"{path} does not exist; give the path of a .nc or .npz, from the working directory or the root"
        )
    header = recordings.read_header(path)
    metrics = _metrics(header)
    for region in header.regions:
        check_region(region, str(path))
    for what, value, known in [("metric", own_metric(header), metrics)]:
        if value not in known:
            raise StudyError(f"{path}: {what} {value!r} is unknown; write one of {', '.join(known)}")
    if not _NAME.fullmatch(header.name):
        raise StudyError(
            f"{path}: name {header.name!r}; give letters, digits, '_', and from the second on also '-', '.' and spaces"
        )
    return header


def _build_regions(path: Path, header: Header, model_degrees: float) -> list[Benchmark]:
    metric = own_metric(header)
    stimuli, assemblies = recordings.read_recording(path, model_degrees)
    is_correlation = _predicts(metric)  # with a neuroid, whose reliability bounds it
    kind: CeilingKind = "split_half" if is_correlation and len(assemblies[0].repetitions) > 1 else "none"
    built = [
        Benchmark(
            assembly.name, assembly.region, metric, stimuli, assembly.responses, kind,
            strata=None if assembly.strata is None else np.array(assembly.strata), note=_note(assembly),
        )
        for assembly in assemblies
    ]  # fmt: skip
    _check_halves(built[0])
    return built


def _build_subjects(path: Path, header: Header, model_degrees: float) -> list[PooledBenchmark]:
    stimuli, assemblies = recordings.read_recording(path, model_degrees)
    metric = own_metric(header)
    return [subjects_benchmark(assembly, stimuli, metric, _note(assembly)) for assembly in assemblies]


def own_metric(header: Header) -> str:
    """What a file is scored by."""
    return header.metric or _metrics(header)[0]


def _predicts(metric: str) -> bool:
    """Whether a metric predicts neuroids, rather than comparing a layer with them or predicting it."""
    found = METRICS[metric]
    return isinstance(found, NeuroidMetric) and found.predict is not None


def _metrics(header: Header) -> tuple[str, ...]:
    """What a file may be scored by, the default first."""
    if header.is_maps:
        return MAP_METRICS
    return SUBJECT_METRICS if header.has_subjects else RECORDING_METRICS


def _note(assembly: Assembly) -> str:
    whole = assembly.n_dropped + len(assembly.neuroid_ids)
    return f"{assembly.n_dropped} of {whole} neuroids, without a response to every stimulus" * bool(assembly.n_dropped)


def _check_halves(benchmark: Benchmark) -> None:
    """Refuse before anything is trained what the metric's splits of half of the stimuli would refuse."""
    metric = METRICS[benchmark.metric]
    if isinstance(metric, NeuroidMetric) and metric.predict is not None:
        for half in benchmark.halves:
            try:
                metric.splits(len(half), None if benchmark.strata is None else benchmark.strata[half])
            except StudyError as error:
                raise StudyError(
                    f"{len(benchmark.stimuli)} stimuli; the layer is chosen on half of them, by {benchmark.metric}: "
                    f"{error}; or leave the labels out, or name another metric in the file"
                ) from error


def _build_maps(path: Path, header: Header, model_degrees: float) -> list[Benchmark]:
    stimuli, found = maps.read_maps(path, model_degrees)
    kind: CeilingKind = "neuroids" if len(found.neuroid_ids) > 1 else "none"
    benchmark = Benchmark(f"{header.name}.{found.region}", found.region, MAP_METRICS[0], stimuli, found.maps, kind)
    benchmark.ceiling(on_all=True)
    return [benchmark]


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Every refusal names the file, whichever part of it is wrong."""
    try:
        yield
    except StudyError as error:
        raise error if str(path) in str(error) else StudyError(f"{path}: {error}") from error
