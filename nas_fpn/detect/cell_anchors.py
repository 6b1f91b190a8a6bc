"""Anchors of a pyramid, which box each of them learns, and boxes as deltas from them.

RetinaNet (Lin et al. 2017, arXiv:1708.02002, section 4): three ratios and three octave parts at
each cell. A whole batch at once: no loop over images, no value leaves the device, no shape
depends on the data.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from nas_fpn.detect.anchors import image_scale

__all__ = [
    "PER_CELL",
    "AnchorTargets",
    "Anchors",
    "assign_anchors",
    "boxes_to_deltas",
    "chosen_anchors",
    "deltas_to_boxes",
    "make_anchors",
    "match_anchors",
]

RATIOS = (0.5, 1.0, 2.0)  # height over width
OCTAVES = (0.0, 1 / 3, 2 / 3)
PER_CELL = len(RATIOS) * len(OCTAVES)
STRIDES = 4.0  # side of the smallest anchor of a level, in its strides, at an image of 800 px
FOREGROUND, BACKGROUND = 0.5, 0.4
LARGEST = math.log(1000 / 16)  # of a predicted growth, as in Faster R-CNN's code
IGNORED = -2


@dataclass(frozen=True, slots=True)
class Anchors:
    """All A anchors of a pyramid, finest level first, each level row by row, cell by cell.

    ``boxes`` [A, 4] (x0, y0, x1, y1) in network pixels; ``counts`` says how many each level has.
    """

    boxes: Tensor
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AnchorTargets:
    """What each anchor should say: ``labels`` [B, A] and ``boxes`` [B, A, 4].

    -1 is background, -2 takes no part in a loss; the box of such an anchor means nothing.
    """

    labels: Tensor
    boxes: Tensor


def make_anchors(
    sizes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    *,
    image_size: int,
    smallest: float | None = None,
    device: torch.device | str = "cpu",
) -> Anchors:
    """The anchors of feature maps with ``sizes`` (height, width) and ``strides``, finest first.

    The smallest side of a level is 4 strides at an image of 800 px, as published, and goes with the
    image as :func:`image_scale` says; or it is ``smallest`` pixels at the finest level, and doubles
    from level to level as the strides do. Centres lie at the upper left corners of cells, as in
    torchvision.
    """
    base = STRIDES * image_scale(image_size) if smallest is None else smallest / strides[0]
    levels = []
    for (height, width), stride in zip(sizes, strides, strict=True):
        sides = [base * stride * 2**octave for octave in OCTAVES]
        cell = torch.tensor(
            [
                (side / math.sqrt(ratio), side * math.sqrt(ratio))
                for ratio in RATIOS
                for side in sides
            ],
            device=device,
        )  # [9, 2]: width, height
        y = torch.arange(height, device=device, dtype=torch.float32) * stride
        x = torch.arange(width, device=device, dtype=torch.float32) * stride
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        centres = torch.stack((columns.flatten(), rows.flatten()), dim=1)[:, None]  # [H*W, 1, 2]
        levels.append(torch.cat((centres - cell / 2, centres + cell / 2), dim=2).flatten(0, 1))
    return Anchors(torch.cat(levels), tuple(len(level) for level in levels))


def assign_anchors(anchors: Anchors, boxes: Tensor, labels: Tensor) -> AnchorTargets:
    """Give each anchor a box, the background, or no part; see :func:`match_anchors`."""
    return chosen_anchors(match_anchors(anchors, boxes, labels), boxes, labels)


def match_anchors(anchors: Anchors, boxes: Tensor, labels: Tensor) -> Tensor:
    """Which row of ``boxes`` each anchor learns, int64 [B, A]; -1 background, -2 no part in a loss.

    ``boxes`` [B, M, 4] in network pixels, ``labels`` [B, M], -1 for a row that is no box. An anchor
    learns the box that it overlaps most, from an IoU of 0.5; below 0.4 it is background. The
    anchors that overlap a box most of all learn whatever they overlap most, however little: the
    rules of torchvision's RetinaNet, but there no overlap at all is enough too.
    """
    batch, rows, _ = boxes.shape
    overlap = box_iou(boxes.reshape(-1, 4), anchors.boxes).view(batch, rows, -1)  # [B, M, A]
    overlap = overlap.masked_fill((labels < 0)[..., None], -1.0)
    most, index = overlap.max(dim=1)  # [B, A]
    best = overlap.amax(dim=2, keepdim=True)  # [B, M, 1]
    forced = ((overlap == best) & (best > 0)).any(dim=1)  # [B, A]
    chosen = index.where(most >= FOREGROUND, torch.full_like(index, IGNORED))
    chosen = chosen.masked_fill(most < BACKGROUND, -1)
    return torch.where(forced, index, chosen)


def chosen_anchors(index: Tensor, boxes: Tensor, labels: Tensor) -> AnchorTargets:
    """The targets of anchors that learn the rows ``index`` [B, A] of ``boxes`` and ``labels``."""
    row = index.clamp(min=0)
    return AnchorTargets(
        torch.where(index < 0, index, labels.gather(1, row)),
        boxes.gather(1, row[..., None].expand(-1, -1, 4)),
    )


def boxes_to_deltas(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Shift and log growth [..., 4] from ``anchors`` to ``boxes``, both [..., 4].

    Girshick et al. 2014, arXiv:1311.2524, appendix C: (dx, dy) in sides of the anchor, (dw, dh) as
    logarithms.
    """
    centre, size = _centred(anchors)
    to_centre, to_size = _centred(boxes)
    growth = (to_size.clamp(min=1e-6) / size).log()  # of padding, which no loss counts
    return torch.cat(((to_centre - centre) / size, growth), dim=-1)


def deltas_to_boxes(deltas: Tensor, anchors: Tensor) -> Tensor:
    """The inverse of :func:`boxes_to_deltas`; growth is cut at 1000 / 16."""
    centre, size = _centred(anchors)
    centre = centre + deltas[..., :2] * size
    half = deltas[..., 2:].clamp(max=LARGEST).exp() * size / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def _centred(boxes: Tensor) -> tuple[Tensor, Tensor]:
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + size / 2, size
