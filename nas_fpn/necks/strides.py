"""What ``stride`` is made of where its convolution is not the plain one: ``stride[conv=sep]``.

Each is a list of steps at stride 2, as many as ``ratio`` has halvings, each with its own weights;
the first gives ``out_channels``. Like every operation they stand alone.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from nas_fpn.necks.deform import Deformable
from nas_fpn.necks.slim import GSConv, GSConvE1

__all__ = [
    "STRIDES",
    "Steps",
    "StrideDeformable",
    "StrideGSConv",
    "StrideGSConvE1",
    "StrideSeparable",
    "halve",
]


class Steps(nn.ModuleList):
    """Convolutions at stride 2, one behind the other."""

    def forward(self, feature: Tensor, size: Sequence[int]) -> Tensor:
        """Take [B, in_channels, h, w] to [B, out_channels, H, W]."""
        del size
        for step in self:
            feature = step(feature)  # [B, C, ceil(h/2), ceil(w/2)]
        return feature


class StrideSeparable(Steps):
    """Depthwise 3x3 convolutions at stride 2 without bias, each followed by a 1x1.

    The biases of the 1x1 are those of ``stride``'s convolutions. MobileNets (Howard et al. 2017,
    arXiv:1704.04861), without their norms and activations.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool, ratio: int) -> None:
        super().__init__()
        steps = ratio.bit_length() - 1
        for step in range(steps):
            depthwise = nn.Conv2d(
                in_channels, in_channels, 3, 2, padding=1, groups=in_channels, bias=False
            )
            kept = bias or step < steps - 1
            self.append(
                nn.Sequential(depthwise, nn.Conv2d(in_channels, out_channels, 1, bias=kept))
            )
            in_channels = out_channels


class StrideGSConv(Steps):
    """``gsconv[kernel=3]`` at stride 2: its dense convolution halves.

    The necks of SlimNeck (Li et al. 2022, arXiv:2206.02424) go down by it. Norms and activations
    are inside.
    """

    def __init__(self, in_channels: int, out_channels: int, *, ratio: int) -> None:
        super().__init__()
        for _ in range(ratio.bit_length() - 1):
            step = GSConv(in_channels, out_channels, kernel=3)
            halve(step.dense.conv)
            self.append(step)
            in_channels = out_channels


class StrideGSConvE1(Steps):
    """``gsconve1`` at stride 2: its first convolution halves.

    The necks of SlimNeckV2 (Rethinking Features-Fused-Pyramid-Neck for Object Detection, ECCV
    2024) go down by it. Norms and activations are inside.
    """

    def __init__(self, in_channels: int, out_channels: int, *, ratio: int) -> None:
        super().__init__()
        for _ in range(ratio.bit_length() - 1):
            step = GSConvE1(in_channels, out_channels)
            halve(step.first.conv)
            self.append(step)
            in_channels = out_channels


class StrideDeformable(Steps):
    """Deformable 3x3 convolutions without masks at stride 2.

    The scale-equalising path of OPANAS (Liang et al. 2021, arXiv:2103.04507). The biases are those
    of ``stride``'s convolutions.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool, ratio: int) -> None:
        super().__init__()
        steps = ratio.bit_length() - 1
        for step in range(steps):
            kept = bias or step < steps - 1
            self.append(Deformable(in_channels, out_channels, bias=kept, stride=2, mask="none"))
            in_channels = out_channels


def halve(convolution: nn.Conv2d) -> None:
    """Give a convolution the stride 2."""
    convolution.stride = (2, 2)


STRIDES: dict[str, Callable[..., Tensor] | type[nn.Module]] = {
    "sep": StrideSeparable,
    "gsconv": StrideGSConv,
    "gsconve1": StrideGSConvE1,
    "deform": StrideDeformable,
}
