"""Deformable convolution: the one operation that needs more than torch.

It is ``torchvision.ops.deform_conv2d``; a neck that uses it is exported with that import.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import deform_conv2d

__all__ = ["Deformable", "Deformable3", "Offsets", "at_least_32_bits"]


class Offsets(nn.Module):
    """A 3x3 convolution with bias that begins at zero, whatever rule draws the others."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.stride = stride

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, in_channels, h, w] to [B, out_channels, H, W]."""
        return F.conv2d(feature, self.weight, self.bias, self.stride, padding=1)


class Deformable(nn.Module):
    """A 3x3 convolution whose taps read where a second 3x3 convolution of the feature says.

    ``y(p) = sum_k w_k m_k(p) x(p + p_k + d_k(p))``, bilinear between pixels, zero outside. The
    offsets ``d`` begin at 0, so that it begins as a convolution at regular places (with
    ``mask="sigmoid"`` as half of one). The second convolution gives, for each of ``groups`` groups
    of input channels and each tap, row then column of the offset, and behind all of these the
    masks. Where ``groups`` does not divide the channels, their greatest common divisor is taken.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bias: bool,
        stride: int = 1,
        groups: int = 1,
        mask: str = "sigmoid",
    ) -> None:
        super().__init__()
        self.taps = 9 * math.gcd(groups, in_channels)
        self.mask = mask
        self.offset = Offsets(in_channels, (3 if mask == "sigmoid" else 2) * self.taps, stride)
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=bias)

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, in_channels, h, w] to [B, out_channels, H, W], sides divided by the stride."""
        places = self.offset(feature)  # [B, 2 or 3 times taps, H, W]
        own = self.convolution
        shifts, masks = places[:, : 2 * self.taps], places[:, 2 * self.taps :]
        moved: Tensor = deform_conv2d(
            at_least_32_bits(feature),
            at_least_32_bits(shifts),
            at_least_32_bits(own.weight),
            None if own.bias is None else at_least_32_bits(own.bias),
            stride=own.stride,
            padding=(1, 1),
            mask=at_least_32_bits(masks.sigmoid()) if self.mask == "sigmoid" else None,
        )
        return moved.to(places.dtype)  # under autocast that of a convolution


def at_least_32_bits(values: Tensor) -> Tensor:
    """Values in which torchvision's operation is defined on every device."""
    return values if values.dtype == torch.float64 else values.float()


class Deformable3(Deformable):
    """A deformable 3x3 convolution: ``deform3``.

    ``mask="sigmoid"`` is the second version (Zhu et al. 2019, arXiv:1811.11168), ``"none"`` the
    first (Dai et al. 2017, arXiv:1703.06211). NAS-FCOS (Wang et al. 2020, arXiv:1906.04423) has
    ``groups=2`` and a bias before its norm. torchvision's operation, which is equal to mmcv's.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bias: bool,
        groups: int = 1,
        mask: str = "sigmoid",
    ) -> None:
        super().__init__(in_channels, out_channels, bias=bias, groups=groups, mask=mask)
