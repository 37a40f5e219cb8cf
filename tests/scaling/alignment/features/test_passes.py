"""Plans: every column once, the budget kept, the cheapest passes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scaling.alignment.features.passes import (
    FORWARD_BYTES,
    FORWARD_COPIES,
    GB,
    OVERHEAD_BYTES,
    SMALL_BYTES,
    ColumnRange,
    FeatureBudget,
    LayerCost,
    Workload,
    choose_batch_size,
    plan_passes,
)
from scaling.alignment.numerics import BLOCK_ELEMENTS
from scaling.errors import StudyError

VGG16 = [64 * 224**2] * 2 + [128 * 112**2] * 2 + [256 * 56**2] * 3 + [512 * 28**2] * 3 + [512 * 14**2] * 3
VGG16 += [4096, 4096, 1000]


def costs(widths, held=0):
    return [LayerCost(f"layer{index}", width, held) for index, width in enumerate(widths)]


def covered(passes, layers):
    """ColumnRange that the passes gather, in the order of gathering, joined a layer."""
    joined: dict[str, list[tuple[int, int]]] = {layer.layer: [] for layer in layers}
    for step in passes:
        for columns in step.columns:
            joined[columns.layer].append((columns.start, columns.stop))
    return joined


def size(step):
    return sum(columns.stop - columns.start for columns in step.columns)


def test_what_fits_the_memory_is_one_pass_without_a_file():
    (step,) = plan_passes(costs([1000, 20_000, 10]), Workload(300, 4, 8, 10**6), FeatureBudget())
    assert step.in_memory
    assert step.columns == (
        ColumnRange("layer0", 0, 1000),
        ColumnRange("layer1", 0, 20_000),
        ColumnRange("layer2", 0, 10),
    )


@pytest.mark.parametrize("held", [0, 10**7])
def test_every_column_once_and_layers_in_order(held):
    layers, work = costs(VGG16, held), Workload(1000, 4, 4, 308 * 10**6)
    for memory, spill in [(2, 16), (0.6, 16), (2, 0), (1, 1), (0.75, 60)]:
        passes = plan_passes(layers, work, FeatureBudget(memory_gb=memory, spill_gb=spill))
        for layer in layers:
            parts = covered(passes, layers)[layer.layer]
            assert parts[0][0] == 0
            assert parts[-1][1] == layer.width
            assert all(before[1] == after[0] for before, after in pairwise(parts))
            assert all(start % work.block_width == 0 for start, _ in parts)
        names = [columns.layer for step in passes for columns in step.columns]
        assert list(dict.fromkeys(names)) == [layer.layer for layer in layers]
        assert all(len({columns.layer for columns in step.columns}) == len(step.columns) for step in passes)


def test_the_budget_is_kept():
    work = Workload(1000, 4, 4, 308 * 10**6)
    for memory, spill in [(2, 16), (0.6, 16), (2, 0), (1, 1)]:
        for step in plan_passes(costs(VGG16), work, FeatureBudget(memory_gb=memory, spill_gb=spill)):
            stored = 4 * 1000 * size(step)
            gathering = work.forward_bytes + 4 * 4 * size(step) + 8 * 1000**2
            adding = 5 * 8 * 1000**2 + 13 * BLOCK_ELEMENTS
            beside = stored if step.in_memory else memory * GB / 16
            assert step.in_memory or stored <= spill * GB
            assert beside + max(gathering, adding) + OVERHEAD_BYTES <= memory * GB


def test_passes_are_as_few_and_as_early_as_can_be():
    """Filling from the deepest layer: the k-th pass from the end cannot start deeper than k full passes before it."""
    work, budget = Workload(1000, 4, 4, 308 * 10**6), FeatureBudget()
    passes = plan_passes(costs(VGG16), work, budget)
    full = int(budget.spill_gb * GB) // 4000
    assert len(passes) == -(-sum(VGG16) // full) == 4
    assert all(full - work.block_width < size(step) <= full for step in passes[1:])
    assert [step.columns[-1].layer for step in passes] == ["layer0", "layer1", "layer3", "layer15"]
    ends, total = np.cumsum(VGG16), sum(VGG16)
    for k, step in enumerate(passes[::-1]):
        deepest = int(step.columns[-1].layer.removeprefix("layer"))
        assert (
            ends[deepest] - VGG16[deepest]
            < total - k * (full - work.block_width)
            <= ends[deepest] + k * work.block_width
        )


def test_early_passes_may_fit_the_memory_though_late_ones_do_not():
    work = Workload(1000, 4, 4, 10**8)
    passes = plan_passes(costs([50_000, 1_000_000]), work, FeatureBudget(memory_gb=2, spill_gb=4))
    assert [step.in_memory for step in passes] == [True, False]


def test_a_file_is_preferred_to_much_memory_and_memory_to_a_small_file():
    def in_memory(width, spill):
        (step,) = plan_passes(costs([width]), Workload(1000, 4, 4, 10**8), FeatureBudget(spill_gb=spill))
        return step.in_memory

    assert in_memory(SMALL_BYTES // 4000, 16)
    assert not in_memory(SMALL_BYTES // 4000 + 1, 16)
    assert in_memory(300_000, 1)


def test_projections_that_do_not_fit_together_take_more_passes():
    layers = costs([1000] * 6, held=600 * 10**6)
    passes = plan_passes(layers, Workload(100, 8, 4, 10**8), FeatureBudget(memory_gb=2))
    assert [len(step.columns) for step in passes] == [2, 2, 2]


@given(
    widths=st.lists(st.integers(1, 3 * 10**6), min_size=1, max_size=8),
    n=st.sampled_from([3, 50, 1000, 4000]),
    memory=st.floats(0.2, 3),
    spill=st.sampled_from([0, 0.01, 5, 100]),
    held=st.sampled_from([0, 10**8]),
)
def test_a_refused_budget_names_one_that_holds(widths, n, memory, spill, held):
    layers, work = costs(widths, held), Workload(n, 4, 8, 10**8)
    if n * sum(widths) * 4 > 2000 * 10**9:
        return  # thousands of passes
    for _ in range(len(widths) + 1):
        try:
            passes = plan_passes(layers, work, FeatureBudget(memory_gb=memory, spill_gb=spill))
        except StudyError as error:
            needed = float(str(error).split("raise it to ")[1].split(",")[0])
            assert needed > memory
            memory = needed
        else:
            assert sum(map(size, passes)) == sum(widths)
            return
    raise AssertionError("no budget was enough")


def test_a_budget_too_small_says_what_is_needed():
    with pytest.raises(StudyError) as error:
        plan_passes(costs([10**6]), Workload(3200, 4, 8, 10**8), FeatureBudget(memory_gb=0.1, spill_gb=0))
    assert all(word in str(error.value) for word in ["memory_gb=0.1", "'layer0'", "3,200 images", "batch_size"])


def test_batches_follow_the_model_or_the_setting():
    vgg16, digits = 64 * 224**2 * 4, 16 * 8 * 8 * 4
    assert choose_batch_size(vgg16, FeatureBudget()) == 4
    assert choose_batch_size(vgg16, FeatureBudget(memory_gb=0.1)) == 4
    assert choose_batch_size(digits, FeatureBudget()) == 64
    assert choose_batch_size(10 * FORWARD_BYTES, FeatureBudget()) == 1
    assert choose_batch_size(FORWARD_BYTES // FORWARD_COPIES // 33, FeatureBudget()) == 32
    assert choose_batch_size(vgg16, FeatureBudget(batch_size=7)) == 7


@pytest.mark.parametrize("setting", [{"memory_gb": 0}, {"spill_gb": -1}, {"batch_size": 0}, {"disk_gb": 3}])
def test_impossible_settings_are_refused(setting):
    with pytest.raises(ValidationError, match=next(iter(setting))):
        FeatureBudget(**setting)
