"""The page: whole in itself, sorted by a click, its numbers beside it as they are drawn."""

import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import Estimate, ScalingTable, answer, build_report, study_report
from analysis.figures.configurations import configurations
from analysis.figures.page import Report, Section
from analysis.figures.plotted import plotted_data
from analysis.figures.style import TITLE_WIDTH, inline_svg, power_of_ten, svg_text
from analysis.verify.predict import Prediction
from analysis.verify.verification import Trial, Verification

FASHION = Path(__file__).parents[3] / "jobs/studies/fashion_by_hand.csv"
OUTSIDE = re.compile(r"""(?:src|href)\s*=\s*["']?\s*(?:\w+:)?//|url\(\s*["']?\w+://|@import|<link|<iframe""")


@pytest.fixture(scope="module")
def study() -> Report:
    """Of a study's table: two families, accuracy and two regions of simulated recordings."""
    table = ScalingTable.from_csv(FASHION).select(region=["IT", "V4"])
    return study_report(answer(table, bootstrap=30))


@pytest.fixture(scope="module")
def report(plant: Callable[..., ScalingTable]) -> Report:
    """Of a table: one region, three families, one of which has too few runs."""
    rows = plant("chinchilla", n=6, noise=0.02).frame.assign(region="IT", benchmark="simulated-IT")
    rows["family"] = np.where(rows.index < 3, "few", np.where(rows.index % 2, "cnn", "vit"))
    rows["run_id"] = [f"r{i}" for i in rows.index]
    return build_report(ScalingTable.from_frame(rows), bootstrap=20)


@pytest.fixture(params=["study", "report"])
def either(request: pytest.FixtureRequest) -> Report:
    return request.getfixturevalue(request.param)


def test_the_page_needs_nothing_from_outside(either: Report) -> None:
    page = either.html()
    assert not OUTSIDE.search(page)
    assert "http" not in page
    assert page.count("<svg") == sum(section.figure is not None for section in either.sections)
    ids = re.findall(r'\bid="([^"]+)"', page)
    used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)
    assert {a or b for a, b in used} <= set(ids), "a figure refers to an element that is not there"


def test_what_is_linked_is_written(either: Report, tmp_path: Path) -> None:
    page = either.save(tmp_path).read_text()
    linked = set(re.findall(r'<a href="([^"]+)"', page))
    assert {f"{s.name}.csv" for s in either.sections if s.figure} | {"configurations.csv", "laws.json"} <= linked
    assert linked <= {path.name for path in tmp_path.iterdir()}


def test_numbers_beside_a_figure_are_those_drawn(either: Report, tmp_path: Path) -> None:
    either.save(tmp_path)
    for section in either.sections:
        if section.figure is None:
            continue
        written = pd.read_csv(tmp_path / f"{section.name}.csv")
        for panel in section.figure.axes:
            name = panel.get_label()
            own = written[written["panel"] == name] if name else written[written["panel"].isna()]
            for line in panel.get_lines():
                if line.get_transform() == panel.transData and len(line.get_xdata()):
                    found = own[own["series"] == line.get_label().lstrip("_")]
                    drawn = np.column_stack([line.get_xdata(), line.get_ydata()]).astype(float)
                    held = {tuple(row) for row in found[["x", "y"]].to_numpy()}
                    assert {tuple(row) for row in drawn} <= held, (section.name, line.get_label())


def test_bands_bars_and_contours_are_read_back() -> None:
    figure = Figure()
    panel = figure.subplots()
    panel.set_label("here")
    x = np.array([1.0, 2.0, 4.0])
    panel.fill_between(x, x - 1, x + 1, label="band")
    panel.axhline(0.0)
    panel.barh([0, 1], [3.0, 5.0], label="bar")
    panel.set_yticks([0, 1], ["one", "two\nlines"])
    panel.contour(*np.meshgrid(x, x), np.add.outer(x, x), levels=[5.0])
    found = plotted_data(figure)
    band = found[found.series == "band"]
    assert band[["x", "low", "high"]].to_numpy().tolist() == np.column_stack([x, x - 1, x + 1]).tolist()
    assert found[found.series == "bar: two, lines"].x.tolist() == [5.0]
    level = found[found.series == "contour 5"]
    np.testing.assert_allclose(level.x + level.y, 5.0)
    assert set(found.panel) == {"here"}
    assert set(found.series) == {"band", "bar: one", "bar: two, lines", "contour 5"}  # no line across the panel


def test_a_study_says_first_what_its_answer_says(study: Report) -> None:
    page, made = study.html(), answer(ScalingTable.from_csv(FASHION).select(region=["IT", "V4"]), bootstrap=0)
    beginning = page[: page.index('id="laws"')]
    for region in made.regions:
        for family in made.families:
            assert f"<b>{region}, {family}</b>: {made.sentence(region, family)}" in beginning
    assert beginning.count("<li>") == len(made.regions) * len(made.families)
    assert "not identified" in page  # V4, and why
    order = [s.name for s in study.sections]
    assert order == ["plane-alexnet", "plane-resnet", "laws-alexnet", "laws-resnet", "residuals", "power"]


