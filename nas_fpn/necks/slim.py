"""The GSConv family: cheap convolutions that make part of their channels from the others.

From SlimNeck (Li et al. 2022, arXiv:2206.02424) and SlimNeckV2 (Rethinking Features-Fused-Pyramid-
Neck for Object Detection, ECCV 2024). ``CB(k)`` below is a k x k convolution without bias, batch
normalisation and an activation (:class:`ConvNorm`); ``h`` is half and ``q`` a quarter of the
channels given. An exported neck carries the source of what it uses.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "ConvNorm",
    "GSConv",
    "GSConvE1",
    "GSConvE2",
    "check_parts",
    "deinterleave",
    "interleave",
]


def check_parts(word: str, channels: int, parts: int) -> None:
    """Raise ValueError where ``channels`` cannot be cut into ``parts`` equal parts."""
    if channels % parts:
        raise ValueError(
            f"the channels that {word} gives are made in {parts} equal parts, but got {channels}; "
            f"write a width divisible by {parts}, or {word}[{channels + -channels % parts}]"
        )


def interleave(first: Tensor, second: Tensor) -> Tensor:
    """Deal the channels of two features out in turn: [B, C, H, W] each, to [B, 2 C, H, W]."""
    return torch.stack((first, second), dim=2).flatten(1, 2)


def deinterleave(first: Tensor, second: Tensor) -> Tensor:
    """Put one feature behind the other, then the even channels before the odd ones."""
    odd = first.shape[1] % 2  # then the second feature begins at an odd place
    evens, odds = (first[:, 0::2], second[:, odd::2]), (first[:, 1::2], second[:, 1 - odd :: 2])
    return torch.cat((*evens, *odds), dim=1)


class ConvNorm(nn.Module):
    """A convolution without bias that keeps the size, batch normalisation, an activation.

    ``activation`` is silu, mish or none.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        side: int,
        *,
        groups: int = 1,
        activation: str = "silu",
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, side, padding=side // 2, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)
        self.activation = activation

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, in_channels, H, W] to [B, out_channels, H, W]."""
        normed: Tensor = self.norm(self.conv(feature))
        if self.activation == "silu":
            return F.silu(normed)
        return F.mish(normed) if self.activation == "mish" else normed


class GSConv(nn.Module):
    """Half of the channels dense, the other half depthwise from them, shuffled together.

    ``x1 = CB(kernel)(x)`` of h channels, ``x2 = CB(5, depthwise)(x1)``, then a shuffle of
    ``concat(x1, x2)``. SlimNeck (Li et al. 2022, arXiv:2206.02424).

    Two shuffles are published under this name, and weights of one do not fit the other:
    ``shuffle="interleave"`` deals the halves out in turn (the paper's model file, the code for
    YOLOv8 to v11, SlimNeckV2), ``"deinterleave"`` is the inverse (the code for YOLOv5).
    ``activation="mish"`` is the first version's, ``"silu"`` that of the later ones.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 1,
        shuffle: str = "interleave",
        activation: str = "silu",
    ) -> None:
        super().__init__()
        check_parts("gsconv", out_channels, 2)
        half = out_channels // 2
        self.dense = ConvNorm(in_channels, half, kernel, activation=activation)
        self.depthwise = ConvNorm(half, half, 5, groups=half, activation=activation)
        self.shuffle = shuffle

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, in_channels, H, W] to [B, out_channels, H, W]."""
        first = self.dense(feature)
        second = self.depthwise(first)
        if self.shuffle == "interleave":
            return interleave(first, second)
        return deinterleave(first, second)


class GSConvE1(nn.Module):
    """GSConv with a stronger second half: a dense 3x3, a depthwise 3x3, then GELU.

    ``x1 = CB(kernel)(x)`` of h channels with SiLU, ``x2 = gelu(depthwise3(conv3(x1)))`` with
    neither bias nor norm (the exact GELU), then ``x1`` and ``x2`` interleaved. SlimNeckV2's block
    for models of normal size; its first auxiliary convolution is 3x3 in the authors' code, which
    a review of the paper calls 1x1.
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int = 3) -> None:
        super().__init__()
        check_parts("gsconve1", out_channels, 2)
        half = out_channels // 2
        self.first = ConvNorm(in_channels, half, kernel)
        self.dense = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.depthwise = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False)

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, in_channels, H, W] to [B, out_channels, H, W]."""
        first = self.first(feature)
        return interleave(first, F.gelu(self.depthwise(self.dense(first))))


class GSConvE2(nn.Module):
    """A quarter of the channels dense, and three quarters depthwise from it by large windows.

    ``x1 = CB(kernel)(x)`` of q channels; ``x2, x3, x4 = CB(9), CB(13), CB(17)`` of ``x1``, each
    depthwise; then the halves ``(x1, x2)`` and ``(x3, x4)`` interleaved. SlimNeckV2's block for
    light models. This is the definition of the SlimNeck repository of 2025, the one that runs: in
    SlimNeckV2's own repository the three paddings do not fit the windows.
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int = 3) -> None:
        super().__init__()
        check_parts("gsconve2", out_channels, 4)
        quarter = out_channels // 4
        self.first = ConvNorm(in_channels, quarter, kernel)
        self.small = ConvNorm(quarter, quarter, 9, groups=quarter)
        self.medium = ConvNorm(quarter, quarter, 13, groups=quarter)
        self.large = ConvNorm(quarter, quarter, 17, groups=quarter)

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, in_channels, H, W] to [B, out_channels, H, W]."""
        first = self.first(feature)
        both = torch.cat((first, self.small(first), self.medium(first), self.large(first)), dim=1)
        return interleave(*both.chunk(2, dim=1))
