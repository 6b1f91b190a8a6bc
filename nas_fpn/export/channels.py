"""Channels that remember where they come from, so that a plan can be printed with names.

The plan of a neck is made from whole numbers. Here ``width`` and the channels of ``c3`` … are whole
numbers that say their name, also in a sum; what the program writes as a number stays one.
"""

from collections import Counter
from dataclasses import replace

from nas_fpn.language.graph import Graph, Node, Op
from nas_fpn.language.lower import lower
from nas_fpn.language.program import Architecture

__all__ = ["Channels", "named_graph"]


class Channels(int):
    """A number of channels and the terms it is the sum of."""

    terms: tuple[str, ...]

    def __new__(cls, value: int, terms: tuple[str, ...]) -> "Channels":
        """Make the number ``value``, written as the sum of ``terms``."""
        channels = super().__new__(cls, value)
        channels.terms = terms
        return channels

    def __add__(self, other: int) -> "Channels":
        terms = other.terms if isinstance(other, Channels) else (str(other),) * (other != 0)
        return Channels(int(self) + int(other), (*self.terms, *terms))

    def __radd__(self, other: int) -> "Channels":
        return self + other

    def __str__(self) -> str:
        counted = Counter(self.terms).items()
        return " + ".join(term if n == 1 else f"{n} * {term}" for term, n in counted)


def named_graph(architecture: Architecture) -> Graph:
    """The graph of an architecture, whose channels say ``width`` where they follow it."""
    graph = lower(architecture)
    wider = lower(architecture.with_width(architecture.width + 1))
    pairs = zip(graph.nodes, wider.nodes, strict=True)
    return replace(graph, nodes=tuple(_named(node, other) for node, other in pairs))


def _named(node: Node, wider: Node) -> Node:
    return replace(
        node,
        merge=None if node.merge is None or wider.merge is None else _op(node.merge, wider.merge),
        edges=tuple(
            replace(edge, ops=tuple(map(_op, edge.ops, other.ops)))
            for edge, other in zip(node.edges, wider.edges, strict=True)
        ),
        ops=tuple(map(_op, node.ops, wider.ops)),
    )


def _op(op: Op, wider: Op) -> Op:
    if op.channels == wider.channels or op.channels is None:
        return op
    return replace(op, channels=Channels(op.channels, ("width",)))
