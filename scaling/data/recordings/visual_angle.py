"""Stimuli on the model's screen: sizes in degrees of visual angle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scaling.errors import StudyError

MODEL_DEGREES = 8.0  # what a model's input spans, unless it says otherwise; Brain-Score's default
GREY = 128  # of the screen around a stimulus, every channel


def placement_ratio(stimulus_degrees: float, model_degrees: float = MODEL_DEGREES) -> float:
    """`model degrees / stimulus degrees`: how much wider the model's view is than the stimulus.

    Raises:
        StudyError: degrees that are not positive and finite.
    """
    for name, degrees in (("stimulus", stimulus_degrees), ("model", model_degrees)):
        if not 0 < degrees < np.inf:
            raise StudyError(f"placement: {name} spans {degrees} degrees; give a positive number of degrees")
    return model_degrees / stimulus_degrees


def place(images: NDArray[np.uint8], ratio: float) -> NDArray[np.uint8]:
    """Images as the model's screen shows them, without resampling.

    The screen has `round(ratio · size)` pixels a side. ratio ≥ 1: the image in the middle of a grey screen;
    ratio < 1: the middle of the image. The image's top left corner stands at `round((screen − size) / 2)`, the
    crop's at `round((size − crop) / 2)`; both round half to even.

    Args:
        images: (..., height, width, 3) uint8. ratio: from `placement_ratio`.

    Returns:
        (..., round(ratio · height), round(ratio · width), 3); the images themselves where ratio = 1.

    Raises:
        StudyError: images of another type, a crop of less than a pixel.

    Source: the published screen placement of brain-score/vision (benchmark_helpers/screen.py): sizes, corners and
        their rounding.
    """
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) < 3 or shape[-1] != 3 or 0 in shape:
        raise StudyError(f"placement: {images.dtype} images of shape {shape}; give uint8 (..., height, width, 3)")
    if ratio == 1:
        return images
    height, width = (int(np.round(ratio * side)) for side in shape[-3:-1])
    if min(height, width) < 1:
        raise StudyError(
            f"placement: ratio {ratio:.3g} of {shape[-3]} × {shape[-2]} pixels leaves {height} × {width}; "
            "correct the stimulus's or the model's degrees"
        )
    rows, columns = (_middle(side, target) for side, target in ((shape[-3], height), (shape[-2], width)))
    if ratio < 1:
        return images[..., rows, columns, :]
    screen = np.full((*shape[:-3], height, width, 3), GREY, dtype=np.uint8)
    screen[..., rows, columns, :] = images
    return screen


def _middle(first: int, second: int) -> slice:
    """Where the shorter of two lengths stands in the longer."""
    start = int(np.round(abs(first - second) / 2))
    return slice(start, start + min(first, second))
