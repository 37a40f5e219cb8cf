"""What training changes: each model beside itself before its first step, architecture by architecture.

For a run r, d_r = S_r - S_r0 and l_r = ln(L_r / L_r0), L = 1 - S, r0 its own epoch 0. A configuration is the mean
of its seeds, an architecture the mean of its configurations. These share one untrained score a seed, so that the
architecture is the independent unit: estimates are means over architectures, with t intervals over them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.columns import Array
from analysis.fit.estimate import Estimate
from analysis.fit.trend import FLAT_LEVEL, LEVEL, MARGIN, Change, Direction, t_quantile
from analysis.fit.words import signed, size_of
from analysis.table import ScalingTable

ARCHITECTURE = ("family", "arch", "size", "depth", "width", "variant", "image_size", "n_params")
EVERY, MOST = "all configurations", "most compute"
ALL_FAMILIES = "all families"


@dataclass(frozen=True)
class TrainingChange:
    """What training changed in a region, of a family. of: EVERY, or MOST, each architecture's dearest configuration.

    untrained, trained: mean scores; difference: of the score, t interval over architectures; change: of ln L; subjects:
    the mean difference with its t interval over the subjects that the region's one benchmark names, n_subjects of them.
    unpaired: runs without a score before training, or with one that has no ln L; they count nowhere.
    """

    region: str
    family: str
    of: str
    architectures: int
    configurations: int
    runs: int
    untrained: float
    trained: float
    difference: Estimate
    change: Change
    direction: Direction
    subjects: Estimate | None = None
    n_subjects: int = 0
    unpaired: int = 0
    margin: float = MARGIN

    def sentence(self) -> str:
        """'V4, resnet: misalignment falls by 12 % [8, 16] from the untrained to the trained models (…)'."""
        seen = f"{self.untrained:.3f} -> {self.trained:.3f}, {self.difference.text('+.3f')}"
        units = f"{self.architectures} architectures, {self.configurations} configurations, {self.runs} runs"
        return f"{self.region}, {self.family}, {self.of}: {self._told()}, untrained to trained (score {seen}; {units})"

    def _told(self) -> str:
        if self.direction in ("falls", "rises"):
            return f"misalignment {self.direction} by {size_of(self.change)}"
        if self.direction == "flat":
            span = signed(self.change, FLAT_LEVEL)
            return f"misalignment is flat, {span} (within ± {100 * self.margin:g} %, {FLAT_LEVEL:.0%})"
        span = f": {signed(self.change, LEVEL)}" if self.change.known else ", of one architecture"
        return f"whether training changes misalignment is undetermined{span}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = ("region", "family", "of", "architectures", "configurations", "runs", "untrained", "trained",
                 "direction", "n_subjects", "unpaired")  # fmt: skip
        return {
            **{name: getattr(self, name) for name in plain}, "difference": self.difference.to_dict(),
            "misalignment": self.change.to_dict(LEVEL),
            "over_subjects": None if self.subjects is None else self.subjects.to_dict(),
        }  # fmt: skip


def compare_untrained(
    trained: Mapping[str, ScalingTable], untrained: Mapping[str, ScalingTable], margin: float = MARGIN
) -> tuple[TrainingChange, ...]:
    """Region by region, family by family (and over all, where there are several): see the module.

    Args:
        trained, untrained: region -> one row a run, joined by run_id. margin: share of L within which a change counts
            as none, shown by two one-sided tests.
    """
    found = []
    for region, rows in trained.items():
        if region in untrained:
            pairs, unpaired = paired(rows, untrained[region])
            for family, part in _families(pairs):
                lost = int(unpaired.sum() if family == ALL_FAMILIES else unpaired.get(family, 0))
                found += [_compared(region, family, of, own, lost, margin) for of, own in _subsets(part)]
    return tuple(found)


def paired(rows: ScalingTable, before: ScalingTable) -> tuple[pd.DataFrame, pd.Series]:
    """Runs with d, l, both scores and their subjects' d (JSON); and how many of each family have no pair."""
    named = [name for name in ("run_id", "score", "subject_scores") if name in before.columns]
    joined = rows.frame.merge(before.frame[named], on="run_id", how="left", suffixes=("", "_before"))
    known = (joined["score_before"].notna() & (joined["score_before"] < 1) & (joined["score"] < 1)).to_numpy()
    lost, own = joined[~known].groupby("family").size(), joined[known]
    log_ratio = np.log((1 - own["score"]) / (1 - own["score_before"]))
    return own.assign(d=own["score"] - own["score_before"], l=log_ratio), lost


