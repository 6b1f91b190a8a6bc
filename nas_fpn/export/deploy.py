"""The deployed form of a neck: norms in the convolutions, rep-blocks merged, constants baked.

Two halves that agree by construction. :func:`deployed_plans` rewrites how the cells are made, by
structure alone, so that the exporter writes its source as it writes any. :func:`deployed_weights`
makes the state of that form from a trained neck, in 64 bits. Both give what the neck gives in
evaluation mode, up to rounding.

A batch normalisation goes into the convolution before it, also through what moves whole features
(``nearest``, ``avgpool``): those commute with a scale and a shift per channel. One that only a 1x1
convolution follows goes into that, which is exact for want of padding. What stays is listed in
docs/export.md: norms behind a sum or an activation, group norms.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from nas_fpn.errors import RunError
from nas_fpn.export.channels import named_graph
from nas_fpn.export.folding import ahead, behind, folded_state
from nas_fpn.necks import blocks, deform, deployed, esd, fusion, merges, resample, slim
from nas_fpn.necks import strides as strided
from nas_fpn.necks.neck import Neck
from nas_fpn.necks.plan import Call, CallChain, CellPlan, plan_cells
from nas_fpn.necks.repconv import RepConv
from nas_fpn.necks.upsample import Deconv

__all__ = ["REPLACED", "deployed_plans", "deployed_weights"]

REPLACED: dict[type[nn.Module], type[nn.Module]] = {
    slim.ConvNorm: deployed.ConvNorm,
    RepConv: deployed.RepConv,
    fusion.Asff: deployed.Asff,
    esd.Esd1: deployed.Esd1,
    esd.Esd2: deployed.Esd2,
}
"""What stands for what wherever it is used: the same name and arguments, other weights."""

_CONSTANT = (merges.Fast, merges.Softmax, merges.Weighted)
_MERGE = -1  # the position of the convolution in a merge

_LAST: dict[type[nn.Module], tuple[str, ...]] = {
    blocks.Conv1: (),
    blocks.Conv3: (),
    blocks.Conv5: (),
    blocks.Depthwise3: (),
    blocks.Separable3: ("pointwise",),
    blocks.Separable5: ("pointwise",),
    deform.Deformable3: ("convolution",),
    RepConv: (),
    resample.Stride: ("last",),
    strided.StrideSeparable: ("last", "1"),
    strided.StrideDeformable: ("last", "convolution"),
    Deconv: ("last",),
    merges.Concat: (),
}
"""What ends in a convolution, and where that is in it; ``last`` is the last step of several."""

_THROUGH = frozenset(
    {
        blocks.identity,
        blocks.mean_everywhere,
        resample.nearest,
        resample.bilinear,
        resample.AvgPool,
        resample.Subsample,
        resample.Interpolate,
    }
)
"""What commutes with a scale and a shift of each channel."""


@dataclass(frozen=True, slots=True)
class _Fold:
    """The norm at a position of a chain goes into the convolution at another."""

    norm: int
    into: int
    ahead: bool  # the convolution follows


def deployed_plans(plans: Sequence[CellPlan]) -> tuple[CellPlan, ...]:
    """Rewrite the plans of the cells of a neck into those of its deployed form."""
    return tuple(map(_plan, plans))


def deployed_weights(neck: Neck) -> dict[str, Tensor]:
    """Make the state of the deployed form of ``neck``: keys of its cells, on the CPU.

    Raises RunError where a word of the program's own is built on an operation that changes its
    form here.
    """
    for name, part in neck.named_modules():
        if isinstance(part, tuple(REPLACED)) and type(part) not in REPLACED:
            raise RunError(
                f"{name} is a {type(part).__name__}, a word of your own on top of "
                f"{type(part).__mro__[1].__name__}, and has no deployed form\n"
                "export it without --deploy"
            )
    graph = named_graph(neck.architecture)
    found: dict[str, Tensor] = {}
    for plan in plan_cells(graph, dict(zip(graph.inputs, neck.in_channels, strict=True))):
        cell = neck.get_submodule(plan.node.key)
        for name, value in _cell(plan, cell):
            found[f"{plan.node.key}.{name}"] = value.detach().cpu().contiguous()
    return found


def _plan(plan: CellPlan) -> CellPlan:
    folds = _folds(plan.chain, _linear_merge(plan))
    merge = plan.merge
    if merge is not None:
        if any(fold.into == _MERGE for fold in folds):
            merge = _with_bias(merge)
        elif merge.target in _CONSTANT:
            assert merge.arguments is not None
            operands = dict(merge.arguments)["operands"]
            merge = Call(deployed.Constant, (("operands", operands),))
        else:
            merge = _replaced(merge)
    return replace(
        plan,
        operands=tuple(_chain(chain, _folds(chain)) for chain in plan.operands),
        merge=merge,
        chain=_chain(plan.chain, folds),
    )


def _linear_merge(plan: CellPlan) -> bool:
    """Whether the cell's blocks begin behind a convolution, with nothing added to it."""
    return plan.merge is not None and plan.merge.target is merges.Concat and not plan.node.addends


