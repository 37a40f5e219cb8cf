"""Importance maps smoothed as Fel et al. (2022) do: the formula read slowly, and the same maps on every way to them."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from torch.nn import functional

from scaling.alignment.suites.human_alignment import select_mapped
from scaling.data.images import BUILT_IN, check_dataset, load_images
from scaling.data.prepared.pixels import CorruptImage, Square, decode_map, smooth_map
from scaling.errors import StudyError
from scaling.specs.dataset import DatasetSpec

MAPPED = DatasetSpec(name="mapped", path="mapped", image_size=12, stored_size=16)
BLURRED = MAPPED.model_copy(update={"blur_maps": True})
UINT8, FLOAT32 = np.dtype(np.uint8), np.dtype(np.float32)


def published_kernel() -> list[list[float]]:
    """exp(-(x² + y²) / 2σ²), σ = 10, over its sum; columns are x = -5 … 4, rows y = 4 … -5."""
    weights = [[math.exp(-(x**2 + y**2) / 200) for x in range(-5, 5)] for y in range(4, -6, -1)]
    total = sum(map(sum, weights))
    return [[weight / total for weight in row] for row in weights]


def smoothed_slowly(values: np.ndarray) -> np.ndarray:
    """Correlation with the kernel, 4 zeros before and 5 after each axis."""
    height, width = values.shape
    kernel, out = published_kernel(), np.zeros((height, width))
    for r in range(height):
        for c in range(width):
            for j in range(10):
                for i in range(10):
                    row, column = r + j - 4, c + i - 4
                    if 0 <= row < height and 0 <= column < width:
                        out[r, c] += kernel[j][i] * values[row, column]
    return out


def sampled(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """TensorFlow's tf.image.resize(method="bilinear"), which torch has too; size: (width, height)."""
    plain = torch.from_numpy(values.astype(np.float32))[None, None]
    return functional.interpolate(plain, size[::-1], mode="bilinear", align_corners=False)[0, 0].numpy()


def expected(values: np.ndarray, image_size: tuple[int, int], square: Square) -> np.ndarray:
    """To 64 pixels, smoothed, and then as any map; image_size: (width, height)."""
    small = sampled(values, Square(64, 64).resized(values.shape[1], values.shape[0]))
    smooth = Image.fromarray(smoothed_slowly(small).astype(np.float32))
    wanted = square.resized(*image_size)
    return np.asarray(smooth.resize(wanted, Image.Resampling.BILINEAR).crop(square.window(*wanted)))


@pytest.mark.parametrize("shape", [(13, 17), (17, 13), (4, 3)])
def test_smoothing_is_the_published_formula(shape):
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    smooth = smooth_map(values)
    assert smooth.dtype == np.float32
    np.testing.assert_allclose(smooth, smoothed_slowly(values), rtol=1e-6)


def test_an_impulse_in_the_middle_becomes_the_kernel_turned_round():
    values = np.zeros((64, 80), np.float32)
    values[20, 30] = 1
    smooth = smooth_map(values)
    np.testing.assert_allclose(smooth[15:25, 25:35], np.array(published_kernel())[::-1, ::-1], rtol=1e-6)
    assert np.count_nonzero(smooth) == 100
    assert np.unravel_index(smooth.argmax(), smooth.shape) == (20, 29)


def test_an_impulse_in_a_corner_keeps_the_part_inside():
    kernel = np.array(published_kernel())[::-1, ::-1]
    for corner, place, part in (
        ((0, 0), np.s_[:5, :5], kernel[5:, 5:]),
        ((-1, -1), np.s_[-6:, -6:], kernel[:6, :6]),
        ((0, -1), np.s_[:5, -6:], kernel[5:, :6]),
    ):
        values = np.zeros((64, 64), np.float32)
        values[corner] = 1
        np.testing.assert_allclose(smooth_map(values)[place], part, rtol=1e-6)
        assert np.count_nonzero(smooth_map(values)) == part.size


def test_a_constant_stays_inside_and_darkens_at_the_border():
    smooth = smooth_map(np.full((64, 64), 3, np.float32))
    np.testing.assert_allclose(smooth[4:-5, 4:-5], 3, rtol=1e-6)
    assert smooth[0].max() < 3 * 0.65


@pytest.mark.parametrize("shape", [(40, 60), (90, 47), (64, 64), (256, 256)])
@pytest.mark.parametrize("square", [Square(32, 24, True), Square(100, 100, True)])
def test_a_map_is_brought_to_64_pixels_smoothed_and_then_follows_its_image(photo, encode, shape, square):
    grey, image_size = photo(*shape)[..., 0], shape[::-1]
    wanted = expected(grey, image_size, square)
    for coded, dtype, scale in ((encode(grey), UINT8, 255), (grey / np.float32(7), FLOAT32, 7)):
        found = decode_map(coded, square, image_size, "", dtype)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found * scale, wanted, rtol=1e-5)


def test_clickmes_maps_are_the_authors_to_the_last_rank(photo):
    grey = photo(256, 256)[..., 0]
    grey[grey < 128] = 0
    wanted = sampled(smoothed_slowly(sampled(grey, (64, 64))), (224, 224))
    found = decode_map(grey, Square(224, 224, True), (256, 256), "", UINT8)
    np.testing.assert_allclose(found * 255, wanted, rtol=1e-5, atol=1e-5)
    assert spearmanr(found.ravel(), wanted.ravel()).statistic > 1 - 1e-6


