"""An answer in a folder: laws and recipes as JSON, the text, figures, and the fingerprint of the frame it was made of.

A saved law has no rows: they come from the same frame again, so that nothing is fitted when an answer is loaded.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from analysis.answers.laws import Fitted, StudyLaws
from analysis.fit.fit import Found, law_of
from analysis.fit.groups import ask
from analysis.fit.inside import Inside
from analysis.fit.law import Diagnostics, Resampled
from analysis.fit.spec import FitSpec
from analysis.fit.status import Verdict
from analysis.mapping.curves import mapping_rows
from analysis.mapping.laws import MappingLaws, laws_of
from analysis.recipe.recipe import Recipe
from analysis.table import ScalingTable

VERSION = 8  # raise it when fits or their table change: saved answers are then made anew
UNREAD = ("train_s", "score_s", "started_at", "ended_at", "spec", "flops_spent")  # columns that no answer depends on
INDEX, LAWS, TEXT = "index.json", "laws.json", "laws.txt"


class SavedLaw(BaseModel):
    """What a fit found; `reason` alone where there was none. Trends are taken again, from the rows."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    region: str
    family: str | None = None
    repeated: bool = False
    reason: str = ""
    spec: FitSpec | None = None
    estimate: list[float] = []
    draws: list[list[float]] = []
    left_out: list[list[float]] = []
    verdict: Verdict | None = None
    diagnostics: Diagnostics | None = None
    inside: Inside | None = None

    @classmethod
    def of(cls, law: Fitted, region: str, family: str | None = None, repeated: bool = False) -> SavedLaw:
        if isinstance(law, str):
            return cls(region=region, family=family, repeated=repeated, reason=law)
        return cls(
            region=region, family=family, repeated=repeated, spec=law.spec, estimate=law.estimate.tolist(),
            draws=law.draws.tolist(), left_out=law.left_out.tolist(), verdict=law.verdict, diagnostics=law.diagnostics,
            inside=law.inside,
        )  # fmt: skip

    def law(self, rows: ScalingTable) -> Fitted:
        """The law over the rows that it was fitted to."""
        if self.spec is None or self.verdict is None or self.diagnostics is None:
            return self.reason
        shape = (-1, len(self.estimate))
        resampled = Resampled(*(np.array(a, dtype=np.float64).reshape(shape) for a in (self.draws, self.left_out)))
        found = Found(np.array(self.estimate), self.verdict, self.diagnostics, resampled, self.inside)
        return law_of(self.spec, ask(rows, self.spec), found)


class SavedLaws(BaseModel):
    """Every law of a study."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    laws: list[SavedLaw]
    curves: list[tuple[tuple[str, str, str], SavedLaw]] = []
    surfaces: list[tuple[tuple[str, str], SavedLaw]] = []

    @classmethod
    def of(cls, laws: StudyLaws, mapping: MappingLaws | None = None) -> SavedLaws:
        size = [SavedLaw.of(law, region) for region, law in laws.size.items()]
        size += [SavedLaw.of(law, region, repeated=True) for region, law in laws.repeated.items()]
        whole = [*size, *(SavedLaw.of(law, *key) for key, law in laws.compute.items())]
        if mapping is None:
            return cls(laws=whole)
        curves = [(key, SavedLaw.of(law, key[0])) for key, law in mapping.curves.items()]
        surfaces = [(key, SavedLaw.of(law, *key)) for key, law in mapping.surfaces.items()]
        return cls(laws=whole, curves=curves, surfaces=surfaces)

    def mapping_laws(self, table: ScalingTable) -> MappingLaws:
        """The laws over the stimuli of mappings, over the curves of the table that they were fitted to."""
        rows, curves, surfaces = mapping_rows(table.require("family", "region")), dict(self.curves), dict(self.surfaces)
        return laws_of(rows, lambda key, part: curves[key].law(part), lambda key, part: surfaces[key].law(part))

    def study_laws(self, regions: Mapping[str, ScalingTable]) -> StudyLaws:
        """The laws over the rows of each region."""
        whole = [saved for saved in self.laws if saved.family is None]
        size, repeated = (
            {saved.region: saved.law(regions[saved.region]) for saved in whole if saved.repeated == kind}
            for kind in (False, True)
        )
        compute = {
            (saved.region, saved.family): saved.law(_of_family(regions[saved.region], saved))
            for saved in self.laws
            if saved.family is not None
        }
        return StudyLaws(compute, size, repeated)


def _of_family(rows: ScalingTable, saved: SavedLaw) -> ScalingTable:
    return rows if saved.spec is None else rows.select(family=saved.family)


def fingerprint(table: ScalingTable) -> str:
    """Changes with every value that a fit reads, and with how fits are made here."""
    rows = table.frame.drop(columns=[name for name in UNREAD if name in table.columns])
    order = [name for name in ("run_id", "benchmark") if name in rows]
    rows = rows.sort_values(order) if order else rows
    text = rows[sorted(rows.columns)].to_csv(index=False) + repr(VERSION)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def new_folder(folder: str | Path) -> Path:
    """The folder, made where it is not there.

    Raises ValueError where it holds anything: a file of an earlier answer would pass for one of this.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; save an answer into a new folder and put it in the old one's place")
    return folder


def write_answer(
    folder: Path, facts: Mapping[str, Any], laws: SavedLaws, recipes: Mapping[str, Recipe], text: str
) -> None:
    """Write all but the figures, the index last."""
    names = {family: f"recipe-{name}.json" for family, name in file_names(recipes).items()}
    for family, recipe in recipes.items():
        recipe.save(folder / names[family])
    (folder / LAWS).write_text(laws.model_dump_json(), encoding="utf-8")
    (folder / TEXT).write_text(text, encoding="utf-8")
    (folder / INDEX).write_text(json.dumps({**facts, "recipes": names}, indent=2), encoding="utf-8")


def read_answer(folder: Path, mark: str) -> tuple[SavedLaws, dict[str, Recipe]] | None:
    """The laws and recipes of a folder; None where it holds no whole answer of this fingerprint."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if index["fingerprint"] != mark:
            return None
        recipes = {family: Recipe.load(folder / name) for family, name in index["recipes"].items()}
        return SavedLaws.model_validate_json((folder / LAWS).read_text(encoding="utf-8")), recipes
    except (FileNotFoundError, ValueError, KeyError):  # none, cut off while it was written, or another version's
        return None


def saved_fact(folder: Path, name: str) -> Any:
    """One of the facts that a saved answer's index states; None where it states none, or there is no whole answer."""
    try:
        return json.loads((folder / INDEX).read_text(encoding="utf-8")).get(name)
    except (FileNotFoundError, ValueError):
        return None


def file_names(families: Mapping[str, Any] | tuple[str, ...]) -> dict[str, str]:
    """Families' names where they are part of a file's; two that would be alike are numbered."""
    names: dict[str, str] = {}
    for family in families:
        name = re.sub(r"[^\w.-]+", "-", family)
        taken = sum(re.sub(r"[^\w.-]+", "-", other) == name for other in names)
        names[family] = f"{name}-{taken + 1}" if taken else name
    return names
