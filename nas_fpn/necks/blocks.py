"""The blocks: a feature is worked on at its own level.

Each stands alone (torch only), because an exported neck carries its source. A block without
weights or arguments is a function, any other a module; both take and give [B, C, H, W]. No block
works in place: a feature may have other readers.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_fpn.necks.context import Aspp, ResidualAugmentation
from nas_fpn.necks.csp import Csp
from nas_fpn.necks.deform import Deformable3
from nas_fpn.necks.repconv import RepConv
from nas_fpn.necks.slim import GSConv, GSConvE1, GSConvE2
from nas_fpn.necks.stages import GSConvNs, Ihp, VovGscsp

__all__ = [
    "BLOCKS",
    "BatchNorm",
    "Conv1",
    "Conv3",
    "Conv5",
    "Depthwise3",
    "GroupNorm",
    "Leaky",
    "Separable3",
    "Separable5",
    "gelu",
    "identity",
    "mean_everywhere",
    "mish",
    "relu",
    "relu6",
    "silu",
]


class Conv1(nn.Conv2d):
    """A 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)


class Conv3(nn.Conv2d):
    """A 3x3 convolution, the size kept by zeros around."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=bias)


class Conv5(nn.Conv2d):
    """A 5x5 convolution, the size kept by zeros around."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__(in_channels, out_channels, 5, padding=2, bias=bias)


class Depthwise3(nn.Conv2d):
    """A 3x3 convolution of each channel by itself."""

    def __init__(self, channels: int, *, bias: bool) -> None:
        super().__init__(channels, channels, 3, padding=1, groups=channels, bias=bias)


class Separable3(nn.Module):
    """A depthwise 3x3 convolution without bias, then a 1x1; nothing between.

    Xception (Chollet 2017, arXiv:1610.02357), as EfficientDet's BiFPN uses it.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=bias)

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, in_channels, H, W] to [B, out_channels, H, W]."""
        mixed: Tensor = self.pointwise(self.depthwise(feature))
        return mixed


class Separable5(nn.Module):
    """A depthwise 5x5 convolution without bias, then a 1x1; nothing between.

    Xception (Chollet 2017, arXiv:1610.02357), with the window of MnasNet's larger blocks.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, 5, padding=2, groups=in_channels, bias=False
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=bias)

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, in_channels, H, W] to [B, out_channels, H, W]."""
        mixed: Tensor = self.pointwise(self.depthwise(feature))
        return mixed


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167).

    ``momentum`` is torch's: the share of the new batch. In training it needs more than one value
    per channel, so a batch of one at size 1x1 is refused by torch.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)


class GroupNorm(nn.GroupNorm):
    """Group normalisation (Wu and He 2018, arXiv:1803.08494).

    Where ``groups`` does not divide the channels, their greatest common divisor is taken, so that
    no width is refused.
    """

    def __init__(self, channels: int, *, groups: int = 32) -> None:
        super().__init__(math.gcd(groups, channels), channels)

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, C, H, W] to the same."""
        # not nn.functional.group_norm, which refuses a single value in a group
        return torch.group_norm(feature, self.num_groups, self.weight, self.bias, self.eps)


class Leaky(nn.Module):
    """``max(x, slope * x)`` (Maas et al. 2013)."""

    def __init__(self, *, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, C, H, W] to the same."""
        return F.leaky_relu(feature, self.slope)


def relu(feature: Tensor) -> Tensor:
    """``max(x, 0)``."""
    return F.relu(feature)


def relu6(feature: Tensor) -> Tensor:
    """``min(max(x, 0), 6)``. MobileNets (Howard et al. 2017, arXiv:1704.04861)."""
    return F.relu6(feature)


def silu(feature: Tensor) -> Tensor:
    """``x * sigmoid(x)``, also called swish (Ramachandran et al. 2017, arXiv:1710.05941)."""
    return F.silu(feature)


def gelu(feature: Tensor) -> Tensor:
    """``x * Phi(x)``, exact (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""
    return F.gelu(feature)


def mish(feature: Tensor) -> Tensor:
    """``x * tanh(softplus(x))`` (Misra 2020, arXiv:1908.08681)."""
    return F.mish(feature)


def mean_everywhere(feature: Tensor) -> Tensor:
    """Put each channel's mean at every place: [B, C, H, W] to the same.

    Global average pooling, spread again: the top context of OPANAS (Liang et al. 2021,
    arXiv:2103.04507) is ``c5 -> conv1 gap``.
    """
    return feature.mean(dim=(2, 3), keepdim=True).expand_as(feature).contiguous()


def identity(feature: Tensor) -> Tensor:
    """Nothing: how a line says that it has no blocks."""
    return feature


BLOCKS: dict[str, Callable[..., Tensor] | type[nn.Module]] = {
    "conv1": Conv1,
    "conv3": Conv3,
    "conv5": Conv5,
    "sep3": Separable3,
    "sep5": Separable5,
    "deform3": Deformable3,
    "gsconv": GSConv,
    "gsconve1": GSConvE1,
    "gsconve2": GSConvE2,
    "gsconvns": GSConvNs,
    "vovgscsp": VovGscsp,
    "csp": Csp,
    "ihp": Ihp,
    "aspp": Aspp,
    "rfa": ResidualAugmentation,
    "repconv": RepConv,
    "dw3": Depthwise3,
    "bn": BatchNorm,
    "gn": GroupNorm,
    "gap": mean_everywhere,
    "relu": relu,
    "relu6": relu6,
    "silu": silu,
    "swish": silu,
    "gelu": gelu,
    "leaky": Leaky,
    "mish": mish,
    "id": identity,
}
