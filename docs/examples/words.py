"""Own words for the neck language: a block, a merge and a resampler. ``docs/words.md`` explains.

nas-fpn size docs/examples/words.space --words docs/examples/words.py
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_fpn.language import BIAS, CHANNELS, Argument, Row, Use


class EfficientChannelAttention(nn.Module):
    """Each channel times a gate: a convolution over its neighbours' means, then a sigmoid.

    ECA-Net (Wang et al. 2020, arXiv:1910.03151). The size of the kernel is an argument here; the
    paper derives it from the channels. Takes and gives [B, C, H, W].
    """

    def __init__(self, *, kernel: int = 3) -> None:
        super().__init__()
        self.mix = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, feature: Tensor) -> Tensor:
        """Gate ``feature`` [B, C, H, W]."""
        context = feature.mean(dim=(2, 3))  # [B, C]
        gate: Tensor = self.mix(context.unsqueeze(1)).squeeze(1).sigmoid()  # [B, C]
        return feature * gate[:, :, None, None]


def eca_cost(use: Use) -> tuple[int, int]:
    """One kernel, which slides over the channels."""
    kernel = int(use.arguments["kernel"])
    return kernel, kernel * use.channels


def agree(first: Tensor, second: Tensor) -> Tensor:
    """Keep what two features [B, C, H, W] agree on: their sum, damped where signs differ."""
    return (first + second) * torch.sigmoid(first * second)


class PixelUp(nn.Module):
    """A 1x1 convolution to ratio² times the channels, laid out as ratio x ratio pixels.

    ESPCN (Shi et al. 2016, arXiv:1609.05158), with a 1x1 kernel. Where the fine size is odd, the
    last row or column is cut.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool, ratio: int = 2) -> None:
        super().__init__()
        self.spread = nn.Conv2d(in_channels, out_channels * ratio**2, 1, bias=bias)
        self.ratio = ratio

    def forward(self, feature: Tensor, size: Sequence[int]) -> Tensor:
        """Take ``feature`` [B, C, h, w] to [B, C', H, W], ``size`` being (H, W)."""
        pixels = F.pixel_shuffle(self.spread(feature), self.ratio)  # [B, C', ratio h, ratio w]
        return pixels[..., : size[0], : size[1]]


def pixel_cost(use: Use) -> tuple[int, int]:
    """A 1x1 convolution at the coarse size."""
    given = use.channels * 4**use.steps
    kernel = use.inputs[0] * given
    return kernel + use.bias * given, kernel * use.before[0] * use.before[1]


words = {
    "eca": Row(
        "block",
        (Argument("kernel", 3, least=1, most=9, odd=True),),
        cost=eca_cost,
        operation=EfficientChannelAttention,
    ),
    "agree": Row("merge", operands=(2, 2), commutes=True, operation=agree),
    "pixel": Row("up", (CHANNELS, BIAS), gives=True, bias=True, cost=pixel_cost, operation=PixelUp),
}
