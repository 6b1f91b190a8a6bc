"""The ResNet that a neck's weights go with, by the channels they are for."""

from nas_fpn.export.adapters.facts import Facts

__all__ = ["resnet_of"]

_COARSEST = 5
_CHANNELS_OF_C2 = {"resnet18": 64, "resnet50": 256}


def resnet_of(facts: Facts) -> str | None:
    """The smallest ResNet whose features have the channels that the neck reads, if one has."""
    for name, first in _CHANNELS_OF_C2.items():
        fits = facts.in_channels == tuple(first * 2 ** (level - 2) for level in facts.inputs)
        if fits and min(facts.inputs) >= 2 and max(facts.inputs) <= _COARSEST:
            return name
    return None
