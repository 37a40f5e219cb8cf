"""Prepared data sets on a node's disk: made once, checked when opened, mapped by all processes."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from scaling.data.formats.base import Split
from scaling.data.image_set import ImageData, ImageSet, SparseMaps, channel_statistics
from scaling.data.prepared.coded import CodedFiles, CodedImages, CodedMaps
from scaling.data.prepared.journal import BlockEntry, block_file, check_blocks, sizes_fit, write_whole
from scaling.data.prepared.pixels import Square
from scaling.data.prepared.prepare import Job, check_splits, map_dtype, prepare_split, squares
from scaling.errors import StorageError, StudyError
from scaling.specs.dataset import DatasetSpec

VERSION = 1  # of the files and of the pixels in them; another one is prepared anew
MANIFEST = "manifest.json"
STEMS = ("train", "heldout")


@dataclass(frozen=True)
class Prepared:
    """A data set to be prepared in a folder of the cache.

    place: where the data set lies, as text; it names the folder together with what determines the pixels.
    """

    spec: DatasetSpec
    splits: tuple[Split, Split]
    place: str
    cache_dir: Path

    @property
    def folder(self) -> Path:
        key = json.dumps([self.place, self._settings()], sort_keys=True)
        name = re.sub(r"[^\w.-]+", "-", self.spec.name)
        return self.cache_dir / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"

    def _settings(self) -> dict[str, Any]:
        """What determines the files; blur_maps and choices only where they are set, so that older ones stay of use."""
        settings = self.spec.model_dump(include={"format", "image_size", "stored_size", "decode", "corrupt"})
        return settings | ({"blur_maps": True} if self.spec.blur_maps else {}) | self.spec.choices()

    def source(self) -> dict[str, Any]:
        """What the prepared files are made of: settings and the files' names, sizes and times."""
        made = {"version": VERSION, "settings": self._settings()} | {
            stem: split.fingerprint() for stem, split in zip(STEMS, self.splits, strict=True)
        }
        return json.loads(json.dumps(made))


def open_prepared(prepared: Prepared, console: Console) -> ImageData:
    """The data set, mapped; made first if it is not there, is not whole, or its files have changed since.

    Of many processes of a node one prepares and the others wait; killed, the next goes on where it stopped.

    Raises:
        StudyError: damaged files, classes that differ, no maps to blur, an image that cannot be decoded.
        StorageError: a cache that cannot be written.
    """
    source = prepared.source()
    manifest = _whole_manifest(prepared.folder, source)
    if manifest is None:
        check_splits(prepared.spec, prepared.splits)
        with _locked(prepared.folder, console):
            manifest = _whole_manifest(prepared.folder, source) or _prepare(prepared, source, console)
    return _read(prepared, prepared.folder, manifest)


def load_prepared(prepared: Prepared, console: Console) -> ImageData:
    """The data set in memory; nothing stays on the disk."""
    check_splits(prepared.spec, prepared.splits)
    with tempfile.TemporaryDirectory() as folder:
        manifest = _make(prepared, Path(folder), prepared.source(), console)
        data = _read(prepared, Path(folder), manifest)
        sets = [_in_memory(images) for images in (data.train, data.heldout)]
    return ImageData(data.name, sets[0], sets[1], data.mean, data.std, data.classes, data.skipped)


def verify_prepared(prepared: Prepared) -> None:
    """Compare every byte of the prepared files with its checksum.

    Raises:
        StudyError: not prepared, changed since, or damaged; names the block.
    """
    manifest = _whole_manifest(prepared.folder, prepared.source())
    if manifest is None:
        raise StudyError(f"'{prepared.folder}' is not prepared from these files; use the data set once, then verify")
    for stem in STEMS:
        check_blocks(prepared.folder, stem, manifest["blocks"][stem])


