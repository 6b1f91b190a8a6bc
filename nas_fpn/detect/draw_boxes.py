"""Boxes drawn on a picture, each with the name of its class and its score."""

import colorsys
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

__all__ = ["class_colour", "draw_boxes"]

GOLDEN = 0.618033988749895  # of the colour circle between two classes: neighbours differ most
TALL = 1 / 40  # height of the letters, of the picture's shorter side
SMALL, GREAT = 10, 28  # pixels


def draw_boxes(
    picture: Image.Image,
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    classes: Sequence[str],
) -> Image.Image:
    """A copy of an RGB picture with boxes [n, 4] (x0, y0, x1, y1 in its pixels), best on top.

    ``scores`` [n] are written as per cent, ``labels`` [n] are indices into ``classes``.
    """
    drawn = picture.convert("RGB")
    pen = ImageDraw.Draw(drawn)
    size = min(max(round(min(picture.size) * TALL), SMALL), GREAT)
    font = ImageFont.load_default(size)
    width = max(size // 6, 2)
    for place in scores.argsort().tolist():
        x0, y0, x1, y1 = (round(side) for side in boxes[place].tolist())
        label = int(labels[place])
        colour = class_colour(label)
        pen.rectangle((x0, y0, max(x1, x0), max(y1, y0)), outline=colour, width=width)
        text = f"{classes[label]} {100 * float(scores[place]):.0f}"
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        tall, wide = bottom - top + size // 3, right - left + size // 2
        x = min(max(x0, 0), max(picture.width - wide, 0))
        y = y0 - tall if y0 >= tall else y0
        pen.rectangle((x, y, x + wide, y + tall), fill=colour)
        pen.text((x + size // 4 - left, y + size // 6 - top), text, fill=_ink(colour), font=font)
    return drawn


def class_colour(label: int) -> tuple[int, int, int]:
    """A bright colour for a class, the same in every picture.

    >>> class_colour(0)
    (242, 73, 73)
    """
    red, green, blue = colorsys.hsv_to_rgb(label * GOLDEN % 1.0, 0.7, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _ink(colour: tuple[int, int, int]) -> str:
    """Black or white, whichever is read better on a colour (luma of ITU-R BT.601)."""
    red, green, blue = colour
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
