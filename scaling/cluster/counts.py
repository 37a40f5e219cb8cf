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
    study: Study, data_dir: Path, address: str | None, cache_dir: Path | None, say: Callable[[str], None],
    check: Callable[[ImageCounts], object] | None = None,
) -> ImageCounts:  # fmt: skip
    """Of the images that the study began with; they are decoded where that was not done.

    Args:
        check: raises a StudyError for what these images do not allow, before the study begins with them.

    Raises:
        StudyError: they cannot be opened, or are others than those that the study was run on.
    """
    source = image_source(study.spec.dataset, data_dir, cache_dir)
    address = wanted_address(address)
    if address is None:
        return _count(study.spec, study.runs, source, check)
    with ray_session(address, dashboard=False):
        return on_a_node(partial(_count, study.spec, study.runs, source, check), study.spec, study.runs, say)


def _count(
    spec: StudySpec, runs: Sequence[RunSpec], source: ImageSource,
    check: Callable[[ImageCounts], object] | None,
) -> ImageCounts:  # fmt: skip
    data = source.open()
    counts = ImageCounts.of(data)
    if check is not None:
        check(counts)
    Study(spec, runs).check_same_data(data)
    return counts
