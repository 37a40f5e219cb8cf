"""The cache of decoded images: killed, damaged, changed and shared; and the coded one beside it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scaling.data.image_set import SparseMaps, channel_statistics, has_map, level_counts
from scaling.data.image_source import ImageSource, default_cache_dir, image_source
from scaling.data.images import BUILT_IN, load_images
from scaling.data.prepared import decoded, prepare
from scaling.data.prepared.coded import CodedImages, CodedMaps
from scaling.data.prepared.journal import BlockWriter, check_blocks, whole_blocks
from scaling.errors import StudyError
from scaling.specs.dataset import DatasetSpec

PICTURES = DatasetSpec(name="pictures", path="pictures", image_size=24, stored_size=32)
MAPPED = DatasetSpec(name="mapped", path="mapped", image_size=16)


@pytest.fixture
def small_blocks(monkeypatch) -> None:
    monkeypatch.setattr(prepare, "BLOCK_ROWS", 3)


def assert_equal_data(ours, theirs):
    assert (ours.mean, ours.std, ours.classes, ours.skipped) == (
        theirs.mean,
        theirs.std,
        theirs.classes,
        theirs.skipped,
    )
    assert ours.digest() == theirs.digest()
    for one, other in ((ours.train, theirs.train), (ours.heldout, theirs.heldout)):
        assert np.array_equal(one.images[:], other.images[:])
        assert np.array_equal(one.labels, other.labels)
        assert (one.maps is None) == (other.maps is None)
        if one.maps is not None:
            np.testing.assert_array_equal(one.maps[:], other.maps[:])


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("decode", ["once", "each_epoch"])
def test_mapped_equals_memory(picture_folder, mapped, decode):
    cache = picture_folder / "cache"
    for spec in (PICTURES, MAPPED):
        data = load_images(spec.model_copy(update={"decode": decode}), picture_folder, cache)
        assert_equal_data(data, load_images(spec, picture_folder))
        with pytest.raises((ValueError, TypeError)):
            data.train.images[0] = 0


@pytest.mark.usefixtures("small_blocks")
def test_coded_images_take_the_indices_that_an_array_takes(mapped):
    plain = load_images(MAPPED, mapped).train
    coded = load_images(MAPPED.model_copy(update={"decode": "each_epoch"}), mapped, mapped / "cache").train
    sparse = load_images(MAPPED, mapped, mapped / "cache").train
    assert isinstance(coded.images, CodedImages)
    assert isinstance(coded.maps, CodedMaps)
    assert isinstance(sparse.maps, SparseMaps)
    wanted = [
        7,
        slice(3, 11),
        slice(None, None, 4),
        np.array([5, 5, 0, 19]),
        [2, 1],
        np.arange(20) % 2 == 0,
        slice(0, 0),
    ]
    for index in wanted:
        assert np.array_equal(coded.images[index], plain.images[index])
        for maps in (coded.maps, sparse.maps):
            np.testing.assert_array_equal(maps[index], plain.maps[index])
            np.testing.assert_array_equal(maps[index, 0, 0], plain.maps[index][..., 0, 0])
    some = np.array([0, 19, 3, 3, 8])
    for maps in (plain.maps, coded.maps, sparse.maps):
        assert has_map(maps, some).tolist() == np.isfinite(plain.maps[some, 0, 0]).tolist()
    assert coded.images.shape == plain.images.shape
    assert coded.maps.shape == sparse.maps.shape == plain.maps.shape


def test_coded_images_pickle_as_paths(mapped, picture_folder):
    for spec in (MAPPED, PICTURES):
        images = load_images(spec.model_copy(update={"decode": "each_epoch"}), mapped, mapped / "cache").train.images
        packed = pickle.dumps(images)
        assert len(packed) < 1000
        assert np.array_equal(pickle.loads(packed)[2:5], images[2:5])


def test_sources_are_small_hashable_and_opened_once(picture_folder, monkeypatch):
    source = image_source(PICTURES, picture_folder, picture_folder / "cache").pinned()
    again = pickle.loads(pickle.dumps(source))
    assert again == source
    assert again.open() is source.open()
    assert len(pickle.dumps(source)) < 2000
    with pytest.raises(StudyError, match=r"on node .* is not what the study began with; copy the same files to every"):
        ImageSource(PICTURES, picture_folder, picture_folder / "cache", digest="0" * 64).open()
    monkeypatch.setenv("SCALING_CACHE_DIR", "/somewhere")
    assert default_cache_dir() == Path("/somewhere")
    monkeypatch.delenv("SCALING_CACHE_DIR")
    assert default_cache_dir().parts[-2:] == ("ventral-scaling", "decoded")


def test_a_built_in_set_is_made_once_and_then_mapped(tmp_path, monkeypatch):
    spec = DatasetSpec(name="digits")
    first = load_images(spec, tmp_path, tmp_path / "cache")
    assert_equal_data(first, load_images(spec, tmp_path))
    theirs = BUILT_IN["digits"](None)[0]
    assert np.array_equal(first.train.images, theirs.images)

    def refuse(*args):
        raise AssertionError("made again")

    monkeypatch.setattr("sklearn.datasets.load_digits", refuse)
    assert_equal_data(load_images(spec, tmp_path, tmp_path / "cache"), first)


CHILD = """
import sys, time
from pathlib import Path
from scaling.data.prepared import prepare
from scaling.data.images import load_images
from scaling.specs.dataset import DatasetSpec

