"""The resamplers: a feature of one level moves to another.

Each stands alone (torch only), because an exported neck carries its source. A resampler is
called with a feature [B, C, h, w] and the ``size`` (H, W) of the level it goes to. Those that go
up end at ``size`` exactly; with weights of their own (``necks/upsample.py``) wherever a backbone
halves by rounding up. Those that go down end at each side divided by ``ratio`` (a power of two),
rounded up, which is the size of that level there too; what is left over, the cell makes good
(:class:`nas_fpn.necks.cell.Chain`).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_fpn.necks.esd import Esd1, Esd2
from nas_fpn.necks.upsample import Carafe, Deconv

__all__ = [
    "RESAMPLERS",
    "AvgPool",
    "Interpolate",
    "MaxPool",
    "MaxPool3",
    "Sni",
    "Stride",
    "Subsample",
    "bilinear",
    "maxpool_zero",
    "nearest",
]


def nearest(feature: Tensor, size: Sequence[int]) -> Tensor:
    """Repeat the nearest value: [B, C, h, w] to [B, C, H, W].

    FPN (Lin et al. 2017, arXiv:1612.03144) doubles; here, as in torchvision, the result has the
    finer feature's exact size, so that odd sizes work.
    """
    return F.interpolate(feature, size=size, mode="nearest")


def bilinear(feature: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate bilinearly, corners not aligned: [B, C, h, w] to [B, C, H, W]."""
    return F.interpolate(feature, size=size, mode="bilinear", align_corners=False)


class Sni(nn.Module):
    """Soft nearest-neighbour interpolation: ``alpha`` times an interpolated feature.

    ``alpha="ratio"`` is the paper's: pixels before over pixels after, ``h*w / (H*W)``, which is
    1/4 for one level of even size. A number is a constant: the authors' two-stage FPN has
    ``mode="bilinear", alpha=0.25`` at any size. SlimNeckV2 (Rethinking Features-Fused-Pyramid-Neck
    for Object Detection, ECCV 2024).
    """

    def __init__(self, *, mode: str = "nearest", alpha: float | str = "ratio") -> None:
        super().__init__()
        self.mode = mode
        self.alpha = alpha

    def forward(self, feature: Tensor, size: Sequence[int]) -> Tensor:
        """Take [B, C, h, w] to [B, C, H, W], ``size`` being (H, W)."""
        alpha = self.alpha
        if isinstance(alpha, str):
            alpha = (feature.shape[-2] * feature.shape[-1]) / (size[0] * size[1])
        corners = False if self.mode == "bilinear" else None
        return F.interpolate(feature, size=size, mode=self.mode, align_corners=corners) * alpha


