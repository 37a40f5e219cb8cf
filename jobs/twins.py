"""Studies of several objectives: what each is called, which runs are twins, and the figure with arrows between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from matplotlib.figure import Figure

from analysis import ScalingTable, analyze_tradeoff, plot_tradeoff, treatment_arrows
from scaling.specs.objective import HarmonizerSpec, ObjectiveSpec, objective_spec
from scaling.specs.study import StudySpec

PLAIN_FAMILY = "arch"  # the column of the family's own name, where `family` also names the objective
PAIRED = (PLAIN_FAMILY, "size", "depth", "images_per_class", "seed")


@dataclass(frozen=True)
class Twins:
    """Names of objectives: the baseline, and those that treat what it leaves alone."""

    baseline: str
    treated: tuple[str, ...]


def objective_names(study: StudySpec) -> dict[ObjectiveSpec, str]:
    """Each objective's name, with the options in which those of one name differ: 'harmonizer weight=10'."""
    specs = [objective_spec(objective) for objective in study.all_objectives]
    names = {}
    for spec in specs:
        alike = [other for other in specs if other.name == spec.name]
        told = [field for field in type(spec).model_fields if len({getattr(other, field) for other in alike}) > 1]
        names[spec] = spec.label(told)
    return names


def name_objectives(table: ScalingTable) -> ScalingTable:
    """Runs of several objectives never enter one law: `family` becomes 'resnet harmonizer', `arch` keeps 'resnet'."""
    if len(table.unique("objective")) < 2:
        return table
    family = table.column("family")
    return table.with_columns(family=family + " " + table.column("objective"), **{PLAIN_FAMILY: family})


def study_twins(study: StudySpec) -> Twins | None:
    """Harmonized objectives beside a baseline: the harmonizer of weight 0, else supervised training."""
    names = objective_names(study)
    weights = {name: spec.weight for spec, name in names.items() if isinstance(spec, HarmonizerSpec)}
    treated = tuple(name for name, weight in weights.items() if weight > 0)
    plain = [name for name, weight in weights.items() if weight == 0]
    plain += [name for spec, name in names.items() if spec.name == "supervised"]
    return Twins(plain[0], treated) if plain and treated else None


def twins_figure(regions: Mapping[str, ScalingTable], twins: Twins) -> Figure | None:
    """Accuracy against alignment, a panel a region, an arrow from each baseline to its twin: means over seeds.

    None where too few models are scored, or none has its twin.
    """
    tradeoffs, arrows = [], {}
    for region, table in regions.items():
        known = set(table.unique("objective"))
        treated = [name for name in twins.treated if name in known]
        if twins.baseline not in known or not treated:
            continue
        try:
            tradeoff = analyze_tradeoff(table, str(table.unique("region")[0]), bootstrap=0)
        except ValueError:  # fewer than 4 models
            continue
        tradeoffs.append(replace(tradeoff, region=region))
        arrows[region] = [
            arrow
            for name in treated
            for arrow in treatment_arrows(
                table, {"objective": name}, {"objective": twins.baseline}, match=PAIRED, over="seed"
            )
        ]
    return plot_tradeoff(tradeoffs, arrows, lines=False) if any(arrows.values()) else None
