"""The answer of a study: laws of accuracy and every region, a recipe a family, twins; made once, then saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.answers.by_region import by_region
from analysis.answers.laws import StudyLaws, fit_study, lacking, left_out, study_recipes, trend_law
from analysis.answers.objectives import name_objectives
from analysis.answers.saved import SavedLaws, file_names, fingerprint, new_folder, read_answer, saved_fact, write_answer
from analysis.answers.text import laws_text, left_out_text, repeated_text, twins_text
from analysis.answers.training import training_text
from analysis.columns import ACCURACY
from analysis.comparison.untrained import TrainingChange, compare_untrained
from analysis.fit.law import FittedLaw
from analysis.fit.trend import MARGIN
from analysis.mapping.curves import NO_CURVES, has_curves
from analysis.mapping.forecast import Forecast, forecasts
from analysis.mapping.laws import MappingLaws, fit_mapping
from analysis.mapping.text import mapping_text
from analysis.rates.report import RateReport
from analysis.rates.text import rates_text
from analysis.recipe.allocation import Allocation
from analysis.recipe.recipe import Recipe, check_budget
from analysis.table import ScalingTable
from analysis.tradeoff.twins import TwinDifference, find_twins, twin_differences
from analysis.verify.calibration import verifications_text
from analysis.verify.predict import Prediction, predict_run
from analysis.verify.verification import Verification

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

BOOTSTRAP = 300
BEYOND = 10.0  # the allocation shown at the end of a run is for this many times the largest run's compute


@dataclass(frozen=True, eq=False)
class StudyRows:
    """A study's rows as the fits see them: families by objective, accuracy as a region, one table a region."""

    mark: str
    table: ScalingTable
    regions: Mapping[str, ScalingTable]

    @property
    def families(self) -> tuple[str, ...]:
        return tuple(str(family) for family in self.table.unique("family"))


