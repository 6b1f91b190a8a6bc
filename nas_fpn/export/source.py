"""The source of an exported neck: the program again, in Python that imports only torch.

A deformable convolution is torchvision's: a neck with one imports that too, and says so.

A line of the program is a submodule, a line of ``forward`` and a key prefix, all of one name.
What the program says is data: its names come from the checked grammar, its comments are escaped.
"""

import builtins
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from nas_fpn.export.brief import brief
from nas_fpn.export.channels import Channels, named_graph
from nas_fpn.export.constructor import constructor
from nas_fpn.export.deploy import REPLACED, deployed_plans
from nas_fpn.export.header import docstring, imports
from nas_fpn.export.layout import WIDTH, Group, comment, inline, lay_out
from nas_fpn.export.operations import definitions
from nas_fpn.export.plain import is_plain
from nas_fpn.export.statements import Passes, Statement, statements
from nas_fpn.language.graph import Graph
from nas_fpn.language.program import Architecture
from nas_fpn.necks.cell import Cell, double, half
from nas_fpn.necks.neck import initialise
from nas_fpn.necks.plan import CellPlan, plan_cells

__all__ = ["neck_source"]

_TAKEN = frozenset(dir(builtins)) | {"self", "features", "cells", "double", "half", "Mapping", "k"}


def neck_source(
    architecture: Architecture,
    in_channels: Sequence[int],
    *,
    provenance: Mapping[str, str],
    deploy: bool = False,
) -> str:
    """The text of ``neck.py``. ``in_channels`` go with the levels that the program reads.

    ``provenance`` is printed in the docstring, row by row. With ``deploy`` it is the deployed form
    (``export/deploy.py``). Equal arguments give equal bytes.
    """
    graph = named_graph(architecture)
    channels = {
        level: Channels(number, (f"c{level}",))
        for level, number in zip(graph.inputs, in_channels, strict=True)
    }
    plans = plan_cells(graph, channels)
    if deploy:
        plans = deployed_plans(plans)
    passes = statements(architecture, graph)
    sizes = list(_sizes(graph))
    resizing = [f for f in (half, double) if any(f"= {f.__name__}(" in row for row in sizes)]
    targets = [Cell, *resizing, *_targets(plans), initialise]
    operations = definitions(targets, REPLACED if deploy else None)
    make = list(constructor(architecture, plans, indent=8))
    wanted = set(operations.imports)
    wanted |= {("collections.abc", "Mapping", ""), ("collections.abc", "Sequence", "")}
    wanted |= {("torch", "Tensor", ""), ("torch", "nn", "")}
    if any("Callable" in row for row in make):
        wanted.add(("collections.abc", "Callable", ""))
    rows = [
        *docstring(architecture, graph, provenance, wanted),
        "",
        *imports(wanted),
        "",
        "",
        *_class(architecture, graph, plans, tuple(in_channels), make),
        "",
        *_forward(graph, passes, sizes),
    ]
    for source in map(brief, operations.sources):
        rows += ["", "", *source.split("\n")]
    if any(len(row) > WIDTH for row in rows):
        rows.insert(0, "# ruff: noqa: E501")
    return "\n".join(rows) + "\n"


def _targets(plans: Iterable[CellPlan]) -> Iterator[object]:
    for plan in plans:
        for chain in (*plan.operands, plan.chain):
            yield from (call.target for call in chain.calls if not is_plain(call.target))
        if plan.merge is not None:
            yield plan.merge.target


def _class(
    architecture: Architecture,
    graph: Graph,
    plans: Sequence[CellPlan],
    in_channels: tuple[int, ...],
    make: list[str],
) -> Iterator[str]:
    given = {plan.node.key: str(plan.channels) for plan in plans}
    levels = tuple(level for level, _ in graph.outputs)
    inputs, strides = tuple(graph.inputs), tuple(2**level for level in levels)
    yield "class Neck(nn.Module):"
    yield '    """Turn backbone features into pyramid features.'
    yield ""
    yield "    ``in_channels`` are those of ``inputs``, the levels read; ``out_channels`` and"
    yield "    ``strides`` go with ``levels``, the levels given; all finest first."
    yield '    """'
    yield ""
    arguments = ("self", f"in_channels: Sequence[int] = {in_channels}")
    signature = Group("def __init__(", (*arguments, f"width: int = {architecture.width}"))
    yield from lay_out("", signature, indent=4, suffix=" -> None:")
    yield "        super().__init__()"
    yield f"        self.inputs, self.levels, self.strides = {inputs}, {levels}, {strides}"
    out = ", ".join(given[value] for _, value in graph.outputs)
    yield f"        self.out_channels = ({out}{',' if len(levels) == 1 else ''})"
    yield f"        {_inputs(graph)} = in_channels"
    yield from make
    yield "        initialise(self)"


