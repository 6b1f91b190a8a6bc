"""DetectoRS' parts around a backbone: recursion through backbone and neck, switchable convolutions.

Qiao et al. 2021, arXiv:2006.02334. The modules are those of :mod:`nas_fpn.necks`; what comes here
puts them into a detector.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nas_fpn.detect.body import check_features, name_levels, project
from nas_fpn.necks import FeedbackResNet, RecursiveNeck, convert_convolutions

__all__ = ["RecursiveBackboneWithNeck", "all_backbones", "make_switchable"]

SWITCHED = ("layer2", "layer3", "layer4")  # the last three of a ResNet, which the paper converts


class RecursiveBackboneWithNeck(nn.Module):
    """Backbone and neck for a detector, run ``steps`` times, each time fed with the last pyramid.

    It gives what :class:`nas_fpn.detect.body.BackboneWithNeck` does. The backbone, or its ``net``
    behind the statistics ``mean`` and ``std`` [3, 1, 1], is a ResNet of timm's or
    torchvision's layout. Fed are those of the levels 3..5 that the neck both reads and gives. Other
    arguments are those of :class:`nas_fpn.necks.RecursiveNeck`; further passes have copies of
    the backbone as it is given. Raises ValueError for another layout.
    """

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module,
        *,
        steps: int = 2,
        feedback_width: int = 256,
        shared: bool = False,
        width: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_features(backbone, neck)
        pyramid: Any = neck  # RecursiveNeck asks of it no more than a Pyramid has
        fed = _FedBackbone(backbone)
        channels = {
            level: count
            for level, count in fed.net.feedback_channels.items()
            if level in pyramid.inputs and level in pyramid.levels
        }
        self.recursive = RecursiveNeck(
            fed,
            pyramid,
            feedback_channels=channels,
            steps=steps,
            width=feedback_width,
            shared=shared,
            seed=seed,
        )
        self.inputs: tuple[int, ...] = tuple(pyramid.inputs)
        self.levels: tuple[int, ...] = tuple(pyramid.levels)
        self.widths, self.project = project(neck, width=width)
        self.out_channels = self.widths[0]

    @property
    def neck(self) -> nn.Module:
        """The neck, as in a detector that is not recursive; its keys are ``recursive.neck``."""
        return self.recursive.neck

    @property
    def copies(self) -> tuple[nn.Module, ...]:
        """The backbones of further passes; none where all share the one that was given."""
        return tuple(self.recursive.backbones[1:])

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Take images [B, 3, S, T] to one feature for each level."""
        return name_levels(self.recursive(images), self.levels, self.project)


def all_backbones(model: nn.Module, backbone: nn.Module) -> tuple[nn.Module, ...]:
    """The backbone that a detector was built with, and the copies that a recursive one made."""
    return (backbone, *getattr(model.backbone, "copies", ()))


class _FedBackbone(nn.Module):
    """A ResNet that can be fed, behind the statistics of its input."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.net = FeedbackResNet(getattr(backbone, "net", backbone))
        mean = getattr(backbone, "mean", torch.zeros(3, 1, 1))
        std = getattr(backbone, "std", torch.ones(3, 1, 1))
        self.register_buffer("mean", mean.clone(), persistent=False)
        self.register_buffer("std", std.clone(), persistent=False)

    def forward(self, images: Tensor, feedback: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Images [B, 3, S, T] in 0..1 to c2..c5 by level."""
        features: dict[int, Tensor] = self.net((images - self.mean) / self.std, feedback)
        return features


def make_switchable(backbone: nn.Module) -> tuple[str, ...]:
    """Convert, in place, the 3x3 convolutions of the last three stages; give their names.

    Of a backbone that is not laid out as a ResNet, those of all its parts but the first. The
    weights stay, so a trained backbone gives what it gave. Raises ValueError if there is none.
    """
    net: nn.Module = getattr(backbone, "net", backbone)
    parts = dict(net.named_children())
    chosen = {name: parts[name] for name in SWITCHED if name in parts}
    names: list[str] = []
    for name, part in (chosen or dict(list(parts.items())[1:])).items():
        if any(
            type(module) is nn.Conv2d and module.kernel_size == (3, 3) for module in part.modules()
        ):
            names += [f"{name}.{inner}" for inner in convert_convolutions(part)]
    if not names:
        raise ValueError(
            f"switchable: {type(net).__name__} has no 3x3 convolution to convert; take a ResNet, "
            "e.g. resnet18, or leave it out"
        )
    return tuple(names)
