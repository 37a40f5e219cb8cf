"""Where a study's images are: what crosses Ray in their place, opened once a process and decoded once a node."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import pooch

from scaling.data.image_set import ImageData
from scaling.data.images import load_images, prepared_data
from scaling.data.prepared.decoded import verify_prepared
from scaling.errors import StudyError
from scaling.specs.dataset import DatasetSpec

CACHE_DIR_VARIABLE = "SCALING_CACHE_DIR"
_OPEN_SETS = 4  # that a process keeps mapped


def default_cache_dir() -> Path:
    """The environment's SCALING_CACHE_DIR, else `decoded` in the user's cache folder of this project."""
    given = os.environ.get(CACHE_DIR_VARIABLE)
    return Path(given).expanduser() if given else Path(pooch.os_cache("ventral-scaling")) / "decoded"


@dataclass(frozen=True)
class ImageSource:
    """A data set by its description; small, to be sent to any node that reaches its files.

    cache_dir: where decoded images are kept; None: `default_cache_dir` of the node. digest: of the images that the
    study began with, see `ImageData.digest`; None: not compared.
    """

    spec: DatasetSpec
    data_dir: Path
    cache_dir: Path | None = None
    digest: str | None = None

    def open(self) -> ImageData:
        """The images, mapped; the same object each time in a process.

        Raises:
            StudyError: as `load_images`; other images than those of the digest.
        """
        return _open(self)

    def verify(self) -> None:
        """Compare every decoded byte with its checksum.

        Raises:
            StudyError: not decoded yet, or damaged; names the block.
        """
        verify_prepared(prepared_data(self.spec, self.data_dir, self.cache_dir or default_cache_dir()))

    def pinned(self) -> ImageSource:
        """This source, bound to the images that it gives now: a node where they differ refuses them."""
        return replace(self, digest=self.open().digest())


def image_source(spec: DatasetSpec, data_dir: Path, cache_dir: Path | None = None) -> ImageSource:
    """A source whose paths hold in any working directory."""
    return ImageSource(spec, data_dir.expanduser().absolute(), cache_dir and cache_dir.expanduser().absolute())


@lru_cache(maxsize=_OPEN_SETS)
def _open(source: ImageSource) -> ImageData:
    data = load_images(source.spec, source.data_dir, source.cache_dir or default_cache_dir())
    if source.digest is not None and data.digest() != source.digest:
        raise StudyError(
            f"dataset '{data.name}' on node {platform.node()} ({source.data_dir}, {len(data.train):,} + "
            f"{len(data.heldout):,} images) is not what the study began with; copy the same files to every node"
        )
    return data
