"""Representations on disk: keys, damage, the limit."""

from __future__ import annotations

import os
import pickle
import warnings
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from scaling.alignment.features import cache as cache_module
from scaling.alignment.features.cache import FeatureFacts, RepresentationCache, weights_hash
from scaling.alignment.features.preprocessing import Preprocessing
from scaling.alignment.features.reduction import Reduction, SparseProjection
from scaling.alignment.features.representation import Representation
from scaling.errors import StudyError

FACTS = FeatureFacts(
    weights="ab", layer="layer1", stimuli="cd", preprocessing=Preprocessing().identity(),
    reduction=Reduction().identity(), batch_size=None, device="cpu",
)  # fmt: skip


def representation(n=10, p=30, seed=0):
    return Representation.of(np.random.default_rng(seed).standard_normal((n, p)) + 1)


def assert_equal(a, b):
    for field in fields(Representation):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if left is None or right is None:
            assert left is right
        else:
            np.testing.assert_array_equal(left, right)
            assert type(left) is type(right)


@pytest.mark.parametrize("p", [5, 30], ids=["with features", "without"])
def test_what_was_stored_comes_back_to_the_bit(tmp_path, p):
    kept = representation(p=p)
    RepresentationCache(tmp_path / "deep" / "cache").store("key", kept)
    found = RepresentationCache(tmp_path / "deep" / "cache").load("key")
    assert_equal(found, kept)
    assert RepresentationCache(tmp_path / "deep" / "cache").load("other") is None


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "ac"}, {"layer": "layer2"}, {"stimuli": "ce"}, {"batch_size": 8}, {"device": "cuda"},
        {"preprocessing": None},
        {"preprocessing": Preprocessing(image_size=192).identity()},
        {"preprocessing": Preprocessing(mean=(0.5, 0.5, 0.5)).identity()},
        {"preprocessing": Preprocessing(std=(0.5, 0.5, 0.5)).identity()},
        {"preprocessing": Preprocessing(interpolation="bicubic").identity()},
        {"preprocessing": Preprocessing(resize=300).identity()},
        {"preprocessing": Preprocessing(keep_aspect=False).identity()},
        {"reduction": SparseProjection().identity()},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_everything_that_changes_the_numbers_changes_the_key(change):
    assert replace(FACTS, **change).key() != FACTS.key()


def test_equal_facts_have_equal_keys_and_a_new_format_has_new_ones(monkeypatch):
    key = replace(FACTS, preprocessing=dict(reversed(Preprocessing().identity().items()))).key()
    assert key == FACTS.key()
    assert len(key) == 64
    monkeypatch.setattr(cache_module, "FORMAT", cache_module.FORMAT + 1)
    assert FACTS.key() != key


