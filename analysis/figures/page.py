"""The report as a page: trends in sentences, the status of every form, sections with figures, configurations, files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from analysis.figures.cells import Statement, law_cells, table_cells
from analysis.figures.configurations import configurations
from analysis.figures.plotted import plotted_data
from analysis.figures.style import in_order, inline_svg, svg_text
from analysis.fit.law import FittedLaw
from analysis.recipe.recipe import Recipe
from analysis.table import ScalingTable

if TYPE_CHECKING:
    import pandas as pd

CONFIGURATIONS = "configurations.csv"


@dataclass(frozen=True)
class Section:
    """One part of the page: words, and what there is of a figure, a table and text. name: of its files."""

    name: str
    title: str
    words: str
    figure: Figure | None = None
    text: str = ""
    table: pd.DataFrame | None = None


@dataclass
class Report:
    """What a page says: statements (trend and form, law by law), sections in order, and what is not shown, and why.

    laws: by name, usable or not; recipes: by the name of their file; heading: of the page.
    """

    table: ScalingTable
    heading: str = "Scaling report"
    statements: list[Statement] = field(default_factory=list)
    laws: dict[str, FittedLaw] = field(default_factory=dict)
    recipes: dict[str, Recipe] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def save(self, out: str | Path) -> Path:
        """Write report.html, each figure as SVG with its numbers as CSV, tables as CSV, laws and recipes as JSON.

        Returns the page's path.
        """
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        drawn = {section.name: svg_text(section.figure) for section in self.sections if section.figure is not None}
        for name, content in self._contents(drawn).items():
            (folder / name).write_text(content, encoding="utf-8")
            self.files.append(name)
        return folder / "report.html"

    def _contents(self, drawn: Mapping[str, str]) -> dict[str, str]:
        """Name -> text of every file, the page last."""
        found = {f"{name}.svg": text for name, text in drawn.items()}
        for section in self.sections:
            if section.figure is not None:
                found[f"{section.name}.csv"] = plotted_data(section.figure).to_csv(index=False)
            if section.table is not None:
                found[f"{section.name}-table.csv"] = section.table.to_csv(index=False)
        found[CONFIGURATIONS] = configurations(self.table).to_csv(index=False)
        found["laws.json"] = json.dumps({name: law.to_dict() for name, law in self.laws.items()}, indent=1)
        found |= {name: recipe.model_dump_json(indent=1) for name, recipe in self.recipes.items()}
        return {**found, "report.html": self.html(drawn)}

    def html(self, drawn: Mapping[str, str] | None = None) -> str:
        """The page, whole in itself: figures inline as SVG. drawn: their SVG by section, if they are drawn already."""
        from jinja2 import Environment, StrictUndefined

        template = resources.files("analysis").joinpath("templates/report.html.j2").read_text(encoding="utf-8")
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        simulated = self.table.names_simulated()
        return environment.from_string(template).render(
            title=f"{self.heading}{' (simulated benchmarks)' if simulated else ''}", simulated=simulated,
            summary=_summary(self.table), left_out=dict(self.table.left_out), statements=self.statements,
            laws=[law_cells(statement) for statement in self.statements],
            sections=[self._section(section, drawn or {}) for section in self.sections],
            configurations=table_cells(configurations(self.table)), configurations_file=CONFIGURATIONS,
            skipped=self.skipped, files=["laws.json", *self.recipes],
        )  # fmt: skip

    def _section(self, section: Section, drawn: Mapping[str, str]) -> dict[str, Any]:
        """What the template shows of a section."""
        figure, svg = section.figure, ""
        if figure is not None:
            svg = inline_svg(drawn.get(section.name) or svg_text(figure), section.name)
        return {
            "name": section.name, "title": section.title, "words": section.words, "text": section.text, "svg": svg,
            "table": None if section.table is None else table_cells(section.table),
        }  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "trends": {s.name: s.trend for s in self.statements if s.told}, "figures": [s.name for s in self.sections],
            "skipped": self.skipped, "files": self.files,
            "laws": {name: law.to_dict() for name, law in self.laws.items()},
        }  # fmt: skip

    def text(self) -> str:
        """Statements and sections, for a terminal."""
        lines = [f"{s.name}: {s.sentence}" for s in self.statements if s.told]
        lines += [f"{s.name:<24}{s.title}" for s in self.sections]
        return "\n".join(lines + [f"{name:<24}skipped: {why}" for name, why in self.skipped.items()])


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
