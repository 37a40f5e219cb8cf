"""Ladders: every size counted on the meta device, the ones up to LARGEST_STEPPED parameters trained for a step."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest
import torch
from torch import nn

from scaling.models import FAMILIES, build_model, candidate_layers
from scaling.models.cost import model_cost
from scaling.models.ladder import LADDERS, ladder_models, ladder_table
from scaling.specs.model import ModelSpec

SIZES = [(family, size, spec) for family in LADDERS for size, spec in ladder_models(family)]
NAMES = [f"{family}-{size}" for family, size, _ in SIZES]
LARGEST_STEPPED = 3e7  # parameters, at 32 pixels and 10 classes
IMAGE = 8  # pixels a side of the images stepped on


@cache
def meta_params(spec: ModelSpec) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build_model(spec, 32, 10).parameters())


@pytest.mark.parametrize(("family", "size", "spec"), SIZES, ids=NAMES)
def test_every_size_is_built_and_the_small_ones_learn(family, size, spec):
    """Forward, backward and one SGD step on two images; all named layers run, the readout feeds the classifier."""
    if meta_params(spec) > LARGEST_STEPPED:
        return
    torch.manual_seed(0)
    model = build_model(spec, IMAGE, 10)
    seen: dict[str, torch.Tensor] = {}
    for layer in candidate_layers(spec, model):
        model.get_submodule(layer).register_forward_hook(lambda *io, layer=layer: seen.update({layer: io[2]}))
    loss = nn.functional.cross_entropy(model(torch.randn(2, 3, IMAGE, IMAGE)), torch.tensor([0, 1]))
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert list(seen) == candidate_layers(spec, model)
    assert all(len(output) == 2 for output in seen.values())


@pytest.mark.parametrize("family", LADDERS)
def test_ladders_climb_from_1e4_to_1e9(family):
    counts = [meta_params(spec) for _, spec in ladder_models(family)]
    assert counts == sorted(counts)
    assert counts[0] < 3e4
    assert counts[-1] > 5e8
    assert all(after < 6 * before for before, after in pairwise(counts)), counts


def test_a_ladders_rows_are_its_models_costs():
    rows = ladder_table(["alexnet"])
    assert [row.size for row in rows] == ["1", "2", "4", "8", "16", "32", "standard", "128", "256"]
    standard = rows[6]
    assert standard.spec.size == 64
    assert standard.n_params_224 == 61_100_840
    for row in (rows[0], standard):
        stock, small = model_cost(row.spec, 224, 1000), model_cost(row.spec, 32, 10)
        assert (row.n_params_224, row.gflops_224) == (stock.n_params, stock.flops_per_image / 1e9)
        assert (row.n_params_32, row.gflops_32) == (small.n_params, small.flops_per_image / 1e9)


def test_every_family_but_timm_has_a_ladder():
    assert set(LADDERS) == set(FAMILIES) - {"timm"}
