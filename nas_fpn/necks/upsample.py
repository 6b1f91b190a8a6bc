"""Resamplers that go up with weights of their own: transposed convolution, CARAFE.

Like every operation they stand alone (torch only). What lies beyond the line's size is cut off
behind, so that odd sizes work wherever a backbone halves by rounding up.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Carafe", "Deconv"]


class Deconv(nn.ModuleList):
    """Transposed convolutions at stride 2, as many as ``ratio`` has doublings, own weights each.

    ``kernel=2`` is YOLOv6's: each value becomes 2x2 of its own. A larger ``kernel`` overlaps and
    begins ``(kernel - 1) // 2`` before, so 4 is the usual one with padding 1. A step ends at the
    size of its level: what is beyond is cut off behind. The first gives ``out_channels``; only
    the last follows ``bias``, those before it always have one, and nothing stands between.
    Deconvolution: Zeiler et al. 2010; YOLOv6: Li et al. 2022, arXiv:2209.02976.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, bias: bool, ratio: int, kernel: int = 2
    ) -> None:
        super().__init__()
        self.before = (kernel - 1) // 2
        steps = ratio.bit_length() - 1
        for step in range(steps):
            kept = bias or step < steps - 1
            self.append(nn.ConvTranspose2d(in_channels, out_channels, kernel, 2, bias=kept))
            in_channels = out_channels

    def forward(self, feature: Tensor, size: Sequence[int]) -> Tensor:
        """Take [B, in_channels, h, w] to [B, out_channels, H, W], ``size`` being (H, W)."""
        ratio = 2 ** len(self)
        for convolution in self:
            ratio //= 2
            high = min(2 * feature.shape[-2], (size[0] + ratio - 1) // ratio)
            wide = min(2 * feature.shape[-1], (size[1] + ratio - 1) // ratio)
            feature = convolution(feature)  # [B, C, 2h + kernel - 2, 2w + kernel - 2]
            feature = feature[
                ..., self.before : self.before + high, self.before : self.before + wide
            ]
        return feature


class Carafe(nn.Module):
    """Content-aware reassembly: each new value is a weighted mean of those around its source.

    ``out(p') = sum_n W_p'(n) x(p + n)``, ``p = floor(p' / ratio)``, ``n`` over ``kernel`` x
    ``kernel``, zeros beyond the edge. ``W`` is a softmax over ``n`` of what a 1x1 convolution to
    ``mid`` channels and an ``encoder`` x ``encoder`` convolution predict at ``p``. All channels
    of a group share ``W``; where ``groups`` does not divide the channels, their greatest common
    divisor is taken.

    CARAFE (Wang et al. 2019, arXiv:1905.02188, section 3), whose defaults these are. The
    paper crosses one level (``ratio=2``); here several are crossed at once. What reaches over the
    line's size is cut off behind. Convolutions start by our one rule, not by the authors' small
    normal numbers.
    """

    def __init__(
        self,
        channels: int,
        ratio: int,
        *,
        mid: int = 64,
        encoder: int = 3,
        kernel: int = 5,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.ratio = ratio
        self.kernel = kernel
        self.groups = math.gcd(groups, channels)
        self.compress = nn.Conv2d(channels, mid, 1)
        weights = self.groups * kernel**2 * ratio**2
        self.encode = nn.Conv2d(mid, weights, encoder, padding=encoder // 2)

    def forward(self, feature: Tensor, size: Sequence[int]) -> Tensor:
        """Take [B, C, h, w] to [B, C, H, W], ``size`` being (H, W)."""
        high, wide = feature.shape[-2:]
        weights = self.encode(self.compress(feature))
        weights = weights.unflatten(1, (self.groups, self.kernel**2, self.ratio**2))
        weights = weights.softmax(dim=2).unsqueeze(3)  # [B, G, kernel^2, 1, ratio^2, h, w]
        edge = self.kernel // 2
        around = F.pad(feature, (edge, edge, edge, edge))
        around = around.unflatten(1, (self.groups, -1)).unsqueeze(3)  # [B, G, C/G, 1, ...]
        total = weights[:, :, 0] * around[..., :high, :wide]  # [B, G, C/G, ratio^2, h, w]
        for n in range(1, self.kernel**2):
            y, x = divmod(n, self.kernel)
            shifted = around[..., y : y + high, x : x + wide]
            total = torch.addcmul(total, weights[:, :, n], shifted)
        total = F.pixel_shuffle(total.flatten(1, 3), self.ratio)  # [B, C, ratio * h, ratio * w]
        return total[..., : size[0], : size[1]]
