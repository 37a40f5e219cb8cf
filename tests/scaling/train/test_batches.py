"""The order of images."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scaling.specs.horizon import steps_per_epoch
from scaling.train.batches import Draw, epoch_batches

WHOLE = slice(None)


@given(st.integers(1, 500), st.integers(1, 80), st.integers(0, 2**32), st.integers(0, 1000))
def test_an_epoch_shows_every_image_once_in_even_batches(n_samples, batch_size, seed, epoch):
    batches = epoch_batches(n_samples, batch_size, seed, epoch)
    sizes = [len(batch) for batch in batches]
    assert sorted(np.concatenate(batches).tolist()) == list(range(n_samples))
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert len(batches) == steps_per_epoch(n_samples, batch_size) == -(-n_samples // batch_size)


def test_the_order_depends_on_seed_and_epoch_alone():
    orders = {(s, e): np.concatenate(epoch_batches(50, 8, s, e)).tolist() for s in range(4) for e in range(4)}
    again = {place: np.concatenate(epoch_batches(50, 13, *place)).tolist() for place in reversed(orders)}
    assert again == orders, "whatever was drawn before, and however it is cut"
    assert len({tuple(order) for order in orders.values()}) == 16


@given(st.integers(1, 300), st.integers(1, 80), st.integers(0, 2**32), st.integers(0, 9), st.integers(2, 5))
def test_a_repeated_image_stands_in_a_row_and_the_epoch_keeps_its_length(n_samples, batch_size, seed, epoch, repeats):
    batches = epoch_batches(n_samples, batch_size, seed, epoch, repeats)
    plain = epoch_batches(n_samples, batch_size, seed, epoch)
    assert [len(batch) for batch in batches] == [len(batch) for batch in plain]
    order = np.concatenate(batches)
    shown, counts = np.unique(order, return_counts=True)
    assert len(shown) == -(-n_samples // repeats)
    assert (np.sort(counts)[1:] == repeats).all(), "all but the last"
    assert np.count_nonzero(np.diff(order)) == len(shown) - 1, "copies follow each other"
    assert set(shown) == set(np.concatenate(plain)[: len(shown)])


def test_over_epochs_repeated_images_come_equally_often():
    """900 epochs, each image in a third of them: counts are 3 x binomial(900, 1/3)."""
    n_samples, epochs = 30, 900
    views = np.concatenate([np.concatenate(epoch_batches(n_samples, 8, 0, epoch, 3)) for epoch in range(epochs)])
    counts = np.bincount(views, minlength=n_samples) / 3
    assert counts.sum() == epochs * n_samples / 3
    spread = np.sqrt(epochs * (1 / 3) * (2 / 3))
    assert np.abs(counts - epochs / 3).max() < 4 * spread


def test_a_draw_belongs_to_its_seed_stream_and_place():
    draws = [Draw(seed, (epoch, step), WHOLE, 1) for seed in (0, 1) for epoch in (0, 1) for step in (0, 1)]
    numbers = {draw.generator(stream).random() for draw in draws for stream in ("order", "windows", "jitter")}
    assert len(numbers) == 24
