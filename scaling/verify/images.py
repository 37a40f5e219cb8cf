"""What a verification's runs are shown, and a study's training at another number of epochs."""

from __future__ import annotations

from scaling.data.portions import ImageCounts
from scaling.errors import StudyError
from scaling.specs.training import TrainingSpec, stored_training

NEAR = 0.05  # assumption: share of D by which whole epochs of all images may miss it; beyond, fewer images meet it


def at_epochs(training: TrainingSpec, epochs: int) -> TrainingSpec:
    """A study's training over another number of epochs: durations keep their share of it, as a preset's do.

    warmup_epochs, ema_half_life_epochs and cooldown_epochs are durations; schedules, rates, batches and a warm-up in
    steps are what they were. Images are shuffled: in nested order they are seen once, and nothing is shared here.
    """
    share = epochs / training.epochs
    fields = training.model_dump() | {"epochs": epochs, "order": "shuffled"}
    for name in ("warmup_epochs", "ema_half_life_epochs", "cooldown_epochs"):
        if fields[name] is not None:
            fields[name] *= share
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
