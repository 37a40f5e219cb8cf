"""Which of a study's images are shown as stimuli."""

from __future__ import annotations

from dataclasses import replace

from scaling.data.image_set import ImageData, ImageSet
from scaling.data.recordings.stimuli import MAX_HELDOUT_STIMULI, Stimuli, choose_balanced, select_stimuli


def training_stimuli(data: ImageData, n: int) -> Stimuli:
    """Training images as stimuli, which are not scored: at most n."""
    return _stimuli(data.train, n, f"{data.name} training")


def heldout_stimuli(data: ImageData) -> Stimuli:
    """Held-out images as stimuli: a few hundred at most."""
    return _stimuli(data.heldout, MAX_HELDOUT_STIMULI, f"{data.name} held-out")


def _stimuli(images: ImageSet, n: int, name: str) -> Stimuli:
    """At most n images, balanced; no other is read."""
    chosen = choose_balanced(images.labels, n)
    stimuli = select_stimuli(images.images[chosen], images.labels[chosen], len(chosen), name=name)
    return replace(stimuli, ids=tuple(f"{name}-{index}" for index in chosen))