def _families(pairs: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    names = sorted(pairs["family"].astype(str).unique())
    for name in names:
        yield name, pairs[pairs["family"].astype(str) == name]
    if len(names) > 1:
        yield ALL_FAMILIES, pairs


def _subsets(part: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """All configurations, and each architecture's dearest one where some have several."""
    yield EVERY, part
    dearest = part["flops"] >= part.groupby(_keys(part), dropna=False)["flops"].transform("max") * (1 - 1e-9)
    if not dearest.all():
        yield MOST, part[dearest]


def _keys(frame: pd.DataFrame) -> list[str]:
    return [name for name in ARCHITECTURE if name in frame]


def _compared(region: str, family: str, of: str, part: pd.DataFrame, lost: int, margin: float) -> TrainingChange:
    configured = [*_keys(part), *(name for name in ("flops", "n_samples", "epochs", "objective") if name in part)]
    values = part.groupby(configured, dropna=False)[["d", "l", "score", "score_before"]].mean()
    means = values.reset_index().groupby(_keys(part), dropna=False)[["d", "l", "score", "score_before"]].mean()
    value, error, dof = mean_and_error(means["l"].to_numpy())
    change = Change("training", value, error, dof, 1.0)
    over = _over_subjects(part, configured)
    return TrainingChange(
        region, family, of, len(means), len(values), len(part), float(means["score_before"].mean()),
        float(means["score"].mean()), t_interval(means["d"].to_numpy()), change, _direction(change, margin),
        None if over is None else t_interval(over), 0 if over is None else len(over), lost, margin,
    )  # fmt: skip


def _direction(change: Change, margin: float) -> Direction:
    if not change.known:
        return "undetermined"
    sign = change.direction(LEVEL)
    if sign:
        return "falls" if sign < 0 else "rises"
    return "flat" if change.within(margin) else "undetermined"


def mean_and_error(values: Array) -> tuple[float, float, int]:
    """Mean, standard error and degrees of freedom; of one value the error is infinite."""
    n = len(values)
    error = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else np.inf
    return float(values.mean()), error, max(n - 1, 1)


def t_interval(values: Array) -> Estimate:
    """The mean with its t interval; of one value none."""
    value, error, dof = mean_and_error(values)
    if not np.isfinite(error):
        return Estimate(value=value)
    reach = t_quantile(LEVEL, dof) * error
    return Estimate(value=value, low=value - reach, high=value + reach)


def _over_subjects(part: pd.DataFrame, configured: list[str]) -> Array | None:
    """Each subject's mean difference (n_subjects,), over architectures; None where fewer than two are named."""
    if not {"subject_scores", "subject_scores_before"} <= set(part.columns):
        return None
    rows = [_by_subject(*told) for told in zip(part["subject_scores"], part["subject_scores_before"], strict=True)]
    found = pd.DataFrame(rows, index=part.index).dropna(axis=1)
    if found.shape[1] < 2:
        return None
    by_configuration = found.groupby([part[name] for name in configured], dropna=False).mean()
    by_architecture = by_configuration.groupby(level=_keys(part), dropna=False).mean()
    return np.asarray(by_architecture.mean().to_numpy(), dtype=np.float64)


def _by_subject(after: Any, before: Any) -> dict[str, float]:
    if not isinstance(after, str) or not isinstance(before, str):
        return {}
    first = json.loads(before)
    return {
        name: one["score"] - first[name]["score"] for name, one in json.loads(after).items() if name in first
    }  # fmt: skip
