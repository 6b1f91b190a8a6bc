"""What a neck costs, from shapes alone: parameters, multiply-adds, memory. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from nas_fpn.language.graph import Graph, Op
from nas_fpn.language.lower import lower
from nas_fpn.language.program import Architecture
from nas_fpn.language.use import Use

__all__ = ["Cost", "cost", "graph_cost", "level_sizes"]

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one forward pass of a neck takes, for a batch of one.

    ``params`` are trainable numbers. ``macs`` are the multiply-adds of convolutions (half of what
    ``torch.utils.flop_counter`` counts; norms, activations, resizes and weighted sums count
    nothing). ``activation_bytes`` is the peak over the pass, in 32-bit floats, of the features
    alive at once: the inputs (their caller holds them throughout), every value that is still to
    be read or returned, the operands that wait for their merge, and what the running word takes
    and gives. What a word needs inside itself (padding, the middle of ``sep3``) is left out,
    unless that is a whole feature or more (``asff``, ``cat``, ``concat``, ``gsconve1``, ``rfa``,
    ``repconv``, ``vovgscsp``, ``csp``, ``ihp``); so is what training keeps for the gradients.
    """

    params: int
    macs: int
    activation_bytes: int


def cost(neck: Architecture | Graph, in_channels: Mapping[int, int], *, image_size: int) -> Cost:
    """Cost the neck for square images of ``image_size`` pixels.

    ``in_channels`` gives the backbone's channels by level, at least of the levels that the
    program reads; its features halve by rounding up. Raises ValueError where one is missing.
    """
    graph = neck if isinstance(neck, Graph) else lower(neck)
    missing = [level for level in graph.inputs if level not in in_channels]
    if missing:
        raise ValueError(
            f"in_channels must have an entry for every level that the program reads, but level "
            f"{', '.join(map(str, missing))} is missing from in_channels={dict(in_channels)}"
        )
    sizes = {k: (_side(image_size, k), _side(image_size, k)) for k in graph.inputs}
    return graph_cost(graph, in_channels, sizes)


def graph_cost(graph: Graph, in_channels: Mapping[int, int], sizes: Mapping[int, Size]) -> Cost:
    """Cost a graph whose inputs have these channels and sizes (height, width) by level."""
    sizes = level_sizes(graph, sizes)
    meter = _Meter(sizes)
    values = {f"c{k}": (in_channels[k], k) for k in graph.inputs}
    returned = {value for _, value in graph.outputs} | set(values)
    last_read = {
        source: i
        for i, node in enumerate(graph.nodes)
        for source in (*(edge.source for edge in node.edges), *node.addends)
    }
    for i, node in enumerate(graph.nodes):
        alive = sum(
            meter.numbers(*value)
            for name, value in values.items()
            if name in returned or last_read.get(name, -1) >= i
        )
        waiting, operands = 0, []
        for edge in node.edges:
            channels, fresh = meter.chain(edge.ops, *values[edge.source], alive + waiting)
            operands.append(channels)
            waiting += meter.numbers(channels, node.level) if fresh else 0
        channels = operands[0]
        fresh = waiting > 0
        if node.merge is not None:
            channels = node.merge.given(operands)
            meter.use(node.merge, tuple(operands), channels, alive + waiting)
            waiting, fresh = meter.numbers(channels, node.level), True
        if node.addends:
            waiting = meter.numbers(channels, node.level)
            meter.see(alive + 2 * waiting if fresh else alive + waiting)
            fresh = True
        level = node.level if fresh else values[node.edges[0].source][1]
        channels, _ = meter.chain(node.ops, channels, level, alive, fresh=fresh)
        values[node.key] = (channels, node.level)
    return Cost(meter.params, meter.macs, 4 * meter.peak)


def level_sizes(graph: Graph, sizes: Mapping[int, Size]) -> dict[int, Size]:
    """Give the size of every level of the graph from those of its inputs.

    Above an input a side is half of the level below, rounded up; below the finest input twice
    that of the next coarser.
    """
    every = {*graph.inputs, *(node.level for node in graph.nodes)}
    known = {k: sizes[k] for k in graph.inputs}
    for k in range(graph.inputs[0] - 1, min(every) - 1, -1):
        known[k] = (2 * known[k + 1][0], 2 * known[k + 1][1])
    for k in range(graph.inputs[0] + 1, max(every) + 1):
        if k not in known:
            known[k] = ((known[k - 1][0] + 1) // 2, (known[k - 1][1] + 1) // 2)
    return known


class _Meter:
    """Adds up what the words cost, and remembers the largest memory seen (in numbers)."""

    def __init__(self, sizes: Mapping[int, Size]) -> None:
        self.sizes = sizes
        self.params = self.macs = self.peak = 0

    def numbers(self, channels: int, level: int) -> int:
        high, wide = self.sizes[level]
        return channels * high * wide

    def see(self, numbers: int) -> None:
        self.peak = max(self.peak, numbers)

    def use(self, op: Op, inputs: tuple[int, ...], channels: int, alive: int) -> None:
        """Count one word; ``alive`` are the numbers that exist when it starts."""
        row = op.row
        use = Use(
            inputs,
            channels,
            op.bias,
            self.sizes[op.source],
            self.sizes[op.level],
            abs(op.level - op.source),
            dict(op.arguments),
        )
        params, macs = row.cost(use)
        self.params += params
        self.macs += macs
        self.see(alive + self.numbers(channels, op.level) + row.inside(use))

    def chain(
        self, ops: tuple[Op, ...], channels: int, level: int, alive: int, *, fresh: bool = False
    ) -> tuple[int, bool]:
        """Count ops in order; ``fresh``: what they start from is not among ``alive``.

        Gives the channels at the end, and whether the result is new.
        """
        held = self.numbers(channels, level) if fresh else 0
        for op in ops:
            given = op.channels or channels
            self.use(op, (channels,), given, alive + held)
            held = self.numbers(given, op.level)
            channels = given
        return channels, fresh or bool(ops)


def _side(pixels: int, level: int) -> int:
    return -(-pixels >> level)