def _inputs(graph: Graph) -> str:
    names = [f"c{level}" for level in graph.inputs]
    return ", ".join(names) if len(names) > 1 else f"({names[0]},)"


def _sizes(graph: Graph) -> Iterator[str]:
    """Height and width of each level used: the input's, else half or double its neighbour's."""
    used = sorted({*graph.inputs, *(node.level for node in graph.nodes)})
    names = ", ".join(f"s{level}" for level in graph.inputs)
    shapes = ", ".join(f"c{level}.shape[-2:]" for level in graph.inputs)
    yield f"{names} = {shapes}"
    for level in range(graph.inputs[0] - 1, used[0] - 1, -1):
        yield f"s{level} = double(s{level + 1})"
    for level in range(graph.inputs[0] + 1, used[-1] + 1):
        if level not in graph.inputs:
            yield f"s{level} = half(s{level - 1})"


def _forward(graph: Graph, passes: Sequence[Passes], sizes: list[str]) -> Iterator[str]:
    local = _locals(passes)
    yield (
        "    def forward(self, features: Sequence[Tensor] | Mapping[str, Tensor])"
        " -> tuple[Tensor, ...]:"
    )
    yield '        """Take backbone features [B, C, H, W], finest first, to pyramid features."""'
    yield "        if isinstance(features, Mapping):"
    yield "            features = tuple(features.values())"
    yield f"        {_inputs(graph)} = features"
    yield from (f"        {row}" for row in sizes)
    for part in passes:
        cells, indent = "self", 8
        if any(row.name for row in part.statements) and part.repeat:
            cells = "cells"
            if part.first == part.last:
                yield f'        cells = self.{part.repeat}["{part.first}"]'
            elif sum(other.repeat == part.repeat for other in passes) == 1:
                yield f"        for cells in self.{part.repeat}.values():"
                indent = 12
            else:
                yield f"        for k in range({part.first}, {part.last + 1}):"
                yield f"            cells = self.{part.repeat}[str(k)]"
                indent = 12
        for alias, rows in groupby(part.statements, key=lambda row: not row.name):
            if alias:
                yield from _aliases(list(rows), local, indent)
            else:
                for row in rows:
                    yield from _statement(row, cells, local, indent)
    outputs = ", ".join(local[f"p{level}"] for level, _ in graph.outputs)
    yield f"        return {outputs}" if len(graph.outputs) > 1 else f"        return ({outputs},)"


def _statement(row: Statement, cells: str, local: Mapping[str, str], indent: int) -> Iterator[str]:
    target, sources = local[row.target], (local[source] for source in row.sources)
    call = Group(f"{cells}.{row.name}(", (f"s{row.level}", *sources))
    short = f"{' ' * indent}{target} = {inline(call)}  # {row.text}"
    if len(short) <= WIDTH:
        yield short
    else:
        yield from comment(row.text, indent=indent)
        yield from lay_out(f"{target} = ", call, indent=indent)


def _aliases(rows: list[Statement], local: Mapping[str, str], indent: int) -> Iterator[str]:
    """Names for values: in one assignment, unless one needs another or there are too many."""
    targets = [local[row.target] for row in rows]
    sources = [local[row.sources[0]] for row in rows]
    short = f"{' ' * indent}{', '.join(targets)} = {', '.join(sources)}"
    if len(short) <= WIDTH and not set(targets) & set(sources):
        yield short
    else:
        for target, source in zip(targets, sources, strict=True):
            yield f"{' ' * indent}{target} = {source}"


def _locals(passes: Sequence[Passes]) -> dict[str, str]:
    """The local variable of each name: itself, or with ``_`` behind where Python needs it."""
    rows = [row for part in passes for row in part.statements]
    names = sorted({name for row in rows for name in (row.target, *row.sources)})
    local = {name: name for name in names if name not in _TAKEN}
    for name in names:
        other = name
        while other in _TAKEN or (other in names and other != name):
            other += "_"
        local[name] = other
    return local
