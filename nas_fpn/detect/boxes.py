"""The points of a pyramid, and boxes as distances from them.

A dense head predicts at every cell of every level; a cell stands for one point of the image,
and a box is told by its four distances from that point, counted in the level's stride
(FCOS: Tian et al. 2019, arXiv:1904.01355, section 3.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

__all__ = ["Grid", "KeptCells", "boxes_to_distances", "distances_to_boxes", "make_grid"]

Sizes = Sequence[tuple[int, int]]
AnyCells = TypeVar("AnyCells")
MadeCells = TypeVar("MadeCells", covariant=True)


@dataclass(frozen=True, slots=True)
class Grid:
    """All P points of a pyramid, finest level first, each level row by row.

    ``points`` are [P, 2], (x, y) in network pixels; ``strides`` [P] in pixels; ``counts`` says
    how many points each level has, so ``sum(counts) == P``.
    """

    points: Tensor
    strides: Tensor
    counts: tuple[int, ...]


def make_grid(
    sizes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    *,
    offset: float = 0.5,
    device: torch.device | str = "cpu",
) -> Grid:
    """The grid of feature maps with ``sizes`` (height, width) and ``strides``, finest first.

    A cell's point lies ``offset`` of a stride from its upper left corner: 0.5, its middle, as in
    the paper. torchvision's anchors lie at 0.0, the corner.
    """
    points = []
    for (height, width), stride in zip(sizes, strides, strict=True):
        y = (torch.arange(height, device=device, dtype=torch.float32) + offset) * stride
        x = (torch.arange(width, device=device, dtype=torch.float32) + offset) * stride
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        points.append(torch.stack((columns.flatten(), rows.flatten()), dim=1))  # [H*W, 2]
    counts = tuple(height * width for height, width in sizes)
    per_point = [
        torch.full((count,), float(stride), device=device)
        for count, stride in zip(counts, strides, strict=True)
    ]
    return Grid(torch.cat(points), torch.cat(per_point), counts)


class Make(Protocol[MadeCells]):
    """Makes the cells of feature maps with these sizes (height, width), finest first."""

    def __call__(self, sizes: Sizes, /, *, device: torch.device) -> MadeCells: ...


class KeptCells(Generic[AnyCells]):
    """The cells (a grid, anchors) of the sizes and device last asked for, made once.

    To make them takes dozens of small operations, and for anchors numbers from the host, which a
    step that is captured cannot read.
    """

    def __init__(self, make: Make[AnyCells]) -> None:
        self._make = make
        self._of: tuple[Sizes, torch.device] | None = None
        self._cells: AnyCells | None = None

    def __call__(self, sizes: Sizes, device: torch.device) -> AnyCells:
        """Those of ``sizes`` on ``device``."""
        if self._cells is None or self._of != (sizes, device):
            with torch.inference_mode(mode=False):  # whoever asks first, a training may ask next
                self._cells = self._make(sizes, device=device)
            self._of = (sizes, device)
        return self._cells


def distances_to_boxes(distances: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Boxes [..., 4] (x0, y0, x1, y1) in pixels from distances [..., 4] in strides.

    ``points`` [..., 2] and ``strides`` [...] broadcast against ``distances``, whose order is
    left, top, right, bottom.
    """
    pixels = distances * strides[..., None]
    return torch.cat((points - pixels[..., :2], points + pixels[..., 2:]), dim=-1)


def boxes_to_distances(boxes: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """The inverse of :func:`distances_to_boxes`; negative where a point lies outside its box."""
    pixels = torch.cat((points - boxes[..., :2], boxes[..., 2:] - points), dim=-1)
    return pixels / strides[..., None]
