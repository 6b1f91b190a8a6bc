"""Features of a neck's graph as numbers: what a controller learns from beside the choices.

A pyramid's kin of the path encoding of BANANAS (White et al. 2021, arXiv:1910.11858): lengths of
paths between levels, where that lists the paths themselves between one input and one output.
Nothing here depends on how a program was written, only on its graph.
"""

from collections import Counter
from collections.abc import Collection, Sequence

from nas_fpn.language.cost import Cost
from nas_fpn.language.graph import Graph, Node, Op

__all__ = ["NO_PATH", "features"]

NO_PATH = -1  # where a path length is asked for between levels that no path joins


def features(
    graph: Graph,
    price: Cost,
    *,
    words: Collection[str],
    reads: Sequence[int],
    levels: Sequence[int],
) -> dict[str, float]:
    """Give the features of a canonical neck, by name.

    The names are the same for all necks of one vocabulary ``words`` and one frame: ``reads`` are
    the levels that necks may read from the backbone, ``levels`` those that they give.

    - ``params``, ``macs``, ``activation_bytes``: the cost, as :class:`Cost` counts it;
    - ``count_W``: how often the word W stands in the graph, all passes of a repeat counted;
    - ``merges``, ``merges_L``: lines with two operands or more, in all and at level L;
    - ``shortest_cK_pL``, ``longest_cK_pL``: merges on the way from one to the other, ``NO_PATH``
      where there is no way;
    - ``depth_pL``: the most words (merges, resamplers and blocks) in a row from any c to it;
    - ``fan_in_mean``, ``fan_in_max``: operands and addends of a merge (0 without merges);
    - ``fan_out_mean``, ``fan_out_max``: operands and addends that read a value, of all that are
      read at all; leaving the neck is no reading;
    - ``up``, ``down``: resamplings, however many levels each goes; ``up_levels``,
      ``down_levels``: the levels that they go, added up.
    """
    merges = [node for node in graph.nodes if len(_read(node)) > 1]
    ops = [op for node in graph.nodes for op in _ops(node)]
    counts = Counter(op.name for op in ops)
    at = Counter(node.level for node in merges)
    fan_in = [len(_read(node)) for node in merges]
    fan_out = Counter(source for node in graph.nodes for source in _read(node)).values()
    steps = [op.level - op.source for op in ops]
    return {
        "params": float(price.params),
        "macs": float(price.macs),
        "activation_bytes": float(price.activation_bytes),
        **{f"count_{word}": float(counts[word]) for word in words},
        "merges": float(len(merges)),
        **{f"merges_{level}": float(at[level]) for level in sorted({*reads, *levels})},
        **_paths(graph, reads, levels),
        **_depths(graph, levels),
        "fan_in_mean": sum(fan_in) / max(1, len(fan_in)),
        "fan_in_max": float(max(fan_in, default=0)),
        "fan_out_mean": sum(fan_out) / max(1, len(fan_out)),
        "fan_out_max": float(max(fan_out, default=0)),
        "up": float(sum(step < 0 for step in steps)),
        "down": float(sum(step > 0 for step in steps)),
        "up_levels": float(sum(-step for step in steps if step < 0)),
        "down_levels": float(sum(step for step in steps if step > 0)),
    }


def _paths(graph: Graph, reads: Sequence[int], levels: Sequence[int]) -> dict[str, float]:
    """The least and the most merges between each c and each p."""
    outputs = dict(graph.outputs)
    found: dict[str, float] = {}
    for read in reads:
        near, far = {f"c{read}": 0}, {f"c{read}": 0}
        for node in graph.nodes:
            sources = [source for source in _read(node) if source in near]
            if sources:
                here = len(_read(node)) > 1
                near[node.key] = here + min(near[source] for source in sources)
                far[node.key] = here + max(far[source] for source in sources)
        for level in levels:
            value = outputs.get(level, "")
            found[f"shortest_c{read}_p{level}"] = float(near.get(value, NO_PATH))
            found[f"longest_c{read}_p{level}"] = float(far.get(value, NO_PATH))
    return found


def _depths(graph: Graph, levels: Sequence[int]) -> dict[str, float]:
    """The most words in a row above each output."""
    depth = {f"c{level}": 0 for level in graph.inputs}
    for node in graph.nodes:
        above = [depth[edge.source] + len(edge.ops) for edge in node.edges]
        merged = max(above) + (node.merge is not None)
        depth[node.key] = max([merged, *(depth[name] for name in node.addends)]) + len(node.ops)
    outputs = dict(graph.outputs)
    return {f"depth_p{level}": float(depth.get(outputs.get(level, ""), 0)) for level in levels}


def _read(node: Node) -> tuple[str, ...]:
    """The values that a node reads, as often as it reads them."""
    return (*(edge.source for edge in node.edges), *node.addends)


def _ops(node: Node) -> list[Op]:
    merge = [] if node.merge is None else [node.merge]
    return [*(op for edge in node.edges for op in edge.ops), *merge, *node.ops]
