"""How many images a study has, and of which size: counted here, or on a node of the cluster that reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from scaling.cluster.facts import on_a_node
from scaling.cluster.session import ray_session, wanted_address
from scaling.data.image_source import ImageSource, image_source
from scaling.data.portions import ImageCounts
from scaling.ledger import Study
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec


def image_counts(
    study: Study, data_dir: Path, address: str | None, cache_dir: Path | None, say: Callable[[str], None]
) -> ImageCounts:
    """Of the images that the study began with; they are decoded where that was not done.

    Raises:
        StudyError: they cannot be opened, or are others than those that the study was run on.
    """
    source = image_source(study.spec.dataset, data_dir, cache_dir)
    address = wanted_address(address)
    if address is None:
        return _count(study.spec, study.runs, source)
    with ray_session(address, dashboard=False):
        return on_a_node(partial(_count, study.spec, study.runs, source), study.spec, study.runs, say)


def _count(spec: StudySpec, runs: Sequence[RunSpec], source: ImageSource) -> ImageCounts:
    data = source.open()
    Study(spec, runs).check_same_data(data)
    return ImageCounts.of(data)