def _whole_manifest(folder: Path, source: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest, if it is of this source and the files have the sizes that it says."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        whole = manifest["source"] == source and all(
            sizes_fit(folder, stem, manifest["blocks"][stem]) for stem in STEMS
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return manifest if whole else None


@contextmanager
def _locked(folder: Path, console: Console) -> Iterator[None]:
    """One process at a time for this folder."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(folder.name + ".lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                console.print(
                    f"waiting for another process that decodes into '{folder}'", highlight=False, soft_wrap=True
                )
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise StorageError(
            f"the cache '{folder.parent}' cannot be written ({error}); give another --cache-dir or SCALING_CACHE_DIR"
        ) from error


def _prepare(prepared: Prepared, source: dict[str, Any], console: Console) -> dict[str, Any]:
    """Prepare in a folder beside, which a kill leaves to go on with, and put it in its place whole."""
    folder = prepared.folder
    part = folder.with_name(folder.name + ".part")
    part.mkdir(exist_ok=True)
    manifest = _make(prepared, part, source, console)
    if folder.exists():
        shutil.rmtree(folder)  # of other files, or damaged
    part.rename(folder)
    return manifest


def _make(prepared: Prepared, folder: Path, source: dict[str, Any], console: Console) -> dict[str, Any]:
    spec, both = prepared.spec, squares(prepared.spec, prepared.splits[0])
    blocks: dict[str, list[BlockEntry]] = {}
    for stem, split, square in zip(STEMS, prepared.splits, both, strict=True):
        job = Job(split, stem, square, spec, folder, source | {"side": square.side, "crop": square.crop})
        blocks[stem] = prepare_split(job, console)
    _check_kept(prepared, folder)
    counts = _mapped(folder, "train", "counts", np.int64, (-1, 3, 256)).sum(0)
    mean, std = channel_statistics(counts)
    manifest = {
        "source": source,
        "sides": {stem: [square.side, square.crop] for stem, square in zip(STEMS, both, strict=True)},
        "map_dtypes": {stem: _map_dtype(spec, split) for stem, split in zip(STEMS, prepared.splits, strict=True)},
        "classes": list(prepared.splits[0].classes),
        "mean": mean,
        "std": std,
        "skipped": [place for stem in STEMS for block in blocks[stem] for place in block["skipped"]],
        "blocks": blocks,
    }
    for stem in STEMS:
        (folder / f"{stem}.journal").unlink()
    write_whole(folder / MANIFEST, json.dumps(manifest))
    return manifest


def _check_kept(prepared: Prepared, folder: Path) -> None:
    """Refuse a set of which too much was left out: a class without any image in one split."""
    kept = [np.unique(_mapped(folder, stem, "labels", np.int64, (-1,))) for stem in STEMS]
    names = prepared.splits[0].classes
    for one, other, words in ((0, 1, "training images and no held-out"), (1, 0, "held-out images and no training")):
        absent = np.setdiff1d(kept[one], kept[other])
        if absent.size or not kept[one].size:
            label = absent[0] if absent.size else 0
            name = names[label] if label < len(names) else label
            raise StudyError(
                f"class {name} has {words} image that can be decoded (dataset '{prepared.spec.name}'); restore the "
                "files"
            )


def _map_dtype(spec: DatasetSpec, split: Split) -> str | None:
    return map_dtype(spec, split).name if split.has_maps else None


def _read(prepared: Prepared, folder: Path, manifest: dict[str, Any]) -> ImageData:
    train, heldout = (_read_split(prepared, folder, manifest, place) for place in range(2))
    mean, std = tuple(manifest["mean"]), tuple(manifest["std"])
    name, classes = prepared.spec.name, tuple(manifest["classes"])
    return ImageData(name, train, heldout, mean, std, classes, tuple(manifest["skipped"]))


def _read_split(prepared: Prepared, folder: Path, manifest: dict[str, Any], place: int) -> ImageSet:
    stem, folder_of_paths = STEMS[place], prepared.splits[place].folder
    side, crop = manifest["sides"][stem]
    square, kept_maps = Square(side, crop, prepared.spec.blur_maps), manifest["map_dtypes"][stem]
    labels = _mapped(folder, stem, "labels", np.int64, (-1,))
    if prepared.spec.decode == "each_epoch":
        files = CodedFiles(folder, stem, len(labels), square, folder_of_paths)
        return ImageSet(CodedImages(files), labels, CodedMaps(files) if kept_maps else None)
    images = _mapped(folder, stem, "pixels", np.uint8, (-1, square.crop, square.crop, 3))
    if kept_maps is None:
        return ImageSet(images, labels)
    maps = _mapped(folder, stem, "maps", np.dtype(kept_maps), (-1, square.crop, square.crop))
    return ImageSet(images, labels, SparseMaps(maps, _mapped(folder, stem, "map_rows", np.int64, (-1,))))


def _mapped(folder: Path, stem: str, name: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """A flat file as an array, read-only; an empty file cannot be mapped."""
    path = block_file(folder, stem, name)
    if not path.stat().st_size:
        return np.empty((0, *shape[1:]), dtype)
    return np.memmap(path, dtype, "r").view(np.ndarray).reshape(shape)


def _in_memory(images: ImageSet) -> ImageSet:
    maps = None if images.maps is None else images.maps[:]
    return ImageSet(np.array(images.images[:]), np.array(images.labels), maps)