@dataclass(frozen=True, eq=False)
class Answer:
    """What a study answers: `laws`, `recipes` by family (an objective's runs are a family of their own), `twins`.

    verifications: what was predicted before it was trained, and came out; no law was fitted to any of it.
    rates: how the rates were found that the runs were trained at, where they were not written by hand.
    mapping: laws over the stimuli that mappings are fitted on, where scores have curves over them.
    training: trained models beside themselves before their first step, region by region.

    target: the region that budgets are split for unless one is named (IT where it was scored); 'accuracy' is asked for
    like a region. budget: compute of the allocation shown at the end of a run. Several benchmarks of one region enter
    as their mean.
    """

    rows: StudyRows = field(repr=False)
    laws: StudyLaws = field(repr=False)
    recipes: dict[str, Recipe]
    twins: tuple[TwinDifference, ...]
    verifications: tuple[Verification, ...] = ()
    rates: RateReport | None = None
    mapping: MappingLaws | None = field(default=None, repr=False)
    training: tuple[TrainingChange, ...] = ()

    @property
    def regions(self) -> tuple[str, ...]:
        return tuple(self.rows.regions)

    @property
    def families(self) -> tuple[str, ...]:
        return self.rows.families

    @property
    def target(self) -> str:
        return self.regions[-1]

    @property
    def budget(self) -> float:
        return BEYOND * float(self.rows.table.values("flops").max())

    def allocate(self, flops: float, region: str | None = None, family: str | None = None) -> Allocation:
        """The split of a budget in one family (which may be left out where there is one), best for a region.

        n_params, samples_seen and every region's score have intervals, or are None and `reason` says why.
        Raises ValueError for an unknown region or family (lists the known), or flops not above 0.
        """
        if family is None and len(self.families) != 1:
            raise ValueError(f"name a family, as family='{self.families[0]}'; it is one of {', '.join(self.families)}")
        return next(iter(self.allocate_each(flops, region, family).values()))

    def allocate_each(
        self, flops: float, region: str | None = None, family: str | None = None
    ) -> dict[str, Allocation]:
        """The split of a budget in each family, by name, or in the one named; see `allocate`."""
        for kind, name, known in (("region", region, self.regions), ("family", family, self.families)):
            if name is not None and name not in known:
                raise ValueError(f"unknown {kind} '{name}'; this study has {', '.join(known)}")
        names = self.families if family is None else (family,)
        return {name: self._allocate(flops, region or self.target, name) for name in names}

    def _allocate(self, flops: float, region: str, family: str) -> Allocation:
        check_budget(flops)
        recipe = self.recipes.get(family)
        if recipe is None or region not in recipe.laws:
            law = self.laws.size[region]
            reason = f"no law of {region}: {law if isinstance(law, str) else lacking(region, family)}"
            return Allocation(flops=flops, scores=dict.fromkeys(self.regions), extrapolation={}, reason=reason)
        found = recipe.allocate(flops, region)
        return found.model_copy(update={"scores": {name: found.scores.get(name) for name in self.regions}})

    def predict(self, family: str, **axes: float) -> dict[str, Prediction]:
        """What the laws say of one run of a family that was not trained yet, by region; see `predict_run`."""
        laws = {region: self.laws.best(region) for region in self.regions}
        return predict_run(self.recipes[family], laws, family, axes)

    def with_stimuli(
        self, flops: float | None = None, stimuli: float | None = None, region: str | None = None,
        family: str | None = None,
    ) -> tuple[Forecast, ...]:  # fmt: skip
        """With this much compute and as many recorded stimuli, what alignment, and which to buy next; see `forecasts`.

        One a benchmark (of a region) and family. Raises ValueError where no score has a mapping curve, and as
        `forecasts`.
        """
        if self.mapping is None:
            raise ValueError(NO_CURVES)
        return forecasts(self.mapping, flops, stimuli, region, family)

    def sentence(self, region: str, family: str) -> str:
        """Whether a region's error or misalignment changes with scale in a family, in words and numbers."""
        told = trend_law(self.laws, region, family)
        return "no law" if told is None else told[0].trend_text(told[1])

    def text(self) -> str:
        """The table of laws, the table of twins, and what was left out of either."""
        table = self.rows.table
        said = (
            laws_text(self.laws, table.names_simulated()), repeated_text(self.laws), twins_text(self.twins),
            training_text(self.training), mapping_text(self.mapping) if self.mapping else "",
            self._left_out_text(), verifications_text(self.verifications), rates_text(self.rates) if self.rates else "",
        )  # fmt: skip
        return "\n".join(part for part in said if part)

    def left_out(self) -> dict[str, dict[str, int]]:
        """What each region's mean and laws left out: region -> reason -> rows; the table's own is not repeated."""
        table, regions = self.rows.table, self.rows.regions
        return {region: left_out(table, rows, self.laws, region) for region, rows in regions.items()}

    def _left_out_text(self) -> str:
        return left_out_text(self.rows.table.left_out, self.left_out())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        compute = [
            {"region": region, "family": family, **_law_dict(law)}
            for (region, family), law in self.laws.compute.items()
        ]
        size = [{"region": region, **_law_dict(law)} for region, law in self.laws.size.items()]
        repeated = [{"region": region, **_law_dict(law)} for region, law in self.laws.repeated.items()]
        said = {region: {family: self.sentence(region, family) for family in self.families} for region in self.regions}
        return {
            **self._facts(), "trends": said, "laws_in_compute": compute, "laws_in_size": size,
            "laws_of_repeats": repeated, "mapping": self._mapping_dict(),
            "left_out": {"table": dict(self.rows.table.left_out), "regions": self.left_out()},
        }  # fmt: skip

    def _mapping_dict(self) -> dict[str, Any] | None:
        if self.mapping is None:
            return None
        curves = [
            {"benchmark": benchmark, "model": model, "subject": subject, **_law_dict(law)}
            for (benchmark, model, subject), law in self.mapping.curves.items()
        ]
        surfaces = [
            {"benchmark": benchmark, "family": family, **_law_dict(law)}
            for (benchmark, family), law in self.mapping.surfaces.items()
        ]
        asked = [one.to_dict() for one in forecasts(self.mapping)] if self.mapping.surfaces else []
        return {"laws_in_stimuli": curves, "laws_in_compute_and_stimuli": surfaces, "forecasts": asked}

    def _facts(self) -> dict[str, Any]:
        return {
            "fingerprint": self.rows.mark, "target": self.target, "budget": self.budget, "regions": self.regions,
            "families": self.families, "twins": [twin.to_dict() for twin in self.twins],
            "verifications": [one.to_dict() for one in self.verifications],
            "training": [one.to_dict() for one in self.training],
            "rates": None if self.rates is None else self.rates.model_dump(mode="json"),
        }  # fmt: skip

    def figures(self) -> dict[str, Figure]:
        """Every figure by the name of its file: of each family, and of twins where there are any."""
        from analysis.answers.drawing import family_figure, optimum_figure
        from analysis.figures.accuracy_alignment import plot_twins
        from analysis.figures.calibration import plot_calibration
        from analysis.figures.mapping import plot_mapping
        from analysis.figures.rates import plot_rates
        from analysis.figures.surface import plot_surface

        table, regions, names = self.rows.table, self.rows.regions, file_names(self.families)
        found: dict[str, Figure | None] = {}
        for family, name in names.items():
            found[f"score-against-compute-{name}.png"] = family_figure(self.laws, table, family)
        for family, recipe in self.recipes.items():
            found[f"compute-optimal-{names[family]}.png"] = optimum_figure(recipe, regions, family)
        twins = find_twins(table)
        found["accuracy-alignment.png"] = plot_twins(_scored(self.rows), twins) if twins else None
        found["calibration.png"] = plot_calibration(self.verifications)
        found["rates.png"] = None if self.rates is None else plot_rates(self.rates)
        found["mapping.png"] = None if self.mapping is None else plot_mapping(self.mapping)
        found["mapping-surface.png"] = None if self.mapping is None else plot_surface(self.mapping)
        return {name: figure for name, figure in found.items() if figure is not None}

    def save(self, folder: str | Path) -> None:
        """Write recipes and laws (JSON), the text, figures (PNG) and index.json into an empty local folder.

        Raises ValueError where the folder holds anything.
        """
        folder = new_folder(folder)
        for name, figure in self.figures().items():
            figure.savefig(folder / name, dpi=150, format="png")
        write_answer(folder, self._facts(), SavedLaws.of(self.laws, self.mapping), self.recipes, self.text())

    @classmethod
    def load(
        cls, folder: str | Path, frame: pd.DataFrame | ScalingTable, verifications: Sequence[Verification] = (),
        rates: RateReport | None = None, untrained: pd.DataFrame | None = None,
    ) -> Answer | None:  # fmt: skip
        """The answer saved in a folder, if it was made of this very frame, else None. Fits nothing.

        verifications, rates, untrained: as they stand now; `is_saved` tells whether the folder holds them.
        """
        rows = study_rows(frame)
        found = read_answer(Path(folder), rows.mark)
        if found is None:
            return None
        laws, recipes = found
        mapping = laws.mapping_laws(rows.table) if has_curves(rows.table) else None
        return cls(
            rows, laws.study_laws(rows.regions), recipes, _twins(rows), tuple(verifications), rates, mapping,
            _training(rows, untrained),
        )  # fmt: skip

    def is_saved(self, folder: str | Path) -> bool:
        """Whether a folder, from which it was loaded, holds these verifications, rates and untrained scores too."""
        facts = self._facts()
        return all(saved_fact(Path(folder), name) == facts[name] for name in ("verifications", "rates", "training"))

    def runs_of(self, family: str) -> frozenset[str]:
        """run_ids of the runs that are a family here."""
        rows = self.rows.table
        return frozenset(map(str, rows.select(family=family).unique("run_id")))


