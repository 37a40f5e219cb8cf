"""What is assumed where nothing was measured yet: the published study's laws and noise.

Of each region, from the published table (Gokce & Schrimpf 2025; its rows are those of the published fit
`compute_chinchilla`: supervised models trained from scratch on ImageNet or EcoSet), one region at a time:

- E, A, alpha, B, beta: the fit y = E + A·(N/1e5)^-alpha + B·(D/1e4)^-beta, y = 1 - score, or 1 - accuracy.
- noise: standard deviation of ln y among the seeds of a configuration, over its 96 configurations with several.
- scatter: 1.4826 x the median absolute residual of configuration means about a law of each family and data set alone
  (ResNet and EfficientNet, ImageNet and EcoSet; the median of the four), less the noise that seeds leave in it.
- start: 95 % quantile of y, and thus how bad the cheapest models are.

`tests/analysis/power/test_prior.py` computes all of them again. A grid whose cheapest corner lies where the law would
put y beyond `start` begins below what was published. There the exponents and E are kept, and it is an assumption that
the cheapest configuration stands at `start` and that both terms have the same share in what falls.
"""

from __future__ import annotations

from dataclasses import dataclass

from analysis.power.assumed import AssumedLaw
from analysis.power.grid import Grid

N_REF, D_REF = 1e5, 1e4  # the published fits' `x_scale`


@dataclass(frozen=True)
class Prior:
    """See the module."""

    E: float
    A: float
    alpha: float
    B: float
    beta: float
    noise: float
    scatter: float
    start: float


PRIORS = {
    "V1": Prior(0.753, 0.068, 0.272, 0.125, 0.672, noise=0.025, scatter=0.013, start=0.86),
    "V2": Prior(0.652, 0.066, 0.354, 0.416, 0.322, noise=0.024, scatter=0.010, start=0.89),
    "V4": Prior(0.389, 0.121, 0.559, 0.664, 0.383, noise=0.031, scatter=0.051, start=0.75),
    "IT": Prior(0.413, 0.149, 0.753, 0.792, 0.309, noise=0.024, scatter=0.050, start=0.83),
    "behavior": Prior(0.000, 0.502, 0.484, 1.202, 0.082, noise=0.012, scatter=0.054, start=0.98),
    "accuracy": Prior(0.000, 0.931, 0.608, 2.403, 0.248, noise=0.013, scatter=0.111, start=1.00),
}
PUBLISHED = "published study (Gokce & Schrimpf 2025)"
BELOW = f"{PUBLISHED}, begun at this grid's cheapest configuration"


def assume_published(region: str, grid: Grid) -> AssumedLaw | None:
    """The published law of a region for a grid; None for a region that was not published."""
    prior = PRIORS.get(region)
    if prior is None:
        return None
    noise = (prior.noise, prior.scatter)
    law = AssumedLaw(prior.E, prior.A, prior.alpha, prior.B, prior.beta, N_REF, D_REF, *noise, PUBLISHED)
    if law.mean(grid.n_params.min(keepdims=True), grid.samples_seen.min(keepdims=True))[0] <= prior.start:
        return law
    half = (prior.start - prior.E) / 2
    corner = (float(grid.n_params.min()), float(grid.samples_seen.min()))
    return AssumedLaw(prior.E, half, prior.alpha, half, prior.beta, *corner, *noise, BELOW)
