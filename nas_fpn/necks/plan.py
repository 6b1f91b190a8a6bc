"""From the nodes of a graph to the calls that make its modules.

The names of a constructor's arguments say what an operation wants to know: a word's own
arguments, or one of ``in_channels out_channels channels bias operands ratio``. So a new word
needs a row in ``language/words.py`` and an operation in a dict of this package, nothing here. The
neck makes the calls; the exporter prints them.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import nn

from nas_fpn.language.graph import Graph, Node, Op
from nas_fpn.language.program import Value
from nas_fpn.necks.blocks import BLOCKS
from nas_fpn.necks.cell import Cell, Chain
from nas_fpn.necks.merges import MERGES, global_mean, join
from nas_fpn.necks.resample import RESAMPLERS, maxpool_zero
from nas_fpn.necks.strides import STRIDES

__all__ = ["OPERATIONS", "VARIANTS", "Call", "CallChain", "CellPlan", "make_cell", "plan_cells"]

OPERATIONS: dict[str, Callable[..., Any]] = MERGES | RESAMPLERS | BLOCKS
VARIANTS: dict[tuple[str, str, Value], Callable[..., Any]] = {
    ("concat", "plain", True): join,
    ("gp", "pool", "mean"): global_mean,
    ("maxpool", "pad", "zero"): maxpool_zero,
    **{("stride", "conv", kind): stride for kind, stride in STRIDES.items()},
}
"""Operations that another argument of the word chooses: (word, argument, value)."""


@dataclass(frozen=True, slots=True)
class Call:
    """``target(**arguments)`` makes an operation; without arguments ``target`` is a function."""

    target: Callable[..., Any]
    arguments: tuple[tuple[str, Value], ...] | None

    def __call__(self) -> Any:
        """Make the operation."""
        return self.target if self.arguments is None else self.target(**dict(self.arguments))


@dataclass(frozen=True, slots=True)
class CallChain:
    """Operations in order and the position of the one that resamples, if any."""

    calls: tuple[Call, ...]
    resampler: int | None


@dataclass(frozen=True, slots=True)
class CellPlan:
    """How to make the cell of ``node``. An operand without operations has an empty chain."""

    node: Node
    operands: tuple[CallChain, ...]
    merge: Call | None
    chain: CallChain
    channels: int  # of the feature that the cell gives


def plan_cells(graph: Graph, in_channels: Mapping[int, int]) -> tuple[CellPlan, ...]:
    """Plan every node in order; ``in_channels`` are those of the inputs by level."""
    channels = {f"c{level}": in_channels[level] for level in graph.inputs}
    plans = []
    for node in graph.nodes:
        operands, given = [], []
        for edge in node.edges:
            chain, width = _plan_chain(edge.ops, channels[edge.source])
            operands.append(chain)
            given.append(width)
        merge, width = None, given[0]
        if node.merge is not None:
            merge = _plan_call(node.merge, sum(given), operands=len(given))
            width = node.merge.given(given)
        chain, width = _plan_chain(node.ops, width)
        channels[node.key] = width
        plans.append(CellPlan(node, tuple(operands), merge, chain, width))
    return tuple(plans)


def make_cell(plan: CellPlan) -> Cell:
    """Make the module of one node, initialised as torch does."""
    return Cell(
        *(call() for call in plan.chain.calls),
        merge=None if plan.merge is None else plan.merge(),
        via=tuple(
            Chain(*(call() for call in chain.calls), resampler=chain.resampler)
            if chain.calls
            else None
            for chain in plan.operands
        ),
        resampler=plan.chain.resampler,
    )


def _plan_chain(ops: tuple[Op, ...], width: int) -> tuple[CallChain, int]:
    calls, resampler = [], None
    for position, op in enumerate(ops):
        calls.append(_plan_call(op, width))
        if op.row.kind in ("up", "down"):
            resampler = position
        width = op.channels or width
    return CallChain(tuple(calls), resampler), width


def _plan_call(op: Op, in_channels: int, *, operands: int = 1) -> Call:
    target = _target(op)
    if not isinstance(target, type):
        return Call(target, None)
    known: dict[str, Value] = {
        "in_channels": in_channels,
        "out_channels": op.channels or in_channels,
        "channels": in_channels,
        "bias": op.bias,
        "operands": operands,
        "ratio": 2 ** abs(op.level - op.source),
        **dict(op.arguments),
    }
    return Call(target, tuple((name, known[name]) for name in _wanted(target)))


def _target(op: Op) -> Callable[..., Any]:
    if op.row.operation is not None:
        return op.row.operation
    other = (
        VARIANTS[op.name, name, v] for name, v in op.arguments if (op.name, name, v) in VARIANTS
    )
    return next(other, OPERATIONS[op.name])


@cache
def _wanted(target: type[nn.Module]) -> tuple[str, ...]:
    return tuple(inspect.signature(target).parameters)
