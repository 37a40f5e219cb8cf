"""The configurations of a table, one row each: what was trained, how often, and its mean scores."""

from __future__ import annotations

import pandas as pd

from analysis.columns import ACCURACY, CONFIGURATION
from analysis.figures.style import in_order
from analysis.table import ScalingTable

ALWAYS = ("n_params", "samples_seen", "flops")  # are shown though they may not vary
DERIVED = ("flops_per_image",)  # follow from the columns that are shown


def configurations(table: ScalingTable) -> pd.DataFrame:
    """One row a configuration, cheapest first: what tells it apart, runs, mean accuracy, mean score by region.

    A mean is over the configuration's runs (seeds) and, where a region has several, its benchmarks.
    """
    frame = table.frame
    keys = [n for n in dict.fromkeys((*CONFIGURATION, *ALWAYS)) if n in frame and n not in DERIVED]
    keys = [n for n in keys if n in ALWAYS or frame[n].nunique(dropna=False) > 1]
    if not keys:
        return pd.DataFrame()
    code = frame.groupby(keys, dropna=False, sort=False).ngroup()
    grouped = frame.groupby(code)
    found = grouped[keys].first()
    found["runs"] = grouped["run_id"].nunique() if "run_id" in frame else grouped.size()
    if "accuracy" in frame:
        found["accuracy"] = grouped["accuracy"].mean()
    for region, means in _scores(frame, code).items():
        found[region] = means
    order = [name for name in ("flops", "n_params") if name in found]
    return (found.sort_values(order, kind="stable") if order else found).reset_index(drop=True)


def _scores(frame: pd.DataFrame, code: pd.Series) -> dict[str, pd.Series]:
    """Mean score by region; of all rows where there are no regions."""
    if "score" not in frame:
        return {}
    if "region" not in frame:
        return {"score": frame["score"].groupby(code).mean()}
    found = {}
    for region in in_order([str(r) for r in frame["region"].dropna().unique() if r != ACCURACY]):
        own = frame["region"] == region
        found[f"score {region}"] = frame.loc[own, "score"].groupby(code[own]).mean()
    return found
