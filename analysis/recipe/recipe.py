"""Recipe: how to spend a compute budget on parameters and samples, what score to expect, and how sure that is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from analysis.columns import MISALIGNMENT, Array, measured, measured_name
from analysis.fit.estimate import Estimate
from analysis.fit.status import no_numbers
from analysis.recipe.allocation import Allocation, Model, Reach, nearest_model
from analysis.recipe.compute_map import ComputeMap, fit_compute_map
from analysis.recipe.optimum import chinchilla_optimum, chinchilla_reach, numeric_optimum, power_reach
from analysis.recipe.record import LawRecord
from analysis.recipe.tested import target_name, tested_models

if TYPE_CHECKING:  # a recipe that is loaded needs no table
    from analysis.fit.law import FittedLaw
    from analysis.table import ScalingTable

VERSIONS = (1, 2)  # that can be read: 1 had neither trends nor measured configurations
FAR = 100.0  # assumption: times beyond what was measured, compute's own extrapolation apart, at which laws say nothing
SPLITS = ("chinchilla", "data_constrained")  # forms that say how to split compute


def check_budget(flops: float) -> None:
    """Refuse (ValueError) a budget that is none."""
    if not flops > 0 or not np.isfinite(flops):
        raise ValueError(f"flops={flops:g} must be above 0 and finite, as 1e20")


class Recipe(BaseModel):
    """Laws by target (a region, "score", or another column fitted), the compute map, and the ranges measured.

    `allocate` splits a budget, `flops_for` inverts; what the data do not identify gets no number but a reason.
    Saved as JSON; a loaded recipe answers the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    version: Literal[1, 2] = 2
    laws: dict[str, LawRecord]
    compute: ComputeMap | None
    compute_reason: str = ""
    ranges: dict[str, tuple[float, float]]
    models: tuple[Model, ...] = ()
    simulated: bool = False
    level: float = 0.95

    @classmethod
    def from_law(cls, law: FittedLaw, **options: Any) -> Recipe:
        """The recipe of one law; a law with exponents shared over regions gives one target a region."""
        if law.groups:
            laws = {group: LawRecord.of(law, group) for group in law.trends or law.groups}
        else:
            laws = {target_name(law): LawRecord.of(law)}
        return cls._of(laws, law.rows, law.ranges, **options)

    @classmethod
    def from_laws(cls, laws: Mapping[str, FittedLaw], group: str = "", **options: Any) -> Recipe:
        """The recipe of several laws by target, or of one group of each (a family, where families share exponents).

        The first target's rows (the group's rows, where one is named) give ranges, models and the compute map.
        """
        fitted = {law.spec.target for law in laws.values()}
        if len(fitted) != 1:
            raise ValueError(f"a recipe needs one law at least, all of one target; given were {sorted(fitted)}")
        first = next(iter(laws.values()))
        rows = first.rows.select(**{str(first.spec.shared_by): group}) if group else first.rows
        columns = {name: rows.values(name) for name in first.ranges}
        ranges = {name: (float(np.nanmin(v)), float(np.nanmax(v))) for name, v in columns.items()}
        records = {name: LawRecord.of(law, group) for name, law in laws.items()}
        recipe = cls._of(records, rows, ranges, **options)
        return recipe.model_copy(update={"simulated": any(law.rows.names_simulated() for law in laws.values())})

    @classmethod
    def _of(
        cls, laws: dict[str, LawRecord], rows: ScalingTable, ranges: Mapping[str, tuple[float, float]],
        compute: ComputeMap | Literal["forward", "product"] | None = None, family: str | None = None,
        models: Sequence[Model] = (), level: float = 0.95,
    ) -> Recipe:  # fmt: skip
        reason, fitted = "", compute if isinstance(compute, ComputeMap) else None
        if fitted is None:
            try:
                chosen = rows.select(family=family) if family else rows
                fitted = fit_compute_map(chosen, compute)  # type: ignore[arg-type]
            except ValueError as error:
                reason = str(error)
        return cls(laws=laws, compute=fitted, compute_reason=reason, ranges=dict(ranges), level=level,
                   models=tuple(models) or tested_models(rows), simulated=rows.names_simulated())  # fmt: skip

    def law(self, target: str | None = None) -> LawRecord:
        """The law of a target (a region), by default the first."""
        name = next(iter(self.laws)) if target is None else target
        if name not in self.laws:
            raise ValueError(f"the recipe has no law for {name!r}; it has {', '.join(self.laws)}")
        return self.laws[name]

    def allocate(self, flops: float, region: str | None = None, n_samples: float | None = None) -> Allocation:
        """N, samples seen, images x epochs and predicted scores at compute `flops`, optimal for `region`'s law.

        n_samples: unique images at hand (default: the largest training set tested). Where the law does not say how
        to split compute, N and D are None, `reason` says why and `best_measured` names what was tested.
        """
        check_budget(flops)
        record, images = self.law(region), n_samples or self.ranges.get("n_samples", (np.nan, np.nan))[1]
        reason = self._no_split(record)
        if reason:
            return self._unsplit(record, flops, reason)
        assert self.compute is not None
        split = self._split(record, record.params, flops, images)
        draws = self._split(record, record.columns(), flops, images)
        N, D = (record.estimate(v, d, self.level) for v, d in zip(split, draws, strict=True))
        epochs = self._epochs(D.value, images)
        axes = {"n_params": N.value, "samples_seen": D.value, "flops": flops, "n_samples": min(images, D.value)}
        if lost := self._lost(axes):
            return self._unsplit(record, flops, f"{lost}; the law is {record.status} {record.reason}".rstrip())
        return Allocation(
            flops=flops, status=record.status, why=record.reason, trend=record.trend, quantity=self.quantity,
            n_params=N, samples_seen=D, scores=self._scores(axes),
            n_samples=epochs[0], epochs=epochs[1], extrapolation=self.extrapolation({**axes, "epochs": epochs[1]}),
            gain_double=self._gain(record, axes), nearest=nearest_model(self.models, N.value),
        )  # fmt: skip

    @property
    def quantity(self) -> str:
        """What the recipe predicts: "score", or the target that its laws were fitted to."""
        return measured_name(self.law().target)

    def split_reason(self, region: str | None = None) -> str:
        """Why compute cannot be split for a target; empty where it can."""
        return self._no_split(self.law(region))

    def _no_split(self, record: LawRecord) -> str:
        if not record.usable:
            return no_numbers(record.status, record.reason)
        if record.form not in SPLITS:
            return f"a law in {', '.join(record.axes)} does not say how to split compute; fit form='chinchilla'"
        if "samples_seen" not in record.axes:
            return f"its axes {', '.join(record.axes)} fix no compute; fit axes=('n_params', 'samples_seen')"
        return "" if self.compute else f"no compute map: {self.compute_reason}"

    def _split(self, record: LawRecord, params: Mapping[str, Any], flops: float, images: float) -> tuple[Array, Array]:
        assert self.compute is not None
        if record.form == "chinchilla":
            return chinchilla_optimum(params, self.compute, np.asarray(flops))
        shaped = {name: np.atleast_1d(value) for name, value in params.items()}
        N, D = numeric_optimum(record.form, shaped, self.compute, flops, images)
        return (N[0], D[0]) if N.shape == (1,) else (N, D)

    def predict(self, axes: Mapping[str, Any]) -> dict[str, Estimate]:
        """What each usable law says of a model that is no optimum: score (or target) by name, with its interval.

        axes: n_params, samples_seen, flops, n_samples; a law that needs another says nothing.
        """
        return self._scores(axes)

    def _scores(self, axes: Mapping[str, Any]) -> dict[str, Estimate]:
        """Predicted score, or target, of each usable law at the allocation (its own draws give the interval)."""
        scores = {}
        for name, record in self.laws.items():
            if record.usable and all(np.isfinite(axes.get(axis, np.nan)) for axis in record.axes):
                value, draws = (measured(record.target, record.misalignment(p, axes))
                                for p in (record.params, record.columns()))  # fmt: skip
                scores[name] = record.estimate(value, draws, self.level)
        return scores

    def _lost(self, axes: Mapping[str, float | None]) -> str:
        """How far an optimum lies beyond the sizes or samples measured, where compute alone does not lead there."""
        beyond = self.extrapolation(axes)
        for name in ("n_params", "samples_seen"):
            if beyond.get(name, 1.0) > FAR * beyond.get("flops", 1.0):
                return f"its optimum lies {beyond[name]:.2g} times beyond the {name} measured"
        return ""

    def _unsplit(self, record: LawRecord, flops: float, reason: str) -> Allocation:
        """What may be said without a split: the trend, and the best of what was trained within the budget."""
        axes, best = {"flops": flops}, record.best_within(flops)
        inside = record.curve_at(best, self.level) if best is not None else None
        return Allocation(flops=flops, trend=record.trend, scores=self._scores(axes), reason=reason,
                          extrapolation=self.extrapolation(axes), best_measured=best, inside=inside,
                          quantity=self.quantity)  # fmt: skip

    def _epochs(self, samples_seen: float, images: float) -> tuple[float | None, float | None]:
        """Unique images and epochs: all images at hand, repeated; or fewer, once."""
        if not np.isfinite(images) or images <= 0:
            return None, None
        return min(images, samples_seen), max(1.0, samples_seen / images)

    def extrapolation(self, axes: Mapping[str, float | None]) -> dict[str, float]:
        """How many times beyond the measured range each axis lies (1 inside it)."""
        asked = {n: v for n, v in axes.items() if v and np.isfinite(v) and self.ranges.get(n, (0.0, 0.0))[0] > 0}
        return {n: max(1.0, v / self.ranges[n][1], self.ranges[n][0] / v) for n, v in asked.items()}

    def _gain(self, record: LawRecord, axes: Mapping[str, float]) -> dict[str, Estimate]:
        """Score gained (or loss saved) by doubling the parameters, or the samples, alone."""
        gains = {}
        for name in ("n_params", "samples_seen"):
            more = {**axes, name: 2 * axes[name]}
            value, draws = (record.misalignment(p, axes) - record.misalignment(p, more)
                            for p in (record.params, record.columns()))  # fmt: skip
            gains[name] = record.estimate(value, draws, self.level)
        return gains

    def exponents(self, region: str | None = None) -> dict[str, Estimate]:
        """a and b of N ∝ C^a and D ∝ C^b along the optimum of a chinchilla law; empty where there is no split."""
        record = self.law(region)
        if record.form != "chinchilla" or self._no_split(record):
            return {}
        assert self.compute is not None
        gamma, n = self.compute.gamma, self.compute.n
        out = {}
        for name in ("n_params", "samples_seen"):
            a, draws = (p["beta"] / (n * (p["alpha"] + gamma * p["beta"])) for p in (record.params, record.columns()))
            value, column = (a, draws) if name == "n_params" else (1 / n - gamma * a, 1 / n - gamma * draws)
            out[name] = record.estimate(value, np.asarray(column), self.level)
        return out

    def flops_for(self, score: float, region: str | None = None) -> Reach:
        """Least compute that reaches a score (for a law of another target, a value of it, as a loss of 2).

        Or "unreachable", with the asymptote that says why.
        """
        record = self.law(region)
        if not measured(record.target, score) > 0:
            limit = "below 1, the ceiling" if record.target == MISALIGNMENT else "above 0"
            raise ValueError(f"{self.quantity}={score:g} must be {limit}")
        if not record.usable:
            return Reach(score=score, reason=no_numbers(record.status, record.reason))
        if record.form not in ("chinchilla", "power_law", "shifted_power_law") or (
            record.form != "chinchilla" and record.axes != ("flops",)
        ):
            return Reach(
                score=score, reason=f"a law of form {record.form} in {', '.join(record.axes)} has no inverse in compute"
            )
        if record.form == "chinchilla" and self._no_split(record):
            return Reach(score=score, reason=self._no_split(record))
        value, draws = self._reach(record, record.params, score), self._reach(record, record.columns(), score)
        asymptote = record.asymptote(self.level)
        flops = record.estimate(value, draws, self.level) if np.isfinite(value) else None
        factor = self.extrapolation({"flops": float(value)}) if flops else {}
        return Reach(score=score, flops=flops, asymptote=asymptote, extrapolation=factor, quantity=self.quantity)

    def _reach(self, record: LawRecord, params: Mapping[str, Any], score: float) -> Array:
        if record.form == "chinchilla":
            assert self.compute is not None
            return chinchilla_reach(params, self.compute, np.asarray(measured(record.target, score)))
        return power_reach(params, np.asarray(measured(record.target, score)))

    def save(self, path: str | Path) -> None:
        """Write the recipe as JSON."""
        Path(path).write_text(self.model_dump_json(indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """Read a recipe saved before; a file that is none is refused."""
        text = Path(path).read_text(encoding="utf-8")
        content = json.loads(text) if text.lstrip().startswith("{") else {}
        if content.get("version") not in VERSIONS:
            raise ValueError(
                f"{path} is no recipe of version {' or '.join(map(str, VERSIONS))} (version: "
                f"{content.get('version')}); save it with Recipe.save"
            )
        return cls.model_validate_json(text)
