"""What merges the features of one RoI from all levels: a learnt maximum, or soft selection.

Both read what :func:`nas_fpn.detect.roi.pool_rois_from_all` gives, one [n, C, h, w] per level,
finest first, in place of choosing one level by the size of the box.
"""

import math
from collections.abc import Sequence
from functools import reduce
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["AdaptivePooling", "SoftSelection", "adaptive_convs", "adaptive_linear"]

Module = TypeVar("Module", bound=nn.Module)
GROUPS = 32  # of GroupNorm at most, as in Detectron


class AdaptivePooling(nn.Module):
    """A head whose first layer is each level's own; then the maximum over levels, then the rest.

    ``forward`` gives ``rest(max_l first_l(x_l))``, the maximum taken element by element. PANet
    (Liu et al. 2018, arXiv:1803.01534, section 3.2). Many codes take the maximum of the pooled
    features themselves: that is ``first`` of identities, and another module than the paper's.

    :func:`adaptive_linear` and :func:`adaptive_convs` make the published heads.
    """

    def __init__(self, first: Sequence[nn.Module], rest: nn.Module) -> None:
        super().__init__()
        if not first:
            raise ValueError("first must have one module per level, but got none")
        self.first = nn.ModuleList(first)
        self.rest = rest

    def forward(self, pooled: Sequence[Tensor]) -> Tensor:
        """One [n, C, h, w] per level, finest first, to what ``rest`` gives."""
        _check_count(pooled, len(self.first))
        own = [layer(feature) for layer, feature in zip(self.first, pooled, strict=True)]
        merged: Tensor = self.rest(reduce(torch.maximum, own))
        return merged


def adaptive_linear(
    in_channels: int,
    num_levels: int,
    *,
    width: int = 1024,
    output_size: int = 7,
    norm: bool = True,
    seed: int = 0,
) -> AdaptivePooling:
    """PANet's box head of two linear layers: [n, C, h, h] per level to [n, width].

    ``z_l = ReLU(GN(W_l x_l))`` per level, ``ReLU(GN(W max_l z_l))`` after it; both have biases.
    ``norm=False`` leaves out GroupNorm (32 groups), on which the published gain depends.
    At 256 channels each further level costs 12.8 million parameters.
    """
    first = [
        _linear(in_channels * output_size**2, width, norm, flatten=True) for _ in range(num_levels)
    ]
    return _initialised(AdaptivePooling(first, _linear(width, width, norm)), seed)


def adaptive_convs(
    in_channels: int,
    num_levels: int,
    *,
    width: int = 256,
    depth: int = 4,
    linear: int | None = 1024,
    output_size: int = 7,
    norm: bool = True,
    seed: int = 0,
) -> AdaptivePooling:
    """PANet's head of ``depth`` 3x3 convolutions, the first one per level.

    [n, C, h, h] per level to [n, linear], through a last linear layer with a ReLU; the box head
    of the paper's best detector. ``linear=None`` leaves that out and gives [n, width, h, h]: the
    mask branch, at ``output_size`` 14. Convolutions have a bias only where ``norm=False`` leaves
    out GroupNorm, as in Detectron. The authors' code runs only if ``in_channels == width``.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, the layer per level, but got {depth}")
    first = [_conv(in_channels, width, norm) for _ in range(num_levels)]
    rest = nn.Sequential(*(_conv(width, width, norm) for _ in range(depth - 1)))
    if linear is not None:
        rest.append(_linear(width * output_size**2, linear, norm=False, flatten=True))
    return _initialised(AdaptivePooling(first, rest), seed)


class SoftSelection(nn.Module):
    """A weighted sum over levels, one learnt map of weights per level: [n, C, h, w].

    ``S = sigmoid(conv3(ReLU(conv1(concat_l x_l))))``, from L*C channels to C to L maps of h x w;
    the result is ``sum_l S_l * x_l``. The soft RoI selection of AugFPN (Guo et al. 2020,
    arXiv:1912.05384) as in the authors' code: the weights are the sigmoids, each for itself, do
    not add up to one, and differ by place and level but not by channel.
    """

    def __init__(self, in_channels: int, num_levels: int, *, seed: int = 0) -> None:
        super().__init__()
        self.num_levels = num_levels
        self.squeeze = nn.Conv2d(num_levels * in_channels, in_channels, 1)
        self.weigh = nn.Conv2d(in_channels, num_levels, 3, padding=1)
        _initialised(self, seed)

    def forward(self, pooled: Sequence[Tensor]) -> Tensor:
        """One [n, C, h, w] per level, finest first, to one [n, C, h, w]."""
        _check_count(pooled, self.num_levels)
        squeezed: Tensor = self.squeeze(torch.cat(tuple(pooled), dim=1)).relu()  # [n, C, h, w]
        weights: Tensor = self.weigh(squeezed).sigmoid()  # [n, L, h, w]
        terms = [weights[:, level : level + 1] * x for level, x in enumerate(pooled)]
        return reduce(torch.add, terms)


def _linear(
    in_features: int, out_features: int, norm: bool, *, flatten: bool = False
) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()] if flatten else []
    layers.append(nn.Linear(in_features, out_features))
    return nn.Sequential(*layers, *_norm(out_features, norm), nn.ReLU())


def _conv(in_channels: int, out_channels: int, norm: bool) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=not norm)
    return nn.Sequential(conv, *_norm(out_channels, norm), nn.ReLU())


def _norm(channels: int, norm: bool) -> list[nn.Module]:
    return [nn.GroupNorm(math.gcd(channels, GROUPS), channels)] if norm else []


def _initialised(module: Module, seed: int) -> Module:
    """Weights uniform with variance 1 / fan-in (Detectron's XavierFill), biases 0, from a seed."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight, a=1, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


def _check_count(pooled: Sequence[Tensor], num_levels: int) -> None:
    if len(pooled) != num_levels:
        raise ValueError(
            f"pooled must have one entry per level, {num_levels} in all, but got {len(pooled)}"
        )
