"""What a neck makes of each backbone feature before it merges any: its laterals, read by hooks.

AugFPN's consistent supervision trains them (Guo et al. 2020, arXiv:1912.05384, section 3.1). In
FPN they are the 1x1 convolutions. A neck of the language says where they are; of another
module, the names of its parts are to be told.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas_fpn.language import Architecture, lower

__all__ = ["Laterals", "find_laterals"]


class Laterals:
    """The last outputs of some parts of a neck in training, by level, handed out once.

    ``names`` has one part for each level of ``levels``. The hooks stay in the neck, keep
    nothing in evaluation, and are copied with it.
    """

    def __init__(self, neck: nn.Module, names: Sequence[str], *, levels: Sequence[int]) -> None:
        if len(names) != len(levels):
            raise ValueError(
                f"laterals must name one part of the neck for each level {tuple(levels)} that it "
                f"reads, but got {tuple(names)}"
            )
        self.levels = tuple(levels)
        self.always = False
        self.kept: dict[int, Tensor] = {}
        parts = dict(neck.named_modules())
        for level, name in zip(levels, names, strict=True):
            if name not in parts:
                raise ValueError(
                    f"laterals: the neck has no part {name!r}; the parts at the top are "
                    f"{', '.join(part for part, _ in neck.named_children())}"
                )
            parts[name].register_forward_hook(_Keep(self, level))

    def take(self) -> list[Tensor]:
        """The laterals [B, C, H, W] of the last pass, finest first; nothing is kept."""
        taken = [self.kept[level] for level in self.levels]
        self.kept.clear()
        return taken

    def channels(self, detector: nn.Module, image_size: int) -> int:
        """Their one number of channels, seen in a pass of ``detector`` over an empty image.

        Raises ValueError for several.
        """
        modes = {module: module.training for module in detector.modules()}
        self.always = True
        device = next(detector.parameters()).device
        with torch.no_grad():
            detector.eval()(torch.zeros(1, 3, image_size, image_size, device=device))
        self.always = False
        for module, mode in modes.items():
            module.training = mode
        channels = tuple(feature.shape[1] for feature in self.take())
        if len(set(channels)) > 1:
            raise ValueError(
                f"one auxiliary head reads all laterals, but those of levels {self.levels} have "
                f"channels {channels}; name parts of equal channels: laterals in [detector]"
            )
        return channels[0]


class _Keep:
    """A forward hook that keeps the output for its level."""

    def __init__(self, laterals: Laterals, level: int) -> None:
        self.laterals = laterals
        self.level = level

    def __call__(self, module: nn.Module, given: object, output: Tensor) -> None:
        if module.training or self.laterals.always:
            self.laterals.kept[self.level] = output


def find_laterals(neck: nn.Module) -> tuple[str, ...]:
    """For each level read, the part of a :class:`nas_fpn.necks.Neck` that makes its lateral.

    It is the first operand at the level of ``ck`` that is ``ck`` with blocks of its own, or the
    first line that is nothing but ``ck`` with blocks. Raises ValueError where there is none, or
    the neck does not say of what architecture it is.
    """
    architecture = getattr(neck, "architecture", None)
    if not isinstance(architecture, Architecture):
        raise ValueError(
            f"{type(neck).__name__} does not say which of its parts are laterals; name one for "
            "each level that it reads: laterals in [detector]"
        )
    graph = lower(architecture)
    found: dict[int, str] = {}
    for node in graph.nodes:
        for number, edge in enumerate(node.edges, start=1):
            if node.level in found or edge.source != f"c{node.level}":
                continue
            if edge.ops:
                found[node.level] = f"{node.key}.operand{number}"
            elif node.merge is None and not node.addends and node.ops:
                found[node.level] = node.key
    if missing := [level for level in graph.inputs if level not in found]:
        names = ", ".join(f"c{level}" for level in missing)
        raise ValueError(
            f"the neck has no lateral of {names} for consistent supervision: it merges them "
            f"without a block before; write e.g. c{missing[0]} -> conv1, or name other parts: "
            "laterals in [detector]"
        )
    return tuple(found[level] for level in graph.inputs)