class MaxPool(nn.Module):
    """Maximum over windows of ``ratio`` x ``ratio``, side by side.

    A window that reaches over the right or bottom edge takes what is there (TensorFlow's SAME
    wherever it pads no row in front, so NAS-FPN's own code at even sizes). NAS-FPN (Ghiasi et al.
    2019, arXiv:1904.07392).
    """

    def __init__(self, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio

    def forward(self, feature: Tensor, size: Sequence[int]) -> Tensor:
        """Take [B, C, h, w] to [B, C, H, W]."""
        del size
        return F.max_pool2d(feature, self.ratio, ceil_mode=True)


def maxpool_zero(feature: Tensor, size: Sequence[int]) -> Tensor:
    """Maximum over windows side by side, by mmcv's rule: [B, C, h, w] to [B, C, H, W].

    The window is the feature's side over the target's, rounded up, and zeros fill up to its
    multiple, half of them (rounded down) in front; they take part in the maximum
    (``maxpool[pad=zero]``).
    """
    high = (feature.shape[-2] + size[0] - 1) // size[0]  # ONNX divides towards zero
    wide = (feature.shape[-1] + size[1] - 1) // size[1]
    rows = high * size[0] - feature.shape[-2]
    columns = wide * size[1] - feature.shape[-1]
    around = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    if torch.compiler.is_exporting():  # no format has a window that follows the size
        parts = F.pad(feature, around).reshape(*feature.shape[:2], size[0], high, size[1], wide)
        return parts.amax(dim=(3, 5))
    if rows or columns:  # a pad of nothing is a copy
        feature = F.pad(feature, around)
    return F.max_pool2d(feature, (high, wide))


class MaxPool3(nn.Module):
    """Maximum over 3x3 windows at stride 2, repeated until ``ratio`` is reached.

    Over one level all forms are the same; over several ``window="once"`` takes one 3x3 window at
    the whole stride, which skips values (MnasFPN, Chen et al. 2020, arXiv:1912.01106), and
    ``"wide"`` one of ``ratio + 1`` (the torch port of EfficientDet, GiraffeDet).

    ``pad="one"`` surrounds the feature by half a window (never the maximum), as in the
    torch port of EfficientDet; ``pad="same"`` is TensorFlow's SAME: at an even side only behind.
    BiFPN (Tan et al. 2020, arXiv:1911.09070).
    """

    def __init__(self, ratio: int, *, pad: str = "one", window: str = "halving") -> None:
        super().__init__()
        self.steps = ratio.bit_length() - 1 if window == "halving" else 1
        self.stride = 2 if window == "halving" else ratio
        self.side = self.stride + 1 if window == "wide" else 3
        self.pad = pad

    def forward(self, feature: Tensor, size: Sequence[int]) -> Tensor:
        """Take [B, C, h, w] to [B, C, H, W]."""
        del size
        for _ in range(self.steps):
            if self.pad == "one":
                feature = F.max_pool2d(feature, self.side, self.stride, padding=self.side // 2)
            else:
                top, bottom = self._around(feature.shape[-2])
                left, right = self._around(feature.shape[-1])
                feature = F.pad(feature, (left, right, top, bottom), value=float("-inf"))
                feature = F.max_pool2d(feature, self.side, self.stride)
        return feature

    def _around(self, side: int) -> tuple[int, int]:
        """Rows before and behind: as many as the last window lacks, the odd one behind."""
        last = (side - 1) // self.stride * self.stride  # where the last window begins
        lacking = max(0, last + self.side - side)
        return lacking // 2, lacking - lacking // 2


class AvgPool(nn.Module):
    """Mean over windows of ``ratio`` x ``ratio``, side by side.

    A window that reaches over the right or bottom edge averages what is there.
    """

    def __init__(self, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio

    def forward(self, feature: Tensor, size: Sequence[int]) -> Tensor:
        """Take [B, C, h, w] to [B, C, H, W]."""
        del size
        return F.avg_pool2d(feature, self.ratio, ceil_mode=True, count_include_pad=False)


class Stride(nn.ModuleList):
    """3x3 convolutions at stride 2, as many as ``ratio`` has halvings, each with its own weights.

    The first gives ``out_channels``; only the last follows ``bias``, those before it always have
    one, and there is neither norm nor activation between. The extra levels of RetinaNet (Lin et
    al. 2017, arXiv:1708.02002) and the bottom-up path of PANet (Liu et al. 2018, arXiv:1803.01534)
    have one.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool, ratio: int) -> None:
        super().__init__()
        steps = ratio.bit_length() - 1
        for step in range(steps):
            kept = bias or step < steps - 1
            self.append(nn.Conv2d(in_channels, out_channels, 3, 2, padding=1, bias=kept))
            in_channels = out_channels

    def forward(self, feature: Tensor, size: Sequence[int]) -> Tensor:
        """Take [B, in_channels, h, w] to [B, out_channels, H, W]."""
        del size
        for convolution in self:
            feature = convolution(feature)  # [B, C, ceil(h/2), ceil(w/2)]
        return feature


class Subsample(nn.Module):
    """Keep every ``ratio``-th row and column, beginning with the first.

    What FPN's extra level is in Detectron and torchvision: a "max pool" with a window of one.
    """

    def __init__(self, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio

    def forward(self, feature: Tensor, size: Sequence[int]) -> Tensor:
        """Take [B, C, h, w] to [B, C, H, W]."""
        del size
        return feature[:, :, :: self.ratio, :: self.ratio]


class Interpolate(nn.Module):
    """Interpolate down to the coarser size: bilinear with corners not aligned, or the nearest.

    No value is averaged that the new grid does not touch. NAS-FCOS (Wang et al. 2020,
    arXiv:1906.04423) reduces so.
    """

    def __init__(self, *, mode: str = "bilinear") -> None:
        super().__init__()
        self.mode = mode

    def forward(self, feature: Tensor, size: Sequence[int]) -> Tensor:
        """Take [B, C, h, w] to [B, C, H, W], ``size`` being (H, W)."""
        corners = False if self.mode == "bilinear" else None
        return F.interpolate(feature, size=size, mode=self.mode, align_corners=corners)


RESAMPLERS: dict[str, Callable[..., Tensor] | type[nn.Module]] = {
    "nearest": nearest,
    "bilinear": bilinear,
    "sni": Sni,
    "deconv": Deconv,
    "carafe": Carafe,
    "maxpool": MaxPool,
    "maxpool3": MaxPool3,
    "avgpool": AvgPool,
    "stride": Stride,
    "subsample": Subsample,
    "interpolate": Interpolate,
    "esd1": Esd1,
    "esd2": Esd2,
}
