"""Images as the network sees them: decoded, and letterboxed into a square."""

import struct
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor

from nas_fpn.errors import DataError

__all__ = [
    "EXIF_ORIENTATION",
    "GREY",
    "UNREADABLE",
    "as_rgb",
    "letterbox",
    "load_image",
    "mode_fault",
    "open_image",
]

# What Pillow raises for a broken file.
UNREADABLE = (OSError, SyntaxError, ValueError, struct.error, PILImage.DecompressionBombError)
EXIF_ORIENTATION = 0x0112
GREY = 114  # what lies outside the image


def load_image(path: Path, image_size: int) -> tuple[Tensor, float]:
    """Decode one image and letterbox it; return it with its scale.

    The image is uint8 [3, S, S], RGB; the scale is network pixels per pixel of the file. Raises
    ``DataError``, naming the file, if it cannot be decoded to its end.
    """
    return letterbox(open_image(path), image_size)


def open_image(path: Path) -> PILImage.Image:
    """Decode one image as RGB; EXIF rotation is not applied, as in ``read_coco``.

    Raises ``DataError``, naming the file, if it cannot be decoded to its end, or is grey of 32
    bits.
    """
    try:
        with PILImage.open(path) as image:
            mode = image.mode
            picture = as_rgb(image)
    except UNREADABLE as error:
        raise DataError(
            f"{path}: the image cannot be decoded ({type(error).__name__}: {error}); "
            "replace it, or take it out of the JSON"
        ) from None
    if fault := mode_fault(mode):
        raise DataError(f"{path}: {fault}")
    return picture


def as_rgb(image: PILImage.Image) -> PILImage.Image:
    """An image of any mode as RGB; grey of 16 bits is scaled to 8, where Pillow cuts it at 255."""
    if image.mode.startswith("I;16"):
        image.load()  # numpy does not pass on what Pillow raises for a broken file
        levels = np.asarray(image).astype(np.float32) / 257
        image = PILImage.fromarray(levels.round().astype(np.uint8))
    return image.convert("RGB")


def mode_fault(mode: str) -> str | None:
    """What is wrong with images of one of Pillow's modes, and how to mend it; else None."""
    if mode not in ("I", "F"):
        return None
    return (
        f"grey of 32 bits (Pillow's mode {mode!r}), and no file says which number is white: "
        "save it with 8 bits"
    )


def letterbox(picture: PILImage.Image, image_size: int) -> tuple[Tensor, float]:
    """Scale an RGB picture so that its longer side is S, and pad it to the right and below.

    Returns uint8 [3, S, S] and the scale. One scale serves both axes; the shorter side is
    rounded to whole pixels, and so moves by half a pixel at most.
    """
    scale = image_size / max(picture.size)
    width, height = (max(round(side * scale), 1) for side in picture.size)
    if (width, height) != picture.size:
        picture = picture.resize((width, height), PILImage.Resampling.BILINEAR)
    canvas = np.full((image_size, image_size, 3), GREY, np.uint8)
    canvas[:height, :width] = np.asarray(picture)
    return torch.from_numpy(canvas).permute(2, 0, 1).contiguous(), scale
