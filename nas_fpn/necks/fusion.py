"""Merges that learn more than a number per operand: ASFF, and the two of NAS-FCOS.

Like every operation they stand alone (torch only). ``in_channels`` is the sum over the
operands, which have equal channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Asff", "GroupedConcat", "PerChannel"]


class Asff(nn.Module):
    """Adaptively spatial feature fusion: ``sum_i W_i x_i``, weights for each pixel.

    ``W = softmax(conv1x1(a_1, ..., a_n))`` over the operands, where ``a_i`` is a 1x1 convolution
    of ``x_i`` to ``compress`` channels without bias, batch normalisation and activation. So the
    weights are maps [B, operands, H, W] that follow the input, and sum to 1 everywhere.

    ASFF (Liu et al. 2019, arXiv:1911.09516, section 3.2). The authors' code has
    ``act="leaky"`` (slope 0.1), for MobileNet ``act="relu6"``, and ``compress=8`` with its
    RFB heads. It has three operands, here any number. What it does before (``stride bn leaky``,
    ``conv1 bn leaky`` and ``nearest``) and after (``conv3 bn leaky``) are blocks of the line.
    """

    def __init__(
        self, in_channels: int, operands: int, *, compress: int = 16, act: str = "leaky"
    ) -> None:
        super().__init__()
        channels = in_channels // operands
        self.act = act
        self.embeddings = nn.ModuleList(
            nn.Conv2d(channels, compress, 1, bias=False) for _ in range(operands)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(compress) for _ in range(operands))
        self.weights = nn.Conv2d(operands * compress, operands, 1)

    def forward(self, *features: Tensor) -> Tensor:
        """Take operands [B, C, H, W] to one."""
        weights = self.maps(*features)  # [B, operands, H, W]
        total = weights[:, :1] * features[0]
        for i in range(1, len(features)):
            total = total + weights[:, i : i + 1] * features[i]
        return total

    def maps(self, *features: Tensor) -> Tensor:
        """Give the weights [B, operands, H, W] of operands [B, C, H, W]."""
        embedded = []
        for embedding, norm, feature in zip(self.embeddings, self.norms, features, strict=True):
            hidden = norm(embedding(feature))  # [B, compress, H, W]
            leaky = self.act == "leaky"
            embedded.append(F.leaky_relu(hidden, 0.1) if leaky else F.relu6(hidden))
            del hidden  # not held while the next are made
        logits: Tensor = self.weights(torch.cat(embedded, dim=1))
        return logits.softmax(dim=1)


class PerChannel(nn.Module):
    """``sum_i w_i x_i``, one free weight for each channel of each operand, at first 1.

    The "psum" of NAS-FCOS (Wang et al. 2020, arXiv:1906.04423), which has two operands; here
    any number.
    """

    def __init__(self, in_channels: int, operands: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(operands, in_channels // operands))

    def forward(self, *features: Tensor) -> Tensor:
        """Take operands [B, C, H, W] to one."""
        weights = self.weight[:, :, None, None]  # [operands, C, 1, 1]
        total = weights[0] * features[0]
        for i in range(1, len(features)):
            total = total + weights[i] * features[i]
        return total


class GroupedConcat(nn.Module):
    """Concatenate, then batch normalisation, ReLU and a 1x1 convolution in C groups, no bias.

    The "cat" of NAS-FCOS (Wang et al. 2020, arXiv:1906.04423), as published: operands stand one
    behind the other, and each output channel reads as many neighbours as there are operands. So
    it does not mix: of two operands the first half of the outputs sees the first only, the second
    half the second (the one in the middle sees both where C is odd). ``concat`` is what mixes.
    NAS-FCOS has two operands; here any number.
    """

    def __init__(self, in_channels: int, operands: int) -> None:
        super().__init__()
        channels = in_channels // operands
        self.norm = nn.BatchNorm2d(in_channels)
        self.convolution = nn.Conv2d(in_channels, channels, 1, groups=channels, bias=False)

    def forward(self, *features: Tensor) -> Tensor:
        """Take operands [B, C, H, W] to one."""
        joined = self.norm(torch.cat(features, dim=1))  # [B, operands * C, H, W]
        merged: Tensor = self.convolution(F.relu(joined))
        return merged
