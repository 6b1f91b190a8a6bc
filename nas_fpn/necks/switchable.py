"""A convolution that switches between two dilations at each place: DetectoRS' SAC.

Qiao et al. 2021, arXiv:2006.02334, section 4, with the weight standardisation of the official
code. It stands in a backbone; :func:`convert_convolutions` puts it there.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SwitchableConv2d", "convert_convolutions"]

EPS = 1e-5  # under the root of the deviation
LARGE = 3  # the large dilation, in small ones


class SwitchableConv2d(nn.Conv2d):
    """A 3x3 convolution whose dilation is chosen softly at each place, between d and 3 d.

    ::

        x1 = x + pre(mean of x)                              # the means are over the feature
        s  = switch(average of x1 over 5x5, reflected at the border)       # [B, 1, H, W]
        W  = gamma * (weight - mean) / sqrt(var + 1e-5) + beta   # mean, var: per output channel
        y  = s * conv(x1, W, dilation d) + (1 - s) * conv(x1, W + weight_diff, dilation 3 d)
        out = y + post(mean of y)

    ``pre``, ``post`` and ``switch`` are 1x1 convolutions with biases; the padding is the dilation;
    a stride is taken by ``switch`` and by both convolutions. As in the authors' code, no sigmoid
    bounds ``s``, and ``var`` is unbiased. It starts as the small branch: ``s`` is 1, and
    ``weight_diff``, ``pre`` and ``post`` are 0.

    ``gamma`` and ``beta`` are buffers, as published: 1 and 0 here, and
    :func:`convert_convolutions` sets them to the deviation and mean of the trained weight, so that
    it starts unchanged. To load plain weights, do so before converting.

    Differences: ``bias=True`` is used, in both branches, where the published code has the parameter
    and drops it. The deformable variant (both branches a deformable convolution, with offsets from
    the average) is left out: it needs torchvision's operation, and this floor knows torch only.

    Sides must be at least 3 to be reflected; ``forward`` raises ValueError below that, so a
    64 x 64 image fails in a backbone's last stage.
    """

    gamma: Tensor
    beta: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int | tuple[int, int] = 1,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            3,
            stride,
            padding=dilation,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.weight_diff = nn.Parameter(torch.zeros_like(self.weight))
        self.register_buffer("gamma", torch.ones(out_channels, 1, 1, 1))
        self.register_buffer("beta", torch.zeros(out_channels, 1, 1, 1))
        with torch.random.fork_rng(devices=[]):  # all three start at constants
            self.switch = nn.Conv2d(in_channels, 1, 1, stride)
            self.pre = nn.Conv2d(in_channels, in_channels, 1)
            self.post = nn.Conv2d(out_channels, out_channels, 1)
        for still in (self.switch, self.pre, self.post):
            nn.init.zeros_(still.weight)
            assert still.bias is not None
            nn.init.constant_(still.bias, 1.0 if still is self.switch else 0.0)

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, in_channels, H, W] to [B, out_channels, ceil(H/stride), ceil(W/stride)]."""
        high, wide = feature.shape[-2:]
        if high < 3 or wide < 3:
            raise ValueError(
                f"SwitchableConv2d reflects its feature by 2, which needs sides of at least 3, but "
                f"got {high} x {wide}; give larger images, or leave this stage unconverted"
            )
        feature = feature + self.pre(feature.mean(dim=(2, 3), keepdim=True))
        average = F.avg_pool2d(F.pad(feature, (2, 2, 2, 2), mode="reflect"), 5, 1)
        switch = self.switch(average)  # [B, 1, ceil(H/stride), ceil(W/stride)]
        mean, deviation = _moments(self.weight)
        weight = self.gamma * (self.weight - mean) / deviation + self.beta
        small = self._convolve(feature, weight, 1)
        large = self._convolve(feature, weight + self.weight_diff, LARGE)
        mixed: Tensor = switch * small + (1 - switch) * large
        context: Tensor = self.post(mixed.mean(dim=(2, 3), keepdim=True))
        return mixed + context

    def _convolve(self, feature: Tensor, weight: Tensor, times: int) -> Tensor:
        far: Sequence[int] = [times * dilation for dilation in self.dilation]
        return F.conv2d(feature, weight, self.bias, self.stride, far, far, self.groups)


def convert_convolutions(module: nn.Module) -> tuple[str, ...]:
    """Replace, in place, the 3x3 convolutions in ``module``; give their names.

    Converted is each plain ``nn.Conv2d`` with a 3x3 kernel, zero padding equal to its dilation and
    any stride, dilation and groups; all others, of subclasses too, are left as they are. The
    weight and bias remain the same parameters, ``gamma`` and ``beta`` become the deviation and mean
    of the weight, and all else starts as the small branch: the function is the same, up to
    rounding. One convolution used in several places remains one.

    DetectoRS converts the last three stages of a ResNet: call this for each of them. An optimiser
    made before does not know the new parameters. Raises ValueError where there is nothing to
    convert.
    """
    made: dict[nn.Conv2d, SwitchableConv2d] = {}
    names = []
    for path, parent in list(module.named_modules()):
        for name, child in list(parent._modules.items()):
            if type(child) is nn.Conv2d and _fits(child):
                if child not in made:
                    made[child] = _converted(child)
                setattr(parent, name, made[child])
                names.append(f"{path}.{name}" if path else name)
    if not names:
        raise ValueError(
            f"{type(module).__name__} holds no nn.Conv2d with a 3x3 kernel and zero padding equal "
            "to its dilation; give the stages of a backbone, or the module around the convolution"
        )
    return tuple(names)


def _fits(convolution: nn.Conv2d) -> bool:
    return (
        convolution.kernel_size == (3, 3)
        and convolution.padding == convolution.dilation
        and convolution.padding_mode == "zeros"
    )


def _converted(plain: nn.Conv2d) -> SwitchableConv2d:
    stride, dilation = plain.stride, plain.dilation
    with torch.random.fork_rng(devices=[]):  # the weight drawn here is not kept
        made = SwitchableConv2d(
            plain.in_channels,
            plain.out_channels,
            stride=(stride[0], stride[1]),
            dilation=(dilation[0], dilation[1]),
            groups=plain.groups,
            bias=plain.bias is not None,
        )
    made.to(plain.weight).train(plain.training)
    made.weight, made.bias = plain.weight, plain.bias
    with torch.no_grad():
        mean, deviation = _moments(plain.weight)
        made.beta.copy_(mean)
        made.gamma.copy_(deviation)
    return made


def _moments(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each output channel's weights, [out_channels, 1, 1, 1] each."""
    variance, mean = torch.var_mean(weight, dim=(1, 2, 3), keepdim=True)
    return mean, (variance + EPS).sqrt()
