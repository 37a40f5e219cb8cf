"""A model's own choices: the probabilities of its classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from scaling.alignment.features.extraction import PassProgress
from scaling.alignment.features.kept_images import KeptImages
from scaling.alignment.features.preprocessing import Preprocessing
from scaling.alignment.numerics import Array
from scaling.alignment.regions import OUTPUT
from scaling.data.recordings.stimuli import StimulusSet
from scaling.errors import StudyError

BATCH = 64


def class_probabilities(
    model: nn.Module,
    stimuli: StimulusSet,
    preprocessing: Preprocessing,
    progress: PassProgress | None = None,
    kept: KeptImages | None = None,
) -> Iterator[tuple[str, Array]]:
    """(OUTPUT, (n_stimuli, n_classes) softmax of the logits, float64), in eval mode.

    Raises:
        StudyError: a model that returns no logits, or some that are not finite.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    mode, found, done = model.training, list[Array](), 0
    model.eval()
    try:
        with torch.inference_mode():
            for batch in (kept or KeptImages(0)).batches(stimuli, preprocessing, BATCH):
                if progress is not None:
                    progress(f"choices on {len(stimuli)} images", done, len(stimuli))
                logits = model(batch.to(device))
                if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or not bool(torch.isfinite(logits).all()):
                    raise StudyError(
                        "choices: the model returns no finite (images, classes) logits; score a classifier"
                    )
                found.append(torch.softmax(logits.double(), dim=1).cpu().numpy())
                done += len(batch)
    finally:
        model.train(mode)
    yield OUTPUT, np.concatenate(found)
