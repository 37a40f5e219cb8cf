"""The first convolution as a whitening of image patches."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from scaling.data.images import ImageData
from scaling.errors import StudyError
from scaling.train.augment.apply import Look, to_eval_input

N_IMAGES, EPSILON = 5000, 5e-4  # Jordan's airbench94


@torch.no_grad()
def whiten_first(model: nn.Module, data: ImageData, subset: np.ndarray, where: str) -> None:
    """Set the first convolution's filters to +-v_i / sqrt(l_i + 5e-4), in place.

    l_i, v_i: the largest eigenvalues and their vectors of P'P / n, P the patches (n, 3 k^2) of the first 5,000 images
    of the subset, scaled. Filters of the + come first, then those of the -; what the convolution has beyond two for
    each of the 3 k^2 eigenvectors stays as drawn. A model whose first convolution steps over pixels has it whiten the
    patches between too.

    Raises:
        StudyError: the model does not begin with a convolution of three channels.

    Source: Jordan (2024), section 3.1, and airbench94's code. Deviations: there the layer has 24 filters of 2 x 2
    pixels and a bias, and the filters are not trained.
    """
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)), None)
    if not isinstance(first, nn.Conv2d) or first.in_channels != 3 or first.groups != 1:
        raise StudyError(
            f"whiten=true needs a model that begins with a convolution of 3 channels, and this {type(model).__name__} "
            f"does not ({where}, training.whiten); set it to false"
        )
    images = np.ascontiguousarray(data.train.images[subset[:N_IMAGES]])
    pixels = to_eval_input(images, Look(data.mean, data.std, torch.device("cpu"), data.image_size))
    filters = whitening_filters(pixels, first.kernel_size)[: first.out_channels // 2].to(first.weight)
    first.weight[: 2 * len(filters)] = torch.cat([filters, -filters])


def whitening_filters(pixels: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """(n, C, h, w) -> (C a b, C, a, b) filters v_i / sqrt(l_i + 5e-4), the largest l_i first; in float64."""
    second = torch.zeros((), dtype=torch.float64)
    n = 0
    for some in pixels.split(500):
        patches = functional.unfold(some, size).transpose(1, 2).flatten(0, 1).double()
        second, n = second + patches.T @ patches, n + len(patches)
    values, vectors = torch.linalg.eigh(second / n)
    scaled = vectors / (values + EPSILON).sqrt()
    return scaled.T.flip(0).unflatten(1, (pixels.shape[1], *size))
