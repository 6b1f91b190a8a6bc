"""Stages of the SlimNeck papers: several convolutions in a fixed arrangement, as one block.

``CB(k)`` is :class:`nas_fpn.necks.slim.ConvNorm`, a convolution with a norm and an activation. An
exported neck carries the source of what it uses.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_fpn.necks.slim import ConvNorm, GSConv, GSConvE1, check_parts

__all__ = ["GSBottleneck", "GSConvNs", "Ihp", "VovGscsp"]


class GSConvNs(nn.Module):
    """GSConv without a shuffle: a 1x1 convolution and ReLU mix the two halves.

    ``x1 = CB(kernel)(x)`` of half the channels, ``x2 = CB(5, depthwise)(x1)``, then
    ``relu(conv1(concat(x1, x2)))`` with neither bias nor norm. SlimNeck (Li et al. 2022,
    arXiv:2206.02424) as its code for YOLOv8 to v11 has it; the older files of that name do not
    run, and ignore the window.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: int = 1, activation: str = "silu"
    ) -> None:
        super().__init__()
        check_parts("gsconvns", out_channels, 2)
        half = out_channels // 2
        self.dense = ConvNorm(in_channels, half, kernel, activation=activation)
        self.depthwise = ConvNorm(half, half, 5, groups=half, activation=activation)
        self.mix = nn.Conv2d(out_channels, out_channels, 1, bias=False)

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, in_channels, H, W] to [B, out_channels, H, W]."""
        first = self.dense(feature)
        return F.relu(self.mix(torch.cat((first, self.depthwise(first)), dim=1)))


class GSBottleneck(nn.Module):
    """Two GSConvs, the second 3x3 and without activation, and a 1x1 shortcut likewise."""

    def __init__(self, channels: int, *, shuffle: str, activation: str) -> None:
        super().__init__()
        self.first = GSConv(channels, channels, shuffle=shuffle, activation=activation)
        self.second = GSConv(channels, channels, kernel=3, shuffle=shuffle, activation="none")
        self.shortcut = ConvNorm(channels, channels, 1, activation="none")

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, channels, H, W] to the same."""
        worked: Tensor = self.second(self.first(feature))
        both: Tensor = worked + self.shortcut(feature)
        return both


class VovGscsp(nn.Module):
    """One half worked on by GSConv bottlenecks, one half as it is: SlimNeck's stage.

    ``CB(1)(concat(CB(1)(x), bottlenecks(CB(1)(x))))``, each half with half of the channels, and
    ``depth`` times :class:`GSBottleneck`. SlimNeck (Li et al. 2022, arXiv:2206.02424) as its code
    for YOLOv5, whose bottlenecks keep their channels. Not built here: a 3x3 convolution that
    every published form declares and none uses. ``shuffle`` and ``activation`` as in ``gsconv``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        depth: int = 1,
        shuffle: str = "interleave",
        activation: str = "silu",
    ) -> None:
        super().__init__()
        check_parts("vovgscsp", out_channels, 4)
        half = out_channels // 2
        self.bypass = ConvNorm(in_channels, half, 1, activation=activation)
        self.enter = ConvNorm(in_channels, half, 1, activation=activation)
        self.bottlenecks = nn.Sequential(
            *(GSBottleneck(half, shuffle=shuffle, activation=activation) for _ in range(depth))
        )
        self.leave = ConvNorm(2 * half, out_channels, 1, activation=activation)

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, in_channels, H, W] to [B, out_channels, H, W]."""
        worked = self.bottlenecks(self.enter(feature))
        left: Tensor = self.leave(torch.cat((self.bypass(feature), worked), dim=1))
        return left


class Ihp(nn.Module):
    """A level of the independent hierarchy pyramid, which no other level reaches.

    ``z = gsconve1(x)`` at the channels of ``x``, which must be even, then
    ``CB(1)(concat(bottlenecks(CB(1)(z)), CB(1)(z)))``, each half with half of the channels given
    and ``depth`` bottlenecks ``CB(3)(CB(kernel)(.))`` without a sum; SiLU throughout. SlimNeckV2
    (Rethinking Features-Fused-Pyramid-Neck for Object Detection, ECCV 2024): the YOLOv5n neck has
    depth 1, 2, 3 from fine to coarse. ``kernel=3`` has the parameters of the released neck;
    1 is the stage of YOLOv5 itself.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, depth: int = 1, kernel: int = 3
    ) -> None:
        super().__init__()
        check_parts("ihp", out_channels, 2)
        if in_channels % 2:
            raise ValueError(
                f"ihp works on its input in 2 equal parts, but got {in_channels} channels; "
                "put conv1 in front of it"
            )
        half = out_channels // 2
        self.spread = GSConvE1(in_channels, in_channels)
        self.enter = ConvNorm(in_channels, half, 1)
        self.bottlenecks = nn.Sequential(
            *(
                nn.Sequential(ConvNorm(half, half, kernel), ConvNorm(half, half, 3))
                for _ in range(depth)
            )
        )
        self.bypass = ConvNorm(in_channels, half, 1)
        self.leave = ConvNorm(2 * half, out_channels, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, in_channels, H, W] to [B, out_channels, H, W]."""
        feature = self.spread(feature)
        worked = self.bottlenecks(self.enter(feature))
        left: Tensor = self.leave(torch.cat((worked, self.bypass(feature)), dim=1))
        return left
