"""The three losses of a dense head, each divided by the number of positive points of the batch.

FCOS (arXiv:1904.01355) with sigmoid focal loss (Lin et al. 2017, arXiv:1708.02002), GIoU
(Rezatofighi et al. 2019, arXiv:1902.09630) and centre-ness. Background points are weighed with
zero instead of being cut out, so no shape depends on the data.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from nas_fpn.detect.boxes import Grid, boxes_to_distances, distances_to_boxes
from nas_fpn.detect.head import Predictions
from nas_fpn.detect.targets import Targets

__all__ = ["Losses", "detection_losses", "focal_loss", "giou_loss"]

EPS = 1e-7


@dataclass(frozen=True, slots=True)
class Losses:
    """Three scalars of the batch; training minimises their plain sum, as torchvision does."""

    classification: Tensor
    boxes: Tensor
    centreness: Tensor

    @property
    def total(self) -> Tensor:
        """The sum of the three."""
        return self.classification + self.boxes + self.centreness


def detection_losses(predictions: Predictions, targets: Targets, grid: Grid) -> Losses:
    """Compare the predictions of a batch with its targets, in float32.

    The numbers of torchvision's ``FCOSHead.compute_loss``, without its loops over images and
    without its synchronisation. A batch without a positive point has box losses of zero.
    """
    logits = predictions.logits.float()  # [B, P, K]
    positive = targets.labels >= 0  # [B, P]
    count = positive.sum().clamp(min=1)
    classes = torch.arange(logits.shape[2], device=logits.device)
    wanted = (targets.labels[..., None] == classes).to(logits.dtype)  # [B, P, K]
    predicted = distances_to_boxes(predictions.distances.float(), grid.points, grid.strides)
    box = giou_loss(predicted, targets.boxes)  # [B, P]
    centre = functional.binary_cross_entropy_with_logits(
        predictions.centreness.float(), centreness(targets.boxes, grid), reduction="none"
    )
    return Losses(
        classification=focal_loss(logits, wanted).sum() / count,
        boxes=(box * positive).sum() / count,
        centreness=(centre * positive).sum() / count,
    )


def centreness(boxes: Tensor, grid: Grid) -> Tensor:
    """How central each point lies in its box, [B, P]: 1 in the centre, 0 on the edge or outside."""
    distances = boxes_to_distances(boxes, grid.points, grid.strides).clamp(min=0)  # [B, P, 4]
    left, top, right, bottom = distances.unbind(dim=2)
    across = torch.minimum(left, right) / torch.maximum(left, right).clamp(min=EPS)
    down = torch.minimum(top, bottom) / torch.maximum(top, bottom).clamp(min=EPS)
    return (across * down).sqrt()


def focal_loss(
    logits: Tensor, wanted: Tensor, *, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Sigmoid focal loss, element by element; ``wanted`` is 0 or 1 in the shape of ``logits``.

    -α_t (1 - p_t)^γ log p_t, with p_t the probability given to what is wanted.
    """
    signed = logits * (2 * wanted - 1)  # p_t = sigmoid(signed)
    weight = 1 - alpha + (2 * alpha - 1) * wanted
    return -weight * torch.sigmoid(-signed) ** gamma * functional.logsigmoid(signed)


def giou_loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    """1 - GIoU of boxes [..., 4], giving [...]; finite, gradient included, for empty boxes too."""
    low, high = predicted.split(2, dim=-1)
    low_wanted, high_wanted = wanted.split(2, dim=-1)
    overlap = _area(
        (torch.minimum(high, high_wanted) - torch.maximum(low, low_wanted)).clamp(min=0)
    )
    union = _area(high - low) + _area(high_wanted - low_wanted) - overlap
    hull = _area(torch.maximum(high, high_wanted) - torch.minimum(low, low_wanted))
    return 1 - overlap / (union + EPS) + (hull - union) / (hull + EPS)


def _area(size: Tensor) -> Tensor:
    return size[..., 0] * size[..., 1]
