"""What is searched before a study is trained: cells, the trials of each, and their share of the grid's FLOP."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scaling.data.portions import ImageCounts
from scaling.errors import StudyError
from scaling.probes.cells import Cell, grid_cells, grid_flops
from scaling.probes.design import cheapest, choose_cells
from scaling.rates import with_fields
from scaling.specs.objective import objective_spec
from scaling.specs.run import RunSpec, check_batches
from scaling.specs.study import StudySpec
from scaling.specs.tune import LEAST_TRIALS, LR, MOST_PROBED, TuneSpec
from scaling.verify.trials import fresh_seed

ALIKE = 1.05  # costs of cells that one budget gives: whole images miss it by up to 1 %


@dataclass(frozen=True)
class ProbePlan:
    """grid: all its cells; searched: those that are probed; runs: cell -> its trials, in the order of their start.

    flops: of all trials, as if none were cut and no image held out: more than they can take. seed: the trials'.
    """

    grid: tuple[Cell, ...]
    searched: tuple[Cell, ...]
    runs: dict[str, tuple[RunSpec, ...]]
    flops: float
    seed: int

    @property
    def share(self) -> float:
        """Of the grid's FLOP."""
        return self.flops / grid_flops(self.grid)

    @property
    def all_runs(self) -> tuple[RunSpec, ...]:
        return tuple(run for runs in self.runs.values() for run in runs)


def plan_probes(spec: StudySpec, runs: Sequence[RunSpec], counts: ImageCounts) -> ProbePlan:
    """The probes of a study with a `tune`; a function of its file and images alone.

    Args:
        runs: of the grid, untuned.

    Raises:
        StudyError: even the cheapest probes exceed the share, or one cannot be trained.
    """
    tune = spec.tune
    assert tune is not None
    cells, seed = grid_cells(runs, tune, counts), fresh_seed(spec.seeds, spec.dataset.name)
    for cell in cells:
        _check_start(cell.run)
    chosen = {cell.key for cell in (cells if tune.how == "each" else _probed(cells, tune))}
    searched = tuple(cell for cell in cells if cell.key in chosen)
    trials = {
        cell.key: _trials(cell.run, tune.of(cell.run.model.family), seed, f"{spec.name}.probes") for cell in searched
    }
    flops = tune.trials * sum(cell.flops for cell in searched)
    found = ProbePlan(cells, searched, trials, flops, seed)
    _check_share(found, spec, tune)
    for cell in searched:
        _check_images(trials[cell.key][0], cell, counts, tune.validation)
    return found


def trial_points(tune: TuneSpec) -> list[dict[str, float]]:
    """The fields of a cell's trials, in the order of their start.

    lr on an even grid of its range, from coarse to fine: the middle, then halves, quarters, …, so that a cell's first
    trials set a bar that is worth something. Further fields by a scrambled Halton sequence, a coordinate each.
    """
    n, others = tune.trials, [name for name in tune.fields if name != LR]
    points = [{LR: tune.fields[LR].at(place / (n - 1))} for place in coarse_to_fine(n)]
    if not others:
        return points
    from scipy.stats.qmc import Halton

    drawn = Halton(len(others), scramble=True, seed=tune.seed).random(n)
    for point, shares in zip(points, drawn, strict=True):
        point |= {name: tune.fields[name].at(float(share)) for name, share in zip(others, shares, strict=True)}
    return points


