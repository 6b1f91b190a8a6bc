"""A program unrolled: every live line of every pass as one node, ready to build, count or draw.

Nothing is left to spell out: which value a name means, which resampler acts on which operand,
whether a convolution has a bias, what key a module has (``lower.py`` decides).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from nas_fpn.language.word import Value
from nas_fpn.language.words import Row

__all__ = ["Edge", "Graph", "Node", "Op"]


@dataclass(frozen=True, slots=True)
class Op:
    """One word applied: to one feature (block, resampler) or to a merge's operands.

    ``arguments`` holds every argument of the word's row, defaults filled in, without
    ``channels`` and ``bias``, which are resolved: ``channels`` is what the op gives (None: what
    it takes), ``bias`` whether its last convolution has one (False for words without).
    A resampler goes from level ``source`` to level ``level``; they are equal for a block. ``row``
    is that of its word.
    """

    key: str  # below the node's module: "0", "operand2.1", "merge"
    name: str
    arguments: tuple[tuple[str, Value], ...]
    channels: int | None
    bias: bool
    source: int
    level: int
    row: Row = field(compare=False, repr=False)

    @property
    def joins(self) -> bool:
        """Whether it gives all channels of its operands, one behind the other."""
        return self.name == "concat" and ("plain", True) in self.arguments

    def given(self, inputs: Sequence[int]) -> int:
        """The channels that it makes of those of its operands."""
        if self.channels is not None:
            return self.channels
        return sum(inputs) if self.joins else inputs[0]


@dataclass(frozen=True, slots=True)
class Edge:
    """An operand: the value ``source`` ("c4", or a node's key) and the ops applied to it."""

    source: str
    level: int  # of the source, before the ops
    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One live line in one pass. The value is ``ops(merge(edges) + addends)``."""

    key: str  # "p4", "p4_2", "repeat1.2.p4": the module and its prefix in the state dict
    name: str  # the target as the text names it
    level: int
    merge: Op | None  # None: a single edge
    edges: tuple[Edge, ...]
    addends: tuple[str, ...]  # values, like Edge.source
    ops: tuple[Op, ...]  # keys "0", "1", …
    text: str  # the line of the program


@dataclass(frozen=True, slots=True)
class Graph:
    """The live nodes in order. ``inputs`` are the levels of the c's read, finest first.

    ``outputs`` are (level, value) finest first. Aliases have no node: a value is always
    an input ("c4") or a node's key.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[tuple[int, str], ...]
    width: int
