"""A convolution that is trained as several and deployed as one."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["RepConv", "fuse_repconv"]


class RepConv(nn.Module):
    """A 3x3 and a 1x1 convolution side by side, each with a norm, and the feature's own norm.

    ``bn(conv3(x)) + bn(conv1(x)) + bn(x)``, the last only where the channels stay the same and
    ``identity="bn"``; no biases. RepVGG (Ding et al. 2021, arXiv:2101.03697); the blocks of
    DAMO-YOLO's neck. No activation ends it here: ``repconv relu`` is the published block. What
    :func:`fuse_repconv` gives is equal in evaluation mode.
    """

    def __init__(self, in_channels: int, out_channels: int, *, identity: str = "bn") -> None:
        super().__init__()
        self.conv3 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(out_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        kept = identity == "bn" and in_channels == out_channels
        self.norm0 = nn.BatchNorm2d(out_channels) if kept else None

    def forward(self, feature: Tensor) -> Tensor:
        """Take [B, in_channels, H, W] to [B, out_channels, H, W]."""
        total: Tensor = self.norm3(self.conv3(feature)) + self.norm1(self.conv1(feature))
        return total if self.norm0 is None else total + self.norm0(feature)


def fuse_repconv(block: RepConv) -> nn.Conv2d:
    """Give the 3x3 convolution with bias that does in one what ``block`` does in evaluation mode.

    Its weights are those of the block as they are now, computed in 64 bits.
    """
    out_channels, in_channels = block.conv3.weight.shape[:2]
    branches = [
        (block.conv3.weight, block.norm3),
        (F.pad(block.conv1.weight, (1, 1, 1, 1)), block.norm1),
    ]
    if block.norm0 is not None:
        branches.append((nn.init.dirac_(torch.empty_like(block.conv3.weight)), block.norm0))
    fused = nn.Conv2d(in_channels, out_channels, 3, padding=1).to(block.conv3.weight)
    kernel = torch.zeros_like(fused.weight, dtype=torch.float64)
    bias = kernel.new_zeros(out_channels)
    with torch.no_grad():
        for weight, norm in branches:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
            kernel += weight.double() * scale[:, None, None, None]
            bias += norm.bias.double() - norm.running_mean.double() * scale
        fused.weight.copy_(kernel)
        assert fused.bias is not None
        fused.bias.copy_(bias)
    return fused
