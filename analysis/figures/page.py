"""The report as a page: sections with figures and words, and one self-contained HTML file."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from analysis.figures.style import in_order, save_figure
from analysis.fit.law import FittedLaw
from analysis.recipe.recipe import Recipe
from analysis.table import ScalingTable


@dataclass(frozen=True)
class Section:
    """One figure with its words, or why there is none."""

    name: str
    title: str
    words: str
    figure: Figure
    text: str = ""


@dataclass
class Report:
    """Sections in order, laws by name, the recipe, what was skipped and why; `save` writes it all."""

    table: ScalingTable
    laws: dict[str, FittedLaw] = field(default_factory=dict)
    recipe: Recipe | None = None
    sections: list[Section] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def save(self, out: str | Path) -> Path:
        """Write report.html, each figure as SVG, laws.json and recipe.json into a folder; returns the page's path."""
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        for section in self.sections:
            save_figure(section.figure, folder / f"{section.name}.svg")
            self.files.append(f"{section.name}.svg")
        laws = {name: law.to_dict() for name, law in self.laws.items()}
        (folder / "laws.json").write_text(json.dumps(laws, indent=1), encoding="utf-8")
        if self.recipe:
            self.recipe.save(folder / "recipe.json")
        page = folder / "report.html"
        page.write_text(self.html(), encoding="utf-8")
        self.files += ["laws.json", *(["recipe.json"] if self.recipe else []), "report.html"]
        return page

    def html(self) -> str:
        """The page, figures inline as PNG."""
        from jinja2 import Environment, StrictUndefined

        template = resources.files("analysis").joinpath("templates/report.html.j2").read_text(encoding="utf-8")
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        simulated = " (simulated benchmarks)" if self.table.names_simulated() else ""
        sections = [
            {"title": s.title, "words": s.words, "text": s.text, "image": inline_png(s.figure)} for s in self.sections
        ]
        return environment.from_string(template).render(
            title=f"Scaling report{simulated}", summary=_summary(self.table), left_out=dict(self.table.left_out),
            laws=[_law_row(name, law) for name, law in self.laws.items()], sections=sections, skipped=self.skipped,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        return {"figures": [s.name for s in self.sections], "skipped": self.skipped, "files": self.files,
                "laws": {name: law.to_dict() for name, law in self.laws.items()}}  # fmt: skip

    def text(self) -> str:
        lines = [f"{s.name:<24}{s.title}" for s in self.sections]
        return "\n".join(lines + [f"{name:<24}skipped: {why}" for name, why in self.skipped.items()])


def inline_png(figure: Figure) -> str:
    """A figure as a data URI."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _summary(table: ScalingTable) -> str:
    parts = [f"{len(table)} rows"]
    for name, many in (("run_id", "runs"), ("region", "regions"), ("family", "families"), ("dataset", "datasets")):
        if name in table.columns:
            values = table.unique(name)
            parts.append(
                f"{len(values)} {many if len(values) != 1 else many.replace('ies', 'y').rstrip('s')}"
                + (f" ({', '.join(map(str, in_order(values)))})" if len(values) < 8 else "")
            )
    return ", ".join(parts) + "."


def _law_row(name: str, law: FittedLaw) -> dict[str, Any]:
    params = []
    for key, value in law.params.items():
        span = " [{:.3g}, {:.3g}]".format(*law.interval(key)) if len(law.draws) else ""
        params.append(f"{key}{'*' if key in law.verdict.weak else ''} = {value:.4g}{span}")
    return {"name": name, "formula": law.formula, "params": ", ".join(params) if law.usable else "–",
            "status": law.status, "reason": law.reason, "loss": f"{law.huber_loss:.4g}", "n": law.n_points}  # fmt: skip