class Scaled(nn.Module):
    """A buffer that is not saved with the weights."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale), persistent=False)


def network(**changes):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, **changes), nn.BatchNorm2d(4), nn.ReLU())


def with_last_bit(model):
    with torch.no_grad():
        weight = model[0].weight.view(-1)
        weight[0] = torch.nextafter(weight[0], torch.tensor(9.0))
    return model


def with_statistics(model):
    model[1].running_mean[2] += 1e-3
    return model


def test_equal_models_have_equal_hashes_in_any_mode_and_layout():
    assert weights_hash(network()) == weights_hash(network().to(memory_format=torch.channels_last))
    assert weights_hash(network().train()) == weights_hash(network().eval())


@pytest.mark.parametrize(
    "other",
    [
        lambda: with_last_bit(network()),
        lambda: with_statistics(network()),
        lambda: network(stride=2),
        lambda: nn.Sequential(network()[0], network()[1], nn.GELU()),
        lambda: network().double(),
        lambda: network().bfloat16(),
        lambda: nn.ModuleDict({"0": network()[0], "1": network()[1], "two": nn.ReLU()}),
    ],
    ids=["last bit", "statistics", "stride", "activation", "double", "bfloat16", "class"],
)
def test_other_models_have_other_hashes(other):
    assert weights_hash(other()) != weights_hash(network())


def test_buffers_that_are_not_saved_count():
    assert weights_hash(Scaled(1.0)) != weights_hash(Scaled(2.0))


def cut(path):
    path.write_bytes(path.read_bytes()[:-700])


def flip(path):
    content = bytearray(path.read_bytes())
    content[400] ^= 1  # in the kernel
    path.write_bytes(bytes(content))


def empty(path):
    path.write_bytes(b"")


def other_file(path):
    with open(path, "wb") as file:
        np.savez(file, gram=np.eye(3))


def with_objects(path):
    arrays = {name: np.array([None]) for name in ("along_mean", "row_mean", "mean_square", "n_features")}
    with open(path, "wb") as file:
        np.savez(file, **arrays)


@pytest.mark.parametrize("damage", [cut, flip, empty, other_file, with_objects])
def test_a_damaged_file_is_told_deleted_and_replaced(tmp_path, damage):
    cache = RepresentationCache(tmp_path)
    cache.store("key", representation())
    damage(tmp_path / "key.npz")
    with pytest.warns(UserWarning, match="damaged"):
        assert cache.load("key") is None
    assert list(tmp_path.iterdir()) == []
    cache.store("key", representation())
    assert_equal(cache.load("key"), representation())


def test_least_recently_used_files_give_way(tmp_path):
    cache = RepresentationCache(tmp_path, limit_gb=3.5e-5)  # of about 11 kB each
    for age, key in enumerate("abc"):
        cache.store(key, representation(30, 5000))
        os.utime(tmp_path / f"{key}.npz", (1000 + age, 1000 + age))
    assert cache.load("a") is not None  # the oldest, but used just now
    cache.store("d", representation(30, 5000))
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["a", "c", "d"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 35_000


def test_what_exceeds_the_limit_alone_is_not_kept_and_drives_nothing_out(tmp_path):
    cache = RepresentationCache(tmp_path, limit_gb=2e-5)
    cache.store("small", representation(10))
    with pytest.warns(UserWarning, match="exceed limit_gb"):
        cache.store("large", representation(100, 200))
    assert [path.stem for path in tmp_path.iterdir()] == ["small"]


def test_a_full_disk_is_said_once_and_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    cache = RepresentationCache(tmp_path)
    cache.store("kept", representation())
    monkeypatch.setattr(np, "savez", fail)
    with pytest.warns(UserWarning, match=r"cannot be used on node .*No space left.*scores go on without it"):
        cache.store("key", representation())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.store("other", representation())
    assert [path.stem for path in tmp_path.iterdir()] == ["kept"]
    assert_equal(cache.load("kept"), representation())


def test_leftovers_of_killed_writers_are_cleared_and_live_ones_are_not(tmp_path):
    cache = RepresentationCache(tmp_path)
    old, new = tmp_path / ".old.part", tmp_path / ".new.part"
    for path in (old, new):
        path.touch()
    os.utime(old, (1000, 1000))
    cache.store("key", representation())
    assert not old.exists()
    assert new.exists()


def test_a_file_that_another_process_deletes_is_no_error(tmp_path, monkeypatch):
    cache = RepresentationCache(tmp_path)
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([tmp_path / f"gone{pattern[1:]}"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.store("key", representation())
    assert cache.load("key") is not None


@pytest.mark.parametrize("limit", [0, -1.0, float("nan")])
def test_bad_limits(tmp_path, limit):
    with pytest.raises(StudyError, match="limit_gb"):
        RepresentationCache(tmp_path, limit)


def test_a_folder_that_cannot_be_made_is_said_once_and_done_without(tmp_path):
    (tmp_path / "file").touch()
    cache = RepresentationCache(tmp_path / "file" / "cache")
    with pytest.warns(UserWarning, match=r"file/cache' cannot be used on node .*scoring\.cache"):
        cache.store("a", representation())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.store("b", representation())
        assert cache.load("a") is None


def test_a_cache_is_made_where_it_is_used(tmp_path, monkeypatch):
    """Relative to the driver's working directory; nothing is made there, nor when an actor unpickles it."""
    monkeypatch.chdir(tmp_path)
    sent = pickle.dumps(RepresentationCache("deep/cache"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    cache = pickle.loads(sent)
    assert cache.load("key") is None
    assert list(tmp_path.rglob("*")) == [elsewhere]
    cache.store("key", representation())
    assert (tmp_path / "deep" / "cache" / "key.npz").is_file()


def test_a_folder_that_may_only_be_read_still_gives(tmp_path, monkeypatch):
    cache = RepresentationCache(tmp_path)
    cache.store("key", representation())

    def refuse(*_, **__):
        raise PermissionError(30, "Read-only file system")

    for name in ("utime", "replace"):
        monkeypatch.setattr(f"scaling.alignment.features.cache.os.{name}", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    assert_equal(cache.load("key"), representation())
    with pytest.warns(UserWarning, match="Read-only"):
        cache.store("other", representation())
    assert_equal(cache.load("key"), representation())
