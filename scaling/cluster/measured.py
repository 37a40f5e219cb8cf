"""What runs take, in seconds: their expected cost, corrected by what runs of their shape were measured to take."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from statistics import median

from scaling.models.cost import LEAST_FLOPS, training_flops
from scaling.records import EpochRecord, RunRecord
from scaling.specs.objective import objective_spec
from scaling.specs.run import RunSpec


def own_images(run: RunSpec, n_samples: int) -> int:
    """Images that a run on `n_samples` unique ones sees, but for those that its trunk sees for it."""
    return run.training.epochs * n_samples - run.shared_samples(n_samples)


def recorded_cost(run: RunSpec, record: RunRecord) -> float:
    """`expected_cost` of a run that has ended, by its record alone; 0 where that does not hold it."""
    if not record.flops_per_image or not record.samples_seen:
        return 0.0
    spent = 1.0 if record.flops_spent is None or not record.flops else record.flops_spent / record.flops
    passes = objective_spec(run.objective).passes
    return training_flops(max(record.flops_per_image, LEAST_FLOPS), record.samples_seen, passes) * spent


class MeasuredCost(Mapping[str, float]):
    """run_id -> expected seconds: expected cost x the seconds that a unit of it took in runs of the same shape.

    A shape is a model at an image size with an objective on its resources. Where nothing was measured of a shape, the
    median of its family's shapes counts, or else of all; where nothing was measured at all, cost keeps its own unit.

    Args:
        cost: by run_id, see `expected_cost`. images: by run_id, see `own_images`.
    """

    def __init__(self, runs: Iterable[RunSpec], cost: Mapping[str, float], images: Mapping[str, int]) -> None:
        self._runs = {run.run_id: run for run in runs}
        self._cost, self._images = cost, images
        self._measured: dict[Hashable, tuple[float, float]] = {}  # shape -> seconds, and the cost that took them
        self._begun: dict[Hashable, tuple[float, float]] = {}  # likewise, by first steps
        self._stored: dict[Hashable, tuple[float, float]] = {}  # and by runs that ended before

    def __getitem__(self, run_id: str) -> float:
        return self._cost[run_id] * self._factor(self._runs[run_id])

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def on_gpus(self) -> bool:
        """Whether any of the runs asks for GPUs."""
        return any(run.resources.gpus for run in self._runs.values())

    @property
    def in_seconds(self) -> bool:
        """Whether anything was measured."""
        return bool(self._stored or self._begun or self._measured)

    def learn_epoch(self, run: RunSpec, epoch: EpochRecord) -> None:
        """An epoch of one of the runs has ended."""
        if epoch.images_per_s is not None:
            share = epoch.images_per_s * epoch.epoch_s / self._images[run.run_id]
            _add(self._measured, run, self._cost[run.run_id] * share, epoch.epoch_s)

    def learn_steps(self, run: RunSpec, images: float, seconds: float) -> None:
        """A run took so long for its first images; an epoch of its shape takes the place of it."""
        self._begun.pop(cost_shape(run), None)
        _add(self._begun, run, self._cost[run.run_id] * images / self._images[run.run_id], seconds)

    def learn_stored(self, run: RunSpec, seconds: float, cost: float) -> None:
        """A run of that cost took so long before; what is measured of its shape now takes the place of it."""
        _add(self._stored, run, cost, seconds)

    def _factor(self, run: RunSpec) -> float:
        shape = cost_shape(run)
        for measured in (self._measured, self._begun, self._stored):
            if shape in measured:
                return measured[shape][0] / measured[shape][1]
        known = {other: took / cost for other, (took, cost) in (self._stored | self._begun | self._measured).items()}
        family = [factor for other, factor in known.items() if other[0] == shape[0]]  # type: ignore[index]
        return median(family or known.values() or [1.0])


def _add(known: dict[Hashable, tuple[float, float]], run: RunSpec, cost: float, seconds: float) -> None:
    if cost > 0 and seconds > 0:
        before = known.get(cost_shape(run), (0.0, 0.0))
        known[cost_shape(run)] = (before[0] + seconds, before[1] + cost)


def cost_shape(run: RunSpec) -> tuple[str, str, str, int | None, str]:
    """What runs have in common whose measured time is one factor of their expected cost. Family first."""
    model, objective = run.model, objective_spec(run.objective).name
    return model.family_name, model.label(), objective, run.dataset.image_size, run.resources.model_dump_json()
