"""What a probe holds out of its training images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.data.subsets import held_out, held_places, nested_subset, run_images
from scaling.errors import StudyError

LABELS = np.repeat(np.arange(5), 60)


@settings(deadline=None)
@given(st.integers(2, 60), st.integers(0, 60), st.floats(0.01, 0.5), st.integers(0, 9))
def test_it_is_a_part_of_the_subset_balanced_and_nested(n: int, more: int, share: float, seed: int) -> None:
    larger = min(60, n + more)
    subset, held = nested_subset(LABELS, n, seed), held_out(LABELS, n, seed, share)
    assert set(held) < set(subset)
    _, counts = np.unique(LABELS[held], return_counts=True)
    assert counts.tolist() == [max(1, int(share * n + 0.5))] * 5
    beyond = held_out(LABELS, larger, seed, share)
    assert set(held) <= set(beyond)
    trained = set(subset) - set(held)
    assert trained <= set(nested_subset(LABELS, larger, seed)) - set(beyond), "no image changes sides"


def test_all_images_are_split_as_subsets_are() -> None:
    assert set(held_out(LABELS, 30, 3, 0.1)) < set(held_out(LABELS, None, 3, 0.1))


def test_a_run_trains_on_the_rest_and_one_that_is_no_probe_on_all(make_run) -> None:
    run = make_run(data_sizes=[20])
    train, held = run_images(LABELS, run)
    assert (train.tolist(), len(held)) == (nested_subset(LABELS, 20, 0).tolist(), 0)
    train, held = run_images(LABELS, run.model_copy(update={"validation": 0.25}))
    assert (len(train), len(held)) == (75, 25)
    assert sorted([*train, *held]) == nested_subset(LABELS, 20, 0).tolist()


def test_the_first_image_is_held_out_and_then_every_tenth_or_so() -> None:
    assert np.flatnonzero(held_places(40, 0.1)).tolist() == [0, 14, 24, 34]


def test_a_single_image_a_class_is_refused() -> None:
    with pytest.raises(StudyError, match=r"1 image a class leaves none to train on .*tune.validation"):
        held_out(LABELS, 1, 0, 0.1)
