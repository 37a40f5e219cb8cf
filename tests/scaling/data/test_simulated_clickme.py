"""Data set simulated-clickme: where its maps lie, what its patch betrays, that it is always the same."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from scaling.alignment.suites.human_alignment import select_mapped
from scaling.data import simulated_clickme as simulated
from scaling.data.images import check_dataset, load_images
from scaling.errors import StudyError
from scaling.specs.dataset import DatasetSpec


@pytest.fixture(scope="module")
def sets():
    return simulated.build_simulated_clickme()


def test_sizes_types_and_classes(sets):
    for images, n in zip(sets, (1437, 360), strict=True):
        n *= simulated.PLACEMENTS
        side = simulated.IMAGE_SIZE
        assert (images.images.shape, images.images.dtype) == ((n, side, side, 3), np.uint8)
        assert (images.maps.shape, images.maps.dtype) == ((n, side, side), np.float32)
        assert set(np.unique(images.labels)) == set(range(10))


def test_a_share_of_the_training_images_and_all_held_out_ones_have_maps(sets):
    train, heldout = (np.isfinite(images.maps).all((1, 2)) for images in sets)
    assert train.mean() == pytest.approx(simulated.MAP_SHARE, abs=0.03)
    assert heldout.all()
    assert (sets[1].maps.max((1, 2)) > 0.2).all()


def test_it_is_always_the_same(sets):
    def digest(images):
        return [hashlib.sha256(array.tobytes()).hexdigest() for array in (images.images, images.labels, images.maps)]

    assert [digest(images) for images in simulated.build_simulated_clickme()] == [digest(images) for images in sets]
    other = simulated.build_simulated_clickme(40)[1]
    assert other.images.shape[1:] == (40, 40, 3)
    assert np.array_equal(other.labels, sets[1].labels)


def patch_classes(images: np.ndarray) -> np.ndarray:
    """The class whose colour comes most often in each image, -1 where none does; pixels of a pure hue are the patch."""
    hues = np.round(simulated._hues(10) * 255)
    counts = np.stack([(np.abs(images.astype(float) - hue) < 2).all(-1).sum((1, 2)) for hue in hues], 1)
    return np.where(counts.max(1) > 0, counts.argmax(1), -1)


def test_the_patch_shows_the_class_as_often_as_it_is_said_to(sets):
    for images, validity in zip(sets, simulated.PATCH_VALIDITY, strict=True):
        shown = patch_classes(images.images)
        assert (shown >= 0).all()
        assert (shown == images.labels).mean() == pytest.approx(validity + (1 - validity) / 10, abs=0.03)


def test_the_map_lies_on_the_digit_and_not_on_the_patch(sets):
    """The digit is brighter than the clutter; the patch alone has pixels without any red, green or blue."""
    images, maps = sets[1].images.astype(float), sets[1].maps
    inside = maps > 0.5 * maps.max((1, 2), keepdims=True)
    bright = images.mean(-1)
    assert (bright[inside].mean() - bright[~inside].mean()) > 40
    patch = (np.abs(images[..., None, :] - np.round(simulated._hues(10) * 255)) < 2).all(-1).any(-1)
    assert maps[patch].mean() < 0.25 * maps[inside].mean()


def test_the_map_is_the_digits_ink_blurred():
    """By hand, pixel by pixel: Gaussian weights over rows and columns that sum to 1."""
    rng = np.random.default_rng(0)
    ink = rng.random((1, 6, 6)).astype(np.float32)
    sigma, place = 1.5, np.arange(6)
    kernel = np.array([[np.exp(-((a - b) ** 2) / (2 * sigma**2)) for b in place] for a in place])
    kernel /= kernel.sum(1, keepdims=True)
    slow = [
        [sum(kernel[y, i] * kernel[x, j] * ink[0, i, j] for i in place for j in place) for x in place] for y in place
    ]
    np.testing.assert_allclose(simulated._blur(ink, sigma)[0], slow, rtol=1e-5)


def test_digits_are_enlarged_bilinearly():
    torch = pytest.importorskip("torch")
    digits = np.random.default_rng(0).random((3, 8, 8))
    ours = simulated._enlarge(digits, 20)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(digits)[None], (20, 20), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(ours, theirs[0].numpy(), atol=1e-6)


def test_it_opens_by_name(tmp_path):
    spec = DatasetSpec(name=simulated.NAME)
    check_dataset(spec, tmp_path)
    data = load_images(spec, tmp_path)
    assert data.n_classes == 10
    given = select_mapped(data.heldout, data.name)
    assert given.simulated
    assert len(given.stimuli) == 300


def test_small_images_are_refused():
    with pytest.raises(StudyError, match=r"image_size=12 of dataset 'simulated-clickme' is below 16"):
        simulated.build_simulated_clickme(12)
