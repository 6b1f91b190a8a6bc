"""torchvision's one-stage detectors around any pyramid: FCOS, RetinaNet and SSD.

They are torchvision's own classes with heads of any depth and width: torchvision fixes four
convolutions and, for FCOS, 32 groups. With those, the state dict and what it gives are those of a
detector that torchvision's constructor builds.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.fcos import (
    FCOSClassificationHead,
    FCOSHead,
    FCOSRegressionHead,
)
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.ssd import SSD, SSDHead
from torchvision.ops import Conv2dNormActivation

from nas_fpn.detect.anchors import anchors, default_boxes, points
from nas_fpn.detect.body import MEAN, STD

__all__ = ["CoupledHead", "make_fcos", "make_retinanet", "make_ssd"]

GROUPS = 32  # of GroupNorm at most, as in torchvision


class CoupledHead(nn.Module):
    """One tower for classes and boxes, before a torchvision head without towers of its own.

    As in the YOLO line up to v7; torchvision's towers are decoupled.
    """

    def __init__(self, tower: nn.Sequential, head: nn.Module) -> None:
        super().__init__()
        self.tower = tower
        self.head = head

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """Predict from one feature [B, C, H, W] for each level."""
        predictions: dict[str, Tensor] = self.head([self.tower(feature) for feature in features])
        return predictions

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        """Give what torchvision's head gives."""
        losses: dict[str, Tensor] = self.head.compute_loss(  # type: ignore[operator]
            targets, head_outputs, anchors, matched_idxs
        )
        return losses


def make_fcos(
    body: nn.Module,
    *,
    levels: Sequence[int],
    channels: int,
    num_classes: int,
    image_size: int,
    depth: int = 4,
    coupled: bool = False,
    norm: bool = True,
    anchor_size: float | None = None,
    reach: float = 0.0,
    score_threshold: float = 0.2,
    nms_threshold: float = 0.6,
    detections: int = 100,
) -> FCOS:
    """FCOS (Tian et al. 2019, arXiv:1904.01355) with torchvision's defaults.

    ``norm`` is GroupNorm of 32 groups, or of fewer below 64 ``channels`` and where 32 does not
    divide them. Levels must be consecutive: the ranges of sizes that they learn double from one to
    the next.

    ``anchor_size`` is the side of the finest level's square, see
    :func:`nas_fpn.detect.anchors.points`; ``reach`` the distance of the sides that boxes start
    with, in squares of their level. At
    torchvision's 0, half of them is behind the ReLU without a gradient, and a short training loses
    much of its time there; a level learns distances of 4 to 8.
    """
    _check_consecutive(levels)
    generator, radius = points(levels, image_size, smallest=anchor_size)
    norm_layer = _norm_layer(channels, norm)
    own = 0 if coupled else depth
    head = FCOSHead(channels, 1, num_classes, 0)
    head.classification_head = FCOSClassificationHead(
        channels, 1, num_classes, own, norm_layer=norm_layer
    )
    head.regression_head = FCOSRegressionHead(channels, 1, own, norm_layer=norm_layer)
    nn.init.constant_(head.regression_head.bbox_reg.bias, reach)
    whole: nn.Module = head
    if coupled:
        whole = CoupledHead(_tower(channels, depth, norm=norm, nested=False), head)
    return FCOS(
        body,
        num_classes,
        min_size=image_size,
        max_size=image_size,
        image_mean=list(MEAN),
        image_std=list(STD),
        fixed_size=(image_size, image_size),
        anchor_generator=generator,
        head=whole,
        center_sampling_radius=radius,
        score_thresh=score_threshold,
        nms_thresh=nms_threshold,
        detections_per_img=detections,
    )


def make_retinanet(
    body: nn.Module,
    *,
    levels: Sequence[int],
    channels: int,
    num_classes: int,
    image_size: int,
    depth: int = 4,
    coupled: bool = False,
    norm: bool = False,
    anchor_size: float | None = None,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    detections: int = 300,
) -> RetinaNet:
    """RetinaNet (Lin et al. 2017, arXiv:1708.02002) with torchvision's defaults.

    Three sizes to a level and three ratios; more sizes where the pyramid is low.
    """
    generator = anchors(levels, image_size, per_level=3, smallest=anchor_size)
    head = RetinaNetHead(channels, generator.num_anchors_per_location()[0], num_classes)
    own = 0 if coupled else depth
    head.classification_head.conv = _tower(channels, own, norm=norm)
    head.regression_head.conv = _tower(channels, own, norm=norm)
    whole: nn.Module = head
    if coupled:
        whole = CoupledHead(_tower(channels, depth, norm=norm), head)
    return RetinaNet(
        body,
        num_classes,
        min_size=image_size,
        max_size=image_size,
        image_mean=list(MEAN),
        image_std=list(STD),
        fixed_size=(image_size, image_size),
        anchor_generator=generator,
        head=whole,
        score_thresh=score_threshold,
        nms_thresh=nms_threshold,
        detections_per_img=detections,
    )


def make_ssd(
    body: nn.Module,
    *,
    channels: Sequence[int],
    num_classes: int,
    image_size: int,
    anchor_size: float | None = None,
    score_threshold: float = 0.01,
    nms_threshold: float = 0.45,
    detections: int = 200,
) -> SSD:
    """SSD (Liu et al. 2016, arXiv:1512.02325): one 3x3 convolution a level for each task.

    The lightest dense head. Each level has its own, so levels may differ in width.
    ``channels`` are those of each. ``num_classes`` is without the background, which SSD adds.
    """
    generator = default_boxes(len(channels), image_size, smallest=anchor_size)
    head = SSDHead(list(channels), generator.num_anchors_per_location(), num_classes + 1)
    return SSD(
        body,
        generator,
        (image_size, image_size),
        num_classes + 1,
        image_mean=list(MEAN),
        image_std=list(STD),
        head=head,
        score_thresh=score_threshold,
        nms_thresh=nms_threshold,
        detections_per_img=detections,
    )


def _tower(width: int, depth: int, *, norm: bool, nested: bool = True) -> nn.Sequential:
    """``depth`` times 3x3 convolution, norm, ReLU: nested as in RetinaNet, or flat as in FCOS."""
    norm_layer = _norm_layer(width, norm) if norm else None
    steps = [
        Conv2dNormActivation(width, width, norm_layer=norm_layer, bias=True) for _ in range(depth)
    ]
    tower = nn.Sequential(*(steps if nested else [part for step in steps for part in step]))
    for part in tower.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, std=0.01)
            assert part.bias is not None
            nn.init.zeros_(part.bias)
    return tower


def _norm_layer(width: int, norm: bool) -> Callable[..., nn.Module]:
    """GroupNorm with torchvision's 32 groups, or what of them fits with two channels in each.

    Of one channel alone, nothing would remain on a map of one cell.
    """
    if not norm:
        return nn.Identity
    groups = math.gcd(width, GROUPS)
    return partial(nn.GroupNorm, groups // 2 if 1 < groups == width else groups)


def _check_consecutive(levels: Sequence[int]) -> None:
    if list(levels) != list(range(levels[0], levels[0] + len(levels))):
        raise ValueError(
            f"the levels of the pyramid must follow one another, since each learns boxes of twice "
            f"the size of the last, but got levels {tuple(levels)}; let the neck give those between"
        )
