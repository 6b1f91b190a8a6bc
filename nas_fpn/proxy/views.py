"""Fixed views of an image: as it is, mirrored, zoomed in, zoomed out.

Features of frozen backbones are stored, so augmentation must be decided before training: each
image is seen in the same few views in every epoch of every candidate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as PILImage
from torch import Tensor

from nas_fpn.detect.images import GREY, letterbox

__all__ = ["VIEWS", "Seen", "View", "see"]

LEAST_SEEN = 0.3  # of a box's area; less of it is no example of its class
LEAST_SIDE = 1.0  # network pixels
# Where a zoomed picture sits between the left (top) and the right (bottom) end, by image.
PLACES = ((0.0, 0.0), (1.0, 1.0), (0.5, 0.5), (1.0, 0.0), (0.0, 1.0))


@dataclass(frozen=True, slots=True)
class View:
    """A way to look at an image: ``zoom`` 1 makes its longer side the network's side S."""

    name: str
    zoom: float = 1.0
    mirrored: bool = False


VIEWS = (View("plain"), View("mirrored", mirrored=True), View("in", 1.5), View("out", 2 / 3))


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """An image in a view: ``image`` uint8 [3, S, S], its boxes in network pixels, its scale.

    ``boxes`` float32 [m, 4], clipped to the view; ``labels`` int64 [m]; ``scale`` is network
    pixels per pixel of the file.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    scale: float


def see(
    picture: PILImage.Image,
    boxes: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    *,
    view: View,
    image_size: int,
    number: int,
) -> Seen:
    """Look at an RGB picture with boxes [n, 4] in its pixels and labels [n].

    Where a zoomed picture is cut or placed depends on ``number``, the place of the image in its
    data. Boxes of which the view shows less than a third, or less than a pixel, are left out.
    """
    if view.mirrored:
        picture = picture.transpose(PILImage.Transpose.FLIP_LEFT_RIGHT)
        boxes = np.stack(
            (picture.width - boxes[:, 2], boxes[:, 1], picture.width - boxes[:, 0], boxes[:, 3]),
            axis=1,
        )
    scaled, scale = letterbox(picture, max(round(image_size * view.zoom), 1))
    inner = (round(picture.width * scale), round(picture.height * scale))
    across, down = PLACES[number % len(PLACES)] if view.zoom != 1 else (0.0, 0.0)
    x = round(across * (image_size - inner[0])) if view.zoom < 1 or inner[0] > image_size else 0
    y = round(down * (image_size - inner[1])) if view.zoom < 1 or inner[1] > image_size else 0
    image = _placed(scaled[:, : inner[1], : inner[0]], image_size, offset=(x, y))
    moved = boxes * np.float32(scale) + np.array([x, y, x, y], np.float32)
    clipped = moved.clip(0, image_size)
    kept = _is_seen(moved, clipped)
    return Seen(
        image,
        torch.from_numpy(clipped[kept].astype(np.float32)),
        torch.from_numpy(labels[kept].astype(np.int64)),
        scale,
    )


def _placed(picture: Tensor, image_size: int, *, offset: Sequence[int]) -> Tensor:
    """The picture [3, h, w] on a grey square, its upper left corner at ``offset`` x, y."""
    x, y = offset
    picture = picture[:, max(-y, 0) :, max(-x, 0) :]
    x, y = max(x, 0), max(y, 0)
    picture = picture[:, : image_size - y, : image_size - x]
    canvas = torch.full((3, image_size, image_size), GREY, dtype=torch.uint8)
    canvas[:, y : y + picture.shape[1], x : x + picture.shape[2]] = picture
    return canvas


def _is_seen(whole: npt.NDArray[Any], clipped: npt.NDArray[Any]) -> npt.NDArray[Any]:
    before, after = whole[:, 2:] - whole[:, :2], clipped[:, 2:] - clipped[:, :2]
    enough = after.prod(axis=1) >= LEAST_SEEN * before.prod(axis=1)
    seen: npt.NDArray[Any] = enough & (after >= LEAST_SIDE).all(axis=1)
    return seen
