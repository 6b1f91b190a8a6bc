"""The anchor head of the proxy: RetinaNet in small, shared by all levels of the pyramid.

RetinaNet: Lin et al. 2017, arXiv:1708.02002. Towers as in :class:`DenseHead`, with GroupNorm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas_fpn.detect.cell_anchors import PER_CELL, Anchors, AnchorTargets, boxes_to_deltas
from nas_fpn.detect.head import PRIOR, Tower, one_width, start_convolutions, tower_of
from nas_fpn.detect.losses import focal_sums

__all__ = ["AnchorHead", "AnchorLosses", "AnchorPredictions", "anchor_losses"]


@dataclass(frozen=True, slots=True)
class AnchorPredictions:
    """What the head says at each of the A anchors, finest level first.

    ``logits`` [B, A, K]; ``deltas`` [B, A, 4], shift and growth of the anchor.
    """

    logits: Tensor
    deltas: Tensor


@dataclass(frozen=True, slots=True)
class AnchorLosses:
    """Two scalars of the batch; training minimises their plain sum, as torchvision does."""

    classification: Tensor
    boxes: Tensor

    @property
    def total(self) -> Tensor:
        """The sum of the two."""
        return self.classification + self.boxes


class AnchorHead(nn.Module):
    """Classes and deltas of nine anchors at every cell of every level.

    The arguments, and how weights come from ``seed``, are those of :class:`DenseHead`.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        levels: Sequence[int],
        width: int = 64,
        depth: int = 1,
        tower: Tower = "decoupled",
        seed: int = 0,
    ) -> None:
        super().__init__()
        channels = one_width(in_channels, levels)
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, but got {num_classes}")
        self.levels = tuple(levels)
        self.num_classes = num_classes
        self.class_tower = tower_of(channels, width, depth)
        self.box_tower = tower_of(channels, width, depth) if tower == "decoupled" else None
        last = width if depth else channels
        self.logits = nn.Conv2d(last, PER_CELL * num_classes, 3, padding=1)
        self.deltas = nn.Conv2d(last, PER_CELL * 4, 3, padding=1)
        start_convolutions(self, seed)
        nn.init.constant_(self.logits.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> AnchorPredictions:
        """Predict from one feature [B, C, H, W] per level, finest first."""
        logits, deltas = [], []
        for feature in features:
            classes = self.class_tower(feature)
            boxes = classes if self.box_tower is None else self.box_tower(feature)
            logits.append(_anchors_last(self.logits(classes), self.num_classes))
            deltas.append(_anchors_last(self.deltas(boxes), 4))
        return AnchorPredictions(torch.cat(logits, dim=1), torch.cat(deltas, dim=1))


def anchor_losses(
    predictions: AnchorPredictions, targets: AnchorTargets, anchors: Anchors
) -> AnchorLosses:
    """Compare the predictions of a batch with its targets, in float32.

    The numbers of torchvision's ``RetinaNetHead.compute_loss``: focal loss, and L1 of the deltas,
    each over the image's positive anchors, then the mean over images.
    """
    logits = predictions.logits.float()  # [B, A, K]
    positive = targets.labels >= 0  # [B, A]
    counted = targets.labels >= -1
    count = positive.sum(dim=1).clamp(min=1)  # [B]
    focal = focal_sums(logits, targets.labels) * counted  # [B, A]
    apart = predictions.deltas.float() - boxes_to_deltas(targets.boxes, anchors.boxes)
    box = apart.abs().sum(dim=2) * positive
    return AnchorLosses(
        classification=(focal.sum(dim=1) / count).mean(), boxes=(box.sum(dim=1) / count).mean()
    )


def _anchors_last(part: Tensor, each: int) -> Tensor:
    """[B, 9 · each, H, W] to [B, H · W · 9, each]."""
    batch, _, height, width = part.shape
    split = part.view(batch, PER_CELL, each, height, width).permute(0, 3, 4, 1, 2)
    return split.reshape(batch, -1, each)
