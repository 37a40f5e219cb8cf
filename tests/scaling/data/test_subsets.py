"""Training subsets: nested by construction, balanced, seeded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.data.subsets import nested_subset
from scaling.errors import StudyError
from scaling.streams import SEED_LIMIT


@st.composite
def labels_and_sizes(draw):
    """Labels of some classes in any order, and two subset sizes that every class can give."""
    counts = draw(st.lists(st.integers(1, 30), min_size=1, max_size=6))
    labels = draw(st.permutations(np.repeat(np.arange(len(counts)) * 3, counts).tolist()))
    sizes = st.integers(1, min(counts))
    return np.array(labels), *sorted((draw(sizes), draw(sizes)))


@settings(deadline=None)
@given(labels_and_sizes(), st.integers(0, SEED_LIMIT - 1))
def test_subsets_nest_and_hold_the_same_number_of_every_class(case, seed):
    labels, small, large = case
    inner, outer = nested_subset(labels, small, seed), nested_subset(labels, large, seed)
    assert set(inner) <= set(outer)
    for subset, size in ((inner, small), (outer, large)):
        assert (np.diff(subset) > 0).all(), "ascending, so no image twice"
        classes, counts = np.unique(labels[subset], return_counts=True)
        assert classes.tolist() == np.unique(labels).tolist()
        assert set(counts) == {size}


@settings(deadline=None)
@given(st.integers(0, SEED_LIMIT - 1), st.integers(0, 50))
def test_a_class_keeps_its_images_whatever_the_others_hold(seed, extra):
    """Each class has its own random order, so that data added to one class moves no other's subset."""
    labels = np.repeat([0, 1], [40, 40])
    longer = np.concatenate([labels, np.full(extra, 1)])
    first, second = (nested_subset(values, 10, seed) for values in (labels, longer))
    assert first[first < 40].tolist() == second[second < 40].tolist()


def test_classes_have_orders_of_their_own():
    """Else files sorted alike would give every class the images of the same positions."""
    subset = nested_subset(np.repeat([0, 1], [40, 40]), 10, seed=0)
    assert subset[:10].tolist() != (subset[10:] - 40).tolist()


def test_the_10_image_subset_of_the_digits_lies_in_the_100_image_one(digits_data):
    labels = digits_data.train.labels
    chain = [set(nested_subset(labels, n, seed=7)) for n in (1, 10, 100, None)]
    assert [len(subset) for subset in chain] == [10, 100, 1000, 1437]
    assert chain[0] < chain[1] < chain[2] < chain[3]


def test_seeds_choose_different_images(digits_data):
    """Two random choices of 50 of about 144 images a class share 50 x 50 / 144 = 17 of them on average."""
    subsets = [set(nested_subset(digits_data.train.labels, 50, seed)) for seed in range(6)]
    shared = [len(a & b) / 10 for i, a in enumerate(subsets) for b in subsets[:i]]
    assert np.mean(shared) == pytest.approx(50 * 50 / 143.7, rel=0.05)


def test_every_image_is_chosen_equally_often():
    labels = np.repeat([0, 1], 20)
    counts = np.bincount(np.concatenate([nested_subset(labels, 5, seed) for seed in range(2000)]), minlength=40)
    assert counts == pytest.approx(np.full(40, 500), abs=5 * np.sqrt(500 * 0.75))


def test_more_images_than_a_class_has_are_refused():
    with pytest.raises(StudyError, match=r"images a class=4 exceeds the 3 training images of class 9 .*or write 'all'"):
        nested_subset(np.repeat([2, 9], [8, 3]), 4, seed=0)


def test_subsets_are_those_of_the_definition_class_by_class():
    labels = np.random.default_rng(0).integers(0, 40, 3000)
    expected = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        expected += members[np.random.default_rng([5, label]).permutation(len(members))[:20]].tolist()
    assert nested_subset(labels, 20, seed=5).tolist() == sorted(expected)
