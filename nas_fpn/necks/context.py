"""Blocks that look beyond a window: at several distances, or at the whole feature.

An exported neck carries the source of what it uses.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_fpn.necks.slim import check_parts

__all__ = ["Aspp", "ResidualAugmentation"]


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling: four views of a feature side by side.

    ``concat(relu(conv1(x)), relu(conv3(x) dilated by 3), relu(conv3(x) dilated by 6),
    relu(conv1(mean of x)))``, the last spread over the feature; each view has a quarter of the
    channels, biases, no norm. DeepLab (Chen et al. 2018, arXiv:1606.00915), in the form that
    DetectoRS (Qiao et al. 2021, arXiv:2006.02334) feeds back: no convolution follows.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        check_parts("aspp", out_channels, 4)
        quarter = out_channels // 4
        self.point = nn.Conv2d(in_channels, quarter, 1)
        self.near = nn.Conv2d(in_channels, quarter, 3, padding=3, dilation=3)
        self.far = nn.Conv2d(in_channels, quarter, 3, padding=6, dilation=6)
        self.whole = nn.Conv2d(in_channels, quarter, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, in_channels, H, W] to [B, out_channels, H, W]."""
        whole = self.whole(feature.mean(dim=(2, 3), keepdim=True))  # [B, out_channels / 4, 1, 1]
        whole = whole.expand(-1, -1, feature.shape[-2], feature.shape[-1])
        views = (self.point(feature), self.near(feature), self.far(feature), whole)
        return F.relu(torch.cat(views, dim=1))


class ResidualAugmentation(nn.Module):
    """Context of three ratios, fused by weights of each place: AugFPN's M6.

    For r in 0.1, 0.2, 0.3: ``p_r`` is the feature averaged down to ``max(1, int(r * side))``
    cells a side, through a 1x1 convolution, resized back (bilinear, corners aligned). Then the
    adaptive spatial fusion ``sum_r s_r * p_r``, where ``s = sigmoid(conv3(relu(conv1(concat
    p))))`` has one map for each ratio. All with biases, no norm. The weights are independent, as
    in the authors' code; a softmax would make them sum to 1. Below 10 cells a side the first
    ratio is the global mean.

    AugFPN (Guo et al. 2020, arXiv:1912.05384, section 3.2), without the sum with the coarsest
    lateral, which a program says itself: ``p5 = sum(c5 -> conv1, c5 -> rfa)``.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.tenths = (1, 2, 3)
        self.reduce = nn.ModuleList(nn.Conv2d(in_channels, out_channels, 1) for _ in self.tenths)
        self.mix = nn.Conv2d(len(self.tenths) * out_channels, out_channels, 1)
        self.weigh = nn.Conv2d(out_channels, len(self.tenths), 3, padding=1)

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, in_channels, H, W] to [B, out_channels, H, W]."""
        high, wide = feature.shape[-2:]
        contexts = []
        for tenths, reduce in zip(self.tenths, self.reduce, strict=True):
            cells = (max(1, high * tenths // 10), max(1, wide * tenths // 10))
            if torch.compiler.is_exporting():  # no format has windows that follow the size
                rows, columns = (
                    mean_there(*pair, feature) for pair in zip(cells, (high, wide), strict=True)
                )
                contexts.append(reduce(rows @ feature @ columns.transpose(0, 1)))
                continue
            context = reduce(F.adaptive_avg_pool2d(feature, cells))
            contexts.append(
                F.interpolate(context, size=(high, wide), mode="bilinear", align_corners=True)
            )
        weights = self.weigh(F.relu(self.mix(torch.cat(contexts, dim=1)))).sigmoid()
        total: Tensor = weights[:, 0:1] * contexts[0]
        for i in range(1, len(contexts)):
            total = total + weights[:, i : i + 1] * contexts[i]
        return total


def mean_there(cells: int, side: int, like: Tensor) -> Tensor:
    """A side averaged down to ``cells``, resized back, as one matrix [side, side]."""
    place = torch.arange(side, device=like.device).float()[None]  # [1, side]
    steps, last = (place * (cells - 1)).transpose(0, 1), max(side - 1, 1)
    left = (steps / last).floor()  # [side, 1]: the cell at or before each place
    part = (steps - left * last) / last
    total = torch.zeros_like(part)
    for cell, share in ((left, 1 - part), (left + 1, part)):
        first, end = (cell * side / cells).floor(), ((cell + 1) * side / cells).ceil()
        inside = torch.minimum(place - first + 1, end - place).clamp(0, 1)  # [side, side]
        total = total + inside * share / (end - first)
    return total.to(like.dtype)
