"""What was tested: the models of the rows, and the name of what was measured on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.columns import measured_name
from analysis.recipe.allocation import Model

if TYPE_CHECKING:
    from analysis.fit.law import FittedLaw
    from analysis.table import ScalingTable


def target_name(law: FittedLaw) -> str:
    regions = [str(v) for v in law.rows.unique("region")] if "region" in law.rows.columns else []
    return regions[0] if len(regions) == 1 else measured_name(law.spec.target)


def tested_models(rows: ScalingTable) -> tuple[Model, ...]:
    """The distinct models of the rows, by size."""
    if "n_params" not in rows.columns:
        return ()
    names = [n for n in ("family", "arch", "size") if n in rows.columns]
    frame = rows.frame.drop_duplicates("n_params").dropna(subset=["n_params"]).sort_values("n_params")
    labels = frame[names].astype(str).agg(" ".join, axis=1) if names else frame["n_params"].map("{:.3g}".format)
    return tuple(Model(name=str(a), n_params=float(b)) for a, b in zip(labels, frame["n_params"], strict=True))
