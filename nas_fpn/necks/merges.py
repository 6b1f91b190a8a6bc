"""The merges: several features of one level become one.

Each stands alone (torch only), because an exported neck carries its source. A merge without
weights or arguments is a function, any other a module; both take the operands, already at one
size, as ``merge(*features)``. Fusion weights start at 1, as in BiFPN.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nas_fpn.necks.dyhead import DynamicHead
from nas_fpn.necks.fusion import Asff, GroupedConcat, PerChannel

__all__ = [
    "MERGES",
    "Concat",
    "Fast",
    "Softmax",
    "Weighted",
    "global_mean",
    "global_pool",
    "join",
    "merge_max",
    "merge_mean",
    "merge_sum",
]


def merge_sum(first: Tensor, *others: Tensor) -> Tensor:
    """Add features [B, C, H, W]. FPN (Lin et al. 2017, arXiv:1612.03144)."""
    for other in others:
        first = first + other
    return first


def merge_mean(first: Tensor, *others: Tensor) -> Tensor:
    """Average features [B, C, H, W]. Libra R-CNN (Pang et al. 2019, arXiv:1904.02701)."""
    total = first
    for other in others:
        total = total + other
    return total / (1 + len(others))


def merge_max(first: Tensor, *others: Tensor) -> Tensor:
    """Keep the elementwise largest of features [B, C, H, W]; a tie shares its gradient."""
    for other in others:
        first = torch.maximum(first, other)
    return first


class Fast(nn.Module):
    """Fast normalised fusion: ``sum_i relu(w_i) x_i / (sum_j relu(w_j) + eps)``.

    BiFPN (Tan et al. 2020, arXiv:1911.09070, section 3.3), one scalar per operand. The weights
    are normalised before they multiply; the authors' code divides each product: the last bit
    may differ. An operand whose weight falls below zero is switched off and stays off.
    """

    def __init__(self, operands: int, *, eps: float = 1e-4) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(operands))
        self.eps = eps

    def forward(self, *features: Tensor) -> Tensor:
        """Take operands [B, C, H, W] to one."""
        weights = self.weight.relu()
        weights = weights / (weights.sum() + self.eps)
        total = weights[0] * features[0]
        for i in range(1, len(features)):
            total = total + weights[i] * features[i]
        return total


class Softmax(nn.Module):
    """Softmax fusion: ``sum_i softmax(w)_i x_i``, one scalar per operand.

    BiFPN (Tan et al. 2020, arXiv:1911.09070, section 3.3).
    """

    def __init__(self, operands: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(operands))

    def forward(self, *features: Tensor) -> Tensor:
        """Take operands [B, C, H, W] to one."""
        weights = self.weight.softmax(dim=0)
        total = weights[0] * features[0]
        for i in range(1, len(features)):
            total = total + weights[i] * features[i]
        return total


class Weighted(nn.Module):
    """Unbounded fusion: ``sum_i w_i x_i``, one free scalar per operand.

    BiFPN (Tan et al. 2020, arXiv:1911.09070, section 3.3), whose authors warn that without a
    bound training may become unstable.
    """

    def __init__(self, operands: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(operands))

    def forward(self, *features: Tensor) -> Tensor:
        """Take operands [B, C, H, W] to one."""
        total = self.weight[0] * features[0]
        for i in range(1, len(features)):
            total = total + self.weight[i] * features[i]
        return total


def global_pool(gate: Tensor, feature: Tensor) -> Tensor:
    """Gate one feature [B, C, H, W] by the global context of another and add the two.

    ``gate + feature * sigmoid(pool(gate))``: the "GP" operation of NAS-FPN (Ghiasi et al. 2019,
    arXiv:1904.07392, section 3). The context is a maximum, as in the authors' code, where the
    coarser feature always gates; here the first operand does. Both operands are pooled after
    resampling.
    """
    context = gate.amax(dim=(2, 3), keepdim=True)  # [B, C, 1, 1]
    return gate + feature * context.sigmoid()


def global_mean(gate: Tensor, feature: Tensor) -> Tensor:
    """Gate one feature [B, C, H, W] by the global mean of another and add the two.

    What mmdetection makes of :func:`global_pool` (``gp[pool=mean]``); there the second operand
    gates.
    """
    context = gate.mean(dim=(2, 3), keepdim=True)  # [B, C, 1, 1]
    return gate + feature * context.sigmoid()


class Concat(nn.Conv2d):
    """Concatenate along the channels, then mix by a 1x1 convolution.

    ``in_channels`` is the sum over the operands, whose channels may differ. The necks of the YOLO
    family have a stage in the place of the 1x1: ``concat[plain](a, b) -> csp``, whose merge is
    :func:`join`.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, *features: Tensor) -> Tensor:
        """Take operands [B, C_i, H, W] to [B, out_channels, H, W]."""
        return super().forward(torch.cat(features, dim=1))


def join(*features: Tensor) -> Tensor:
    """Concatenate along the channels: operands [B, C_i, H, W] to [B, sum of C_i, H, W]."""
    return torch.cat(features, dim=1)


MERGES: dict[str, Callable[..., Tensor] | type[nn.Module]] = {
    "sum": merge_sum,
    "mean": merge_mean,
    "max": merge_max,
    "fast": Fast,
    "softmax": Softmax,
    "weighted": Weighted,
    "gp": global_pool,
    "concat": Concat,
    "asff": Asff,
    "psum": PerChannel,
    "cat": GroupedConcat,
    "dyhead": DynamicHead,
}