def test_a_broken_map_is_still_refused(photo, encode):
    square = Square(32, 32, True)
    for coded in (b"no image", encode(photo(40, 60), "JPEG")[:300], encode(np.zeros((40, 60), np.uint16))):
        with pytest.raises(CorruptImage):
            decode_map(coded, square, (60, 40), "", UINT8)
    with pytest.raises(StudyError, match=r"a map of 40 x 40 pixels for an image of 40 x 60 \(here\)"):
        decode_map(encode(photo(40, 40)), square, (60, 40), "here", UINT8)


def test_decoded_once_each_epoch_and_in_memory_the_maps_are_the_same(mapped, encode, photo):
    ways = [
        load_images(BLURRED, mapped),
        load_images(BLURRED, mapped, mapped / "cache"),
        load_images(BLURRED.model_copy(update={"decode": "each_epoch"}), mapped, mapped / "cache"),
    ]
    stored = load_images(MAPPED, mapped)
    for split, square in (("train", Square(16, 16)), ("heldout", Square(16, 12))):
        before, *ours = (getattr(data, split) for data in (stored, *ways))
        there = np.isfinite(before.maps[:, 0, 0])
        for one in ours:
            np.testing.assert_array_equal(one.maps[:], ours[0].maps[:])
            np.testing.assert_array_equal(one.images[:], before.images[:])
            assert np.array_equal(np.isfinite(one.maps[:, 0, 0]), there)
            assert np.abs(one.maps[:][there] - before.maps[there]).max((1, 2)).min() > 0.01
        coded = encode(photo(20, 25, 51)[..., 0], "JPEG")
        wanted = expected(np.asarray(Image.open(io.BytesIO(coded))), (25, 20), square)
        np.testing.assert_allclose(ours[0].maps[1] * 255, wanted, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_maps_that_are_arrays_already_are_smoothed_and_absent_ones_stay_absent(tmp_path, dtype):
    random = np.random.default_rng(0)
    images, maps = random.integers(0, 256, (3, 10, 10), np.uint8), (random.random((3, 10, 10)) * 255).astype(dtype)
    absent = dtype is np.float32
    if absent:
        maps[2] = np.nan
    for split in ("train", "test"):
        np.savez(tmp_path / f"{split}.npz", images=images, labels=[0, 1, 0], maps=maps)
    data = load_images(DatasetSpec(name="x", path=str(tmp_path), blur_maps=True), tmp_path)
    assert np.array_equal(data.train.images, images[..., None].repeat(3, -1))
    for row in (0, 1):
        wanted = expected(maps[row], (10, 10), Square(10, 10))
        np.testing.assert_allclose(data.train.maps[row] * (1 if absent else 255), wanted, rtol=1e-5)
    assert np.isnan(data.train.maps).any((1, 2)).tolist() == [False, False, absent]
    np.testing.assert_array_equal(data.heldout.maps, data.train.maps)


def test_the_simulated_maps_reach_the_benchmark_blurred(tmp_path):
    spec = DatasetSpec(name="simulated-clickme", blur_maps=True)
    check_dataset(spec, tmp_path)
    data = load_images(spec, tmp_path)
    train, heldout = BUILT_IN["simulated-clickme"](None)
    assert np.array_equal(np.isfinite(data.train.maps[:, 0, 0]), np.isfinite(train.maps[:, 0, 0]))
    wanted = expected(heldout.maps[3], (16, 16), Square(16, 16))
    np.testing.assert_allclose(data.heldout.maps[3], wanted, rtol=1e-5, atol=1e-7)
    blurred, stored = (select_mapped(images, data.name).maps for images in (data.heldout, heldout))
    assert blurred.shape == stored.shape
    assert (blurred.max((1, 2)) < stored.max((1, 2))).all()


def test_run_ids_change_only_where_maps_are_blurred(make_run):
    digits = {"name": "digits", "image_size": 16}
    without, off, on = (make_run(dataset=digits | more) for more in ({}, {"blur_maps": False}, {"blur_maps": True}))
    assert without.run_id == off.run_id != on.run_id
    assert off.dataset.identity() == digits
    assert on.dataset.identity() == digits | {"blur_maps": True}


@pytest.mark.parametrize("decode", ["once", "each_epoch"])
def test_a_cache_made_without_it_is_not_used_and_stays(mapped, decode):
    cache = mapped / "cache"
    stored, blurred = (
        load_images(spec.model_copy(update={"decode": decode}), mapped, cache) for spec in (MAPPED, BLURRED)
    )
    assert not np.array_equal(stored.train.maps[:], blurred.train.maps[:], equal_nan=True)
    settings = [json.loads(file.read_text())["source"]["settings"] for file in cache.glob("*/manifest.json")]
    plain_settings = MAPPED.model_dump(include={"format", "image_size", "stored_size", "corrupt"}) | {"decode": decode}
    assert sorted(settings, key=len) == [plain_settings, plain_settings | {"blur_maps": True}]


def test_a_data_set_without_maps_is_refused_before_anything_starts(picture_folder):
    cache = picture_folder / "cache"
    for spec in (DatasetSpec(name="digits"), DatasetSpec(name="pictures", path="pictures", image_size=16)):
        asked = spec.model_copy(update={"blur_maps": True})
        words = rf"blur_maps=true, and dataset '{spec.name}' has no importance maps; leave dataset\.blur_maps out, or"
        for use in (check_dataset, load_images, lambda asked, folder: load_images(asked, folder, cache)):
            with pytest.raises(StudyError, match=words):
                use(asked, picture_folder)
        check_dataset(spec, picture_folder)
    assert not cache.exists()
