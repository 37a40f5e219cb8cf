"""Images of any mode: shown alike, or refused alike, among data sets and stimuli and by a user's own preprocessing."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from scaling.checkpoints.load import RGBResized
from scaling.data.archives import decode_image
from scaling.data.prepared.pixels import CorruptImage, Square, decode_square
from scaling.errors import StudyError

SQUARE = Square(8, 8)
GREY = np.linspace(0, 255, 64).reshape(8, 8)
RGBA = np.stack([GREY, GREY[::-1], GREY.T, 255 - GREY], -1).astype(np.uint8)


def coded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def palette(transparency: int | bytes) -> bytes:
    image = Image.fromarray(RGBA[..., :3]).quantize(16)
    return coded(image, "PNG", transparency=transparency)


DEEP = {
    "16-bit PNG": coded(Image.fromarray((GREY * 257).astype(np.uint16)), "PNG"),
    "16-bit TIFF": coded(Image.fromarray((GREY * 257).astype(np.uint16)), "TIFF"),
    "32-bit TIFF": coded(Image.fromarray((GREY * 2**20).astype(np.int32)), "TIFF"),
    "float TIFF": coded(Image.fromarray((GREY / 255).astype(np.float32)), "TIFF"),
}
PLAIN = {
    "grey": coded(Image.fromarray(GREY.astype(np.uint8)), "PNG"),
    "black and white": coded(Image.fromarray(GREY > 99), "PNG"),
    "grey with alpha": coded(Image.fromarray(RGBA[..., 2:]), "PNG"),
    "RGB with alpha": coded(Image.fromarray(RGBA), "PNG"),
    "palette, one colour transparent": palette(3),
    "palette, alpha of each colour": palette(bytes(range(16))),
    "CMYK": coded(Image.fromarray(RGBA[..., :3]).convert("CMYK"), "JPEG"),
}


def stored(image: Image.Image) -> np.ndarray:
    return np.asarray(RGBResized(SQUARE)(image))


@pytest.mark.parametrize("content", DEEP.values(), ids=DEEP)
def test_more_than_8_bits_a_channel_are_refused_everywhere(content):
    with pytest.raises(CorruptImage, match="not 8 bits a channel"):
        decode_square(content, SQUARE, "")
    with pytest.raises(StudyError, match="8 bits a channel"):
        decode_image(content, "here")
    with pytest.raises(StudyError, match=r"has mode (I|F|I;16\w*), not 8 bits a channel; scale it to 0 … 255"):
        RGBResized(SQUARE)(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("content", PLAIN.values(), ids=PLAIN)
def test_8_bits_a_channel_are_the_same_pixels_everywhere_without_a_warning(content):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = [decode_square(content, SQUARE, ""), decode_image(content, ""), stored(Image.open(io.BytesIO(content)))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert all(np.array_equal(one, theirs) for one in ours)