def _folds(chain: CallChain, linear_merge: bool = False) -> tuple[_Fold, ...]:
    """Which norms go where, in order."""
    found: list[_Fold] = []
    before = _MERGE if linear_merge else None
    for position, call in enumerate(chain.calls):
        if call.target is blocks.BatchNorm:
            if before is not None:
                found.append(_Fold(position, before, ahead=False))
            elif (point := _point_behind(chain, position)) is not None:
                found.append(_Fold(position, point, ahead=True))
        elif call.target in _LAST:
            before = position
        elif call.target not in _THROUGH:
            before = None
    return tuple(found)


def _point_behind(chain: CallChain, position: int) -> int | None:
    """The 1x1 convolution that reads what a norm gives, if one does."""
    for other in range(position + 1, len(chain.calls)):
        target = chain.calls[other].target
        if target is blocks.Conv1:
            return other
        if target not in _THROUGH:
            return None
    return None


def _chain(chain: CallChain, folds: Sequence[_Fold]) -> CallChain:
    norms, into = {fold.norm for fold in folds}, {fold.into for fold in folds}
    calls = [
        _with_bias(call) if position in into else _replaced(call)
        for position, call in enumerate(chain.calls)
        if position not in norms
    ]
    resampler = chain.resampler
    if resampler is not None:
        resampler -= sum(norm < resampler for norm in norms)
    return CallChain(tuple(calls), resampler)


def _with_bias(call: Call) -> Call:
    call = _replaced(call)
    assert call.arguments is not None
    rows = tuple((name, True if name == "bias" else value) for name, value in call.arguments)
    return Call(call.target, rows)


def _replaced(call: Call) -> Call:
    target: Any = call.target
    return Call(REPLACED.get(target, target), call.arguments)


def _cell(plan: CellPlan, cell: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The state of one cell, in its deployed form."""
    for number, chain in enumerate(plan.operands, start=1):
        if chain.calls:
            part = cell.get_submodule(f"operand{number}")
            folded, _ = _folded(chain, part, _folds(chain), {})
            yield from ((f"operand{number}.{name}", value) for name, value in folded)
    merge = (
        {}
        if plan.merge is None or not _is_module(plan.merge)
        else folded_state(cell.get_submodule("merge"))
    )
    folded, merge = _folded(plan.chain, cell, _folds(plan.chain, _linear_merge(plan)), merge)
    yield from ((f"merge.{name}", value) for name, value in merge.items())
    yield from folded


def _folded(
    chain: CallChain, part: nn.Module, folds: Sequence[_Fold], merge: dict[str, Tensor]
) -> tuple[list[tuple[str, Tensor]], dict[str, Tensor]]:
    """The state of a chain by its new positions, and that of the merge before it."""
    modules = {
        position: part.get_submodule(str(position))
        for position, call in enumerate(chain.calls)
        if _is_module(call)
    }
    states = {_MERGE: merge} | {position: folded_state(one) for position, one in modules.items()}
    for fold in folds:
        norm = modules[fold.norm]
        assert isinstance(norm, nn.BatchNorm2d)
        target = merges.Concat if fold.into == _MERGE else type(modules[fold.into])
        place = "".join(f"{step}." for step in _LAST[target])
        if place.startswith("last"):
            steps = modules[fold.into]
            assert isinstance(steps, nn.ModuleList)
            place = place.replace("last", str(len(steps) - 1), 1)
        weight, bias = states[fold.into][f"{place}weight"], states[fold.into].get(f"{place}bias")
        if fold.ahead:
            weight, bias = ahead(norm, weight, bias)
        else:
            weight, bias = behind(weight, bias, norm, axis=1 if target is Deconv else 0)
        states[fold.into] |= {f"{place}weight": weight, f"{place}bias": bias}
        del states[fold.norm]
    norms = {fold.norm for fold in folds}
    found = []
    for position in modules:
        if position not in norms:
            there = position - sum(norm < position for norm in norms)
            found += [(f"{there}.{name}", value) for name, value in states[position].items()]
    return found, states[_MERGE]


def _is_module(call: Call) -> bool:
    return isinstance(call.target, type)
