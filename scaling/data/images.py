"""Labelled images by name: built-in sets, and any folder in one of the known formats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from scaling.data.digits import load_digit_images
from scaling.data.formats import find_splits
from scaling.data.formats.base import Split, dataset_root
from scaling.data.image_set import ImageData, ImageSet, SparseMaps
from scaling.data.prepared.built_in import BuiltIn, built_in_splits
from scaling.data.prepared.decoded import Prepared, load_prepared, open_prepared
from scaling.data.prepared.prepare import check_splits
from scaling.data.simulated_clickme import build_simulated_clickme
from scaling.errors import StudyError, known_names
from scaling.specs.dataset import DatasetSpec
from scaling.storage import file_error

__all__ = ["BUILT_IN", "ImageData", "ImageSet", "SparseMaps", "check_dataset", "load_images", "prepared_data"]

BUILT_IN: dict[str, BuiltIn] = {"digits": load_digit_images, "simulated-clickme": build_simulated_clickme}


def load_images(spec: DatasetSpec, data_dir: Path, cache_dir: Path | None = None) -> ImageData:
    """A data set, in memory, or mapped from the cache folder, where it is decoded if it is not there.

    Raises:
        StudyError: unknown name, missing or damaged file, images that are not images, labels that do not fit; images
            to be decoded each epoch without a cache folder. StorageError: a disk or store that is full or fails.
    """
    console = Console(stderr=True)
    if cache_dir is None and spec.decode == "each_epoch":
        raise StudyError(f"decode='each_epoch' (dataset '{spec.name}') needs a cache folder; give cache_dir")
    with _disk_of(spec):
        if cache_dir is not None:
            return open_prepared(prepared_data(spec, data_dir, cache_dir), console)
        return load_prepared(prepared_data(spec, data_dir, Path()), console)


def check_dataset(spec: DatasetSpec, data_dir: Path) -> None:
    """Refuse, without decoding an image, a data set that cannot be found, whose labels do not fit or that lacks maps.

    Raises:
        StudyError: as `load_images`, except for damage inside images.
    """
    with _disk_of(spec):
        splits = _splits(spec, data_dir)
        if spec.path is not None or spec.blur_maps:  # built-in sets are not made for their classes
            check_splits(spec, splits)


def prepared_data(spec: DatasetSpec, data_dir: Path, cache_dir: Path) -> Prepared:
    """What `decoded` needs to open or make the data set.

    Raises:
        StudyError: it cannot be found.
    """
    place = "built in" if spec.path is None else dataset_root(spec.path, data_dir).place.uri
    return Prepared(spec, _splits(spec, data_dir), place, cache_dir)


@contextmanager
def _disk_of(spec: DatasetSpec) -> Iterator[None]:
    """What the system does not give of a data set's files, as MissingFile or StorageError."""
    try:
        yield
    except OSError as error:
        raise file_error(error.filename or f"dataset '{spec.name}'", error) from error


def _splits(spec: DatasetSpec, data_dir: Path) -> tuple[Split, Split]:
    if spec.path is not None:
        return find_splits(spec, dataset_root(spec.path, data_dir))
    if spec.name not in BUILT_IN:
        raise StudyError(
            f"unknown dataset '{spec.name}'; {known_names(spec.name, BUILT_IN)}; "
            "or name a folder of images by dataset: {name: …, path: …}"
        )
    if spec.decode == "each_epoch":
        raise StudyError(f"decode='each_epoch' decodes coded images, and '{spec.name}' is built in; leave decode out")
    return built_in_splits(spec.name, BUILT_IN[spec.name], spec.stored_size or spec.image_size)
