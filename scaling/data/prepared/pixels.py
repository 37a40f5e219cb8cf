"""One coded image, or one array, as the square of pixels that models see, and its importance map beside it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from scaling.data.formats.base import Coded
from scaling.data.image_set import as_map
from scaling.data.modes import as_mode, why_unfit
from scaling.errors import StudyError
from scaling.storage import file_error

# A JPEG this many times as large as wanted, or more, is decoded at 1/2, 1/4 or 1/8 of its size, so that it stays at
# least this many times as large: Pillow's documentation calls 3 indistinguishable from resizing the whole.
REDUCING_GAP = 3

# How ClickMe's maps are smoothed: pixels of the map's shorter side, of the window's side, of the Gaussian's sigma.
# Source: Fel et al. (2022), serre-lab/Harmonization, harmonization/common/{clickme_dataset,blur}.py.
BLUR_SIDE, BLUR_WINDOW, BLUR_SIGMA = 64, 10, 10


class CorruptImage(Exception):
    """An image that cannot be decoded; says why."""


@dataclass(frozen=True)
class Square:
    """The shorter side is resized to `side` and the centre of `crop` pixels cut out: torchvision's Resize(side),
    CenterCrop(crop), antialiased and bilinear. With side=None, an image has to be `crop` pixels square as it is.
    blur_maps: an importance map is smoothed first.
    """

    side: int | None
    crop: int
    blur_maps: bool = False

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """The size before the crop; the longer side is rounded down, as torchvision does."""
        if self.side is None:
            return width, height
        scale = (width, height) if width <= height else (height, width)
        longer = int(self.side * scale[1] / scale[0])
        return (self.side, longer) if width <= height else (longer, self.side)

    def window(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The crop in a resized image: left, top, right, bottom."""
        left, top = round((width - self.crop) / 2), round((height - self.crop) / 2)
        return left, top, left + self.crop, top + self.crop


def decode_square(coded: Coded, square: Square, place: str) -> NDArray[np.uint8]:
    """The image as (crop, crop, 3) uint8.

    Raises:
        CorruptImage: not an image of 8 bits a channel, or a damaged one.
        StudyError: an image that is not resized, of another size.
    """
    with _opened(coded) as image:
        if square.side is None and image.size != (square.crop, square.crop):
            raise StudyError(
                f"image of {image.size[1]} x {image.size[0]} pixels where {square.crop} x {square.crop} are expected "
                f"({place}); set dataset.image_size to resize all"
            )
        return np.asarray(_square(image, "RGB", square, image.size))


def decode_map(
    coded: Coded, square: Square, image_size: tuple[int, int], place: str, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """The map of an image of `image_size` (width, height), resized and cropped with it: (crop, crop).

    With `square.blur_maps`, it is first sampled so that its shorter side has 64 pixels, bilinearly and not antialiased,
    and smoothed by `smooth_map`.

    Args:
        dtype: uint8, or float32 for maps that are arrays of it.

    Returns:
        Values of `dtype`; once smoothed float32, 8-bit ones in [0, 1]: rounded, low values would share their ranks.

    Raises:
        CorruptImage: not an image.
        StudyError: a map of another shape than its image.

    Source: Fel et al. (2022), as above, whose maps of 256 x 256 pixels give the same values at 224 x 224. Deviation:
    JPEGs of 384 pixels a side or more may be decoded smaller first.
    """
    with _opened(coded) as found:
        if abs(found.width * image_size[1] - found.height * image_size[0]) > max(*found.size, *image_size):
            raise StudyError(
                f"a map of {found.height} x {found.width} pixels for an image of {image_size[1]} x {image_size[0]} "
                f"({place}); give both the same shape"
            )
        mode = "L" if dtype == np.uint8 else "F"
        if square.blur_maps:
            found, mode = _smoothed(found, mode), "F"
        return np.asarray(_square(found, mode, square, image_size))


def smooth_map(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of (h, w) values under a Gaussian window of 10 x 10 pixels, σ = 10 pixels:

    out[r, c] = Σ_ij g(i) g(j - 1) values[r + i, c + j] / Σ_ij g(i) g(j - 1), g(d) = exp(-d² / 2σ²), i, j = -4 … 5.

    Beyond the border are zeros ('SAME' padding, 4 before and 5 after), which darken it. The Gaussian is centred on
    the pixel among rows and one to its right among columns, as the authors' is.

    Source: Fel et al. (2022), as above.
    """
    before = (BLUR_WINDOW - 1) // 2
    offsets = np.arange(BLUR_WINDOW) - before
    rows, columns = (np.exp(-(places**2) / (2 * BLUR_SIGMA**2)) for places in (offsets, offsets - 1))
    padded = np.pad(values, (before, BLUR_WINDOW - 1 - before))
    down = sliding_window_view(padded, BLUR_WINDOW, axis=0) @ (rows / rows.sum())
    return (sliding_window_view(down, BLUR_WINDOW, axis=1) @ (columns / columns.sum())).astype(np.float32)


def size_of(coded: Coded) -> tuple[int, int]:
    """(width, height); only the header is read."""
    with _opened(coded) as image:
        return image.size


@contextmanager
def _opened(coded: Coded) -> Iterator[Image.Image]:
    """Pillow's image; what Pillow raises while it is read is a CorruptImage, a file out of reach is as `file_error`."""
    try:
        with _open(coded) as image:
            yield image
    except (StudyError, CorruptImage, MemoryError):
        raise
    except Exception as error:  # Pillow raises many kinds on damaged files, SyntaxError among them
        if isinstance(error, OSError) and error.errno is not None:
            raise file_error(str(coded), error) from error
        unknown = isinstance(error, UnidentifiedImageError)  # its message holds an address in memory
        raise CorruptImage("no image file" if unknown else str(error) or type(error).__name__) from error


def _open(coded: Coded) -> Image.Image:
    if isinstance(coded, np.ndarray):
        return Image.fromarray(np.ascontiguousarray(coded))
    return Image.open(coded if isinstance(coded, Path) else io.BytesIO(coded or b""))


def _square(image: Image.Image, mode: str, square: Square, size: tuple[int, int]) -> Image.Image:
    """What is left of an image whose original has `size` (a map follows its image)."""
    wanted = square.resized(*size)
    plain = _plain(image, mode, wanted)
    plain = plain if plain.size == wanted else plain.resize(wanted, Image.Resampling.BILINEAR)
    window = square.window(*wanted)
    return plain if window == (0, 0, *wanted) else plain.crop(window)


def _smoothed(image: Image.Image, mode: str) -> Image.Image:
    small = Square(BLUR_SIDE, BLUR_SIDE).resized(*image.size)
    plain = Image.fromarray(as_map(np.asarray(_plain(image, mode, small))))
    steps = plain.width / small[0], 0, 0, 0, plain.height / small[1], 0
    sampled = plain.transform(small, Image.Transform.AFFINE, steps, Image.Resampling.BILINEAR)
    return Image.fromarray(smooth_map(np.asarray(sampled)))


def _plain(image: Image.Image, mode: str, wanted: tuple[int, int]) -> Image.Image:
    """An image in `mode`, its size its own or, of a JPEG, nearer to the wanted one."""
    if (reason := why_unfit(image, mode)) is not None:
        raise CorruptImage(reason)
    image.draft(None, (REDUCING_GAP * wanted[0], REDUCING_GAP * wanted[1]))
    return as_mode(image, mode)
