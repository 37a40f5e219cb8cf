"""How a model wants its images: size, crop, interpolation, channel statistics."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from scaling.alignment.features.activations import prepare_images
from scaling.errors import StudyError

if TYPE_CHECKING:
    from torch import nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's and timm's

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """From uint8 images to a model's input; two that are equal give equal inputs.

    The defaults are the published study's: Resize 256 bilinear, CenterCrop 224, ImageNet's statistics. `square`
    gives what this project's own models are trained with.

    Attributes:
        image_size: pixels a side of the input. resize: pixels of the shorter side before the centre crop; None: both
            sides become `image_size` in floating point, nothing is cropped.
        keep_aspect: False makes both sides `resize`, timm's 'squash'. interpolation: 'bilinear' or 'bicubic', both
            antialiased.
        mean, std: per channel, in units of [0, 1].
    """

    image_size: int = 224
    resize: int | None = 256
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD
    interpolation: str = "bilinear"
    keep_aspect: bool = True

    def __post_init__(self) -> None:
        if self.image_size < 1 or (self.resize is not None and self.resize < self.image_size):
            raise StudyError(
                f"preprocessing: resize={self.resize} for image_size={self.image_size}; "
                "resize to at least the size of the crop"
            )
        if self.interpolation not in ("bilinear", "bicubic") or (self.resize is None) > (
            self.interpolation == "bilinear"
        ):
            raise StudyError(
                f"preprocessing: interpolation={self.interpolation!r} with resize={self.resize}; give 'bilinear', "
                "or 'bicubic' with a resize"
            )

    @classmethod
    def square(cls, image_size: int, mean: Channels, std: Channels) -> Preprocessing:
        """`prepare_images`: both sides to `image_size`, bilinear, without rounding to uint8 in between."""
        return cls(image_size=image_size, resize=None, mean=mean, std=std)

    @classmethod
    def of_timm(cls, model: nn.Module, image_size: int | None = None) -> Preprocessing:
        """timm's evaluation transform of a model, at its own image size or another.

        Raises:
            StudyError: the model wants an input that is not square or RGB, or a way to crop that is not offered.
        """
        from timm.data import resolve_model_data_config

        config = resolve_model_data_config(model)
        channels, height, width = config["input_size"]
        size, mode = image_size or height, config["crop_mode"]
        if channels != 3 or height != width or mode not in ("center", "squash"):
            raise StudyError(
                f"preprocessing: {type(model).__name__} wants input_size={config['input_size']} with "
                f"crop_mode={mode!r}; give a Preprocessing (square RGB input, centre crop or squash)"
            )
        return cls(
            image_size=size,
            resize=math.floor(size / config["crop_pct"]),
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            interpolation=config["interpolation"],
            keep_aspect=mode == "center",
        )

    def apply(self, images: NDArray[np.uint8]) -> Tensor:
        """(n, height, width, 3) uint8 → (n, 3, image_size, image_size) float32, `(x / 255 − mean) / std`.

        With a resize, the numbers are torchvision's `Compose([Resize, CenterCrop, ToTensor, Normalize])` on Pillow
        images, bit for bit: its resizing of tensors differs by up to two levels of 255.

        Raises:
            StudyError: images of another type or shape.
        """
        if self.resize is None:
            return prepare_images(images, self.image_size, self.mean, self.std)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise StudyError(
                f"preprocessing: {images.dtype} images of shape {images.shape}; give uint8 (n, height, width, 3)"
            )
        pixels = torch.from_numpy(np.stack([self._resized(image) for image in images])).permute(0, 3, 1, 2)
        shift, scale = (torch.tensor(v).view(3, 1, 1) for v in (self.mean, self.std))
        return pixels.contiguous().float().div_(255.0).sub_(shift).div_(scale)

    def _resized(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        from torchvision.transforms import InterpolationMode, functional

        size = [self.resize] if self.keep_aspect else [self.resize, self.resize]
        resized = functional.resize(Image.fromarray(image), size, InterpolationMode(self.interpolation))
        return np.asarray(functional.center_crop(resized, [self.image_size, self.image_size]))

    def identity(self) -> dict[str, Any]:
        """All that makes two preparations differ, for a cache's key."""
        return asdict(self)
