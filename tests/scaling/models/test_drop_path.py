"""Stochastic depth block by block as in timm's own construction."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.layers import DropPath
from torch import nn

from scaling.errors import StudyError
from scaling.models import build_model, check_training, may_drop
from scaling.models.drop_path import set_drop_path
from scaling.models.efficientnet import DEPTHS
from scaling.specs.model import ModelSpec
from scaling.specs.training import TrainingSpec

NAMES = ["resnet18", "resnet50", "vit_tiny_patch16_224", "deit3_small_patch16_224", "convnext_atto", "efficientnet_b0",
         "swin_tiny_patch4_window7_224", "regnety_002", "mobilenetv3_small_050"]  # fmt: skip


def rates(model: nn.Module) -> dict[str, float]:
    """Where whole branches are dropped, and how often; what drops nothing is left out."""
    found = {name: part.drop_prob for name, part in model.named_modules() if isinstance(part, DropPath)}
    return {name: rate for name, rate in found.items() if rate}


@pytest.mark.parametrize("name", NAMES)
def test_rates_are_those_that_timm_builds(name):
    with torch.device("meta"):
        ours, theirs = timm.create_model(name), timm.create_model(name, drop_path_rate=0.3)
    assert rates(theirs)
    set_drop_path(ours, 0.3)
    assert rates(ours) == pytest.approx(rates(theirs), rel=1e-6)


@pytest.mark.parametrize(
    ("family", "size", "depth", "heads"),
    [("resnet", 4, 10, None), ("vit", 12, 3, 3), ("deit3", 12, 3, 3), ("convnext", 8, 4, None),
     ("efficientnet", 20, 16, None)],
)  # fmt: skip
def test_our_families_drop_while_they_train_and_keep_their_weights(family, size, depth, heads):
    model = build_model(ModelSpec(family=family, size=size, depth=depth, heads=heads), 32, 4)
    names = list(model.state_dict())
    images = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model.eval()(images)
        set_drop_path(model, 0.9)
        torch.testing.assert_close(model(images), before)  # nothing is dropped outside training
        assert list(model.state_dict()) == names
        model.train()
        torch.manual_seed(0)
        one, two = model(images), model(images)
    assert max(rates(model).values()) <= 0.9
    if family in ("vit", "efficientnet"):  # in the others the last scale of a branch begins at 0 or near it
        assert not torch.equal(one, two)


def test_rate_zero_changes_nothing():
    model = build_model(ModelSpec(family="resnet", size=4, depth=10), 32, 4)
    set_drop_path(model, 0.0)
    assert not rates(model)


@pytest.mark.parametrize(("family", "depth"), [("alexnet", None), ("cornet_s", None), ("efficientnet", 7)])
def test_a_model_without_blocks_to_drop_is_refused(family, depth):
    """An EfficientNet with one block a stage has no shortcut around any."""
    model = build_model(ModelSpec(family=family, size=20, depth=depth), 64, 4)
    with pytest.raises(StudyError, match=r"drop_path=0\.1 needs residual blocks .* set it to 0"):
        set_drop_path(model, 0.1)


@pytest.mark.parametrize(
    ("family", "size", "depths", "heads"),
    [("alexnet", 20, [None], None), ("cornet_s", 20, [None], None), ("efficientnet", 20, DEPTHS, None),
     ("resnet", 4, [10, 18], None), ("convnext", 8, [4, 12], None), ("vit", 12, [1, 2], 3), ("deit3", 12, [1, 2], 3)],
)  # fmt: skip
def test_what_a_plan_refuses_is_what_building_refuses(family, size, depths, heads):
    training = TrainingSpec(drop_path=0.1)
    for depth in depths:
        spec = ModelSpec(family=family, size=size, depth=depth, heads=heads)
        with torch.device("meta"):
            model = build_model(spec, 64, 4)
        if may_drop(spec):
            check_training(spec, training, "study")
            set_drop_path(model, 0.1)
            continue
        with pytest.raises(StudyError, match=f"family '{family}'"):
            check_training(spec, training, "study")
        with pytest.raises(StudyError):
            set_drop_path(model, 0.1)
        check_training(spec, TrainingSpec(), "study")
