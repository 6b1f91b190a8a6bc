"""Dynamic head: attention over places, levels and channels, as one merge.

It needs torchvision's deformable convolution (``necks/deform.py``).
"""

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import deform_conv2d

from nas_fpn.necks.blocks import GroupNorm
from nas_fpn.necks.deform import Offsets, at_least_32_bits

__all__ = ["DynamicHead", "DynamicRelu"]


class DynamicRelu(nn.Module):
    """``max(a1 x + b1, a2 x + b2)``, whose coefficients follow the feature's own mean.

    ``a1, b1, a2, b2 = v = hardsigmoid(conv1(relu(conv1(mean of x)))) - 0.5`` for each channel, with
    ``a1 = 2 v + 1`` and ``a2 = 2 v``; the first convolution gives a quarter of the channels.
    Dynamic ReLU (Chen et al. 2020, arXiv:2003.10027), form B.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        fewer = max(1, channels // 4)
        self.squeeze = nn.Conv2d(channels, fewer, 1)
        self.excite = nn.Conv2d(fewer, 4 * channels, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, C, H, W] to the same."""
        context = self.squeeze(feature.mean(dim=(2, 3), keepdim=True))  # [B, C / 4, 1, 1]
        shares = F.hardsigmoid(self.excite(F.relu(context))) - 0.5  # [B, 4 C, 1, 1]
        a1, b1, a2, b2 = shares.chunk(4, dim=1)
        return ((2 * a1 + 1) * feature + b1).maximum(2 * a2 * feature + b2)


class DynamicHead(nn.Module):
    """Operands by deformable convolution where the first says, each by its own share: ``dyhead``.

    Offsets and masks come from the first operand, the level's own feature, by one 3x3 convolution
    that begins at zero. Each operand passes its own deformable 3x3 convolution at those places and
    group normalisation: ``f_i``. Then ``mean_i s(f_i) f_i`` with the scale attention
    ``s(f) = hardsigmoid(relu(conv1(mean of f)))``, one number for each operand from shared weights,
    and at last :class:`DynamicRelu`. Where ``groups`` does not divide the channels, their greatest
    common divisor is taken.

    Dynamic Head (Dai et al. 2021, arXiv:2106.08322), a block of which is a line for each level:
    ``p4 = dyhead(p4, p3 -> maxpool, p5)``; six blocks are usual. Here the operands are resampled
    before the deformable convolution: in the reference the finer one is halved by it and the
    coarser one enlarged behind it, with offsets computed at another resolution. The levels of a
    block share their weights there; here each line has its own.
    """

    def __init__(self, in_channels: int, operands: int, *, groups: int = 16) -> None:
        super().__init__()
        channels = in_channels // operands
        self.offset = Offsets(channels, 27, 1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(operands)
        )
        self.norms = nn.ModuleList(GroupNorm(channels, groups=groups) for _ in range(operands))
        self.share = nn.Conv2d(channels, 1, 1)
        self.relu = DynamicRelu(channels)

    def forward(self, *features: Tensor) -> Tensor:
        """Take operands [B, C, H, W] to one."""
        places = self.offset(features[0])  # [B, 27, H, W]: offsets of 9 taps, then their masks
        shifts = at_least_32_bits(places[:, :18])
        masks = at_least_32_bits(places[:, 18:].sigmoid())
        total: Tensor | None = None
        for feature, convolution, norm in zip(features, self.convolutions, self.norms, strict=True):
            assert isinstance(convolution, nn.Conv2d)
            kernel = at_least_32_bits(convolution.weight)
            moved = deform_conv2d(
                at_least_32_bits(feature), shifts, kernel, padding=(1, 1), mask=masks
            )
            moved = norm(moved.to(places.dtype))
            share = F.hardsigmoid(F.relu(self.share(moved.mean(dim=(2, 3), keepdim=True))))
            total = share * moved if total is None else total + share * moved
        assert total is not None
        fused: Tensor = self.relu(total / len(features))
        return fused
