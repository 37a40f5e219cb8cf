"""What was tested: the models of the rows, and the name of what was measured on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis.columns import measured_name
from analysis.recipe.allocation import Measured, Model

if TYPE_CHECKING:
    from analysis.fit.law import FittedLaw
    from analysis.table import ScalingTable


def target_name(law: FittedLaw) -> str:
    regions = [str(v) for v in law.rows.unique("region")] if "region" in law.rows.columns else []
    return regions[0] if len(regions) == 1 else measured_name(law.spec.target)


def configurations(law: FittedLaw, group: str = "") -> tuple[Measured, ...]:
    """What was measured of a law's rows (of one group), a configuration each, cheapest first."""
    rows, shared = law.rows, law.spec.shared_by
    rows = rows.select(**{shared: group}) if group and shared else rows
    if "flops" not in rows.columns:
        return ()
    rows = rows.require("flops")
    keys = [name for name in ("family", "arch", "size", "n_params", "samples_seen", "flops") if name in rows.columns]
    of = measured_name(law.spec.target)
    grouped = rows.frame.groupby(keys, dropna=False, sort=False)[of].agg(value="mean", runs="size").reset_index()
    found = [_configuration(row, keys) for row in grouped.to_dict("records")]
    return tuple(sorted(found, key=lambda m: m.flops))


def _configuration(row: Mapping[Any, Any], keys: Sequence[str]) -> Measured:
    named = [str(row[name]) for name in ("family", "arch", "size") if name in keys and row[name] == row[name]]
    sizes = {name: float(row[name]) for name in ("n_params", "samples_seen") if name in keys and row[name] > 0}
    name = " ".join(dict.fromkeys(named)) or f"{sizes.get('n_params', float('nan')):.3g} parameters"
    return Measured(name=name, flops=row["flops"], value=row["value"], runs=int(row["runs"]), **sizes)


def tested_models(rows: ScalingTable) -> tuple[Model, ...]:
    """The distinct models of the rows, by size."""
    if "n_params" not in rows.columns:
        return ()
    names = [n for n in ("family", "arch", "size") if n in rows.columns]
    frame = rows.frame.drop_duplicates("n_params").dropna(subset=["n_params"]).sort_values("n_params")
    labels = frame[names].astype(str).agg(" ".join, axis=1) if names else frame["n_params"].map("{:.3g}".format)
    return tuple(Model(name=str(a), n_params=float(b)) for a, b in zip(labels, frame["n_params"], strict=True))
