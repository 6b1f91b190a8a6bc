"""The cross-stage-partial stage: what the YOLO family does with two features joined.

``CB(k)`` is :class:`nas_fpn.necks.slim.ConvNorm`, a convolution with a norm and an activation. An
exported neck carries the source of what it uses.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_fpn.necks.repconv import RepConv
from nas_fpn.necks.slim import ConvNorm, check_parts

__all__ = ["Csp", "CspBottleneck"]


class CspBottleneck(nn.Module):
    """``CB(3)(first(x))``, and ``x`` added where ``shortcut`` says so; channels stay.

    ``first`` is ``CB(kernel)``, or with ``inner="rep"`` a :class:`nas_fpn.necks.repconv.RepConv`
    without the norm of the feature itself, and the activation.
    """

    def __init__(
        self, channels: int, *, shortcut: bool, inner: str, kernel: int, activation: str
    ) -> None:
        super().__init__()
        if inner == "rep":
            self.first: nn.Module = RepConv(channels, channels, identity="none")
        else:
            self.first = ConvNorm(channels, channels, kernel, activation=activation)
        self.second = ConvNorm(channels, channels, 3, activation=activation)
        self.bare = activation if inner == "rep" else "none"  # what `first` still lacks
        self.shortcut = shortcut

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, channels, H, W] to the same."""
        first = self.first(feature)
        if self.bare != "none":
            first = F.silu(first) if self.bare == "silu" else F.mish(first)
        worked: Tensor = self.second(first)
        return feature + worked if self.shortcut else worked


class Csp(nn.Module):
    """One half worked on by bottlenecks, one half as it is, a 1x1 over both: ``csp``.

    ``CB(1)(concat(bottlenecks(CB(1)(x)), CB(1)(x)))``, each half with half of the channels and
    ``depth`` times :class:`CspBottleneck`. Every norm has ``eps`` and ``momentum``.

    CSPNet (Wang et al. 2020, arXiv:1911.11929) in its published forms, which one word serves: the
    necks of YOLOv5 ("C3" without a shortcut) are the default, and ``kernel=3`` that name in some
    later code; YOLOX (Ge et al. 2021, arXiv:2107.08430) has ``eps=0.001, momentum=0.03``;
    DAMO-YOLO (Xu et al. 2022, arXiv:2211.15444) has ``shortcut, inner=rep, gather=all``: what
    every bottleneck gives is joined, not only the last, behind the half as it is. ``depth``
    counts bottlenecks: DAMO-YOLO's is three times its own.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        depth: int = 1,
        shortcut: bool = False,
        inner: str = "plain",
        kernel: int = 1,
        gather: str = "last",
        activation: str = "silu",
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        check_parts("csp", out_channels, 2)
        half = out_channels // 2
        self.bypass = ConvNorm(in_channels, half, 1, activation=activation)
        self.enter = ConvNorm(in_channels, half, 1, activation=activation)
        self.bottlenecks = nn.ModuleList(
            CspBottleneck(
                half, shortcut=shortcut, inner=inner, kernel=kernel, activation=activation
            )
            for _ in range(depth)
        )
        joined = (1 + (depth if gather == "all" else 1)) * half
        self.leave = ConvNorm(joined, out_channels, 1, activation=activation)
        self.gather = gather
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eps, part.momentum = eps, momentum

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, in_channels, H, W] to [B, out_channels, H, W]."""
        views, worked = [self.bypass(feature)], self.enter(feature)
        for bottleneck in self.bottlenecks:
            worked = bottleneck(worked)
            if self.gather == "all":
                views.append(worked)
        if self.gather == "last":
            views.insert(0, worked)
        left: Tensor = self.leave(torch.cat(views, dim=1))
        return left
