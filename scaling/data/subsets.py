"""Which training images a run sees: balanced, seeded subsets that nest, and what a probe holds out of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scaling.errors import StudyError
from scaling.specs.run import RunSpec
from scaling.streams import subset_stream

DATA_SIZES = "data_sizes"  # the field of a study file that says images a class


def run_images(labels: np.ndarray, run: RunSpec) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images that a run trains on, and of those that it validates on: none, but of a probe."""
    field = "horizons.data" if run.trunk or run.branches else DATA_SIZES
    subset = nested_subset(labels, run.images_per_class, run.seed, f"{field} of study '{run.study}'")
    if not run.validation:
        return subset, subset[:0]
    held = held_out(labels, run.images_per_class, run.seed, run.validation)
    return np.setdiff1d(subset, held, assume_unique=True), held


def nested_subset(labels: np.ndarray, images_per_class: int | None, seed: int, where: str = DATA_SIZES) -> np.ndarray:
    """Indices of the first `images_per_class` images of every class, in one seeded order a class.

    The order does not depend on `images_per_class`, so for one seed a smaller subset lies inside every larger one
    by construction. None takes all images (classes may then differ in size).

    Args:
        labels: (n_images,) class of each image.
        where: what says images_per_class, for an error.

    Returns:
        (n_classes * images_per_class,) indices, ascending.

    Raises:
        StudyError: a class has fewer images.
    """
    if images_per_class is None:
        return np.arange(len(labels))
    return np.sort(nested_rounds(labels, images_per_class, seed, where), axis=None)


def nested_rounds(labels: np.ndarray, images_per_class: int, seed: int, where: str = DATA_SIZES) -> np.ndarray:
    """The images of `nested_subset` by rank: (images_per_class, classes) indices, a row one image of each class.

    Raises:
        StudyError: a class has fewer images.
    """
    return np.stack([order[:images_per_class] for order in _orders(labels, images_per_class, seed, where)], axis=1)


def held_out(labels: np.ndarray, images_per_class: int | None, seed: int, share: float) -> np.ndarray:
    """Validation images of a subset: `share` of every class of it, at least one image.

    Of a class's n images, in its seeded order, max(1, round(share . n)) are held out: the k-th is where that number
    grows by it. Whatever is held out of a subset is so of every larger one of the seed, and what is trained on is too.

    Args:
        share: in (0, 1/2].

    Returns:
        Indices, ascending; a part of `nested_subset`.

    Raises:
        StudyError: a class has fewer images than `images_per_class`, or a single one.
    """
    held = []
    for order in _orders(labels, images_per_class, seed):
        own = order[:images_per_class]
        if len(own) < 2:
            raise StudyError(
                "1 image a class leaves none to train on beside one to validate on (data_sizes, tune.validation); "
                "raise the data size"
            )
        held.append(own[held_places(len(own), share)])
    return np.sort(np.concatenate(held))


def held_places(n: int, share: float) -> np.ndarray:
    """(n,) whether the k-th of n images of a class is held out."""
    counts = np.maximum(1, np.floor(share * np.arange(1, n + 1) + 0.5))
    return np.diff(counts, prepend=0) > 0


def _orders(
    labels: np.ndarray, images_per_class: int | None, seed: int, where: str = DATA_SIZES
) -> Iterator[np.ndarray]:
    """The images of each class, in the class's own seeded order."""
    by_class = np.argsort(labels, kind="stable")  # one pass, whatever the number of classes
    classes, counts = np.unique(labels, return_counts=True)
    for label, members in zip(classes, np.split(by_class, np.cumsum(counts)[:-1]), strict=True):
        if images_per_class is not None and images_per_class > len(members):
            remedy = "lower it or write 'all'" if where.startswith(DATA_SIZES) else "lower it"
            raise StudyError(
                f"images a class={images_per_class:,} exceeds the {len(members):,} training images of class {label} "
                f"({where}); {remedy}"
            )
        yield members[subset_stream(seed, int(label)).permutation(len(members))]
