"""Which images can be shown as they are, and how they become RGB: the same for data sets, stimuli and a user's own."""

from __future__ import annotations

from PIL import Image

from scaling.errors import StudyError

EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def why_unfit(image: Image.Image, *more: str) -> str | None:
    """Why Pillow would clip or misread an image; None: it would not. more: further modes that are fit.

    Pillow cuts off what exceeds 255 in 16-bit, 32-bit and float images instead of scaling it.
    """
    fit = image.mode in (*EIGHT_BIT_MODES, *more)
    return None if fit else f"mode {image.mode}, not 8 bits a channel"


def as_mode(image: Image.Image, mode: str) -> Image.Image:
    """A fit image in another mode; grey is repeated over the channels, transparency is dropped."""
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # the same colours, without Pillow's warning
    return image if image.mode == mode else image.convert(mode)


def as_rgb(image: Image.Image) -> Image.Image:
    """A user's image as RGB, as data sets and stimuli are shown.

    Raises:
        StudyError: more than 8 bits a channel.
    """
    if (reason := why_unfit(image)) is not None:
        raise StudyError(
            f"an image of {image.width:,} x {image.height:,} pixels has {reason}; scale it to 0 … 255 and convert it "
            f"to one of {', '.join(EIGHT_BIT_MODES)}"
        )
    return as_mode(image, "RGB")
