"""What torchvision's detectors take for a backbone: a backbone and a neck, features by name."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

__all__ = ["MEAN", "STD", "BackboneWithNeck", "check_features", "name_levels", "project"]

MEAN = (0.0, 0.0, 0.0)  # what torchvision's detectors are told: the backbone has its own inside
STD = (1.0, 1.0, 1.0)


class Features(Protocol):
    """A backbone: ``levels`` that it gives, finest first, and their ``channels`` by level."""

    levels: tuple[int, ...]
    channels: Mapping[int, int]

    def __call__(self, images: Tensor, /) -> Mapping[int, Tensor]:
        """Images [B, 3, S, S] in 0..1 to features [B, C, H, W] by level."""


class BackboneWithNeck(nn.Module):
    """Images to an ordered dict ``{"p3": [B, C, H, W], …}``, finest level first.

    ``body`` gives features by level and ``neck`` makes a pyramid of them; both are taken as they
    are, not copied. ``width`` brings levels of other channels to one width by a 1x1 convolution
    each. ``out_channels`` is that width, as torchvision wants it: one number for all levels; or,
    for ``ragged`` pyramids, the number of the finest, with ``widths`` for each level.

    Raises ValueError where the neck reads what the backbone does not give, and for levels of
    several widths, unless ``width`` or ``ragged`` is given.
    """

    def __init__(
        self, body: nn.Module, neck: nn.Module, *, width: int | None = None, ragged: bool = False
    ) -> None:
        super().__init__()
        check_features(body, neck)
        self.body = body
        self.neck = neck
        self.inputs: tuple[int, ...] = tuple(_attribute(neck, "inputs"))
        self.levels: tuple[int, ...] = tuple(_attribute(neck, "levels"))
        self.widths, self.project = project(neck, width=width, ragged=ragged)
        self.out_channels = self.widths[0]

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Take images [B, 3, S, T] to one feature for each level."""
        features = self.body(images)
        pyramid = self.neck([features[level] for level in self.inputs])
        return name_levels(pyramid, self.levels, self.project)


def project(
    neck: nn.Module, *, width: int | None, ragged: bool = False
) -> tuple[tuple[int, ...], nn.ModuleDict]:
    """Channels of each level behind the projection, and its 1x1 convolutions by name.

    Convolutions start uniform with bound ``sqrt(3 / fan_in)``, biases 0, as a neck's do.
    """
    levels: Sequence[int] = _attribute(neck, "levels")
    widths: tuple[int, ...] = tuple(_attribute(neck, "out_channels"))
    if width is None:
        if len(set(widths)) > 1 and not ragged:
            raise ValueError(
                f"the levels share one head and must have equal channels, but the neck's levels "
                f"{tuple(levels)} have out_channels={widths}; set width in [detector], which adds "
                'a 1x1 convolution to each, or take kind = "ssd", with a head for each'
            )
        return widths, nn.ModuleDict()
    made = nn.ModuleDict()
    for level, channels in zip(levels, widths, strict=True):
        if channels != width:
            made[f"p{level}"] = convolution = nn.Conv2d(channels, width, 1)
            nn.init.kaiming_uniform_(convolution.weight, a=1)
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)
    return (width,) * len(levels), made


def name_levels(
    pyramid: Sequence[Tensor], levels: Sequence[int], projections: nn.ModuleDict
) -> "OrderedDict[str, Tensor]":
    """Features by name, those with a convolution behind it."""
    named = OrderedDict()
    for level, feature in zip(levels, pyramid, strict=True):
        name = f"p{level}"
        named[name] = projections[name](feature) if name in projections else feature
    return named


def check_features(body: nn.Module, neck: nn.Module) -> None:
    """Raise ValueError where the neck reads a level that the backbone does not give."""
    given = tuple(_attribute(body, "levels"))
    inputs = tuple(_attribute(neck, "inputs"))
    if missing := [level for level in inputs if level not in given]:
        raise ValueError(
            f"the neck reads levels {inputs}, but the backbone gives {given}, not "
            f"{', '.join(map(str, missing))}; build the backbone for the levels of the neck"
        )


def _attribute(module: nn.Module, name: str) -> Any:
    """A plain attribute of a module that stands for a protocol."""
    return getattr(module, name)
