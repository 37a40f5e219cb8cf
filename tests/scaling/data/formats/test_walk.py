"""Folders of classes: each image once whatever links there are, and a cache that sees every change below them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scaling.data.images import check_dataset, load_images
from scaling.errors import MissingFile, StudyError
from scaling.specs.dataset import DatasetSpec

SPEC = DatasetSpec(name="x", path="d")


def save(file: Path, level: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(file)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`d`, Tiny-ImageNet's layout: 2 classes, 3 images of each in both splits; its training images' levels ascend."""
    for first, split in enumerate(("train", "val")):
        for label, name in enumerate(("cat", "dog")):
            for i in range(3):
                save(tmp_path / f"d/{split}/{name}/images/{i}.bmp", 100 * first + 10 * (3 * label + i))
    return tmp_path


@pytest.mark.parametrize(
    ("link", "target", "words"),
    [
        ("train/cat/self", "..", "d/train/cat/self' is '.*/d/train' again, by a link"),
        ("train/cat/loop", ".", "loop' is '.*train/cat' again"),
        ("train/cat/other", "../dog", "is '.*' again"),
        ("train/cat/val", "../../val", "is '.*d/val' again"),
        ("train/cat/root", "../..", "again, by a link: its images would be there twice"),
        ("train/cat/twin.bmp", "images/0.bmp", r"twin\.bmp' is '.*0\.bmp' again, by a link.*remove the link"),
        ("train/cat/leak.bmp", "../../val/cat/images/0.bmp", r"leak\.bmp' is '.*0\.bmp' again"),
    ],
)
def test_a_link_to_what_is_walked_anyway_is_refused(root, link, target, words):
    os.symlink(target, root / "d" / link)
    with pytest.raises(StudyError, match=words):
        check_dataset(SPEC, root)


def test_held_out_images_that_are_the_training_images_are_refused(root):
    shutil.rmtree(root / "d/val")
    os.symlink("train", root / "d/val")
    with pytest.raises(StudyError, match=r"d/val' is '.*d/train' again"):
        check_dataset(SPEC, root)


def test_links_elsewhere_are_followed_and_one_to_nothing_is_named(root):
    shutil.move(root / "d/train/cat", root / "cats")
    os.symlink("../../cats", root / "d/train/cat")
    save(root / "store/abc.bmp", 7)
    for name in ("8.bmp", "9.bmp"):  # a store keeps equal images once
        os.symlink("../../../store/abc.bmp", root / f"d/train/dog/{name}")
    assert len(load_images(SPEC, root).train) == 8
    os.symlink("nowhere.bmp", root / "d/train/dog/7.bmp")
    with pytest.raises(MissingFile, match=r"dog/7\.bmp' cannot be read"):
        check_dataset(SPEC, root)


def test_hidden_files_and_those_of_systems_are_no_images(root):
    before = load_images(SPEC, root)
    for folder in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
        for split in ("train", "val"):
            save(root / f"d/{split}/{folder}/0.bmp", 1)
            save(root / f"d/{split}/cat/images/{folder}/0-checkpoint.bmp", 1)
    (root / "d/train/cat/images/._0.bmp").write_bytes(b"a fork")
    after = load_images(SPEC, root)
    assert after.classes == before.classes == ("cat", "dog")
    assert np.array_equal(after.train.images, before.train.images)


def test_splits_of_other_names_are_chosen(root):
    (root / "d/train").rename(root / "d/training")
    with pytest.raises(StudyError, match=r"or name other splits by dataset\.train_split and dataset\.heldout_split"):
        check_dataset(SPEC, root)
    shutil.copytree(root / "d/val/cat", root / "d/dev/cat")
    shutil.copytree(root / "d/training/dog", root / "d/dev/dog")
    named = SPEC.model_copy(update={"train_split": "training", "heldout_split": "dev"})
    assert load_images(named, root).heldout.images[:, 0, 0, 0].tolist() == [100, 110, 120, 30, 40, 50]


def replace_in_the_same_instant(file: Path, level: int, size: int) -> None:
    """Other content under the old time of change."""
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    Image.fromarray(np.full((size, size, 3), level, np.uint8)).resize((8, 8)).save(file)
    file.write_bytes(file.read_bytes() + bytes(size - 8))
    os.utime(file, ns=times)


CHANGES: dict[str, Callable[[Path], object]] = {
    "added": lambda cat: save(cat / "9.bmp", 250),
    "removed": lambda cat: (cat / "0.bmp").unlink(),
    "renamed": lambda cat: (cat / "0.bmp").rename(cat / "5.bmp"),
    "written over": lambda cat: save(cat / "0.bmp", 251),
    "another size at the same time": lambda cat: replace_in_the_same_instant(cat / "0.bmp", 252, 9),
    "the same size at the same time": lambda cat: replace_in_the_same_instant(cat / "0.bmp", 253, 8),
    "in a new folder": lambda cat: save(cat / "deep/er/0.bmp", 254),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_cache_sees_any_change_below_the_folder(root, change):
    save(root / "d/train/cat/images/deep/0.bmp", 5)
    before = load_images(SPEC, root, root / "cache")
    change(root / "d/train/cat/images")
    cached, fresh = load_images(SPEC, root, root / "cache"), load_images(SPEC, root)
    assert cached.train.images[:, 0, 0, 0].tolist() == fresh.train.images[:, 0, 0, 0].tolist()
    assert cached.train.images[:, 0, 0, 0].tolist() != before.train.images[:, 0, 0, 0].tolist()
    assert cached.digest() == fresh.digest()


def test_the_cache_of_unchanged_files_is_used(root, monkeypatch):
    load_images(SPEC, root, root / "cache")
    monkeypatch.setattr("scaling.data.prepared.decoded._prepare", lambda *arguments: pytest.fail("decoded again"))
    assert len(load_images(SPEC, root, root / "cache").train) == 6


def test_the_cache_sees_a_file_that_another_of_its_size_and_time_replaced(tmp_path):
    arrays = {"images": np.zeros((4, 8, 8), np.uint8), "labels": np.arange(4) % 2}
    for split in ("train", "test"):
        np.savez(tmp_path / f"{split}.npz", **arrays)
    spec = DatasetSpec(name="x", path=str(tmp_path))
    load_images(spec, tmp_path, tmp_path / "cache")
    file = tmp_path / "train.npz"
    stat = file.stat()
    np.savez(file, **arrays | {"images": np.full((4, 8, 8), 9, np.uint8)})
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file.stat().st_size == stat.st_size
    assert (load_images(spec, tmp_path, tmp_path / "cache").train.images == 9).all()
