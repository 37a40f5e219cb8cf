"""The built-in data set digits."""

from __future__ import annotations

import numpy as np
from PIL import Image

from scaling.data.image_set import ImageSet

TEST_SHARE = 0.2
GREY_LEVELS = 16  # of scikit-learn's digits


def load_digit_images(image_size: int | None) -> tuple[ImageSet, ImageSet]:
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, split 1,437 to 360, stratified, seed 0."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    grey = np.round(bunch.images * (255 / GREY_LEVELS)).astype(np.uint8)
    images = np.repeat(grey[..., None], 3, axis=-1)
    if image_size is not None and image_size != images.shape[1]:
        images = np.stack([_resized(image, image_size) for image in images])
    labels = bunch.target.astype(np.int64)
    train, heldout = train_test_split(np.arange(len(labels)), test_size=TEST_SHARE, random_state=0, stratify=labels)
    return ImageSet(images[train], labels[train]), ImageSet(images[heldout], labels[heldout])


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
