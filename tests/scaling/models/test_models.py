"""Model families: the standard members are timm's own, and every member trains at every image size."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import timm
import torch
from torch import nn

from scaling.alignment.features.activations import collect_activations
from scaling.errors import StudyError
from scaling.models import FAMILIES, build_model, candidate_layers, check_model
from scaling.models.cost import model_cost
from scaling.models.vit import patch_size
from scaling.specs.model import ModelSpec


def spec(family: str, size: int, depth: int | None = None, heads: int | None = None) -> ModelSpec:
    return ModelSpec(family=family, size=size, depth=depth, heads=heads)


class Stock(NamedTuple):
    """A published model: our spec, and FLOPs of one attention block beside its linear layers."""

    spec: ModelSpec
    attention_flops: int = 0


VIT_S_ATTENTION = 12 * 2 * (2 * 197 * 197 * 384)  # 12 blocks of Q.K' and A.V, 196 patches and a class token
STOCK = {
    "resnet18": Stock(spec("resnet", 64)),
    "resnet34": Stock(spec("resnet", 64, 34)),
    "resnet50": Stock(spec("resnet", 64, 50)),
    "vit_small_patch16_224": Stock(spec("vit", 384), VIT_S_ATTENTION),
    "deit_small_patch16_224": Stock(spec("vit", 384, 12, 6), VIT_S_ATTENTION),
}


def count_layer_flops(model: nn.Module, image_size: int) -> int:
    """2 x MACs of convolutions and linear layers, from their weights' and outputs' shapes."""
    total = 0

    def add(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        total += 2 * output.numel() * module.weight[0].numel()

    handles = [m.register_forward_hook(add) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    model.eval()(torch.empty(1, 3, image_size, image_size, device="meta"))
    for handle in handles:
        handle.remove()
    return total


@pytest.mark.parametrize("name", STOCK)
def test_standard_sizes_have_the_parameters_and_flops_of_timms_own(name):
    with torch.device("meta"):
        stock = timm.create_model(name)
    cost = model_cost(STOCK[name].spec, 224, 1000)
    assert cost.n_params == sum(p.numel() for p in stock.parameters())
    assert cost.flops_per_image == count_layer_flops(stock, 224) + STOCK[name].attention_flops


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "deit_small_patch16_224"])
def test_standard_sizes_compute_what_timms_own_do(name):
    """The same weights on the same image give the same logits: not only the sizes agree."""
    torch.manual_seed(0)
    stock = timm.create_model(name).eval()
    ours = build_model(STOCK[name].spec, 224, 1000).eval()
    ours.load_state_dict(stock.state_dict())
    image = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        assert torch.equal(ours(image), stock(image))


def conv_flops(n_in: int, n_out: int, kernel: int, side: int) -> int:
    return 2 * (n_in * kernel * kernel) * n_out * side * side


def test_flops_of_the_smallest_resnet_by_hand():
    """Width 2, one block a stage, 8 pixels: sides 8, 8, 4, 2, 1 and channels 2, 2, 4, 8, 16."""
    flops = conv_flops(3, 2, 3, 8) + 2 * conv_flops(2, 2, 3, 8)
    assert flops == 6912 + 9216
    for n_in, side in ((2, 4), (4, 2), (8, 1)):
        flops += conv_flops(n_in, 2 * n_in, 3, side) + conv_flops(2 * n_in, 2 * n_in, 3, side)
        flops += conv_flops(n_in, 2 * n_in, 1, side)  # the shortcut
    flops += 2 * 16 * 10
    assert model_cost(spec("resnet", 2, 10), 8, 10).flops_per_image == flops == 37952


def vit_flops(width: int, blocks: int, patch: int, image_size: int, n_classes: int) -> int:
    """Patches: 2.3p^2.w each; a block: 2.12w^2 a token and two products of 2.T^2.w; the head sees the class token."""
    n_patches = (image_size // patch) ** 2
    tokens = n_patches + 1
    block = tokens * 2 * 12 * width**2 + 2 * 2 * tokens**2 * width
    return 2 * 3 * patch**2 * width * n_patches + blocks * block + 2 * width * n_classes


@pytest.mark.parametrize(("image_size", "patch"), [(8, 2), (28, 4), (32, 4), (64, 8), (224, 16)])
def test_flops_of_a_vit_by_hand(image_size, patch):
    assert patch_size(image_size) == patch
    flops = model_cost(spec("vit", 24, 3, 4), image_size, 10).flops_per_image
    assert flops == vit_flops(24, 3, patch, image_size, 10)


def test_width_scales_parameters_as_its_square():
    """Doubling the width multiplies the weights between hidden layers by 4 exactly."""
    for family, depth, heads, hidden in (("resnet", 18, None, "layer"), ("vit", 3, 2, "blocks")):
        counts = []
        for size in (16, 32):
            with torch.device("meta"):
                model = build_model(spec(family, size, depth, heads), 32, 10)
            named = model.named_parameters()
            counts.append(sum(p.numel() for name, p in named if name.startswith(hidden) and p.ndim > 1))
        assert counts[1] == 4 * counts[0]


SMALL = [
    spec("resnet", 4, 10), spec("resnet", 4, 50), spec("convnext", 4, 4), spec("vit", 6, 2, 3), spec("deit3", 6, 2, 3),
    spec("efficientnet", 10, 7), spec("alexnet", 2), spec("cornet_s", 2),
]  # fmt: skip
BY_NAME = ModelSpec(family="timm", size=469_688, variant="test_resnet")


@pytest.mark.parametrize("model_spec", SMALL, ids=lambda s: s.label())
@pytest.mark.parametrize("image_size", [8, 28, 32, 64, 224])
def test_every_parameter_learns_at_every_image_size(model_spec, image_size):
    """The second step moves all weights (in the first, residual branches that begin at 0 hold theirs back)."""
    torch.manual_seed(0)
    model = build_model(model_spec, image_size, 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    images = torch.randn(3, 3, image_size, image_size)
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), torch.tensor([0, 1, 4])).backward()
        optimizer.step()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("model_spec", SMALL, ids=lambda s: s.label())
@pytest.mark.parametrize("image_size", [8, 28, 64])
def test_an_images_logits_do_not_depend_on_the_batch_it_is_scored_in(model_spec, image_size):
    torch.manual_seed(0)
    model = build_model(model_spec, image_size, 5).eval()
    images = torch.randn(3, 3, image_size, image_size)
    with torch.inference_mode():
        together, alone = model(images), torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert together.shape == (3, 5)


@pytest.mark.parametrize(
    ("model_spec", "layers"),
    [
        (spec("resnet", 2, 10), ["act1", "layer1.0", "layer2.0", "layer3.0", "layer4.0", "global_pool"]),
        (spec("vit", 6, 2, 3), ["patch_embed", "blocks.0", "blocks.1", "fc_norm"]),
        (spec("deit3", 6, 2, 3), ["patch_embed", "blocks.0", "blocks.1", "fc_norm"]),
        (spec("convnext", 4, 4), ["stem", *(f"stages.{stage}.blocks.0" for stage in range(4)), "head.flatten"]),
        (spec("efficientnet", 10, 7), ["bn1", *(f"blocks.{stage}.0" for stage in range(7)), "bn2", "global_pool"]),
        (spec("alexnet", 2), ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"]),
        (spec("cornet_s", 2), ["V1", "V2", "V4", "IT", "pool"]),
    ],
    ids=lambda value: value.family if isinstance(value, ModelSpec) else "",
)
def test_candidate_layers_run_in_the_order_of_their_list(model_spec, layers):
    torch.manual_seed(0)
    model = build_model(model_spec, 8, 5).eval()
    assert candidate_layers(model_spec, model) == layers
    order: list[str] = []
    for layer in layers:
        model.get_submodule(layer).register_forward_hook(lambda *_, layer=layer: order.append(layer))
    images = torch.randn(2, 3, 8, 8)
    features = collect_activations(model, layers, images)
    assert order == layers
    readout = torch.from_numpy(features[layers[-1]])
    torch.testing.assert_close(model.get_classifier()(readout), model(images))


@pytest.mark.parametrize("model_spec", [*SMALL, BY_NAME], ids=lambda s: s.label())
def test_weights_depend_on_the_seed_alone(model_spec):
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(build_model(model_spec, 32, 5).parameters())

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_the_resnets_replaced_stem_is_initialised_as_the_other_convolutions():
    """He et al. 2015, fan out: the standard deviation of a 3 x 3 kernel to w channels is sqrt(2 / 9w)."""
    torch.manual_seed(0)
    weight = build_model(spec("resnet", 256, 10), 32, 5).conv1.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 256)), rel=0.03)


def test_patches_are_the_power_of_two_nearest_an_eighth():
    for image_size in range(8, 1025):
        nearest = min((2, 4, 8, 16), key=lambda patch: abs(math.log2(patch / (image_size / 8))))
        assert patch_size(image_size) == nearest, image_size


@pytest.mark.parametrize(("family", "depth", "heads"), [("resnet", 10, None), ("vit", 10, 3)])
def test_what_the_check_lets_pass_can_be_built(family, depth, heads):
    """And what it refuses says what to do."""
    for size in range(1, 13):
        for image_size in (8, 9, 12, 23, 32, 46):
            model_spec = spec(family, size, depth, heads)
            if FAMILIES[family].check(model_spec, image_size) is None:
                assert model_cost(model_spec, image_size, 2).flops_per_image > 0


@pytest.mark.parametrize("model_spec", SMALL, ids=lambda s: s.label())
def test_image_sizes_that_are_no_powers_of_two_are_taken_or_refused(model_spec):
    for image_size in (9, 23, 47, 99):
        if FAMILIES[model_spec.family].check(model_spec, image_size) is None:
            assert model_cost(model_spec, image_size, 2).flops_per_image > 0
        else:
            assert model_spec.family in ("vit", "deit3"), "the others take any image of 8 pixels or more"


@pytest.mark.parametrize(
    ("model_spec", "image_size", "words"),
    [
        (spec("resnet", 7), None, "size=7 is odd.*use 8.*resnet w7"),
        (spec("resnet", 8, 20), None, "depth=20 is no resnet depth; known: 10, 18, 34"),
        (spec("resnet", 8, 18, 2), None, "heads=2 has no meaning for a resnet; remove it"),
        (spec("vit", 20), None, "size=20 is no multiple of heads=6; use 24"),
        (spec("deit3", 1280, 32, 16), 30, "image_size=30 is no multiple of the patch of 4"),
        (ModelSpec(family="vit", size=1280, depth=32, heads=16, variant="huge"), 240, "the patch of 14 .* 238 or 252"),
        (spec("vit", 24), 30, "image_size=30 is no multiple of the patch of 4 pixels.*image_size to 28 or 32"),
        (spec("vt", 24), None, r"unknown model family 'vt' \(somewhere\); did you mean 'vit'\? known: alexnet, "),
        (spec("convnext", 8, 18, 2), None, "heads=2 has no meaning for a convnext; remove it"),
        (spec("convnext", 8, 20), None, "depth=20 is no convnext depth; known: 4, 12"),
        (spec("efficientnet", 8, 18), 32, "depth=18 is no efficientnet depth; known: 7, 16, 23"),
        (spec("alexnet", 8, 18), 32, "depth=18 has no meaning for a alexnet; remove it"),
        (spec("cornet_s", 8, None, 2), 32, "heads=2 has no meaning for a cornet_s; remove it"),
        (spec("timm", 8), 32, "size=8: a timm model has a name and no width; write sizes"),
        (BY_NAME, 28, "image_size=28 is below the total stride of timm's test_resnet; set dataset.image_size to 32"),
        (ModelSpec(family="timm", size=1, variant="test_vit"), 40, "image_size=40 does not suit timm's test_vit"),
    ],
)
def test_impossible_models_are_refused_with_the_nearest_possible(model_spec, image_size, words):
    with pytest.raises(StudyError, match=words):
        check_model(model_spec, image_size, "somewhere")
