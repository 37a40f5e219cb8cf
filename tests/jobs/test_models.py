"""`scaling models`: the ladder as a table."""

from __future__ import annotations

import pytest
from torchvision import models
from typer.testing import CliRunner

from jobs.cli import app
from jobs.print_models import ladder_rows, table_cells
from scaling.models.cost import model_cost
from scaling.models.ladder import ladder_models


def test_the_command_prints_every_size_with_its_numbers():
    printed = [line.split() for line in CliRunner().invoke(app, ["models", "alexnet"]).output.splitlines()]
    rows = ladder_rows(["alexnet"])
    assert [row.size for row in rows] == [size for size, _ in ladder_models("alexnet")]
    for cells in table_cells(rows):
        assert [cell for cell in cells if cell] in printed


def test_an_unknown_family_is_refused():
    result = CliRunner().invoke(app, ["models", "resnets"])
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
def test_the_ladder_agrees_with_torchvisions_model_cards(family, size, weights):
    """Their `_ops` are billions of multiply-adds, two FLOP each."""
    cost = model_cost(dict(ladder_models(family))[size], 224, 1000)
    assert cost.n_params == weights.meta["num_params"]
    assert cost.flops_per_image / 1e9 == pytest.approx(2 * weights.meta["_ops"], rel=0.01)