def coarse_to_fine(n: int) -> list[int]:
    """0 … n - 1, the middle first, then the middles of what is left on both sides, and so on."""
    order, spans = list[int](), [(0, n)]
    while spans:
        order += [(low + high) // 2 for low, high in spans]
        halves = [half for low, high in spans for half in ((low, (low + high) // 2), ((low + high) // 2 + 1, high))]
        spans = [(low, high) for low, high in halves if low < high]
    return order


def _probed(cells: Sequence[Cell], tune: TuneSpec) -> list[Cell]:
    """Cells of each family, for its own grid's share."""
    found = list[Cell]()
    for group in dict.fromkeys(cell.group for cell in cells):
        own = [cell for cell in cells if cell.group == group]
        found += choose_cells(own, tune.share * grid_flops(own), tune.trials)
    return found


def _trials(run: RunSpec, tune: TuneSpec, seed: int, study: str) -> tuple[RunSpec, ...]:
    """Probes keep no weights and are scored on nothing."""
    own = run.model_copy(update={
        "study": study, "seed": seed, "validation": tune.validation, "keep_epochs": (), "score_epochs": (),
    })  # fmt: skip
    return tuple(with_fields(own, point) for point in trial_points(tune))


def _check_share(plan: ProbePlan, spec: StudySpec, tune: TuneSpec) -> None:
    if plan.share <= tune.share * (1 + 1e-9):
        return
    numbers = (
        f"{len(plan.all_runs)} probes in {len(plan.searched)} cells would take {plan.flops:.3g} FLOP, {plan.share:.3g} "
        f"of the grid's {grid_flops(plan.grid):.3g}, above tune.share={tune.share:g}"
    )
    if tune.asks_for_share:
        what = ", which how: each exceeds by its nature"
        remedies = [f"write share: {_up(plan.share):g} if you mean it"]
    else:
        what, remedies = _ways_out(plan, spec, tune)
    raise StudyError(f"{numbers}{what} (study '{spec.name}', tune); {', or '.join(remedies)}")


def _ways_out(plan: ProbePlan, spec: StudySpec, tune: TuneSpec) -> tuple[str, list[str]]:
    """Why the probes are dear, and what makes them fit: nothing that would be refused again."""
    family, cheap = _dearest(plan.grid, tune.trials)
    each = tune.how == "each"
    share = plan.share if each else cheap
    found = [f"raise tune.share to {_up(share):g}"] if each or _up(share) <= MOST_PROBED else []
    trials = int(tune.trials * tune.share / share * (1 + 1e-9))
    if trials >= LEAST_TRIALS:
        found.append(f"lower tune.trials from {tune.trials} to {trials}")
    if each and _up(cheap) <= MOST_PROBED:
        found.append(f"search cheap cells alone (how: probe, share: {max(_up(cheap), min(tune.share, MOST_PROBED)):g})")
    seeds = math.ceil(len(spec.seeds) * share / tune.share * (1 - 1e-9))
    found.append(f"train the grid with {seeds} seeds in place of {len(spec.seeds)}")
    if each:
        return "", found
    costs = [cell.flops for cell in plan.grid if cell.group == family]
    alike = max(costs) <= min(costs) * ALIKE
    if not alike:
        found.append("add larger models or more data to the grid")
    why = "all cells cost alike, and none is cheap" if alike else f"they take {cheap:.3g} of its own"
    return f", as the cheapest cells of {family}: {why}", found


def _dearest(cells: Sequence[Cell], trials: int) -> tuple[str, float]:
    """The family whose cheapest probes take the largest share of its own grid, and that share."""
    shares = {}
    for group in dict.fromkeys(cell.group for cell in cells):
        own = [cell for cell in cells if cell.group == group]
        shares[group] = trials * sum(cell.flops for cell in cheapest(own)) / grid_flops(own)
    return max(shares.items(), key=lambda item: item[1])


def _up(share: float) -> float:
    """Two significant digits, and no less."""
    step = 10.0 ** (math.floor(math.log10(share)) - 1)
    return float(f"{math.ceil(share / step * (1 - 1e-9)) * step:.2g}")


def _check_images(run: RunSpec, cell: Cell, counts: ImageCounts, share: float) -> None:
    """Whole batches of what is trained on. Raises: StudyError."""
    a_class = run.images_per_class or counts.least
    held = max(1, int(share * a_class + 0.5))
    n = cell.samples_seen // run.training.epochs
    where = f"a probe, which holds out {held} images a class; tune.validation={share:g}"
    if a_class <= held:
        raise StudyError(
            f"{a_class} images a class leave none to train on ({run.label()}; {where}); raise the data size"
        )
    check_batches(run, n - held * counts.n_classes if run.images_per_class else round(n * (1 - share)), where)


def _check_start(run: RunSpec) -> None:
    start = getattr(objective_spec(run.objective), "start_from", None)
    if start:
        raise StudyError(
            f"objective.start_from='{start}' has no weights for probes, which have a seed of their own (tune); tune a "
            "study that trains from random weights"
        )
