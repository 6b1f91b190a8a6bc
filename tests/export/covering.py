"""Which necks a law is held by in one run: few that have every word among them, or all of them.

``NAS_FPN_WHOLE=1`` asks for all; ``make export-matrix`` does.
"""

import os
from collections.abc import Iterable, Mapping

from nas_fpn.language import Architecture, lower

WHOLE = os.environ.get("NAS_FPN_WHOLE") == "1"


def words_of(necks: Iterable[Architecture]) -> set[str]:
    """The words that they have, unrolled and resolved."""
    found = set()
    for neck in necks:
        for node in lower(neck).nodes:
            ops = [*node.ops, *(op for edge in node.edges for op in edge.ops)]
            found |= {op.name for op in (*ops, *([node.merge] if node.merge else ()))}
    return found


def covering(necks: Mapping[str, Architecture]) -> list[str]:
    """The names of necks that have every word of all of them: the most of new ones a node first."""
    if WHOLE:
        return list(necks)
    words = {name: words_of([neck]) for name, neck in necks.items()}
    nodes = {name: len(lower(neck).nodes) for name, neck in necks.items()}
    left, chosen = words_of(necks.values()), []
    while left:
        best = max(necks, key=lambda name: len(words[name] & left) / nodes[name] ** 0.5)
        chosen.append(best)
        left -= words[best]
    return chosen
