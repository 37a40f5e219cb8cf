"""Stimuli as models take them, kept from one model to the next that takes them alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the driver holds these options too, and none of torch
    from torch import Tensor

    from scaling.alignment.features.preprocessing import Preprocessing
    from scaling.alignment.features.reduction import ImageSequence

KEPT_BYTES = 256 * 10**6  # 20,000 images of 32 pixels, 400 of 224; assumption: what a node has beside `memory_gb`


@dataclass(eq=False)
class KeptImages:
    """Prepared images of whole stimulus sets, of one preparation at a time: the checkpoints of a study take them alike.

    Decoding and resizing published photographs costs more than showing them to a small model. Sets that do not fit what
    is left of `max_bytes` are prepared anew each time.
    """

    max_bytes: int = KEPT_BYTES
    _sets: dict[str, Tensor] = field(default_factory=dict)
    _prepared_by: Preprocessing | None = None

    def batches(self, stimuli: ImageSequence, preprocessing: Preprocessing, batch_size: int) -> Iterator[Tensor]:
        """Consecutive (at most batch_size, 3, height, width) inputs, all images once and in order.

        The same bits whether kept or prepared. Each batch is the caller's: models may write to their input.
        """
        if preprocessing != self._prepared_by:
            self._sets.clear()
            self._prepared_by = preprocessing
        kept = self._sets.get(stimuli.key)
        if kept is None:
            yield from self._prepared(stimuli, preprocessing, batch_size)
            return
        for start in range(0, len(kept), batch_size):
            yield kept[start : start + batch_size].clone()

    def _prepared(self, stimuli: ImageSequence, preprocessing: Preprocessing, batch_size: int) -> Iterator[Tensor]:
        import torch

        shape = (len(stimuli), 3, preprocessing.image_size, preprocessing.image_size)
        left = self.max_bytes - sum(images.nbytes for images in self._sets.values())
        fits = 4 * torch.Size(shape).numel() <= left
        images, row = torch.empty(shape if fits else 0), 0
        for batch in map(preprocessing.apply, stimuli.batches(batch_size)):
            fits = fits and row + len(batch) <= len(stimuli)
            if fits:
                images[row : row + len(batch)] = batch
            row += len(batch)
            yield batch
        if fits and row == len(stimuli) and preprocessing == self._prepared_by:
            self._sets[stimuli.key] = images
