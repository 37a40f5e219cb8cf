"""`scaling models`: the ladder as a table, and the README's copy of it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from torchvision import models
from typer.testing import CliRunner

from jobs.cli import app
from jobs.models import COLUMNS, ladder_rows, markdown_ladders, print_ladders
from scaling.models.cost import model_cost
from scaling.models.ladder import LADDERS, LadderRow, ladder_models

README = (Path(__file__).parents[2] / "README.md").read_text()
SHOWN = README.partition("<!-- models -->\n")[2].partition("\n<!-- end -->")[0]


def cells(markdown: str) -> list[list[str]]:
    """The body of a Markdown table, the family repeated in each row."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line[:1] == "|"]
    assert rows[0] == list(COLUMNS)
    family, filled = "", []
    for row in rows[2:]:
        family = row[0] or family
        filled.append([family, *row[1:]])
    return filled


def test_the_readme_shows_every_size_of_every_family():
    sizes = [(family, size) for family in LADDERS for size, _ in ladder_models(family)]
    assert [(row[0], row[1]) for row in cells(SHOWN)] == sizes
    assert SHOWN.endswith(markdown_ladders([]).splitlines()[-1])


def test_the_readme_shows_what_the_command_prints():
    """Each family's smallest size: to count all takes a minute; test_ladder counts the parameters of the others."""
    rows = [next(row for row in cells(SHOWN) if row[0] == family) for family in LADDERS]
    assert cells(markdown_ladders([smallest(family) for family in LADDERS])) == rows


def smallest(family: str) -> LadderRow:
    size, spec = next(ladder_models(family))
    stock, small = model_cost(spec, 224, 1000), model_cost(spec, 32, 10)
    gflops = (stock.flops_per_image / 1e9, small.flops_per_image / 1e9)
    return LadderRow(family, size, spec, stock.n_params, gflops[0], small.n_params, gflops[1])


def test_the_command_prints_markdown_and_a_table_of_the_same_cells():
    printed = CliRunner().invoke(app, ["models", "alexnet", "--markdown"]).output
    rows = ladder_rows(["alexnet"])
    assert printed == markdown_ladders(rows) + "\n"
    assert cells(printed) == [row for row in cells(SHOWN) if row[0] == "alexnet"]
    plain = io.StringIO()
    print_ladders(rows, Console(width=120, file=plain))
    assert [cell for row in cells(printed) for cell in row if cell not in plain.getvalue()] == []


def test_an_unknown_family_is_refused():
    result = CliRunner().invoke(app, ["models", "resnets", "--markdown"])
    assert (result.exit_code, "did you mean 'resnet'?" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("family", "size", "weights"),
    [
        ("resnet", "50", models.ResNet50_Weights.IMAGENET1K_V1),
        ("vit", "base", models.ViT_B_16_Weights.IMAGENET1K_V1),
        ("convnext", "tiny", models.ConvNeXt_Tiny_Weights.IMAGENET1K_V1),
        ("efficientnet", "b0", models.EfficientNet_B0_Weights.IMAGENET1K_V1),
        ("alexnet", "standard", models.AlexNet_Weights.IMAGENET1K_V1),
    ],
)
def test_the_readme_agrees_with_torchvisions_model_cards(family, size, weights):
    """Their `_ops` are billions of multiply-adds, two FLOP each."""
    (row,) = [row for row in cells(SHOWN) if row[:2] == [family, size]]
    assert row[2] == f"{weights.meta['num_params']:,}"
    assert float(row[3]) == pytest.approx(2 * weights.meta["_ops"], rel=0.01)
