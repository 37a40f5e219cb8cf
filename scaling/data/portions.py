"""How many images a data set has, and how samples seen become images x epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scaling.data.image_set import ImageData
from scaling.errors import StudyError
from scaling.specs.dataset import DatasetSpec

BUILT_IN = {"digits": (8, 10, 139), "simulated-clickme": (16, 10, 556)}  # image_size, classes, least images of any


@dataclass(frozen=True)
class ImageCounts:
    """Of a data set: image_size in pixels a side; n_classes; n_train unique training images; least: of any class."""

    image_size: int
    n_classes: int
    n_train: int
    least: int

    @classmethod
    def of(cls, data: ImageData) -> ImageCounts:
        _, counts = np.unique(data.train.labels, return_counts=True)
        return cls(data.image_size, data.n_classes, len(data.train), int(counts.min()))


@dataclass(frozen=True)
class Shown:
    """What a run is shown: images_per_class (None: all), which are n_samples unique images, in whole epochs."""

    images_per_class: int | None
    n_samples: int
    epochs: int

    @property
    def samples_seen(self) -> int:
        return self.n_samples * self.epochs


def images_and_epochs(samples_seen: float, counts: ImageCounts, near: float) -> Shown:
    """D samples as images x epochs: as many unique images as there are, in whole epochs.

    Where all images in a whole number of epochs miss D by more than the share `near`, the epochs are rounded up and
    each class gives fewer images, alike, so that D is met: 2.5 times the images is 3 epochs of 83 % of them.
    """
    times = samples_seen / counts.n_train
    whole = [Shown(None, counts.n_train, epochs) for epochs in {max(1, round(times)), max(1, math.ceil(times))}]
    part = math.ceil(times)
    a_class = min(counts.least, max(1, round(samples_seen / (part * counts.n_classes))))
    fewer = Shown(a_class, a_class * counts.n_classes, part)

    def missed(shown: Shown) -> float:
        return abs(math.log(shown.samples_seen / samples_seen))

    nearest = min(whole, key=missed)
    if missed(nearest) <= math.log1p(near) or missed(nearest) <= missed(fewer):
        return nearest
    return fewer


def stated_counts(spec: DatasetSpec, where: str) -> ImageCounts:
    """What the study file says of its images, which nobody has looked at yet; built-in sets know theirs.

    Images of a class beyond `images_per_class`, which classes of unlike size have, are left out of the count.

    Raises:
        StudyError: a fact that is needed is not stated.
    """
    size, classes, least = BUILT_IN.get(spec.name, (None, None, None)) if spec.path is None else (None, None, None)
    facts = {
        "image_size": spec.image_size or size,
        "classes": spec.classes or classes,
        "images_per_class": spec.images_per_class or least,
    }
    missing = [name for name, value in facts.items() if value is None]
    if missing:
        raise StudyError(
            f"a budget becomes images and epochs by facts of dataset '{spec.name}' that are not given: "
            f"{', '.join(missing)} ({where}); set dataset.{missing[0]}"
        )
    side, n_classes, a_class = (int(value or 0) for value in facts.values())
    return ImageCounts(side, n_classes, n_classes * a_class, a_class)


def check_stated(spec: DatasetSpec, data: ImageData) -> None:
    """Refuse facts of a study file that are not those of its images.

    Raises:
        StudyError: with the right numbers.
    """
    counts = ImageCounts.of(data)
    for field, said, there in (
        ("classes", spec.classes, counts.n_classes),
        ("images_per_class", spec.images_per_class, counts.least),
    ):
        if said not in (None, there):
            raise StudyError(
                f"dataset.{field}={said} is not what dataset '{data.name}' holds: {counts.n_classes} classes, "
                f"{counts.least:,} training images of the rarest; write classes: {counts.n_classes}, "
                f"images_per_class: {counts.least}"
            )
