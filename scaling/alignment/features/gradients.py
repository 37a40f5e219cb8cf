"""A model's gradients at its input: what saliency is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scaling.alignment.features.extraction import FeatureBudget, PassProgress
from scaling.alignment.features.passes import GB
from scaling.alignment.features.preprocessing import Preprocessing
from scaling.alignment.regions import INPUT
from scaling.data.recordings.stimuli import StimulusSet
from scaling.errors import StudyError
from scaling.train.objectives.harmonizer import saliency_gradient

BATCH = 16  # images: a ViT-B at 224 px keeps about 0.2 GB an image for its backward pass; assumption


def input_gradients(
    model: nn.Module,
    layers: Sequence[str],
    stimuli: StimulusSet,
    preprocessing: Preprocessing,
    budget: FeatureBudget,
    *,
    progress: PassProgress | None = None,
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """(INPUT, (n_stimuli, 3, h, w) gradients d z_label / dx) of the logit of each image's own class, in eval mode.

    x is the prepared input, scaled by the channel statistics, as in the harmonizer's loss. What a classifier says
    that was never trained (self-supervised runs) is where nothing was learnt to look.

    Raises:
        StudyError: images without labels, a class that the model has no logit for, gradients of all images that
            exceed the budget's memory.
    """
    if stimuli.labels is None:
        raise StudyError(f"stimuli {stimuli.name!r} have no labels: saliency is of the logit of an image's own class")
    needed = len(stimuli) * 3 * preprocessing.image_size**2 * 4 / GB
    if needed > budget.memory_gb:
        raise StudyError(
            f"gradients of {len(stimuli):,} images of {preprocessing.image_size} pixels need {needed:.3g} GB, more "
            f"than memory_gb={budget.memory_gb:g}; raise it"
        )
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    labels, batch_size = torch.from_numpy(np.array(stimuli.labels)).to(device), budget.batch_size or BATCH
    mode, found = model.training, list[NDArray[np.float32]]()
    model.eval()
    try:
        for batch in stimuli.batches(batch_size):
            start = batch_size * len(found)
            if progress is not None:
                progress(f"gradients of {len(stimuli)} images", start, len(stimuli))
            images = preprocessing.apply(batch).to(device).requires_grad_(True)
            found.append(_gradient(model, images, labels[start : start + len(batch)]))
    finally:
        model.train(mode)
    yield INPUT, np.concatenate(found)


def _gradient(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> NDArray[np.float32]:
    with torch.enable_grad():
        logits = model(images)
        if int(labels.max()) >= logits.shape[1]:
            raise StudyError(f"class {int(labels.max())} of the stimuli exceeds the model's {logits.shape[1]} logits")
        return np.asarray(saliency_gradient(logits, labels, images).float().cpu().numpy())
