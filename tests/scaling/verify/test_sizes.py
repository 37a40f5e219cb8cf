"""The model nearest to a wanted N, among those like a study's own."""

from __future__ import annotations

import pytest

from scaling.data.portions import ImageCounts
from scaling.models.sizes import count_params
from scaling.specs.model import ModelSpec
from scaling.verify.sizes import model_near

SMALL = ImageCounts(image_size=32, n_classes=10, n_train=1000, least=100)


def resnets(*widths: int, depth: int = 10) -> list[ModelSpec]:
    return [ModelSpec(family="resnet", size=width, depth=depth) for width in widths]


def n_of(model: ModelSpec) -> int:
    return count_params(model, SMALL.image_size, SMALL.n_classes)


def test_a_size_of_the_study_is_taken_as_it_is() -> None:
    named = ModelSpec(family="resnet", size=64, depth=18, asked="18")
    found = model_near([*resnets(4, 8), named], n_of(named) * 1.001, SMALL)
    assert found.model is named
    assert found.how == "a size of the study; N is 1 times what was wanted"


@pytest.mark.parametrize(
    ("wanted", "width", "how"),
    [
        (60_000, 6, "a width between the study's 4 and 8, in steps of 2"),
        (1_000, 2, "a width below the study's least, 4, in steps of 2"),
        (1_200_000, 32, "a width beyond the study's largest, 8, in steps of 2"),
    ],
)
def test_other_sizes_are_widths_at_the_study_s_depth(wanted: float, width: int, how: str) -> None:
    found = model_near(resnets(4, 8), wanted, SMALL)
    assert (found.model.size, found.model.depth) == (width, 10)
    assert found.how.startswith(f"{how}; ")
    assert found.n_params == n_of(found.model)
    nearby = [n_of(found.model.model_copy(update={"size": width + step})) for step in (-2, 2) if width + step > 0]
    assert all(abs(found.n_params - wanted) <= abs(other - wanted) for other in nearby)


def test_depth_is_that_of_the_study_s_model_of_nearest_size() -> None:
    mixed = [*resnets(4, 8), *resnets(16, 32, depth=18)]
    small, large = (model_near(mixed, wanted, SMALL) for wanted in (5e4, 4e6))
    assert (small.model.depth, small.like.size) == (10, 8)
    assert (large.model.depth, large.like.size) == (18, 32)


def test_heads_set_the_steps_of_a_transformer() -> None:
    vits = [ModelSpec(family="vit", size=width, depth=2, heads=3) for width in (12, 24)]
    found = model_near(vits, 30_000, SMALL)
    assert found.model.size % 3 == 0
    assert "in steps of 3" in found.how
    assert found.model.heads == 3


def test_a_family_without_widths_gives_its_nearest_size() -> None:
    timm = [ModelSpec(family="timm", size=469_688, variant="test_resnet")]
    found = model_near(timm, 1e7, SMALL)
    assert found.model == timm[0]
    assert found.how.startswith("the nearest of the study's sizes: others cannot be built of it; N is 0.0")


def test_flops_are_those_of_one_image() -> None:
    from scaling.models.cost import model_cost

    found = model_near(resnets(4), 1e5, SMALL)
    assert (found.n_params, found.flops_per_image) == model_cost(found.model, 32, 10)