def answer(
    frame: pd.DataFrame | ScalingTable, bootstrap: int = BOOTSTRAP, seed: int = 0,
    verifications: Sequence[Verification] = (), flat: float = MARGIN, rates: RateReport | None = None,
    untrained: pd.DataFrame | None = None,
) -> Answer:  # fmt: skip
    """Fit what a study's frame can answer: one row a run and benchmark, at the run's last epoch.

    Columns: run_id, family, n_params, samples_seen, flops, accuracy, benchmark, region, score, and what else is known
    of a run (size, depth, seed, images_per_class, …). Several values of `objective` (a label) make a family each;
    with objective_name and objective_weight harmonized twins are compared. attrs["left_out"]: reason -> rows.
    flat: the share of y within which a change over the measured range counts as none. untrained: the same runs' scores
    before their first step, with run_id, family, benchmark, region and score; no law is fitted to them.
    Raises ValueError for a missing column, or values that no measurement gives.
    """
    rows = study_rows(frame)
    laws = fit_study(rows.regions, rows.families, bootstrap=bootstrap, seed=seed, flat=flat)
    mapping = fit_mapping(rows.table, bootstrap=bootstrap, seed=seed, flat=flat) if has_curves(rows.table) else None
    recipes = study_recipes(laws, rows.families)
    training = _training(rows, untrained, flat)
    return Answer(rows, laws, recipes, _twins(rows), tuple(verifications), rates, mapping, training)


def region_scores(frame: pd.DataFrame | ScalingTable) -> dict[str, dict[str, float]]:
    """run_id -> region -> score, accuracy among them: of runs beside a study, as its own rows would enter its laws."""
    found: dict[str, dict[str, float]] = {}
    for region, rows in study_rows(frame).regions.items():
        for run_id, score in zip(rows.column("run_id"), rows.values("score"), strict=True):
            if np.isfinite(score):
                found.setdefault(str(run_id), {})[region] = float(score)
    return found


def study_rows(frame: pd.DataFrame | ScalingTable) -> StudyRows:
    """A study's rows as the fits see them."""
    table = frame if isinstance(frame, ScalingTable) else ScalingTable.from_frame(frame, where="the study")
    named = name_objectives(table.require("family", "region")).with_accuracy()
    if not len(named):
        raise ValueError(f"no row has a family and a region; left out: {dict(named.left_out)}")
    return StudyRows(fingerprint(table), named, by_region(named))


def _scored(rows: StudyRows) -> dict[str, ScalingTable]:
    """The regions that were scored: accuracy is none, where twins are compared."""
    return {region: part for region, part in rows.regions.items() if region != ACCURACY}


def _twins(rows: StudyRows) -> tuple[TwinDifference, ...]:
    twins = find_twins(rows.table)
    return twin_differences(_scored(rows), twins) if twins else ()


def _training(rows: StudyRows, untrained: pd.DataFrame | None, flat: float = MARGIN) -> tuple[TrainingChange, ...]:
    if untrained is None or untrained.empty:
        return ()
    before = by_region(ScalingTable.from_frame(untrained, where="the untrained models").require("family", "region"))
    return compare_untrained(_scored(rows), before, flat)


def _law_dict(law: FittedLaw | str) -> dict[str, Any]:
    return {"status": "no law", "reason": law} if isinstance(law, str) else law.to_dict()
