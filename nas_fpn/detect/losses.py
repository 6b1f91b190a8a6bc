"""The three losses of a dense head, each divided by the number of positive points of the batch.

FCOS (arXiv:1904.01355) with sigmoid focal loss (Lin et al. 2017, arXiv:1708.02002), GIoU
(Rezatofighi et al. 2019, arXiv:1902.09630) and centre-ness. Background points are weighed with
zero instead of being cut out, so no shape depends on the data.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nas_fpn.detect.boxes import Grid, boxes_to_distances, distances_to_boxes
from nas_fpn.detect.head import Predictions
from nas_fpn.detect.targets import Targets

__all__ = ["Losses", "detection_losses", "focal_loss", "focal_sums", "giou_loss"]

EPS = 1e-7
ALPHA, GAMMA = 0.25, 2.0  # of the focal loss


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


def detection_losses(
    predictions: Predictions, targets: Targets, grid: Grid, *, static: bool = True
) -> Losses:
    """Compare the predictions of a batch with its targets, in float32.

    The numbers of torchvision's ``FCOSHead.compute_loss``, without its loops over images and
    without its synchronisation. A batch without a positive point has box losses of zero.
    ``static=False`` computes the box losses of positive points alone, which is faster on a CPU;
    shapes then depend on the data, and the sums are rounded in another order.
    """
    logits = predictions.logits.float()  # [B, P, K]
    positive = targets.labels >= 0  # [B, P]
    count = positive.sum().clamp(min=1)
    distances, centre = predictions.distances.float(), predictions.centreness.float()
    learnt, points, strides = targets.boxes, grid.points, grid.strides
    weight = positive.to(logits.dtype)  # [B, P]
    if not static:
        image, point = positive.nonzero(as_tuple=True)  # [N], N positive points
        distances, centre, learnt = (part[image, point] for part in (distances, centre, learnt))
        points, strides, weight = points[point], strides[point], weight[image, point]
    box = giou_loss(distances_to_boxes(distances, points, strides), learnt)  # [B, P] or [N]
    off_centre = functional.binary_cross_entropy_with_logits(
        centre, centreness(learnt, points, strides), weight=weight, reduction="sum"
    )
    return Losses(
        classification=focal_sums(logits, targets.labels).sum() / count,
        boxes=(box * weight).sum() / count,
        centreness=off_centre / count,
    )


def centreness(boxes: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """How central each point lies in its box: 1 in the centre, 0 on the edge or outside.

    ``boxes`` [..., P, 4], ``points`` [P, 2] and ``strides`` [P] give [..., P].
    """
    distances = boxes_to_distances(boxes, points, strides).clamp(min=0)  # [..., P, 4]
    left, top, right, bottom = distances.unbind(dim=-1)
    across = torch.minimum(left, right) / torch.maximum(left, right).clamp(min=EPS)
    down = torch.minimum(top, bottom) / torch.maximum(top, bottom).clamp(min=EPS)
    return (across * down).sqrt()


def focal_sums(logits: Tensor, labels: Tensor) -> Tensor:
    """The sigmoid focal loss of each point, summed over its classes: [B, P].

    ``logits`` [B, P, K]; ``labels`` [B, P], the class that the point should say, below 0 for none.
    Nearly all classes of nearly all points should say nothing, so their part is one function with
    a gradient of its own, and the one class of a positive point is put right afterwards.
    """
    sums: Tensor = _Background.apply(logits)
    wanted = logits.gather(2, labels.clamp(min=0)[..., None]).squeeze(2)  # [B, P]
    rest = 1 - ALPHA
    nothing = rest * torch.sigmoid(wanted) ** GAMMA * functional.softplus(wanted)
    return sums + (focal_loss(wanted, torch.ones_like(wanted)) - nothing) * (labels >= 0)


class _Background(torch.autograd.Function):
    """The focal loss of logits [B, P, K] that should all say no, summed over classes: [B, P].

    With p = σ(x) and c = -log(1 - p) it is (1 - α) p² c, which rises by
    (1 - α) p² (2 (1 - p) c + p).
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        p = logits.sigmoid()
        cost = functional.softplus(logits)
        weight = p.square().mul_(1 - ALPHA)
        sums = (weight * cost).sum(dim=2)
        slope = torch.addcmul(cost, p, cost, value=-1).mul_(GAMMA).add_(p).mul_(weight)
        ctx.save_for_backward(slope)
        return sums

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        result: Tensor = slope * gradients[0][..., None]
        return result


def focal_loss(
    logits: Tensor, wanted: Tensor, *, alpha: float = ALPHA, gamma: float = GAMMA
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
