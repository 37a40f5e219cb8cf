"""The laws that can be fitted: each is a sum of an offset and of power-law terms.

    y = E_g + sum_k A_{k,g} * x_k^(-alpha_k)

where g is a group (one, unless exponents are shared over regions or families) and x_k is an axis in natural
units, or a coordinate built from axes and one shape parameter (a shift, a repetition constant).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.columns import Array
from analysis.fit.coordinates import PLAIN, REPEATED, SHIFTED, Coordinate


@dataclass(frozen=True)
class Term:
    """One power-law term: names of its coefficient and exponent, and the coordinate it scales with."""

    coefficient: str
    exponent: str
    axes: tuple[int, ...]
    coordinate: Coordinate


@dataclass(frozen=True)
class Form:
    """A law: its name, formula, default axes, terms and source."""

    name: str
    formula: str
    default_axes: tuple[str, ...]
    terms: tuple[Term, ...]
    source: str

    @property
    def n_axes(self) -> int:
        return len(self.default_axes)

    def params(self, groups: Sequence[str] = ()) -> tuple[str, ...]:
        """Names of the parameters: E and coefficients per group, exponents and shapes shared."""
        names = _grouped("E", groups)
        for term in self.terms:
            names += [*_grouped(term.coefficient, groups), term.exponent]
            names += [term.coordinate.shape] if term.coordinate.shape else []
        return tuple(names)


def _grouped(name: str, groups: Sequence[str]) -> list[str]:
    return [f"{name}[{group}]" for group in groups] if groups else [name]


FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form("constant", "E", ("flops",), (), "null model: no scaling"),
        Form("power_law", "E + A·x^-alpha", ("flops",), (Term("A", "alpha", (0,), PLAIN),),
             "Gokce & Schrimpf 2025, eq. of the compute fits"),
        Form("shifted_power_law", "E + A·(x + shift)^-alpha", ("flops",),
             (Term("A", "alpha", (0,), SHIFTED),), "Gokce & Schrimpf 2025, shifted fits"),
        Form("chinchilla", "E + A·N^-alpha + B·D^-beta", ("n_params", "samples_seen"),
             (Term("A", "alpha", (0,), PLAIN), Term("B", "beta", (1,), PLAIN)),
             "Hoffmann et al. 2022, eq. 2"),
        Form("data_constrained", "E + A·N^-alpha + B·(U·(1 + R_star·(1 - exp(-(D/U - 1)/R_star))))^-beta",
             ("n_params", "n_samples", "samples_seen"),
             (Term("A", "alpha", (0,), PLAIN), Term("B", "beta", (1, 2), REPEATED)),
             "Muennighoff et al. 2023, eq. 5-6; deviation: excess parameters do not decay"),
    )
}  # fmt: skip


def find_form(name: str) -> Form:
    """Return the form called `name`; an unknown name is refused with the list of the known."""
    if name not in FORMS:
        raise ValueError(f"form={name!r} is not known; choose one of {', '.join(sorted(FORMS))}")
    return FORMS[name]


def evaluate_form(form: Form, params: Mapping[str, Any], X: Sequence[Any], group: str = "") -> Array:
    """y of the law at natural parameters and axes X; parameters may be draws (B,), axes broadcast against them."""
    suffix = f"[{group}]" if group else ""
    axes = [np.asarray(x, dtype=np.float64) for x in X]
    y = np.asarray(params[f"E{suffix}"], dtype=np.float64) + np.zeros(np.broadcast_shapes(*(x.shape for x in axes)))
    for term in form.terms:
        x = _natural_coordinate(term, params, [axes[i] for i in term.axes])
        with np.errstate(over="ignore", invalid="ignore"):
            logged = np.log(np.asarray(params[f"{term.coefficient}{suffix}"])) - np.asarray(params[term.exponent]) * x
        y = y + np.exp(logged)
    return y


def _natural_coordinate(term: Term, params: Mapping[str, Any], axes: list[Array]) -> Array:
    """ln x of a term from natural shape parameters."""
    shape = term.coordinate.shape
    if shape == "shift":
        return np.log(axes[0] + np.asarray(params[shape]))
    phi = np.log(np.asarray(params[shape])) if shape else None
    return term.coordinate.value(axes, phi)[0]
