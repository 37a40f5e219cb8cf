"""Law and noise from what was measured before: a pilot, or the study's own finished runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from analysis.columns import Array
from analysis.fit.cells import Cells, Codes, cells_of
from analysis.fit.fit import fit_spec
from analysis.fit.multistart import Task, solve_global
from analysis.fit.rows import Data, gather
from analysis.fit.spec import FitSpec
from analysis.power.assumed import AssumedLaw
from analysis.table import ScalingTable

AXES = ("n_params", "samples_seen")
LEAST = 7  # configurations: as many as the form needs, so that deviations from it say something
# Where the pilot's own form is not usable, exponents are held between these (assumption): those of the published
# regions lie between .08 and .75, see `prior`
LOWEST, HIGHEST = 0.05, 1.5
EVEN = 0.5  # share of the variance about the law that is the seeds', where no configuration has two (assumption)

PilotLaw = AssumedLaw | str  # a law, or why there is none


def pilot_laws(regions: Mapping[str, ScalingTable], name: str) -> dict[tuple[str, str], PilotLaw]:
    """The law of each region and family of a study's tables; name: of where they are from, in words."""
    return {
        (region, str(family)): pilot_law(part, name)
        for region, rows in regions.items()
        for family, part in rows.group("family")
    }


def pilot_law(rows: ScalingTable, name: str) -> PilotLaw:
    """The law of one family's rows: its own where its form is usable, else one of held exponents, fitted by squares.

    noise: among seeds; scatter: what configuration means deviate from the law beyond that.
    """
    spec = FitSpec(form="chinchilla", axes=AXES, bootstrap=0)
    try:
        data = gather(rows, spec)
    except ValueError as error:  # a single size, or no score below its ceiling
        return str(error)
    cells = cells_of(data.design.X, data.y, data.clusters, data.design.group, data.errors)
    if cells.n_configurations < LEAST:
        return f"{cells.n_configurations} configurations; a law needs {LEAST} at least"
    law = fit_spec(rows, spec)
    if law.usable:
        return _with_noise(data, cells, law.params, f"{name}, its law ({law.status})")
    said = f"{name}, exponents held within [{LOWEST:g}, {HIGHEST:g}] (its own law: {law.status})"
    return _with_noise(data, cells, _held_law(data, cells), said)


def _held_law(data: Data, cells: Cells) -> dict[str, float]:
    """Natural parameters of the squares fit to the cells, exponents between LOWEST and HIGHEST."""
    design = data.design.over([np.exp(x) for x in cells.log_x.T], cells.group)
    lower, upper = design.bounds(np.exp(cells.log_y))
    exponents = [design.where(k).start + 1 for k in range(len(design.form.terms))]
    lower[exponents], upper[exponents] = LOWEST, HIGHEST
    found = solve_global(Task(design, cells.log_y, np.inf, lower, upper), cells.weight)
    return dict(zip(design.names, design.natural(found.theta[:1])[0].tolist(), strict=True))


def _with_noise(data: Data, cells: Cells, p: Mapping[str, float], said: str) -> AssumedLaw:
    """The law at the cheapest configuration's N and D, with the noise of seeds and what is left of the residuals."""
    n_ref, d_ref = (float(np.exp(x.min())) for x in cells.log_x.T)
    a, b = p["A"] * n_ref ** -p["alpha"], p["B"] * d_ref ** -p["beta"]
    law = AssumedLaw(p["E"], a, p["alpha"], b, p["beta"], n_ref, d_ref, 0.0, 0.0, said)
    residual = cells.log_y - np.log(law.mean(*np.exp(cells.log_x.T)))
    total = float(residual @ residual) / (len(residual) - len(p))
    noise = _among_seeds(np.log(data.y), data.clusters)
    if noise is None:
        return replace(law, noise=(EVEN * total) ** 0.5, scatter=((1 - EVEN) * total) ** 0.5,
                       source=f"{said}; no second seed")  # fmt: skip
    seeds = len(data.y) / cells.n_configurations
    return replace(law, noise=noise**0.5, scatter=max(0.0, total - noise / seeds) ** 0.5)


def _among_seeds(log_y: Array, cluster: Codes) -> float | None:
    """Pooled variance within configurations; None where none has two runs."""
    _, at, count = np.unique(cluster, return_inverse=True, return_counts=True)
    dof = len(log_y) - len(count)
    if dof < 1:
        return None
    mean = np.bincount(at, log_y) / count
    return float(np.sum((log_y - mean[at]) ** 2)) / dof
