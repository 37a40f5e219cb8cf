"""The 16 categories of people's choices (Geirhos et al.), and which of a model's classes stand for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scaling.alignment.metrics.results import Index
from scaling.alignment.numerics import Array
from scaling.errors import StudyError

CATEGORIES = (
    "airplane", "bear", "bicycle", "bird", "boat", "bottle", "car", "cat", "chair", "clock", "dog", "elephant",
    "keyboard", "knife", "oven", "truck",
)  # fmt: skip

# Other names of a category in data sets: CIFAR's, Caltech's, COCO's
ALIASES: Mapping[str, str] = {
    "aeroplane": "airplane", "plane": "airplane", "automobile": "car", "ship": "boat", "bike": "bicycle",
}  # fmt: skip

N_IMAGENET = 1000
# ImageNet-1k's classes of each category: first and last of runs of consecutive indices
# (bethgelab/model-vs-human, helper/human_categories.py, MIT)
_IMAGENET: Mapping[str, tuple[tuple[int, int], ...]] = {
    "airplane": ((404, 404),),
    "bear": ((294, 297),),
    "bicycle": ((444, 444), (671, 671)),
    "bird": (
        (8, 8), (10, 16), (18, 20), (22, 24), (80, 83), (87, 96), (98, 100), (127, 133), (135, 145),
    ),
    "boat": ((472, 472), (554, 554), (625, 625), (814, 814), (914, 914)),
    "bottle": ((440, 440), (720, 720), (737, 737), (898, 899), (901, 901), (907, 907)),
    "car": ((436, 436), (511, 511), (817, 817)),
    "cat": ((281, 286),),
    "chair": ((423, 423), (559, 559), (765, 765), (857, 857)),
    "clock": ((409, 409), (530, 530), (892, 892)),
    "dog": (
        (152, 191), (193, 203), (205, 226), (228, 241), (243, 250), (252, 257), (259, 259), (261, 263), (265, 268),
    ),
    "elephant": ((385, 386),),
    "keyboard": ((508, 508), (878, 878)),
    "knife": ((499, 499),),
    "oven": ((766, 766),),
    "truck": ((555, 555), (569, 569), (656, 656), (675, 675), (717, 717), (734, 734), (864, 864), (867, 867)),
}  # fmt: skip


class Mapped(NamedTuple):
    """Categories that some classes stand for, as positions among CATEGORIES, and the classes of each."""

    categories: Index
    classes: tuple[Index, ...]

    def decide(self, probabilities: Array) -> Index:
        """The category of highest mean probability over its classes, of each image: positions among CATEGORIES."""
        means = np.stack([probabilities[:, own].mean(axis=1) for own in self.classes], axis=1)
        return self.categories[means.argmax(axis=1)]


@dataclass(frozen=True)
class CategoryMap:
    """From a model's classes to the categories: by the names of the classes of the images that a study trains on.

    Attributes:
        names: the classes' names by label; () where none are known: then only ImageNet's 1,000 classes can be mapped.
    """

    names: tuple[str, ...] = ()

    @property
    def categories(self) -> Index:
        """Those that the named classes stand for; all of them where the model will tell.

        Raises:
            StudyError: none.
        """
        if not self.names or len(self.names) == N_IMAGENET:
            return np.arange(len(CATEGORIES))
        return named_categories(self.names).categories

    def of(self, n_classes: int) -> Mapped:
        """Of a model with so many classes.

        Raises:
            StudyError: classes whose names are not known, or none of which is a category.
        """
        if n_classes == N_IMAGENET:
            return imagenet_categories()
        if n_classes != len(self.names):
            raise StudyError(
                f"choices: a model of {n_classes} classes, of which {len(self.names)} names are known; score a study "
                f"whose data set names its classes, or a model with ImageNet's {N_IMAGENET:,}"
            )
        return named_categories(self.names)


def imagenet_categories() -> Mapped:
    """Of ImageNet-1k's classes, in the usual order."""
    classes = (np.concatenate([np.arange(a, b + 1) for a, b in _IMAGENET[name]]) for name in CATEGORIES)
    return Mapped(np.arange(len(CATEGORIES)), tuple(classes))


def named_categories(names: Sequence[str]) -> Mapped:
    """Of classes whose names, or another of a category's names, are known.

    Raises:
        StudyError: none of them is.
    """
    plain = [ALIASES.get(name.lower().strip(), name.lower().strip()) for name in names]
    found = {i: np.flatnonzero([name == category for name in plain]) for i, category in enumerate(CATEGORIES)}
    there = [i for i, classes in found.items() if len(classes)]
    if not there:
        raise StudyError(
            f"choices: none of the model's {len(names)} classes ({', '.join(names[:5])}, …) is one of the 16 "
            f"categories: {', '.join(CATEGORIES)}; drop this benchmark"
        )
    return Mapped(np.array(there), tuple(found[i] for i in there))
