"""Law and noise from what was measured before: a pilot, or the study's own finished runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis.columns import Array
from analysis.fit.cells import Cells, Codes, cells_of
from analysis.fit.fit import fit_spec
from analysis.fit.rows import Data, gather
from analysis.fit.spec import FitSpec
from analysis.power.assumed import AssumedLaw
from analysis.table import ScalingTable

AXES = ("n_params", "samples_seen")
LEAST = 4  # configurations: a trend in N and D needs as many
# Where the pilot's own form is not usable: exponents of `compute_chinchilla`, the published fit over all regions
# (Gokce & Schrimpf 2025, published_fits.json)
ALPHA, BETA = 0.580, 0.222
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
    """The law of one family's rows: its own where its form is usable, else one of the published exponents.

    The latter's E, A, B >= 0 are fitted by squares of relative residuals. noise: among seeds; scatter: what
    configuration means deviate from the law beyond that.
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
    corner = (float(np.exp(cells.log_x[:, 0].min())), float(np.exp(cells.log_x[:, 1].min())))
    if law.usable:
        p = law.params
        values = np.array([p["E"], p["A"] * corner[0] ** -p["alpha"], p["B"] * corner[1] ** -p["beta"]])
        exponents, free, said = (p["alpha"], p["beta"]), len(p), f"{name}, its law ({law.status})"
    else:
        exponents, said = (ALPHA, BETA), f"{name}, published exponents (its own law: {law.status})"
        values = _squares(cells, corner)
        free = int(np.count_nonzero(values))
    return _with_noise(data, cells, values, exponents, corner, free, said)


def _terms(cells: Cells, exponents: tuple[float, float], corner: tuple[float, float]) -> Array:
    """Columns (n, 3) of E, A and B."""
    powers = [np.exp(-e * (x - np.log(c))) for e, x, c in zip(exponents, cells.log_x.T, corner, strict=True)]
    return np.column_stack([np.ones(len(cells.log_y)), *powers])


def _squares(cells: Cells, corner: tuple[float, float]) -> Array:
    """E, A, B >= 0 by squares of (prediction - y) / y."""
    from scipy.optimize import nnls

    y = np.exp(cells.log_y)
    return np.asarray(nnls(_terms(cells, (ALPHA, BETA), corner) / y[:, None], np.ones(len(y)))[0])


def _with_noise(
    data: Data, cells: Cells, values: Array, exponents: tuple[float, float], corner: tuple[float, float], free: int,
    said: str,
) -> AssumedLaw:  # fmt: skip
    residual = cells.log_y - np.log(_terms(cells, exponents, corner) @ values)
    total = float(residual @ residual) / max(1, len(residual) - free)
    noise = _among_seeds(np.log(data.y), data.clusters)
    if noise is None:
        noise, scatter, said = EVEN * total, (1 - EVEN) * total, f"{said}; no second seed"
    else:
        seeds = len(data.y) / cells.n_configurations
        scatter = max(0.0, total - noise / seeds)
    E, A, B = (float(v) for v in values)
    return AssumedLaw(E, A, exponents[0], B, exponents[1], *corner, noise**0.5, scatter**0.5, said)


def _among_seeds(log_y: Array, cluster: Codes) -> float | None:
    """Pooled variance within configurations; None where none has two runs."""
    _, at, count = np.unique(cluster, return_inverse=True, return_counts=True)
    dof = len(log_y) - len(count)
    if dof < 1:
        return None
    mean = np.bincount(at, log_y) / count
    return float(np.sum((log_y - mean[at]) ** 2)) / dof
