"""The chance that a form's status will be ok or weakly identified: that no probe of `profiles` finds it lost.

A probe holds a parameter (an exponent at its upper limit, a term absent) and fits everything else again. On the
noise-free means the squares left are lambda·sigma^2, so that its F on 1 and G - p degrees of freedom is noncentral;
each must exceed the 95 % limit of F. The probes of a term are alike, so the weaker one stands for it; the two terms'
are dependent through the directions in which held means depart from true ones, and through s.
A form is only asked of what falls, so the chance is at most that of `chance_falls`; that residuals bend by chance
("misfits", at most 1 % an axis) is neglected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.columns import Array
from analysis.fit.design import EXPONENT_LIMIT, Design
from analysis.fit.forms import find_form
from analysis.fit.identify import enough_points
from analysis.fit.multistart import Task
from analysis.fit.profiles import LEVEL
from analysis.power.assumed import AssumedLaw
from analysis.power.falls import rss_nodes
from analysis.power.grid import Grid

FORM = "chinchilla"
Z_NODES = 400


@dataclass(frozen=True)
class Usable:
    """chance; reason: why there is none whatever the noise."""

    chance: float
    reason: str = ""


def chance_usable(grid: Grid, law: AssumedLaw, log_y: Array) -> Usable:
    """The chance that the law's form is found usable, if y is found to fall."""
    design = Design(find_form(FORM), [grid.n_params, grid.samples_seen])
    shortage = enough_points(design, np.arange(len(grid)))
    if shortage is not None:
        return Usable(0.0, shortage)
    weakest = [min(departures, key=lambda d: float(d @ d)) for departures in _departures(design, law, log_y)]
    return Usable(_all_exceed(weakest, law.sigma(grid.seeds), len(grid) - design.n_params))


def _departures(design: Design, law: AssumedLaw, log_y: Array) -> list[list[Array]]:
    """Of each term, of each probe: ln y of the nearest law with the parameter held, less the true one (G,)."""
    lower, upper = design.bounds(np.exp(log_y))
    true = np.clip(_theta(design, law), lower, upper)
    probes = [
        (where, value)
        for k in range(len(design.form.terms))
        for where, value in ((design.where(k).start + 1, EXPONENT_LIMIT),
                             (design.where(k).start, float(lower[design.where(k).start])))
    ]  # fmt: skip
    start, low, high = (np.tile(a, (len(probes), 1)) for a in (true, lower, upper))
    for i, (where, value) in enumerate(probes):
        start[i, where] = low[i, where] = high[i, where] = value
    held = Task(design, log_y, np.inf, low, high)
    theta = held.solve(start, np.ones((1, len(log_y))), np.zeros(len(probes), dtype=np.int64)).theta
    departed = np.log(design.predict(theta)) - log_y
    return [[departed[2 * k], departed[2 * k + 1]] for k in range(len(design.form.terms))]


def _theta(design: Design, law: AssumedLaw) -> Array:
    """The assumed law in the solver's coordinates: coefficients as ln of their term at the smallest x."""
    a = np.log(max(law.A, 1e-300)) - law.alpha * (design.reference[0] - np.log(law.n_ref))
    b = np.log(max(law.B, 1e-300)) - law.beta * (design.reference[1] - np.log(law.d_ref))
    return np.array([law.E, a, law.alpha, b, law.beta])


def _all_exceed(departures: list[Array], sigma: float, dof: int) -> float:
    """The chance that |d_j| / sigma + z_j exceeds sqrt(F limit)·s/sigma in size for both terms' departures d_j.

    z: standard normal, correlated as the departures' directions; s^2 / sigma^2 ~ chi2 / dof.
    """
    from scipy.special import fdtri, ndtr, ndtri

    size = [float(np.linalg.norm(d)) for d in departures]
    if min(size) == 0:
        return 0.0
    rho = float(np.clip(departures[0] @ departures[1] / (size[0] * size[1]), -0.999, 0.999))
    limit = np.sqrt(fdtri(1, dof, LEVEL) * rss_nodes(dof, 0.0) / dof)[:, None]
    z = ndtri((np.arange(Z_NODES) + 0.5) / Z_NODES)
    first = np.abs(size[0] / sigma + z) > limit
    middle, rest = size[1] / sigma + rho * z, np.sqrt(1 - rho**2)
    second = ndtr((middle - limit) / rest) + ndtr((-middle - limit) / rest)
    return float(np.mean(first * second))
