"""Which training images a run sees: balanced, seeded subsets that nest."""

from __future__ import annotations

import numpy as np

from scaling.errors import StudyError
from scaling.streams import subset_stream


def nested_subset(labels: np.ndarray, images_per_class: int | None, seed: int) -> np.ndarray:
    """Indices of the first `images_per_class` images of every class, in one seeded order a class.

    The order does not depend on `images_per_class`, so for one seed a smaller subset lies inside every larger one
    by construction. None takes all images (classes may then differ in size).

    Args:
        labels: (n_images,) class of each image.

    Returns:
        (n_classes * images_per_class,) indices, ascending.

    Raises:
        StudyError: a class has fewer images.
    """
    if images_per_class is None:
        return np.arange(len(labels))
    return np.sort(nested_rounds(labels, images_per_class, seed), axis=None)


def nested_rounds(labels: np.ndarray, images_per_class: int, seed: int) -> np.ndarray:
    """The images of `nested_subset` by rank: (images_per_class, classes) indices, a row one image of each class.

    Raises:
        StudyError: a class has fewer images.
    """
    by_class = np.argsort(labels, kind="stable")  # one pass, whatever the number of classes
    classes, counts = np.unique(labels, return_counts=True)
    chosen = []
    for label, members in zip(classes, np.split(by_class, np.cumsum(counts)[:-1]), strict=True):
        if images_per_class > len(members):
            raise StudyError(
                f"images a class={images_per_class:,} exceeds the {len(members):,} training images of class {label} "
                "(data_sizes); lower it or write 'all'"
            )
        order = subset_stream(seed, int(label)).permutation(len(members))
        chosen.append(members[order[:images_per_class]])
    return np.stack(chosen, axis=1)
