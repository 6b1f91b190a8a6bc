"""ESD, down-sampling by an extended window: average, maximum and convolution side by side.

Like every operation they stand alone (torch only). Both are steps at stride 2, as many as
``ratio`` has halvings, each with its own weights; the first gives ``out_channels``. A step has
three branches: ``A`` an average and ``M`` a maximum over 4x4 windows, one row and column around
(zeros, counted by the average; never the maximum), and ``D`` a 3x3 convolution without bias,
batch normalisation and SiLU.

SlimNeckV2 (Rethinking Features-Fused-Pyramid-Neck for Object Detection, ECCV 2024). The authors'
code refuses odd sizes. Here a side is halved by rounding up: the last window reaches one further,
where nothing is and nothing is counted.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Esd1", "Esd2"]


class Esd1(nn.Module):
    """ESD-1: ``A + M + D`` where channels stay, ``concat(A, M) + D`` where they double.

    Those are the two forms of the authors' code (SlimNeckV2, ECCV 2024), which refuses all other
    channels. Here, for those, a 1x1 convolution without bias brings ``concat(A, M)`` to
    ``out_channels``. Sides are halved by rounding up.
    """

    def __init__(self, in_channels: int, out_channels: int, *, ratio: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        self.fits = nn.ModuleList()
        for _ in range(ratio.bit_length() - 1):
            self.convolutions.append(
                nn.Conv2d(in_channels, out_channels, 3, 2, padding=1, bias=False)
            )
            self.norms.append(nn.BatchNorm2d(out_channels))
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
        for convolution, norm, fit in zip(self.convolutions, self.norms, self.fits, strict=True):
            average = F.avg_pool2d(feature, 4, 2, padding=1, ceil_mode=True)
            largest = F.max_pool2d(feature, 4, 2, padding=1, ceil_mode=True)
            dense = F.silu(norm(convolution(feature)))  # [B, out_channels, ceil(h/2), ceil(w/2)]
            if dense.shape[1] == feature.shape[1]:
                feature = average + largest + dense
            else:
                feature = fit(torch.cat((average, largest), dim=1)) + dense
        return feature


class Esd2(nn.Module):
    """ESD-2: a 1x1 convolution without bias of ``concat(A, M, D)``.

    The authors' code (SlimNeckV2, ECCV 2024) gives that convolution ``2 * out_channels`` inputs,
    so it runs only where channels double; here it has the ``2 * in_channels + out_channels`` that
    come, the same in that case. Sides are halved by rounding up.
    """

    def __init__(self, in_channels: int, out_channels: int, *, ratio: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        self.mixers = nn.ModuleList()
        for _ in range(ratio.bit_length() - 1):
            self.convolutions.append(
                nn.Conv2d(in_channels, out_channels, 3, 2, padding=1, bias=False)
            )
            self.norms.append(nn.BatchNorm2d(out_channels))
            self.mixers.append(
                nn.Conv2d(2 * in_channels + out_channels, out_channels, 1, bias=False)
            )
            in_channels = out_channels

    def forward(self, feature: Tensor, size: Sequence[int]) -> Tensor:
        """Take [B, in_channels, h, w] to [B, out_channels, H, W]."""
        del size
        for convolution, norm, mixer in zip(
            self.convolutions, self.norms, self.mixers, strict=True
        ):
            average = F.avg_pool2d(feature, 4, 2, padding=1, ceil_mode=True)
            largest = F.max_pool2d(feature, 4, 2, padding=1, ceil_mode=True)
            dense = F.silu(norm(convolution(feature)))  # [B, out_channels, ceil(h/2), ceil(w/2)]
            feature = mixer(torch.cat((average, largest, dense), dim=1))
        return feature
