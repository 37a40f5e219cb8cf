"""ColumnRange written by rows and read by blocks, in memory and in a file."""

from __future__ import annotations

import errno
import gc
import os
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest

from scaling.alignment.features.spill import open_columns
from scaling.errors import StudyError

WIDTHS = (5, 1, 7, 7)


def fill(store, x, rows):
    stops = np.cumsum(WIDTHS)
    for row in range(0, len(x), rows):
        for block, (stop, width) in enumerate(zip(stops, WIDTHS, strict=True)):
            store.put(row, block, x[row : row + rows, stop - width : stop])


@pytest.mark.parametrize("in_memory", [True, False], ids=["memory", "file"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 4, 11])
@pytest.mark.parametrize("buffer_bytes", [0, 300, 10**6])
def test_blocks_come_back_as_written(tmp_path, in_memory, dtype, rows, buffer_bytes):
    x = np.random.default_rng(0).standard_normal((11, sum(WIDTHS))).astype(dtype)
    with open_columns(11, WIDTHS, dtype, str(tmp_path), in_memory, buffer_bytes) as store:
        fill(store, x, rows)
        blocks = [store.take(block) for block in range(len(WIDTHS))]
    assert [block.shape for block in blocks] == [(11, width) for width in WIDTHS]
    assert all(block.dtype == dtype and block.flags.c_contiguous for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), x)


def test_waiting_rows_are_written_together_and_never_more_than_the_buffer(tmp_path, monkeypatch):
    sizes, write = [], os.pwrite
    monkeypatch.setattr(
        os, "pwrite", lambda file, content, offset: sizes.append(len(content)) or write(file, content, offset)
    )
    with open_columns(20, [10, 10], np.float32, str(tmp_path), buffer_bytes=800) as store:
        for row in range(20):
            for block in (0, 1):
                store.put(row, block, np.full((1, 10), row + block))
        assert sizes == [440, 400]  # the row that exceeds the buffer goes with it
        np.testing.assert_array_equal(store.take(1)[:, 0], np.arange(20) + 1)
        np.testing.assert_array_equal(store.take(0)[:, 0], np.arange(20))


def test_what_waits_is_a_copy(tmp_path):
    values = np.ones((2, 3))
    with open_columns(2, [3], np.float64, str(tmp_path), buffer_bytes=1000) as store:
        store.put(0, 0, values)
        values[:] = 7
        np.testing.assert_array_equal(store.take(0), np.ones((2, 3)))


@pytest.mark.parametrize("buffer_bytes", [0, 1000])
def test_rows_may_be_overwritten_and_come_in_any_order(tmp_path, buffer_bytes):
    x = np.arange(6.0).reshape(3, 2)
    for in_memory in (True, False):
        with open_columns(3, [2], np.float64, str(tmp_path), in_memory, buffer_bytes) as store:
            for row in (2, 0, 1):
                store.put(row, 0, x[row : row + 1] - 1)
                store.put(row, 0, x[row : row + 1])
            np.testing.assert_array_equal(store.take(0), x)


def test_nothing_is_left_of_the_file_and_it_never_has_a_name(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    with open_columns(100, [1000], np.float32, str(tmp_path)):
        assert os.listdir(tmp_path) == []
        assert len(os.listdir("/proc/self/fd")) == before + 1
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_file_is_closed_when_its_user_fails_or_walks_away(tmp_path):
    def user():
        with open_columns(10, [10], np.float32, str(tmp_path)) as store:
            yield store

    before = len(os.listdir("/proc/self/fd"))
    walking = user()
    next(walking)
    del walking
    gc.collect()
    with pytest.raises(ZeroDivisionError), open_columns(10, [10], np.float32, str(tmp_path)):
        raise ZeroDivisionError
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_space_is_reserved_before_anything_is_written(tmp_path, monkeypatch):
    reserved = []
    monkeypatch.setattr(os, "posix_fallocate", lambda file, offset, length: reserved.append((offset, length)))
    with open_columns(10, [10, 20], np.float32, str(tmp_path)):
        assert reserved == [(0, 1200)]


def test_without_a_folder_temporary_files_go_where_they_always_go(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(StudyError, match="none"), open_columns(2, [2], np.float32):
        pass


def test_in_memory_needs_no_folder():
    with open_columns(2, [2], np.float32, "/no/such/folder", in_memory=True) as store:
        store.put(0, 0, np.ones((2, 2)))
        assert store.take(0).sum() == 4


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("free_blocks", "reserve", "words"),
    [(1, None, ["4,000,000 bytes", "4,096 free"]), (10**6, full_disk, ["4,000,000 bytes", "No space left"])],
    ids=["too full", "quota"],
)
def test_a_full_disk_is_refused_with_both_numbers(tmp_path, monkeypatch, free_blocks, reserve, words):
    monkeypatch.setattr(os, "fstatvfs", lambda file: SimpleNamespace(f_bavail=free_blocks, f_frsize=4096))
    if reserve:
        monkeypatch.setattr(os, "posix_fallocate", reserve)
    with pytest.raises(StudyError) as error, open_columns(1000, [1000], np.float32, str(tmp_path)):
        pass
    assert all(word in str(error.value) for word in [*words, str(tmp_path), "spill_gb"]), error.value


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "absent", tmp_path / "file"):
        refused = pytest.raises(StudyError, match=f"'{folder}' cannot be written")
        with refused, open_columns(2, [2], np.float32, str(folder)):
            pass


def test_short_writes_and_reads_are_continued(tmp_path, monkeypatch):
    write, read = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda file, content, offset: write(file, content[:7], offset))
    monkeypatch.setattr(os, "preadv", lambda file, buffers, offset: read(file, [buffers[0][:5]], offset))
    x = np.random.default_rng(0).standard_normal((11, sum(WIDTHS)))
    with open_columns(11, WIDTHS, np.float64, str(tmp_path)) as store:
        fill(store, x, 3)
        np.testing.assert_array_equal(store.take(2), x[:, 6:13])


def test_a_file_that_was_cut_is_no_silent_zero(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: None)
    with open_columns(11, WIDTHS, np.float64, str(tmp_path)) as store, pytest.raises(EOFError):
        store.take(3)