def test_every_law_of_a_table_is_told_usable_or_not(report: Report) -> None:
    told = {statement.name: statement for statement in report.statements}
    assert told["family few"].verdict.status not in ("ok", "weakly identified")
    assert "family few" in report.html()
    assert set(report.laws) >= {"N and D", "family cnn", "family few"}
    assert len({id(statement.law) for statement in report.statements}) == len(report.statements)


def test_simulated_benchmarks_say_so_in_every_figure(either: Report) -> None:
    assert all("simulated" in s.figure.get_suptitle() for s in either.sections if s.figure)
    assert "say nothing of brains" in either.html()


def test_titles_stay_over_their_panels(either: Report) -> None:
    lines = [line for s in either.sections if s.figure for panel in s.figure.axes
             for line in panel.get_title(loc="left").split("\n")]  # fmt: skip
    assert max(map(len, lines)) <= TITLE_WIDTH + 2


def test_configurations_are_a_table_that_sorts(study: Report) -> None:
    page = study.html()
    table = page[page.index('id="configurations-table"') :]
    heads = re.findall(r'<th scope="col"><button type="button">([^<]+)</button>', table[: table.index("</thead>")])
    assert {"family", "n_params", "samples_seen", "flops", "runs", "accuracy", "score IT"} <= set(heads)
    assert 'data-value="' in table
    assert "addEventListener" in page
    assert "aria-sort" in page


def test_configurations_are_means_over_their_runs() -> None:
    table = ScalingTable.from_csv(FASHION)
    found = configurations(table)
    own = table.frame[(table.frame.family == "resnet") & (table.frame["size"] == 2) & (table.frame.n_samples == 1000)]
    row = found[(found.family == "resnet") & (found["size"] == 2) & (found.n_samples == 1000)].iloc[0]
    assert row["runs"] == own.run_id.nunique() == 2
    assert row["score IT"] == pytest.approx(own[own.region == "IT"].score.mean())
    assert row["accuracy"] == pytest.approx(own.accuracy.mean())
    assert len(found) == 40
    assert (found.flops.diff().dropna() >= 0).all()


def test_power_stands_on_the_page_and_verifications_where_there_are_any(study: Report) -> None:
    names = [s.name for s in study.sections]
    assert "calibration" not in names
    power = study.sections[names.index("power")].table
    assert power is not None
    assert set(power.columns) >= {"region", "family", "falls", "usable"}
    assert power["falls"].between(0, 1).all()
    said = Prediction(
        law=Estimate(value=0.86, low=0.84, high=0.88), run=Estimate(value=0.86, low=0.83, high=0.89), status="ok"
    )
    model = Trial(label="recommended", run_id="a", model="resnet w8", how="a size", n_params=100, n_samples=50,
                  epochs=2, flops=1e15, spec="{}", predictions={"IT": said}, status="finished",
                  got={"IT": 0.87})  # fmt: skip
    proof = Verification(study="s", flops=1e15, region="IT", family="resnet", law="f", largest_flops=1e14, seed=3,
                         trials=(model,))  # fmt: skip
    table = ScalingTable.from_csv(FASHION).select(region="IT")
    page = study_report(answer(table, bootstrap=0, verifications=(proof,))).html()
    assert page.index('<h2 id="residuals">') < page.index('<h2 id="power">') < page.index('<h2 id="calibration">')
    assert "predicted" in page[page.index('<h2 id="calibration">') :]


def test_tables_of_sections_are_written_as_csv(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    table = ScalingTable.from_frame(pd.DataFrame({"flops": [1e9], "score": [0.5]}))
    Report(table, sections=[Section("power", "Power", "", table=frame)]).save(tmp_path)
    assert (tmp_path / "power-table.csv").read_text() == frame.to_csv(index=False)


def test_a_drawing_has_ids_of_its_own_on_a_page() -> None:
    figure = Figure()
    figure.subplots().plot([1, 2], [3, 4], marker="o", label="a < b")
    text = inline_svg(svg_text(figure), "one")
    assert text.startswith("<svg")
    assert "xmlns" not in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert ids
    assert all(name.startswith("one-") for name in ids)
    assert svg_text(figure) == svg_text(figure)


@pytest.mark.parametrize(("value", "said"), [(1e9, "10⁹"), (2e-3, "2·10⁻³"), (0.0, ""), (9.999999999e9, "10¹⁰")])
def test_ticks_are_plain_text(value: float, said: str) -> None:
    assert power_of_ten(value) == said


def test_csv_of_the_configurations_is_the_table(study: Report, tmp_path: Path) -> None:
    study.save(tmp_path)
    written = pd.read_csv(StringIO((tmp_path / "configurations.csv").read_text()))
    pd.testing.assert_frame_equal(written, configurations(study.table), check_dtype=False)
