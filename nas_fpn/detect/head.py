"""The dense head of the proxy: FCOS in small, shared by all levels of the pyramid.

Width and depth are the same for all candidates and small, so that differences between necks do
not drown in the head. FCOS: Tian et al. 2019, arXiv:1904.01355; distances counted in strides and
no learnt scale per level, as in torchvision. A softplus makes them positive: torchvision's ReLU
has no gradient where it says zero, and in a training of a few hundred steps some outputs never
come back (seen: a run with ReLU that ended with an AP of 0).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["DenseHead", "Predictions", "Tower", "one_width", "start_convolutions", "tower_of"]

Tower = Literal["coupled", "decoupled"]
PRIOR = 0.01  # the probability that an untrained head gives each class (arXiv:1708.02002, 4.1)
GROUPS = 32  # of GroupNorm at most, as in torchvision


@dataclass(frozen=True, slots=True)
class Predictions:
    """What the head says at each of the P points of the pyramid, finest level first.

    ``logits`` [B, P, K]; ``distances`` [B, P, 4] to the left, top, right and bottom of the box,
    in strides, positive; ``centreness`` [B, P], a logit.
    """

    logits: Tensor
    distances: Tensor
    centreness: Tensor


class DenseHead(nn.Module):
    """Classes, distances and centre-ness at every cell of every level.

    ``tower="decoupled"``: one tower of ``depth`` convolutions for the classes and one for
    distances and centre-ness, as in FCOS. ``"coupled"``: one tower for all three. A tower is
    ``depth`` times 3x3 convolution, GroupNorm, ReLU at ``width`` channels; with ``depth=0`` the
    predictions are convolutions of the features themselves.

    ``reach`` is the distance of the sides that boxes start with, in strides: objects are some
    strides wide, and from smaller boxes a short training has far to go.

    ``in_channels`` has one entry per level, all equal, since the levels share the head. The
    weights come from ``seed`` alone; what does not touch ``in_channels`` is drawn first and
    is equal for heads that differ in it.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        levels: Sequence[int],
        width: int = 64,
        depth: int = 1,
        tower: Tower = "decoupled",
        reach: float = 2.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        channels = one_width(in_channels, levels)
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, but got {num_classes}")
        if not reach > 0:
            raise ValueError(f"reach must be above 0, but got {reach}")
        self.levels = tuple(levels)
        self.num_classes = num_classes
        self.class_tower = tower_of(channels, width, depth)
        self.box_tower = tower_of(channels, width, depth) if tower == "decoupled" else None
        last = width if depth else channels
        self.logits = nn.Conv2d(last, num_classes, 3, padding=1)
        self.distances = nn.Conv2d(last, 4, 3, padding=1)
        self.centreness = nn.Conv2d(last, 1, 3, padding=1)
        start_convolutions(self, seed)
        nn.init.constant_(_bias(self.logits), -math.log((1 - PRIOR) / PRIOR))
        nn.init.constant_(_bias(self.distances), reach + math.log(-math.expm1(-reach)))

    def forward(self, features: Sequence[Tensor]) -> Predictions:
        """Predict from one feature [B, C, H, W] per level, finest first."""
        levels = [self._predict(feature) for feature in features]
        logits, distances, centreness = (
            torch.cat([_points_last(part) for part in parts], dim=1)
            for parts in zip(*levels, strict=True)
        )
        return Predictions(logits, distances, centreness.squeeze(2))

    def _predict(self, feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        classes = self.class_tower(feature)  # [B, width, H, W]
        boxes = classes if self.box_tower is None else self.box_tower(feature)
        return (
            self.logits(classes),
            functional.softplus(self.distances(boxes)),
            self.centreness(boxes),
        )


def start_convolutions(head: nn.Module, seed: int) -> None:
    """Draw the weights of a head from ``seed``; those that see the neck's channels come last."""
    generator = torch.Generator().manual_seed(seed)
    convolutions = {
        name: module for name, module in head.named_modules() if isinstance(module, nn.Conv2d)
    }
    for name in sorted(convolutions, key=lambda name: name.endswith("_tower.0")):
        nn.init.normal_(convolutions[name].weight, std=0.01, generator=generator)
        nn.init.constant_(_bias(convolutions[name]), 0.0)


def one_width(in_channels: Sequence[int], levels: Sequence[int]) -> int:
    """The channels of all levels, which share a head."""
    if len(in_channels) != len(levels):
        raise ValueError(
            f"in_channels must have one entry per level {tuple(levels)}, "
            f"but got in_channels={tuple(in_channels)}"
        )
    if len(set(in_channels)) != 1:
        raise ValueError(
            f"the levels share one head and must have equal channels, but levels {tuple(levels)} "
            f"have in_channels={tuple(in_channels)}; end each output with conv1 of one width"
        )
    return in_channels[0]


def tower_of(in_channels: int, width: int, depth: int) -> nn.Sequential:
    """``depth`` times 3x3 convolution, GroupNorm, ReLU at ``width`` channels."""
    layers: list[nn.Module] = []
    for channels in [in_channels, *[width] * depth][:depth]:
        layers += [
            nn.Conv2d(channels, width, 3, padding=1),
            nn.GroupNorm(math.gcd(width, GROUPS), width),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias


def _points_last(part: Tensor) -> Tensor:
    return part.flatten(2).transpose(1, 2)  # [B, H*W, channels]
