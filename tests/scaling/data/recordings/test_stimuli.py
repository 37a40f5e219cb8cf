"""Stimuli: content keys, balanced selection, refusals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from scaling.data.recordings.stimuli import Stimuli, select_stimuli
from scaling.errors import StudyError


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (100, 4, 5, 3), dtype=np.uint8)


def test_key_is_of_the_content_alone(stimuli):
    same = Stimuli(stimuli.images.copy(), tuple("ab" + i for i in stimuli.ids), None, "other name")
    assert same.key == stimuli.key
    assert len(stimuli.key) == 16
    changed = stimuli.images.copy()
    changed[3, 2, 1, 0] ^= 1
    assert dataclasses.replace(stimuli, images=changed).key != stimuli.key
    assert dataclasses.replace(stimuli, images=stimuli.images.reshape(60, 16, 4, 3)).key != stimuli.key


def test_selection_is_balanced_seeded_and_in_order(images):
    labels = np.repeat([0, 1, 2, 3], [40, 30, 25, 5])
    chosen = select_stimuli(images, labels, n=35, seed=1)
    np.testing.assert_array_equal(np.bincount(chosen.labels), [10, 10, 10, 5])
    positions = [int(i.removeprefix("heldout-")) for i in chosen.ids]
    assert positions == sorted(positions)
    np.testing.assert_array_equal(chosen.images, images[positions])
    np.testing.assert_array_equal(chosen.labels, labels[positions])
    assert chosen.key == select_stimuli(images, labels, n=35, seed=1).key
    assert chosen.key != select_stimuli(images, labels, n=35, seed=2).key


def test_fewer_images_than_asked_for_are_all_taken(images):
    assert len(select_stimuli(images, np.arange(100) % 3, n=300)) == 100


@pytest.mark.parametrize("shape", [(100, 4, 5), (100, 4, 5, 1)])
def test_grey_images_get_three_channels(shape):
    grey = np.arange(2000, dtype=np.uint8).reshape(shape)
    chosen = select_stimuli(grey, np.zeros(100, int), n=300)
    assert chosen.images.shape == (100, 4, 5, 3)
    assert (chosen.images == chosen.images[..., :1]).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": np.zeros((60, 8, 8, 3))}, ["float64", "uint8"]),
        ({"images": np.zeros((60, 8, 8), np.uint8)}, ["(60, 8, 8)"]),
        ({"images": np.zeros((60, 8, 0, 3), np.uint8)}, ["(60, 8, 0, 3)"]),
        ({"ids": ("a",) * 60}, ["1 distinct ids for 60 images"]),
        ({"labels": np.arange(59)}, ["(59,)", "60 images"]),
    ],
)
def test_bad_stimuli(stimuli, change, words):
    with pytest.raises(StudyError) as error:
        dataclasses.replace(stimuli, **change)
    assert all(word in str(error.value) for word in ["'noise images'", *words]), error.value


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"labels": np.arange(99)}, ["labels of shape (99,)", "100 images"]),
        ({"n": 0}, ["n=0"]),
        ({"images": np.zeros((100, 4, 5, 2), np.uint8)}, ["(100, 4, 5, 2)"]),
    ],
)
def test_bad_selection(images, arguments, words):
    with pytest.raises(StudyError) as error:
        select_stimuli(**{"images": images, "labels": np.arange(100) % 3} | arguments)
    assert all(word in str(error.value) for word in words), error.value
