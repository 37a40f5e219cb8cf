"""What a recipe answers: allocations of a budget, and the compute to reach a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field, field_serializer

from analysis.fit.estimate import Estimate, PlainModel


class Model(PlainModel):
    """A model that can be built: its name and number of parameters."""

    name: str
    n_params: float


def nearest_model(models: Sequence[Model], n_params: float) -> Model | None:
    """The model whose size is nearest on a logarithmic scale."""
    return min(models, key=lambda model: abs(np.log(model.n_params / n_params)), default=None)


class Measured(PlainModel):
    """A configuration that was trained: its name, size, samples, compute; mean measured value over its runs."""

    name: str
    flops: float
    n_params: float | None = None
    samples_seen: float | None = None
    value: float
    runs: int

    def text(self, quantity: str) -> str:
        at = f", {self.samples_seen:.3g} samples" if self.samples_seen else ""
        runs = f"{self.runs} run{'s' if self.runs > 1 else ''}"
        return f"{self.name}{at} ({self.flops:.3g} FLOP): {quantity} {self.value:.3f}, mean of {runs}"


class Allocation(PlainModel):
    """A budget's split. n_params and samples_seen are None where the law does not say; `reason` then says why.

    trend: whether the quantity changes over the measured range, a sentence; best_measured: of what was trained within
    the budget; inside: what a curve without identified parameters says there, with its t interval; scores: by target,
    the score predicted (None, and left out of JSON, where no usable law says it); where the laws are of another
    quantity, as "loss", that. status: of the law that splits the budget, and why it is not "ok".
    """

    flops: float
    status: str = ""
    why: str = ""
    trend: str = ""
    n_params: Estimate | None = None
    samples_seen: Estimate | None = None
    n_samples: float | None = None
    epochs: float | None = None
    scores: Mapping[str, Estimate | None]
    extrapolation: dict[str, float]
    gain_double: Mapping[str, Estimate] = Field(default_factory=dict)
    nearest: Model | None = None
    reason: str = ""
    best_measured: Measured | None = None
    inside: Estimate | None = None
    quantity: str = "score"

    @field_serializer("scores")
    def _known_scores(self, scores: Mapping[str, Estimate | None]) -> dict[str, Any]:
        return {name: score.model_dump() for name, score in scores.items() if score is not None}

    def text(self) -> str:
        """A table for a terminal."""
        lines = [f"{'compute':<24}{self.flops:.3g} FLOP"]
        lines += [f"{'measured change':<24}{self.trend}"] if self.trend else []
        lines += [f"{'law':<24}{self.status}{': ' if self.why else ''}{self.why}"] if self.status else []
        if self.n_params and self.samples_seen:
            lines.append(f"{'parameters N':<24}{self.n_params.text()}")
            lines.append(f"{'samples seen D':<24}{self.samples_seen.text()}")
        else:
            lines.append(f"{'parameters, samples':<24}no number: {self.reason}")
        if self.n_samples and self.epochs:
            lines.append(f"{'images x epochs':<24}{self.n_samples:.3g} x {self.epochs:.3g}")
        if self.nearest:
            lines.append(f"{'nearest model':<24}{self.nearest.name} ({self.nearest.n_params:.3g} parameters)")
        if self.best_measured:
            lines.append(f"{'best measured':<24}{self.best_measured.text(self.quantity)}")
        if self.inside:
            lines.append(f"{'  the curve there':<24}{self.quantity} {self.inside.text('.3f')}")
        label = {name: self.quantity if name == self.quantity else f"{self.quantity} {name}" for name in self.scores}
        lines += [f"{label[name]:<23} {score.text('.3f')}" for name, score in self.scores.items() if score]
        names = {"n_params": "parameters", "samples_seen": "samples"}
        lines += [f"{'gain of 2 x ' + names[n]:<24}{gain.text('.4f')}" for n, gain in self.gain_double.items()]
        beyond = {n: f for n, f in self.extrapolation.items() if f > 1}
        lines.append(f"{'extrapolation':<24}{', '.join(f'{n} {f:.3g}x' for n, f in beyond.items()) or 'none'}")
        return "\n".join(lines)


class Reach(PlainModel):
    """Compute that reaches a score (a loss: see `quantity`); `flops` is None where it cannot, or the law cannot say."""

    score: float
    flops: Estimate | None = None
    asymptote: Estimate | None = None
    extrapolation: Mapping[str, float] = Field(default_factory=dict)
    reason: str = ""
    quantity: str = "score"

    def text(self) -> str:
        if self.reason:
            return f"no number: {self.reason}"
        assert self.asymptote is not None
        if self.flops is None:
            return f"unreachable: asymptote {self.asymptote.text('.3f')}"
        factor = self.extrapolation.get("flops", 1.0)
        beyond = f", {factor:.3g}x beyond the measured compute" if factor > 1 else ""
        return (
            f"{self.flops.text()} FLOP for a {self.quantity} of {self.score:g} "
            f"(asymptote {self.asymptote.text('.3f')}){beyond}"
        )
