"""The constructor of an exported neck: one line for each submodule."""

import inspect
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from nas_fpn.export.layout import Group, Piece, inline, lay_out
from nas_fpn.export.plain import is_plain, plain_call
from nas_fpn.language.program import Architecture, Value
from nas_fpn.necks.plan import Call, CallChain, CellPlan

__all__ = ["constructor"]


def constructor(
    architecture: Architecture, plans: Sequence[CellPlan], *, indent: int
) -> Iterator[str]:
    """The statements that make the cells; passes of a repeat that are alike share them."""
    then = _then(architecture, plans)
    if then is not None:
        yield from _helper(then, indent)
    for repeat, group in groupby(plans, key=lambda plan: _scope(plan)[0]):
        if not repeat:
            for plan in group:
                yield from lay_out(f"self.{plan.node.key} = ", _cell(plan, then), indent=indent)
            continue
        yield f"{' ' * indent}self.{repeat} = nn.ModuleDict()"
        passes = [
            (number, [(_name(plan), _cell(plan, then)) for plan in plans])
            for number, plans in groupby(group, key=lambda plan: _scope(plan)[1])
        ]
        for cells, alike in groupby(passes, key=lambda one: one[1]):
            numbers = [number for number, _ in alike]
            yield from _passes(repeat, numbers, cells, indent)


def _scope(plan: CellPlan) -> tuple[str, int]:
    """The repeat and the pass of a line; no repeat: ``("", 0)``."""
    *scope, _ = plan.node.key.split(".")
    return (scope[0], int(scope[1])) if scope else ("", 0)


def _name(plan: CellPlan) -> str:
    return plan.node.key.rpartition(".")[2]


def _passes(
    repeat: str, numbers: list[int], cells: list[tuple[str, Group]], indent: int
) -> Iterator[str]:
    space = " " * indent
    if len(numbers) == 1:
        yield f'{space}self.{repeat}["{numbers[0]}"] = cells = nn.Module()'
    else:
        yield f"{space}for k in range({numbers[0]}, {numbers[-1] + 1}):"
        indent += 4
        yield f"{space}    self.{repeat}[str(k)] = cells = nn.Module()"
    for name, cell in cells:
        yield from lay_out(f"cells.{name} = ", cell, indent=indent)


def _then(architecture: Architecture, plans: Sequence[CellPlan]) -> Group | None:
    """The ``then`` blocks as most lines make them, if at least two lines do."""
    words = tuple(word.name for word in architecture.then)
    made = Counter(
        Group("(", _chain(plan.chain))
        for plan in plans
        if words and plan.node.merge is not None and words == tuple(op.name for op in plan.node.ops)
    )
    return next((group for group, count in made.most_common(1) if count > 1), None)


def _helper(then: Group, indent: int) -> Iterator[str]:
    """A function that makes the ``then`` blocks anew for each line."""
    space = " " * indent
    yield ""
    yield f"{space}def then() -> tuple[Callable[..., Tensor], ...]:"
    items = ", ".join(map(inline, then.items))
    short = f"{space}    return {items if len(then.items) > 1 else f'({items},)'}"
    yield from [short] if len(short) <= 100 else lay_out("return ", then, indent=indent + 4)
    yield ""


def _cell(plan: CellPlan, then: Group | None) -> Group:
    blocks = _chain(plan.chain)
    arguments: list[Piece] = []
    if then is not None and plan.node.merge is not None and blocks == then.items:
        arguments.append("*then()")
    else:
        arguments.extend(blocks)
    if plan.merge is not None:
        arguments.append(_named("merge", _call(plan.merge)))
    if len(plan.operands) > 1 or plan.operands[0].calls:
        arguments.append(Group("via=(", tuple(map(_operand, plan.operands))))
    if plan.chain.resampler is not None:
        arguments.append(f"resampler={plan.chain.resampler}")
    return Group("Cell(", tuple(arguments))


def _operand(chain: CallChain) -> Piece:
    if not chain.calls:
        return "None"
    resampler = () if chain.resampler == 0 else (f"resampler={chain.resampler}",)
    return Group("Chain(", (*_chain(chain), *resampler))


def _chain(chain: CallChain) -> tuple[Piece, ...]:
    return tuple(map(_call, chain.calls))


def _call(call: Call) -> Piece:
    """The name of a function, or a call with the arguments that are not the default."""
    if is_plain(call.target):
        return plain_call(call)
    name = call.target.__name__
    if call.arguments is None:
        return name
    given = dict(call.arguments)
    items = []
    for parameter in inspect.signature(call.target).parameters.values():
        value = given[parameter.name]
        if parameter.kind is not parameter.KEYWORD_ONLY:
            items.append(_value(value))
        elif value != parameter.default:
            items.append(f"{parameter.name}={_value(value)}")
    return Group(f"{name}(", tuple(items))


def _named(name: str, piece: Piece) -> Piece:
    if isinstance(piece, str):
        return f"{name}={piece}"
    return Group(f"{name}={piece.head}", piece.items)


def _value(value: Value) -> str:
    if isinstance(value, str):
        return json.dumps(value)
    return str(value) if isinstance(value, int) else repr(value)
