"""Anchors for any pyramid and any image size; torchvision's own at 800 pixels and five levels.

torchvision's sizes are made for images of 800 pixels: anchors from 32 to 512 for RetinaNet's P3..P7
and Faster R-CNN's P2..P6, and FCOS' ranges of 64 to 512. Here the sizes go with the image, but not
below 2.5 / 8 of those (cells would be too coarse for them), and pyramids of other heights share the
same ladder of sizes among their levels.
"""

import math
from collections.abc import Sequence

from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator

__all__ = ["anchor_sides", "anchors", "default_boxes", "image_scale", "points", "squares"]

PUBLISHED_SIZE = 800  # pixels
SMALLEST = 32.0  # pixels at that size
SPAN = 16.0  # largest anchor in smallest ones
LEAST = 2.5 / 8  # of the published sizes
RATIOS = (0.5, 1.0, 2.0)  # height by width
STEP = 2.0  # of the ladder at most


def image_scale(image_size: int) -> float:
    """Sizes at ``image_size`` pixels, in those that are published for 800.

    >>> image_scale(800), image_scale(400), image_scale(128)
    (1.0, 0.5, 0.3125)
    """
    return max(image_size / PUBLISHED_SIZE, LEAST)


def squares(
    levels: Sequence[int], image_size: int, *, smallest: float | None = None
) -> tuple[int, ...]:
    """The sides in pixels of FCOS' squares, one for each level: it learns boxes up to 8 of them.

    At 800 pixels a side is the level's stride. Sides are even, since torchvision rounds half a
    side, and double from level to level; rather too large than too small, as distances in small
    sides are large numbers, which take long to learn. ``smallest`` is that of the finest level.

    >>> squares((3, 4, 5), 800), squares((3, 4, 5), 128)
    ((8, 16, 32), (4, 8, 16))
    """
    finest = 2 * math.ceil((smallest or 2 ** levels[0] * image_scale(image_size)) / 2)
    return tuple(finest * 2 ** (level - levels[0]) for level in levels)


def points(
    levels: Sequence[int], image_size: int, *, smallest: float | None = None
) -> tuple[AnchorGenerator, float]:
    """FCOS' points as anchors of one square for each level, and its radius of centre sampling.

    torchvision's FCOS reads all from the side of the square (see :func:`squares`): a level learns
    boxes with a reach of 4 to 8 sides, counts distances in sides, and samples ``radius`` sides
    around the centre. At 800 pixels the radius is 1.5; it stays 1.5 strides.
    """
    sides = squares(levels, image_size, smallest=smallest)
    shapes = tuple((side,) for side in sides)
    return AnchorGenerator(shapes, ((1.0,),) * len(sides)), 1.5 * 2 ** levels[0] / sides[0]


def anchors(
    levels: Sequence[int],
    image_size: int,
    *,
    per_level: int,
    smallest: float | None = None,
) -> AnchorGenerator:
    """Anchors in three ratios (1:2, 1:1, 2:1) and the sides of :func:`anchor_sides`."""
    sides = anchor_sides(len(levels), image_size, per_level=per_level, smallest=smallest)
    return AnchorGenerator(sides, (RATIOS,) * len(sides))


def anchor_sides(
    num_levels: int, image_size: int, *, per_level: int, smallest: float | None = None
) -> tuple[tuple[int, ...], ...]:
    """Sides of the anchors of each level in pixels, finest level first.

    A ladder in equal steps, ``per_level`` rungs to a level, or more where a low pyramid would need
    steps above 2. It begins at ``smallest`` (by default 32 at 800 pixels) and the first rung of
    its last octave is 16 times that. One level has the whole ladder.

    >>> anchor_sides(5, 800, per_level=1)  # Faster R-CNN
    ((32,), (64,), (128,), (256,), (512,))
    >>> anchor_sides(5, 800, per_level=3)[:2]  # RetinaNet
    ((32, 40, 50), (64, 80, 101))
    >>> anchor_sides(3, 256, per_level=1)
    ((10, 17), (31, 54), (94, 163))
    >>> anchor_sides(1, 800, per_level=1)
    ((32, 64, 128, 256, 512),)
    """
    first = smallest or SMALLEST * image_scale(image_size)
    span = SPAN * 2 ** ((per_level - 1) / per_level)
    while True:
        rungs = num_levels * per_level
        step = span ** (1 / (rungs - 1)) if rungs > 1 else STEP + 1
        if step <= STEP + 1e-9:
            break
        per_level += 1
    ladder = [max(1, int(first * step**rung + 1e-6)) for rung in range(rungs)]
    return tuple(tuple(ladder[start : start + per_level]) for start in range(0, rungs, per_level))


def default_boxes(
    num_levels: int, image_size: int, *, smallest: float | None = None
) -> DefaultBoxGenerator:
    """SSD's default boxes: at each level two squares, and one of ratio 2 and 3 each way.

    The squares go from the same smallest side to the same largest in equal steps. SSD300's own
    scales, chosen by hand for its six levels, begin at 0.07 of the image and end at 1.05.
    """
    first = (smallest or SMALLEST * image_scale(image_size)) / image_size
    step = SPAN ** (1 / max(num_levels - 1, 1))
    scales = [first * step**level for level in range(num_levels + 1)]
    return DefaultBoxGenerator([[2, 3]] * num_levels, scales=scales)
