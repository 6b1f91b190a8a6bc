"""Operations that torch has itself: the exported source calls torch for them, not a class of ours.

A 3x3 convolution of ours is torch's with a padding; whoever reads an exported neck knows torch's.
The keys of the weights, the draws and the numbers are the same.
"""

from collections.abc import Callable
from typing import Any

from nas_fpn.export.layout import Group, Piece
from nas_fpn.necks import blocks
from nas_fpn.necks.plan import Call

__all__ = ["is_plain", "plain_call"]

_FUNCTIONS: dict[Callable[..., Any], str] = {
    blocks.relu: "F.relu",
    blocks.relu6: "F.relu6",
    blocks.silu: "F.silu",
    blocks.gelu: "F.gelu",
    blocks.mish: "F.mish",
}

_MODULES: dict[Callable[..., Any], tuple[str, tuple[str, ...]]] = {
    blocks.Conv1: ("nn.Conv2d", ("{in_channels}", "{out_channels}", "1")),
    blocks.Conv3: ("nn.Conv2d", ("{in_channels}", "{out_channels}", "3", "padding=1")),
    blocks.Conv5: ("nn.Conv2d", ("{in_channels}", "{out_channels}", "5", "padding=2")),
    blocks.Depthwise3: (
        "nn.Conv2d",
        ("{channels}", "{channels}", "3", "padding=1", "groups={channels}"),
    ),
    blocks.BatchNorm: ("nn.BatchNorm2d", ("{channels}",)),
}

_DEFAULTS = {"bias": True, "eps": 1e-5, "momentum": 0.1}  # torch's, and ours


def is_plain(target: object) -> bool:
    """Whether torch has this operation itself."""
    return target in _FUNCTIONS or target in _MODULES


def plain_call(call: Call) -> Piece:
    """The name of torch's function, or the call that makes torch's module."""
    if call.arguments is None:
        return _FUNCTIONS[call.target]
    name, items = _MODULES[call.target]
    given = dict(call.arguments)
    said = [item.format_map({key: str(value) for key, value in given.items()}) for item in items]
    said += [
        f"{key}={given[key]!r}"
        for key, default in _DEFAULTS.items()
        if given.get(key, default) != default
    ]
    return Group(f"{name}(", tuple(said))
