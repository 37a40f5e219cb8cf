"""Facts of a study file about its images, against the images."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaling.data.images import load_images
from scaling.data.portions import BUILT_IN, ImageCounts, check_stated, stated_counts
from scaling.errors import StudyError
from scaling.specs.dataset import DatasetSpec


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_sets_know_what_they_hold(name):
    counts = ImageCounts.of(load_images(DatasetSpec(name=name), Path("none")))
    assert BUILT_IN[name] == (counts.image_size, counts.n_classes, counts.least)
    stated = stated_counts(DatasetSpec(name=name), "here")
    assert (stated.n_train, stated.least) == (counts.n_classes * counts.least, counts.least)


@pytest.mark.parametrize("wrong", [{"classes": 11}, {"images_per_class": 140}, {"classes": 10, "images_per_class": 1}])
def test_facts_that_are_not_the_images_are_refused_with_the_right_numbers(digits_data, wrong):
    check_stated(DatasetSpec(name="digits", classes=10, images_per_class=139), digits_data)
    with pytest.raises(StudyError, match="write classes: 10, images_per_class: 139"):
        check_stated(DatasetSpec(name="digits", **wrong), digits_data)


def test_a_path_has_no_facts_of_a_built_in_set():
    with pytest.raises(StudyError, match="not given: image_size, classes, images_per_class"):
        stated_counts(DatasetSpec(name="digits", path="elsewhere"), "here")
