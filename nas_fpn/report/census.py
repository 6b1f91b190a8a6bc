"""What necks are made of: the words they use and the levels they work at, best against all."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas_fpn.language import Graph

__all__ = ["Share", "best_decile", "levels_used", "words_used"]


@dataclass(frozen=True, slots=True)
class Share:
    """A property by name, and its mean over the best decile and over all necks."""

    name: str
    best: float
    all: float


def best_decile(scores: Sequence[float]) -> list[int]:
    """The positions of the best tenth of some scores, rounded up, best first.

    >>> best_decile([0.1, 0.4, 0.3])
    [1]
    """
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    return order[: -(-len(scores) // 10)]


def words_used(graphs: Sequence[Graph], best: Sequence[int]) -> list[Share]:
    """The share of necks that use each word at all, most common first; ``id`` is no word here."""
    found = [dict.fromkeys(_words(graph), 1) for graph in graphs]
    shares = _shares(found, best)
    return sorted(shares, key=lambda share: (-share.all, share.name))


def levels_used(graphs: Sequence[Graph], best: Sequence[int]) -> list[Share]:
    """How many merges a neck has at each level, and how many operands go up, down and across.

    Means per neck. Passes of a repeat count one by one.
    """
    return _shares([_levels(graph) for graph in graphs], best)


def _words(graph: Graph) -> set[str]:
    found = set()
    for node in graph.nodes:
        ops = [*node.ops, *(op for edge in node.edges for op in edge.ops)]
        found |= {op.name for op in ops if op.name != "id"}
        if node.merge is not None:
            found.add(node.merge.name)
    return found


def _levels(graph: Graph) -> Mapping[str, int]:
    merges: Counter[int] = Counter()
    moves: Counter[str] = Counter()
    for node in graph.nodes:
        if node.merge is not None:
            merges[node.level] += 1
            for edge in node.edges:
                moves[_way(edge.level, node.level)] += 1
    named = {f"merges at level {level}": merges[level] for level in sorted(merges, reverse=True)}
    return named | {way: moves[way] for way in WAYS if way in moves}


WAYS = (
    "operands from a coarser level",
    "operands from a finer level",
    "operands of the same level",
)


def _way(source: int, level: int) -> str:
    return WAYS[0 if source > level else 1 if source < level else 2]


def _shares(found: Sequence[Mapping[str, int]], best: Sequence[int]) -> list[Share]:
    names = sorted({name for one in found for name in one}, key=_order)
    return [
        Share(
            name,
            sum(found[i].get(name, 0) for i in best) / max(1, len(best)),
            sum(one.get(name, 0) for one in found) / len(found),
        )
        for name in names
    ]


def _order(name: str) -> tuple[int, str]:
    """Coarse levels first, then the ways, in their order."""
    if name in WAYS:
        return 1, str(WAYS.index(name))
    head, _, level = name.rpartition(" level ")
    return 0, f"{99 - int(level):02}" if head else name
