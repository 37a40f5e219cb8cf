"""What a study's laws say of one model that is yet to be trained: the mean of such runs, and a single run.

Two intervals, which answer different questions. That of the *law* holds the mean of many runs of the model: it is the
bootstrap interval of the recipe. That of *one run* adds what single runs scatter around the law, in ln L (L = 1 - S):

    ln L_run = ln L -+ sqrt( (ln L_end - ln L)^2 + (t s)^2 ),   s^2 = B + (1 - 1/m) W

with L_end the law's own ends: the two errors are independent, so that their squares add (the prediction interval of
regression; Seber & Wild 1989, ch. 5.1; the bootstrap's ends stand in the delta method's place). Of the residuals
r = ln L(x) - ln L of the family's runs, m a configuration, W = sum (r - mean)^2 / (n - G_f) is their variance within
configurations and B = sum mean^2 / (G_f (1 - p / G)) that of configuration means (G configurations and p parameters of
the law, G_f of the family), which holds W / m already; t has Satterthwaite's (1946) degrees of freedom of the sum.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis.columns import Array
from analysis.fit.cells import Codes
from analysis.fit.estimate import Estimate, PlainModel
from analysis.fit.law import FittedLaw
from analysis.fit.trend import t_quantile
from analysis.recipe.recipe import Recipe

LEAST = 1e-12  # of a misalignment, where its logarithm is taken


class Prediction(PlainModel):
    """Of one score: `law`, the mean of such runs, and `run`, a single one; 95 % intervals. status: of the law."""

    law: Estimate
    run: Estimate
    status: str

    def text(self) -> str:
        """'0.860 [0.840, 0.880], one run [0.830, 0.890]'."""
        ends = "" if self.run.low is None else f", one run [{self.run.low:.3f}, {self.run.high:.3f}]"
        return self.law.text(".3f") + ends


def predict_run(
    recipe: Recipe, laws: Mapping[str, FittedLaw | str], family: str, axes: Mapping[str, float]
) -> dict[str, Prediction]:
    """Every score that a usable law predicts of a model of a family, by region.

    Args:
        recipe: of the family, made of the laws, by region. axes: n_params N, samples_seen D, flops C and n_samples,
            unique images, of the model's training.
    """
    found = {}
    for region, mean in recipe.predict(axes).items():
        law = laws[region]
        assert isinstance(law, FittedLaw)  # else it had no record in the recipe
        group = family if law.spec.shared_by else ""
        found[region] = Prediction(
            law=mean, run=one_run(mean, *scatter(law, group), recipe.level), status=recipe.laws[region].status
        )
    return found


def one_run(mean: Estimate, s: float, dof: float, level: float) -> Estimate:
    """The interval of a single run's score around the law's mean; see the module. s: of ln L."""
    if mean.low is None or mean.high is None:
        return mean
    log_l, best, worst = (float(np.log(max(1 - score, LEAST))) for score in (mean.value, mean.high, mean.low))
    reach = t_quantile(level, dof) * s
    low, high = log_l - np.hypot(best - log_l, reach), log_l + np.hypot(worst - log_l, reach)
    return Estimate(value=mean.value, low=1 - float(np.exp(high)), high=1 - float(np.exp(low)))


def scatter(law: FittedLaw, group: str = "") -> tuple[float, float]:
    """s of ln L by which single runs of a family (a group of the law) scatter around it, and its degrees of freedom."""
    residual, configuration = law.residuals(), law.rows.clusters(law.axes)
    member = np.isfinite(residual)
    if group:
        member &= law.rows.column(str(law.spec.shared_by)).astype(str).to_numpy() == group
    return run_scatter(residual[member], configuration[member], 1 - len(law.names) / law.n_configurations)


def run_scatter(residual: Array, configuration: Codes, free: float) -> tuple[float, float]:
    """s and degrees of freedom from residuals (n,) of runs and their configurations; see the module.

    free: 1 - p / G, the share of the configurations' residuals that p parameters leave.
    """
    at = np.unique(configuration, return_inverse=True)[1]
    count = np.bincount(at)
    mean = np.bincount(at, residual) / count
    between, dof = float(np.mean(mean**2)) / free, max(1.0, len(count) * free)
    repeats = len(residual) - len(count)
    if not repeats:
        return float(np.sqrt(between)), dof
    within = float(np.sum((residual - mean[at]) ** 2)) / repeats * float(np.mean(1 - 1 / count))
    total = between + within
    return float(np.sqrt(total)), total**2 / (between**2 / dof + within**2 / repeats)
