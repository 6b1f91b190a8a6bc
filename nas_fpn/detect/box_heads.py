"""How a two-stage detector reads a box from the pyramid, and the head behind it.

torchvision's :class:`MultiScaleRoIAlign` reads one level by its own rule. Beside it stand the
rules of other codes, and reading all levels at once, for PANet's adaptive feature pooling and
AugFPN's soft selection; a head then starts with what merges the levels.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from nas_fpn.detect.roi import LevelRule, pool_rois, pool_rois_from_all
from nas_fpn.detect.roi_fusion import GROUPS, SoftSelection, adaptive_convs, adaptive_linear

__all__ = ["POOLED", "AllLevelsRoIAlign", "RuledRoIAlign", "make_box_head", "make_box_pool"]

POOLED = 7  # cells of a pooled box to a side
SAMPLES = 2  # to a side of a cell
CONVS = 4  # of a head of convolutions (PANet, Detectron)

Reading = Literal["level", "adaptive", "soft"]
Head = Literal["linear", "convs"]


class RuledRoIAlign(MultiScaleRoIAlign):  # type: ignore[misc]
    """One level for each box by any of :func:`nas_fpn.detect.roi.roi_levels`' rules."""

    def __init__(self, levels: Sequence[int], *, canonical_size: float, rule: LevelRule) -> None:
        super().__init__(_names(levels), POOLED, SAMPLES)
        self.levels = tuple(levels)
        self.canonical_size = canonical_size
        self.rule = rule

    def forward(
        self,
        x: Mapping[str, Tensor],
        boxes: Sequence[Tensor],
        image_shapes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Pool boxes [n_i, 4] of each image in network pixels: [n, C, 7, 7]."""
        del image_shapes  # a level's stride is known here
        return pool_rois(
            [x[name] for name in _names(self.levels)],
            boxes,
            levels=self.levels,
            output_size=POOLED,
            sampling_ratio=SAMPLES,
            canonical_size=self.canonical_size,
            rule=self.rule,
        )


class AllLevelsRoIAlign(MultiScaleRoIAlign):  # type: ignore[misc]
    """Every box from every level, for a head that merges them."""

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__(_names(levels), POOLED, SAMPLES)
        self.levels = tuple(levels)

    def forward(
        self,
        x: Mapping[str, Tensor],
        boxes: Sequence[Tensor],
        image_shapes: Sequence[tuple[int, int]],
    ) -> tuple[Tensor, ...]:
        """Pool boxes [n_i, 4] of each image: one [n, C, 7, 7] per level, finest first."""
        del image_shapes
        return pool_rois_from_all(
            [x[name] for name in _names(self.levels)],
            boxes,
            levels=self.levels,
            output_size=POOLED,
            sampling_ratio=SAMPLES,
        )


def make_box_pool(
    levels: Sequence[int],
    *,
    reading: Reading = "level",
    canonical_size: float = 224,
    rule: LevelRule = "torchvision",
) -> MultiScaleRoIAlign:
    """How boxes are read from features called ``p{level}``: 7x7 cells, 4 samples each."""
    if reading != "level":
        return AllLevelsRoIAlign(levels)
    if rule != "torchvision":
        return RuledRoIAlign(levels, canonical_size=canonical_size, rule=rule)
    return MultiScaleRoIAlign(_names(levels), POOLED, SAMPLES, canonical_scale=canonical_size)


def make_box_head(
    channels: int,
    num_levels: int,
    *,
    reading: Reading = "level",
    head: Head = "linear",
    width: int = 1024,
    seed: int = 0,
) -> nn.Module:
    """From what the pool gives to [n, width].

    ``head="linear"`` is two linear layers, ``"convs"`` four 3x3 convolutions at ``channels`` and
    one linear layer, with GroupNorm. Adaptive pooling has the first layer of either once for each
    level, and GroupNorm in both, on which its published gain depends; the others have
    torchvision's plain head. ``seed`` is of what merges the levels, the rest is drawn
    from torch's global generator.
    """
    if reading == "adaptive":
        if head == "linear":
            return adaptive_linear(channels, num_levels, width=width, output_size=POOLED, seed=seed)
        return adaptive_convs(
            channels,
            num_levels,
            width=channels,
            depth=CONVS,
            linear=width,
            output_size=POOLED,
            seed=seed,
        )
    plain: nn.Module
    if head == "linear":
        plain = TwoMLPHead(channels * POOLED**2, width)
    else:
        norm_layer = partial(nn.GroupNorm, math.gcd(channels, GROUPS))
        plain = FastRCNNConvFCHead(
            (channels, POOLED, POOLED), [channels] * CONVS, [width], norm_layer=norm_layer
        )
    if reading == "level":
        return plain
    return nn.Sequential(SoftSelection(channels, num_levels, seed=seed), plain)


def _names(levels: Sequence[int]) -> list[str]:
    return [f"p{level}" for level in levels]
