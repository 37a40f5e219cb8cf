"""What a study was to cost and has cost: C of its runs, as far as its own records tell it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from jobs.watch.live import LiveRun
from scaling.models.cost import training_flops
from scaling.records import RunRecord
from scaling.specs.objective import objective_spec
from scaling.specs.run import RunSpec


@dataclass(frozen=True)
class Size:
    """N, samples seen and C of a run at its end; None: no run has told it yet."""

    n_params: int | None
    samples_seen: int | None
    flops: float | None


@dataclass(frozen=True)
class Spending:
    """FLOP: planned of all runs whose C is known, spent so far; n_unknown: runs whose C no record tells yet."""

    planned: float
    spent: float
    n_unknown: int


def run_sizes(
    runs: Sequence[RunSpec], records: Mapping[str, RunRecord], live: Mapping[str, LiveRun]
) -> dict[str, Size]:
    """Every run's size by run_id, from runs of the same model and of the same images that have told theirs.

    C = passes . flops_per_image . n_samples . epochs; flops_per_image is the model's, n_samples the images'.
    """
    params: dict[Hashable, int] = {}
    flops: dict[Hashable, float] = {}
    images: dict[Hashable, int] = {}
    for run in runs:
        record = records.get(run.run_id)
        if record is not None and record.n_params is not None and record.flops_per_image is not None:
            params[_model(run)], flops[_model(run)] = record.n_params, record.flops_per_image
        if record is not None and record.n_samples is not None:
            images[_images(run)] = record.n_samples
        _learn(run, live.get(run.run_id), flops, images)
    return {run.run_id: _size(run, params, flops, images) for run in runs}


def _learn(run: RunSpec, live: LiveRun | None, flops: dict[Hashable, float], images: dict[Hashable, int]) -> None:
    """What a run's first whole epoch tells."""
    last = live.history[-1] if live is not None and live.history else None
    if last is None or not last.epoch:
        return
    images.setdefault(_images(run), last.samples_seen // last.epoch)
    flops.setdefault(_model(run), last.flops / last.samples_seen / objective_spec(run.objective).passes)


def _size(
    run: RunSpec, params: Mapping[Hashable, int], flops: Mapping[Hashable, float], images: Mapping[Hashable, int]
) -> Size:
    n_samples, each = images.get(_images(run)), flops.get(_model(run))
    seen = None if n_samples is None else n_samples * run.training.epochs
    known = seen is not None and each is not None
    cost = training_flops(each, seen, objective_spec(run.objective).passes) if known else None  # type: ignore[arg-type]
    return Size(params.get(_model(run)), seen, cost)


def _model(run: RunSpec) -> Hashable:
    return run.model.model_dump_json()


def _images(run: RunSpec) -> Hashable:
    return run.dataset.model_dump_json(), run.images_per_class, bool(run.validation)


def spending(
    runs: Sequence[RunSpec], sizes: Mapping[str, Size], records: Mapping[str, RunRecord], live: Mapping[str, LiveRun]
) -> Spending:
    """Planned and spent; a run that is trained again counts what it spends now."""
    known = [size.flops for size in sizes.values() if size.flops is not None]
    return Spending(sum(known), sum(_spent(run, records, live) for run in runs), len(sizes) - len(known))


def _spent(run: RunSpec, records: Mapping[str, RunRecord], live: Mapping[str, LiveRun]) -> float:
    going = live.get(run.run_id)
    if going is not None and going.history:
        return going.history[-1].flops
    record = records.get(run.run_id)
    if record is None:
        return 0.0
    return (record.flops if record.flops_spent is None else record.flops_spent) or 0.0
