"""Which point of the pyramid learns which box, for a whole batch at once.

FCOS (arXiv:1904.01355, section 3; centre sampling from the journal version, arXiv:2006.09214),
with torchvision's rules. There is no loop over images, no value leaves the device and no shape
depends on the data, so that a step can be captured as one graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nas_fpn.detect.anchors import squares
from nas_fpn.detect.boxes import Grid

__all__ = [
    "BACKGROUND",
    "Targets",
    "assign_points",
    "assign_targets",
    "chosen_targets",
    "size_ranges",
    "without_padding",
]

SIDES = 8  # of its square, up to which a level learns boxes
INFINITY = float("inf")
BACKGROUND = -1


@dataclass(frozen=True, slots=True)
class Targets:
    """What each point should say: ``labels`` [B, P], -1 for background, and ``boxes`` [B, P, 4].

    The box of a background point is any box of its image, or zeros; it means nothing.
    """

    labels: Tensor
    boxes: Tensor


def size_ranges(
    levels: Sequence[int], image_size: int, *, anchor_size: float | None = None
) -> tuple[tuple[float, float], ...]:
    """For each level, the (least, most) reach in pixels of the boxes that it learns.

    A box's reach at a point is the largest of its four distances. A level ends at 8 sides of its
    square (:func:`nas_fpn.detect.anchors.squares`), that of the finest ``anchor_size`` pixels; the
    finest level begins at 0, the coarsest has no end. torchvision's ranges, as the detectors
    trained end to end have them.

    >>> size_ranges((3, 4, 5), 800)
    ((0.0, 64.0), (64.0, 128.0), (128.0, inf))
    >>> size_ranges((3, 4, 5), 128)
    ((0.0, 32.0), (32.0, 64.0), (64.0, inf))
    """
    sides = squares(levels, image_size, smallest=anchor_size)
    ends = [float(SIDES * side) for side in sides[:-1]]
    return tuple(zip([0.0, *ends], [*ends, INFINITY], strict=True))


def assign_targets(
    grid: Grid,
    boxes: Tensor,
    labels: Tensor,
    *,
    ranges: Sequence[tuple[float, float]],
    radius: float = 1.5,
) -> Targets:
    """Give each point of ``grid`` a box or the background; see :func:`assign_points`."""
    index = assign_points(grid, boxes, labels, ranges=ranges, radius=radius)
    return chosen_targets(index, boxes, labels)


def assign_points(
    grid: Grid,
    boxes: Tensor,
    labels: Tensor,
    *,
    ranges: Sequence[tuple[float, float]],
    radius: float = 1.5,
) -> Tensor:
    """Which row of ``boxes`` each point of ``grid`` learns, int64 [B, P]; -1 is the background.

    ``boxes`` are [B, M, 4] (x0, y0, x1, y1) in network pixels and ``labels`` [B, M]; a row of
    label -1 (padding, a crowd) is no box. ``ranges`` has one entry per level of the grid.
    A point learns a box if it lies inside it, closer than ``radius`` strides to its centre in
    x and in y, and with a reach strictly within its level's range; of several, the smallest.

    torchvision compares areas as ``1e8 - area`` in float32, so two that differ by less than
    8 square pixels may tie there; here they do not.
    """
    x, y = grid.points.unbind(dim=1)  # [P]
    x0, y0, x1, y1 = boxes[..., None].unbind(dim=2)  # [B, M, 1]
    left, top, right, bottom = x - x0, y - y0, x1 - x, y1 - y  # [B, M, P]
    inside = torch.minimum(torch.minimum(left, right), torch.minimum(top, bottom)) > 0
    reach = torch.maximum(torch.maximum(left, right), torch.maximum(top, bottom))
    off_centre = torch.maximum((x - (x0 + x1) / 2).abs(), (y - (y0 + y1) / 2).abs())
    least, most = _per_point(grid, ranges)  # [P]
    learns = (
        inside
        & (off_centre < radius * grid.strides)
        & (reach > least)
        & (reach < most)
        & (labels >= 0)[..., None]
    )  # [B, M, P]
    area = ((x1 - x0) * (y1 - y0)).masked_fill(~learns, INFINITY)  # [B, M, P]
    smallest, index = area.min(dim=1)  # [B, P]
    return index.masked_fill(smallest == INFINITY, BACKGROUND)


def chosen_targets(index: Tensor, boxes: Tensor, labels: Tensor) -> Targets:
    """The targets of points that learn the rows ``index`` [B, P] of ``boxes`` and ``labels``."""
    row = index.clamp(min=0)
    return Targets(
        labels=labels.gather(1, row).masked_fill(index < 0, BACKGROUND),
        boxes=boxes.gather(1, row[..., None].expand(-1, -1, 4)),
    )


def without_padding(boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """``boxes`` [B, M, 4] and ``labels`` [B, M] without the last rows that no image fills.

    On a CPU, where to assign boxes that are none takes time; elsewhere as they are, since to look
    at a value would make the device wait. One row stays.
    """
    if boxes.device.type != "cpu":
        return boxes, labels
    filled = (labels >= 0).any(dim=0).nonzero()
    most = int(filled[-1]) + 1 if len(filled) else 1
    return boxes[:, :most], labels[:, :most]


def _per_point(grid: Grid, ranges: Sequence[tuple[float, float]]) -> tuple[Tensor, Tensor]:
    """Each point's (least, most) reach, [P] each."""
    device = grid.points.device
    least, most = (
        torch.cat(
            [
                torch.full((count,), bound, device=device)
                for count, bound in zip(grid.counts, bounds, strict=True)
            ]
        )
        for bounds in zip(*ranges, strict=True)
    )
    return least, most
