"""Operations as they are deployed: what stood beside or behind a convolution is in it.

Each class stands in the place of the one of its name, with the same arguments, and gives what that
gives in evaluation mode; ``nas_fpn.export.deploy`` makes its weights. They are not trained: without
its norm a neck learns worse. :class:`Constant` stands for every merge with a number by operand.
Like every operation they stand alone (torch only).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Asff", "Constant", "ConvNorm", "Esd1", "Esd2", "RepConv"]


class ConvNorm(nn.Module):
    """A convolution that keeps the size, with the norm that stood behind it; an activation.

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
        self.conv = nn.Conv2d(in_channels, out_channels, side, padding=side // 2, groups=groups)
        self.activation = activation

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, in_channels, H, W] to [B, out_channels, H, W]."""
        made: Tensor = self.conv(feature)
        if self.activation == "silu":
            return F.silu(made)
        return F.mish(made) if self.activation == "mish" else made


class RepConv(nn.Conv2d):
    """The 3x3 convolution that a RepVGG block becomes (Ding et al. 2021, arXiv:2101.03697)."""

    def __init__(self, in_channels: int, out_channels: int, *, identity: str = "bn") -> None:
        del identity  # the feature's own norm is in the middle of the kernel
        super().__init__(in_channels, out_channels, 3, padding=1)


class Constant(nn.Module):
    """``sum_i w_i x_i`` with constants: a weighted merge whose weights are normalised for good."""

    weight: Tensor

    def __init__(self, operands: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(operands))

    def forward(self, *features: Tensor) -> Tensor:
        """Take operands [B, C, H, W] to one."""
        total = self.weight[0] * features[0]
        for i in range(1, len(features)):
            total = torch.addcmul(total, features[i], self.weight[i])
        return total


class Asff(nn.Module):
    """Adaptively spatial feature fusion: ``sum_i W_i x_i``, weights for each pixel.

    ``W = softmax(conv1x1(a_1, ..., a_n))``, where ``a_i`` is a 1x1 convolution of ``x_i`` to
    ``compress`` channels, its norm in it, and an activation (Liu et al. 2019, arXiv:1911.09516).
    """

    def __init__(
        self, in_channels: int, operands: int, *, compress: int = 16, act: str = "leaky"
    ) -> None:
        super().__init__()
        channels = in_channels // operands
        self.act = act
        self.embeddings = nn.ModuleList(nn.Conv2d(channels, compress, 1) for _ in range(operands))
        self.weights = nn.Conv2d(operands * compress, operands, 1)

    def forward(self, *features: Tensor) -> Tensor:
        """Take operands [B, C, H, W] to one."""
        pairs = zip(self.embeddings, features, strict=True)
        joined = torch.cat([embedding(feature) for embedding, feature in pairs], dim=1)
        joined = F.leaky_relu(joined, 0.1) if self.act == "leaky" else F.relu6(joined)
        weights = self.weights(joined).softmax(dim=1)  # [B, operands, H, W]
        total: Tensor = weights[:, :1] * features[0]
        for i in range(1, len(features)):
            total = torch.addcmul(total, weights[:, i : i + 1], features[i])
        return total


class Esd1(nn.Module):
    """ESD-1, average and maximum over 4x4 windows and a 3x3 convolution with its norm in it.

    ``A + M + D`` where channels stay, ``concat(A, M) + D`` where they double, else a 1x1
    convolution brings ``concat(A, M)`` to ``out_channels`` (SlimNeckV2, ECCV 2024).
    """

    def __init__(self, in_channels: int, out_channels: int, *, ratio: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        self.fits = nn.ModuleList()
        for _ in range(ratio.bit_length() - 1):
            self.convolutions.append(nn.Conv2d(in_channels, out_channels, 3, 2, padding=1))
            published = out_channels in (in_channels, 2 * in_channels)
            self.fits.append(
                nn.Identity()
                if published
                else nn.Conv2d(2 * in_channels, out_channels, 1, bias=False)
            )
            in_channels = out_channels

    def forward(self, feature: Tensor, size: Sequence[int]) -> Tensor:
        """Take [B, in_channels, h, w] to [B, out_channels, H, W]."""
        del size
        for convolution, fit in zip(self.convolutions, self.fits, strict=True):
            average = F.avg_pool2d(feature, 4, 2, padding=1, ceil_mode=True)
            largest = F.max_pool2d(feature, 4, 2, padding=1, ceil_mode=True)
            dense = F.silu(convolution(feature))  # [B, out_channels, ceil(h/2), ceil(w/2)]
            if dense.shape[1] == feature.shape[1]:
                feature = average + largest + dense
            else:
                feature = fit(torch.cat((average, largest), dim=1)) + dense
        return feature


class Esd2(nn.Module):
    """ESD-2: a 1x1 convolution of average, maximum and a 3x3 convolution with its norm in it.

    SlimNeckV2 (ECCV 2024).
    """

    def __init__(self, in_channels: int, out_channels: int, *, ratio: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        self.mixers = nn.ModuleList()
        for _ in range(ratio.bit_length() - 1):
            self.convolutions.append(nn.Conv2d(in_channels, out_channels, 3, 2, padding=1))
            self.mixers.append(
                nn.Conv2d(2 * in_channels + out_channels, out_channels, 1, bias=False)
            )
            in_channels = out_channels

    def forward(self, feature: Tensor, size: Sequence[int]) -> Tensor:
        """Take [B, in_channels, h, w] to [B, out_channels, H, W]."""
        del size
        for convolution, mixer in zip(self.convolutions, self.mixers, strict=True):
            average = F.avg_pool2d(feature, 4, 2, padding=1, ceil_mode=True)
            largest = F.max_pool2d(feature, 4, 2, padding=1, ceil_mode=True)
            dense = F.silu(convolution(feature))  # [B, out_channels, ceil(h/2), ceil(w/2)]
            feature = mixer(torch.cat((average, largest, dense), dim=1))
        return feature
