"""A neck and its canonical form, node by node: what law 6 compares."""

from dataclasses import dataclass

from nas_fpn.language import Architecture, Edge, Graph, Node, Op, canonical, lower
from nas_fpn.language.words import WORDS

__all__ = ["Pair", "pairs"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A node of each graph and the keys of their ops, matched; the same function of its inputs."""

    ours: Node
    theirs: Node
    ops: tuple[tuple[str, str], ...]  # (key in ours, key in theirs), below the node's module


def pairs(architecture: Architecture) -> tuple[Pair, ...]:
    """Match the nodes of an architecture and of its canonical form in order.

    Fails where they are not the same function: other operands, levels, words or outputs.
    """
    ours, theirs = lower(architecture), lower(canonical(architecture))
    assert len(ours.nodes) == len(theirs.nodes)
    assert ours.inputs == theirs.inputs
    means = {f"c{level}": f"c{level}" for level in ours.inputs}
    found = []
    for one, other in zip(ours.nodes, theirs.nodes, strict=True):
        found.append(_pair(one, other, means))
        means[one.key] = other.key
    assert _outputs(ours, means) == theirs.outputs
    return tuple(found)


def _outputs(graph: Graph, means: dict[str, str]) -> tuple[tuple[int, str], ...]:
    return tuple((level, means[value]) for level, value in graph.outputs)


def _pair(one: Node, other: Node, means: dict[str, str]) -> Pair:
    assert one.level == other.level
    assert sorted(means[value] for value in one.addends) == sorted(other.addends)
    ops = _match(one.ops, other.ops)
    assert (one.merge is None) == (other.merge is None)
    edges = list(one.edges)
    if one.merge is not None and other.merge is not None:
        assert _said(one.merge) == _said(other.merge)
        ops.append(("merge", "merge"))
        if WORDS[one.merge.name].commutes:
            edges = _permuted(edges, other, means)
    for edge, wanted in zip(edges, other.edges, strict=True):
        assert (means[edge.source], edge.level) == (wanted.source, wanted.level)
        ops.extend(_match(edge.ops, wanted.ops))
    return Pair(one, other, tuple(ops))


def _permuted(edges: list[Edge], other: Node, means: dict[str, str]) -> list[Edge]:
    left, found = list(edges), []
    for wanted in other.edges:
        same = [
            edge
            for edge in left
            if means[edge.source] == wanted.source
            and [_said(op) for op in _live(edge.ops)] == [_said(op) for op in _live(wanted.ops)]
        ]
        assert same, f"no operand like {wanted}"
        left.remove(same[0])
        found.append(same[0])
    assert not left
    return found


def _match(ours: tuple[Op, ...], theirs: tuple[Op, ...]) -> list[tuple[str, str]]:
    one, other = _live(ours), _live(theirs)
    assert [_said(op) for op in one] == [_said(op) for op in other]
    return [(a.key, b.key) for a, b in zip(one, other, strict=True)]


def _live(ops: tuple[Op, ...]) -> list[Op]:
    return [op for op in ops if op.name != "id"]


def _said(op: Op) -> tuple[object, ...]:
    return op.name, op.arguments, op.channels, op.bias, op.source, op.level
