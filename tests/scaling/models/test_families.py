"""Every published size by name has timm's own (or torchvision's, or the paper's) weights, parameters and FLOPs."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import relu
from torch.utils.flop_counter import FlopCounterMode

from scaling.models import FAMILIES, build_model
from scaling.models.convnext import stem_patch
from scaling.models.cornet import RecurrentArea
from scaling.models.cost import model_cost
from scaling.models.sizes import resolve_model
from scaling.specs.model import FamilySpec, ModelSpec

TIMM = {
    **{f"resnet{depth}": ("resnet", str(depth)) for depth in (18, 34, 50, 101, 152)},
    **{
        f"convnext_{size}": ("convnext", size)
        for size in ("atto", "femto", "pico", "nano", "tiny", "small", "base", "large", "xlarge")
    },
    **{f"vit_{size}_patch16_224": ("vit", size) for size in ("tiny", "small", "base", "large")},
    "vit_huge_patch14_224": ("vit", "huge"),
    **{f"deit3_{size}_patch16_224": ("deit3", size) for size in ("small", "medium", "base", "large")},
    "deit3_huge_patch14_224": ("deit3", "huge"),
    **{f"efficientnet_b{index}": ("efficientnet", f"b{index}") for index in range(8)},
}
# Their FLOPs are counted too (others' in test_models.py); the rest has equal tensors in layers of the same kinds
COUNTED = ["resnet101", "resnet152", "convnext_atto", "convnext_nano", "convnext_tiny", "vit_tiny_patch16_224",
           "vit_huge_patch14_224", "deit3_small_patch16_224", "efficientnet_b0", "efficientnet_b2"]  # fmt: skip


def named(family: str, name: str, image_size: int | None = None) -> ModelSpec:
    return resolve_model(FamilySpec(family=family, sizes=(name,)), name, image_size, "test")


def stock(name: str) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name, num_classes=1000, **({"img_size": 224} if "patch" in name else {}))


@pytest.mark.parametrize("name", TIMM)
def test_names_are_timms_models_tensor_by_tensor(name):
    with torch.device("meta"):
        ours = build_model(named(*TIMM[name]), 224, 1000)
    shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in (ours, stock(name))]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", COUNTED)
def test_flops_of_names_are_those_of_timms_models(name):
    model = stock(name).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.empty(1, 3, 224, 224, device="meta"))
    cost = model_cost(named(*TIMM[name]), 224, 1000)
    assert cost.flops_per_image == counter.get_total_flops()
    assert cost.n_params == sum(p.numel() for p in model.parameters())


# Parameters in millions and 10^9 MACs as the papers print them, with half of the last digit as tolerance
PUBLISHED = {
    ("convnext", "tiny"): (28.6, 0.05, 4.5, 0.05),  # Liu et al. 2022, Table 9
    ("convnext", "base"): (88.6, 0.05, 15.4, 0.05),
    ("vit", "small"): (22, 0.5, 4.6, 0.05),  # DeiT-S: Touvron et al. 2021, Table 5
    ("efficientnet", "b0"): (5.3, 0.05, 0.39, 0.005),  # Tan & Le 2019, Table 2
    ("alexnet", "standard"): (61.10084, 5e-7, 0.714, 5e-4),  # torchvision's published counts
    ("cornet_s", "standard"): (53.416616, 5e-7, None, None),  # Kubilius et al. 2019: 53.4
}


@pytest.mark.parametrize("name", PUBLISHED, ids="-".join)
def test_counts_are_those_that_the_papers_print(name):
    params, params_error, macs, macs_error = PUBLISHED[name]
    cost = model_cost(named(*name), 224, 1000)
    assert cost.n_params / 1e6 == pytest.approx(params, abs=params_error)
    if macs is not None:
        assert cost.flops_per_image / 2e9 == pytest.approx(macs, abs=macs_error)


@pytest.mark.parametrize("name", ["convnext_atto", "deit3_small_patch16_224", "efficientnet_b0"])
def test_with_timms_weights_the_logits_are_timms(name):
    torch.manual_seed(0)
    theirs = timm.create_model(name).eval()
    ours = build_model(named(*TIMM[name]), 224, 1000).eval()
    ours.load_state_dict(theirs.state_dict())
    image = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        assert torch.equal(ours(image), theirs(image))


def test_alexnet_is_torchvisions():
    torch.manual_seed(0)
    theirs = torchvision.models.alexnet().eval()
    ours = build_model(named("alexnet", "alexnet"), 224, 1000).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    image = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        assert torch.equal(ours(image), theirs(image))


def test_a_recurrent_area_is_its_steps_written_out():
    """Two steps in float64, from the equations of the docstring, in training mode: each step has its own norms."""
    torch.manual_seed(0)
    area = RecurrentArea(3, 2, steps=2).double()
    for module in area.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)

    def normal(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
        scale, shift = norm.weight.view(1, -1, 1, 1), norm.bias.view(1, -1, 1, 1)
        return (x - mean) / (variance + norm.eps).sqrt() * scale + shift

    def pointwise(x: Tensor, conv: nn.Conv2d) -> Tensor:
        return torch.einsum("nihw,oi->nohw", x, conv.weight[:, :, 0, 0])

    def step(x: Tensor, t: int, stride: int, shortcut: Tensor) -> Tensor:
        x = relu(normal(pointwise(x, area.conv1), area.norm1[t]))
        x = nn.functional.conv2d(nn.functional.pad(x, (1, 1, 1, 1)), area.conv2.weight)[:, :, ::stride, ::stride]
        return relu(normal(pointwise(relu(normal(x, area.norm2[t])), area.conv3), area.norm3[t]) + shortcut)

    images = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    x = pointwise(images, area.conv_input)
    x = step(x, 0, 2, normal(pointwise(x[:, :, ::2, ::2], area.skip), area.norm_skip))
    x = step(x, 1, 1, x)
    torch.testing.assert_close(area(images), x, rtol=1e-10, atol=1e-10)


def cornet_flops(width: int, image_size: int, n_classes: int) -> int:
    """An area with c channels on sides s -> s/2: conv_input 1x1, then per step 1x1 to 4c, 3x3, 1x1 to c."""
    side = image_size // 4
    macs = 49 * 3 * width * (2 * side) ** 2 + 9 * width**2 * side**2
    n_in = width
    for steps in (2, 4, 2):
        c, before, after = 2 * n_in, side**2, (side // 2) ** 2
        macs += n_in * c * before + c * c * after  # conv_input and the strided shortcut
        macs += 4 * c * c * (before + (steps - 1) * after)  # conv1
        macs += steps * (9 * 16 * c * c + 4 * c * c) * after  # conv2 and conv3
        n_in, side = c, side // 2
    return 2 * (macs + n_in * n_classes)


@pytest.mark.parametrize(("width", "image_size"), [(64, 224), (3, 96)])
def test_cornets_flops_by_hand(width, image_size):
    spec = ModelSpec(family="cornet_s", size=width)
    assert model_cost(spec, image_size, 7).flops_per_image == cornet_flops(width, image_size, 7)


# Sides of the last maps before pooling: none is pooled from less than one pixel, none keeps more than 8 x 8
LAST_SIDES = {
    "resnet": {8: 1, 28: 4, 32: 4, 64: 8, 224: 7},
    "convnext": {8: 1, 28: 1, 32: 2, 64: 2, 224: 7},
    "efficientnet": {8: 1, 28: 2, 32: 2, 64: 4, 224: 7},
    "alexnet": {8: 1, 28: 4, 32: 4, 64: 4, 224: 6},
    "cornet_s": {8: 1, 28: 4, 32: 4, 64: 8, 224: 7},
}
LAST_LAYER = {"resnet": "layer4", "convnext": "stages", "efficientnet": "conv_head", "alexnet": "conv5",
              "cornet_s": "IT"}  # fmt: skip


@pytest.mark.parametrize("family", LAST_SIDES)
def test_stems_keep_a_map_for_small_images(family):
    for image_size, side in LAST_SIDES[family].items():
        spec = ModelSpec(family=family, size=4)
        with torch.device("meta"), torch.no_grad():
            model = build_model(spec, image_size, 2).eval()
            found: list[torch.Size] = []
            model.get_submodule(LAST_LAYER[family]).register_forward_hook(lambda *io, to=found: to.append(io[2].shape))
            model(torch.empty(1, 3, image_size, image_size))
        assert found[0][-2:] == (side, side), image_size


def test_convnexts_stem_patches():
    assert {size: stem_patch(size) for size in (8, 16, 28, 32, 64, 224, 384)} == {
        8: 1, 16: 1, 28: 2, 32: 2, 64: 4, 224: 4, 384: 4
    }  # fmt: skip


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_any_timm_model_takes_an_image_size_and_classes(name):
    spec = named("timm", name, 64)
    torch.manual_seed(0)
    model = build_model(spec, 64, 5)
    logits = model(torch.randn(2, 3, 64, 64))
    logits.square().mean().backward()
    assert logits.shape == (2, 5)
    assert spec.size == sum(p.numel() for p in timm.create_model(name).parameters())
    layers = FAMILIES["timm"].layers(model)
    assert len(layers) > 3
    assert set(layers) <= {layer for layer, _ in model.named_modules()}
