"""Laws over the stimuli of a mapping, as text and as a table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.fit.law import FittedLaw
from analysis.fit.status import no_numbers
from analysis.mapping.curves import EVERYONE
from analysis.mapping.forecast import forecasts
from analysis.mapping.laws import Fitted, MappingLaws

LISTED = 8  # models of a benchmark: more are summed up, each stands in the report's table
NOTE = (
    "L = E + A·n^-alpha of a model over n, the stimuli that its mapping is fitted on; E + A·C^-alpha + B·n^-beta of a\n"
    "family. Intervals are over numbers of stimuli, and over models: other units, animals and test stimuli are in none."
)


def mapping_text(laws: MappingLaws) -> str:
    """What each benchmark's curves say, then at the largest C and n which of the two gains more."""
    lines = ["Stimuli that the mapping is fitted on"]
    for benchmark in dict.fromkeys(benchmark for benchmark, _, _ in laws.curves):
        own = {m: law for (b, m, subject), law in laws.curves.items() if b == benchmark and subject == EVERYONE}
        lines += _models(benchmark, own)
        lines += [f"{benchmark}, {name}: {_surface(law)}" for (b, name), law in laws.surfaces.items() if b == benchmark]
    if laws.surfaces:
        lines += [one.sentence() for one in forecasts(laws)]
    return "\n".join([*lines, NOTE]) + "\n"


def _models(benchmark: str, laws: dict[str, Fitted]) -> list[str]:
    if len(laws) <= LISTED:
        return [f"{benchmark}, {model}: {curve_said(law)}" for model, law in laws.items()]
    usable = [law.params["alpha"] for law in laws.values() if isinstance(law, FittedLaw) and law.usable]
    said = f"; alpha {np.median(usable):.2g}, from {min(usable):.2g} to {max(usable):.2g}" if usable else ""
    return [f"{benchmark}: laws over n of {len(usable)} of {len(laws)} models are known{said}"]


def curve_said(law: Fitted) -> str:
    """The trend over n, and the law with its intervals or why there is none."""
    if isinstance(law, str):
        return f"no law: {law}"
    if not law.usable:
        return "; ".join(dict.fromkeys([law.trend_text(), no_numbers(law.status, law.reason)]))
    numbers = ", ".join(f"{name} {_number(law, name)}" for name in ("E", "alpha"))
    return f"{law.trend_text()}; {numbers} ({law.status})"


def _surface(law: Fitted) -> str:
    if isinstance(law, str):
        return f"no law of compute and stimuli: {law}"
    if not law.usable:
        return f"no law of compute and stimuli: {no_numbers(law.status, law.reason)}"
    numbers = ", ".join(f"{name} {_number(law, name)}" for name in ("E", "alpha", "beta"))
    return f"{law.trend_text()}; {numbers} ({law.status})"


def _number(law: FittedLaw, name: str) -> str:
    span = " [{:.2g}, {:.2g}]".format(*law.interval(name)) if len(law.draws) else ""
    return f"{law.params[name]:.2g}{span}"


def curves_frame(laws: MappingLaws) -> pd.DataFrame:
    """One row a law over n: status, and the parameters of a usable one with their intervals."""
    rows = []
    for (benchmark, model, subject), law in laws.curves.items():
        known = law if isinstance(law, FittedLaw) and law.usable else None
        row: dict[str, object] = {
            "benchmark": benchmark, "model": model, "subject": subject,
            "status": "no law" if isinstance(law, str) else law.status,
            "sizes": 0 if isinstance(law, str) else law.n_points,
        }  # fmt: skip
        for name in ("E", "A", "alpha"):
            low, high = known.interval(name) if known and len(known.draws) else (np.nan, np.nan)
            row |= {name: known.params[name] if known else np.nan, f"{name} low": low, f"{name} high": high}
        rows.append(row)
    return pd.DataFrame(rows)