prepare.BLOCK_ROWS = 3
folder, pause = Path(sys.argv[1]), float(sys.argv[2])
decode = prepare.decode_square

def slow(*args):
    time.sleep(pause)
    with (folder / "decoded.log").open("a") as log:
        log.write("image\\n")
    return decode(*args)

prepare.decode_square = slow
spec = DatasetSpec(name="mapped", path="mapped", image_size=16)
print(load_images(spec, folder, folder / "cache").digest())
"""


def start(folder: Path, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(folder), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def n_decoded(folder: Path) -> int:
    log = folder / "decoded.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_killed_in_the_middle_it_goes_on_after_the_last_whole_block(mapped):
    child = start(mapped, 0.05)
    journal = "cache/mapped-*.part/train.journal"
    deadline = time.monotonic() + 60
    while not any(len(file.read_text().splitlines()) >= 4 for file in mapped.glob(journal)):
        assert time.monotonic() < deadline
        assert child.poll() is None, child.communicate()
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    (file,) = mapped.glob(journal)
    blocks = len(file.read_text().splitlines()) - 1
    before = n_decoded(mapped)
    other = start(mapped, 0.0)
    said, problems = other.communicate(timeout=60)
    assert other.returncode == 0, problems
    assert said.strip() == load_images(MAPPED, mapped).digest()
    assert n_decoded(mapped) - before == 26 - 3 * blocks
    assert_equal_data(load_images(MAPPED, mapped, mapped / "cache"), load_images(MAPPED, mapped))
    assert [path.name.split("-")[0] for path in (mapped / "cache").iterdir()] == ["mapped", "mapped"], "folder and lock"


def test_two_processes_decode_once(mapped):
    both = [start(mapped, 0.02) for _ in range(2)]
    ended = [child.communicate(timeout=60) for child in both]
    assert [child.returncode for child in both] == [0, 0], ended
    assert ended[0][0] == ended[1][0]
    assert n_decoded(mapped) == 26


def test_a_block_that_was_cut_or_damaged_is_written_again(tmp_path):
    rows = [np.arange(5 * k, 5 * k + 5) for k in range(4)]

    def write(n: int) -> list[dict]:
        with BlockWriter(tmp_path, "train", ("values",), {"files": ["a"]}) as writer:
            done = len(writer.blocks)
            for part in rows[done:n]:
                writer.append({"values": part}, rows=len(part))
            return writer.blocks

    write(3)
    file, journal = tmp_path / "train.values", tmp_path / "train.journal"
    file.write_bytes(file.read_bytes() + b"half a block")
    journal.write_text(journal.read_text() + '{"rows": 5, "by')
    blocks = write(4)
    assert np.array_equal(np.fromfile(file, np.int64), np.arange(20))
    check_blocks(tmp_path, "train", blocks)
    content = bytearray(file.read_bytes())
    content[8 * 12] ^= 1  # in the third block
    file.write_bytes(bytes(content))
    assert len(whole_blocks(tmp_path, "train", blocks)) == 2
    with pytest.raises(StudyError, match=r"block 2 of 4 of '.*train\.\*' is damaged \(checksum\); delete the folder"):
        check_blocks(tmp_path, "train", blocks)
    write(4)
    assert np.array_equal(np.fromfile(file, np.int64), np.arange(20))
    with BlockWriter(tmp_path, "train", ("values",), {"files": ["b"]}) as writer:
        assert writer.blocks == [], "another source"


def test_damage_is_found_and_changed_files_are_decoded_again(mapped):
    source = image_source(MAPPED, mapped, mapped / "cache")
    with pytest.raises(StudyError, match="is not prepared from these files"):
        source.verify()
    before = load_images(MAPPED, mapped)
    load_images(MAPPED, mapped, mapped / "cache")
    source.verify()
    (folder,) = (mapped / "cache").glob("mapped-*[!k]")
    pixels = folder / "train.pixels"
    content = bytearray(pixels.read_bytes())
    content[100] ^= 1
    pixels.write_bytes(bytes(content))
    with pytest.raises(StudyError, match=r"block 0 of 1 of .*checksum"):
        source.verify()
    pixels.write_bytes(content[:-1])  # a size that does not fit is seen at once
    assert_equal_data(load_images(MAPPED, mapped, mapped / "cache"), before)
    (folder / "manifest.json").write_text("{")
    old = load_images(MAPPED, mapped, mapped / "cache")
    assert_equal_data(old, before)
    file = mapped / "mapped/train-0.parquet"
    pq.write_table(pq.read_table(file).slice(0, 5), file)
    changed = load_images(MAPPED, mapped, mapped / "cache")
    assert (len(before.train), len(changed.train)) == (20, 17)
    assert_equal_data(old, before)  # what is mapped stays as it was


@pytest.mark.parametrize("decode", ["once", "each_epoch"])
def test_corrupt_images_stop_or_are_left_out_and_recorded(mapped, decode):
    file = mapped / "mapped/train-1.parquet"
    table = pq.read_table(file).to_pydict()
    table["image"][3], table["image"][4] = b"no image", table["image"][4][:300]
    table["heatmap"][4] = None
    pq.write_table(pa.table(table), file)
    spec = MAPPED.model_copy(update={"decode": decode})
    with pytest.raises(
        StudyError, match=r"cannot be decoded \(train-1\.parquet, row 3: .*set dataset\.corrupt to 'skip'"
    ):
        load_images(spec, mapped, mapped / "cache")
    data = load_images(spec.model_copy(update={"corrupt": "skip"}), mapped, mapped / "cache")
    assert [place.partition(":")[0] for place in data.skipped] == ["train-1.parquet, row 3", "train-1.parquet, row 4"]
    assert len(data.train) == len(data.train.images) == len(data.train.maps) == 18
    whole = load_images(MAPPED.model_copy(update={"corrupt": "skip"}), mapped)
    assert_equal_data(data, whole)
    (manifest,) = (mapped / "cache").glob("*/manifest.json")
    assert len(json.loads(manifest.read_text())["skipped"]) == 2


def test_a_class_that_is_corrupt_throughout_is_named(picture_folder):
    for file in (picture_folder / "pictures/val/n02_dog").iterdir():
        file.write_bytes(b"no image")
    spec = PICTURES.model_copy(update={"corrupt": "skip"})
    with pytest.raises(StudyError, match="class n02_dog has training images and no held-out image that can be decoded"):
        load_images(spec, picture_folder)


def test_no_room_and_no_right_to_write_are_said(picture_folder, monkeypatch):
    usage = shutil.disk_usage(picture_folder)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StudyError, match=r"needs 0\.0 GB decoded, and .* has 0\.0 GB free; give another --cache-dir"):
        load_images(PICTURES, picture_folder, picture_folder / "cache")
    (picture_folder / "file").write_text("")
    with pytest.raises(StudyError, match=r"the cache '.*file' cannot be written .*SCALING_CACHE_DIR"):
        load_images(PICTURES, picture_folder, picture_folder / "file")


def test_a_file_that_breaks_after_it_was_verified_is_named(picture_folder):
    data = load_images(PICTURES.model_copy(update={"decode": "each_epoch"}), picture_folder, picture_folder / "cache")
    path = sorted((picture_folder / "pictures/train/n01_cat").iterdir())[0]
    path.write_bytes(b"no image")
    with pytest.raises(StudyError, match=rf"cannot be decoded any more \({path}: .*restore it"):
        data.train.images[[1, 0]]
    path.unlink()
    with pytest.raises(StudyError, match=rf"'{path}' cannot be read .*restore it"):
        data.train.images[0]


def test_another_version_of_the_pixels_is_made_anew(picture_folder, monkeypatch):
    load_images(PICTURES, picture_folder, picture_folder / "cache")
    monkeypatch.setattr(decoded, "VERSION", 99)
    with pytest.raises(StudyError, match="is not prepared"):
        image_source(PICTURES, picture_folder, picture_folder / "cache").verify()
    load_images(PICTURES, picture_folder, picture_folder / "cache")
    image_source(PICTURES, picture_folder, picture_folder / "cache").verify()


def test_levels_are_counted_as_numpy_does(photo):
    images = np.stack([photo(9, 9, seed) for seed in range(5)])
    counts = level_counts(images)
    assert counts.tolist() == [np.bincount(images[..., c].ravel(), minlength=256).tolist() for c in range(3)]
    mean, std = channel_statistics(counts)
    assert mean == pytest.approx(images.mean((0, 1, 2)) / 255, rel=1e-12)
    assert std == pytest.approx(images.std((0, 1, 2)) / 255, rel=1e-12)
    assert level_counts(images[:0]).sum() == 0
