"""What training changes, as text and as a table: trained models beside themselves before their first step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.answers.text import grid
from analysis.comparison.untrained import TrainingChange
from analysis.fit.estimate import Estimate

LEGEND = (
    "trained - untrained: of the score, [95 % t interval] over architectures, each the mean of its configurations and "
    "seeds; over subjects: the same mean, [95 % t interval] over the subjects of the region's one benchmark"
)
COLUMNS = ("region", "family", "of", "untrained", "trained", "trained - untrained", "over subjects")


def training_text(changes: Sequence[TrainingChange]) -> str:
    """The table, then a sentence a row; empty where no score before training is known."""
    if not changes:
        return ""
    rows = [[one.region, one.family, one.of, f"{one.untrained:.3f}", f"{one.trained:.3f}",
             one.difference.text("+.3f"), _subjects(one)] for one in changes]  # fmt: skip
    lines = [one.sentence() for one in changes]
    lines += list(dict.fromkeys(
        f"left out of {one.region}, {one.family}: {one.unpaired} runs without a score below 1 before training"
        for one in changes if one.unpaired
    ))  # fmt: skip
    return grid("Beside the untrained models", COLUMNS, rows) + "\n".join([LEGEND, *lines]) + "\n"


def _subjects(one: TrainingChange) -> str:
    return "" if one.subjects is None else f"{one.subjects.text('+.3f')} ({one.n_subjects})"


def training_frame(changes: Sequence[TrainingChange]) -> pd.DataFrame:
    """One row a region, family and subset: scores, their difference and the change of misalignment, with intervals."""
    rows = []
    for one in changes:
        share = one.change.to_dict(0.95)
        rows.append({
            "region": one.region, "family": one.family, "of": one.of, "misalignment": one.direction,
            "architectures": one.architectures, "configurations": one.configurations, "runs": one.runs,
            "score untrained": one.untrained, "score trained": one.trained, **_told("score difference", one.difference),
            "misalignment change": share["change"], "change low": share["low"], "change high": share["high"],
            "subjects": one.n_subjects or np.nan, **_told("score over subjects", one.subjects),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _told(name: str, value: Estimate | None) -> dict[str, float | None]:
    if value is None:
        return {name: None, f"{name} low": None, f"{name} high": None}
    return {name: value.value, f"{name} low": value.low, f"{name} high": value.high}
