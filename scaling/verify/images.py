"""How samples seen become images x epochs, and a study's training at another number of epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scaling.data.image_set import ImageData
from scaling.errors import StudyError
from scaling.specs.training import TrainingSpec, stored_training

NEAR = 0.05  # assumption: share of D by which whole epochs of all images may miss it; beyond, fewer images meet it


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


def images_and_epochs(samples_seen: float, counts: ImageCounts) -> Shown:
    """D samples as images x epochs: as many unique images as there are, in whole epochs.

    Where all images in a whole number of epochs miss D by more than NEAR, the epochs are rounded up and each class
    gives fewer images, alike, so that D is met: 2.5 times the images is 3 epochs of 83 % of them.
    """
    times = samples_seen / counts.n_train
    whole = [Shown(None, counts.n_train, epochs) for epochs in {max(1, round(times)), max(1, math.ceil(times))}]
    part = math.ceil(times)
    a_class = min(counts.least, max(1, round(samples_seen / (part * counts.n_classes))))
    fewer = Shown(a_class, a_class * counts.n_classes, part)

    def missed(shown: Shown) -> float:
        return abs(math.log(shown.samples_seen / samples_seen))

    nearest = min(whole, key=missed)
    if missed(nearest) <= math.log1p(NEAR) or missed(nearest) <= missed(fewer):
        return nearest
    return fewer


def at_epochs(training: TrainingSpec, epochs: int) -> TrainingSpec:
    """A study's training over another number of epochs: durations keep their share of it, as a preset's do.

    warmup_epochs and ema_half_life_epochs are durations; schedules, rates and batches are what they were.
    """
    share = epochs / training.epochs
    fields = training.model_dump() | {"epochs": epochs, "warmup_epochs": training.warmup_epochs * share}
    if training.ema_half_life_epochs is not None:
        fields["ema_half_life_epochs"] = training.ema_half_life_epochs * share
    return stored_training(fields)


def check_samples(samples_seen: float, counts: ImageCounts, what: str) -> None:
    """Refuse fewer samples than one image a class.

    Raises:
        StudyError: there is no such subset.
    """
    if samples_seen < counts.n_classes:
        raise StudyError(
            f"{what} would see {samples_seen:.3g} images, fewer than one of each of {counts.n_classes} classes; "
            "raise --flops"
        )
