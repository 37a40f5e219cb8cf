"""What a study's laws say of one model that is yet to be trained: the mean of such runs, and a single run.

Two intervals, which answer different questions. That of the *law* holds the mean of many runs of the model: it is the
bootstrap interval of the recipe. That of *one run* adds what single runs scatter around the law, in ln L (L = 1 - S):

    ln L_run = ln L -+ sqrt( (ln L_end - ln L)^2 + (t s)^2 ),   s^2 = sum r_i^2 / n / (1 - p / G)

with L_end the law's own ends, r_i = ln L(x_i) - ln L_i of the family's n runs, G configurations and p parameters of the
law, t of G_family (1 - p / G) degrees of freedom: the two errors are independent, so that their squares add (the
prediction interval of regression; Seber & Wild 1989, ch. 5.1; the bootstrap's ends stand in the delta method's place).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

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
    free = 1 - len(law.names) / law.n_configurations
    dof = max(1.0, len(np.unique(configuration[member])) * free)
    return float(np.sqrt(np.mean(residual[member] ** 2) / free)), dof
