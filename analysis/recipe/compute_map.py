"""How training compute C follows from parameters N and samples seen D: C = m * (N^gamma * D)^n.

Two kinds. "forward": C = factor * flops_per_image(N) * D with flops_per_image = k * N^gamma fitted on the models of
the table (factor 3: forward and backward; n = 1, m = factor * k). "product": C = m * (N * D)^n fitted on the runs
(gamma = 1; Gokce & Schrimpf 2025, as 6 N D does not hold across architectures).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from analysis.columns import Array, listed

if TYPE_CHECKING:
    from analysis.table import ScalingTable


class ComputeMap(BaseModel):
    """C = m * (N^gamma * D)^n. `spread`: typical factor by which models differ from it; `source`: how it was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["forward", "product", "given"]
    m: float = Field(gt=0)
    n: float = Field(gt=0)
    gamma: float = Field(gt=0)
    spread: float = 1.0
    source: str = "given"

    def flops(self, n_params: Any, samples_seen: Any) -> Array:
        """Training compute of N parameters (any shape) over D samples."""
        N, D = np.asarray(n_params, dtype=np.float64), np.asarray(samples_seen, dtype=np.float64)
        return np.asarray(self.m * (N**self.gamma * D) ** self.n)

    def samples(self, n_params: Any, flops: Any) -> Array:
        """Samples seen that compute C buys a model of N parameters: D = (C/m)^(1/n) / N^gamma."""
        N, C = np.asarray(n_params, dtype=np.float64), np.asarray(flops, dtype=np.float64)
        return np.asarray((C / self.m) ** (1 / self.n) / N**self.gamma)

    def text(self) -> str:
        if self.kind == "forward":
            return f"C = {self.m:.3g} · N^{self.gamma:.3f} · D (× or ÷ {self.spread:.2f} between models; {self.source})"
        return f"C = {self.m:.3g} · (N^{self.gamma:.3g} · D)^{self.n:.3f} (× or ÷ {self.spread:.2f}; {self.source})"


def fit_compute_map(rows: ScalingTable, kind: Literal["forward", "product"] | None = None) -> ComputeMap:
    """The compute map of the rows' models; kind defaults to "forward" where the table has flops_per_image.

    Raises ValueError where the rows cannot show it: missing columns, or a single model size.
    """
    if kind is None:
        kind = "forward" if "flops_per_image" in rows.columns else "product"
    names = ["n_params", "samples_seen", "flops", *(["flops_per_image"] if kind == "forward" else [])]
    given = "or give the map: Recipe.from_law(law, compute=ComputeMap(kind='given', m=6, n=1, gamma=1)) is C = 6 N D"
    absent = [name for name in names if name not in rows.columns]
    if absent:
        raise ValueError(f"the table has no column {absent[0]!r}; its columns: {listed(rows.columns)}; add it, {given}")
    n_before, rows = len(rows), rows.require(*names)
    rows = rows.where(rows.values("samples_seen") > 0, "samples_seen is 0")
    if not len(rows):
        raise ValueError(
            f"none of {n_before} rows has all of {', '.join(names)} above 0 (left out: {dict(rows.left_out)}); "
            f"fill in the columns, {given}"
        )
    N, D, C = (rows.values(name) for name in ("n_params", "samples_seen", "flops"))
    if len(np.unique(N)) < 2:
        raise ValueError("one model size in the rows: compute as a function of n_params needs two sizes or more")
    if kind == "forward":
        return _forward_map(N, D, C, rows.values("flops_per_image"))
    n, intercept, spread = _line(np.log(N * D), np.log(C))
    return ComputeMap(kind="product", m=float(np.exp(intercept)), n=n, gamma=1.0, spread=spread,
                      source=f"fitted on {len(N)} runs")  # fmt: skip


def _forward_map(N: Array, D: Array, C: Array, per_image: Array) -> ComputeMap:
    models = np.unique(np.column_stack([N, per_image]), axis=0)
    gamma, intercept, spread = _line(np.log(models[:, 0]), np.log(models[:, 1]))
    factor = float(np.exp(np.median(np.log(C / (per_image * D)))))
    source = f"{factor:.3g} · flops_per_image(N) · samples_seen, {len(models)} models"
    return ComputeMap(
        kind="forward", m=factor * float(np.exp(intercept)), n=1.0, gamma=gamma, spread=spread, source=source
    )


def _line(x: Array, y: Array) -> tuple[float, float, float]:
    """Slope, intercept and exp(residual s.d.) of least squares; a slope of compute in size must be positive."""
    slope, intercept = np.polyfit(x, y, 1)
    if slope <= 0:
        raise ValueError(
            f"compute falls with model size in these rows (slope {slope:.3g}); select one family or more sizes"
        )
    return float(slope), float(intercept), float(np.exp(np.std(y - slope * x - intercept)))
