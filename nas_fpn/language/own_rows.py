"""Whether a row of a user's own words can be used: its name, kind, arity, arguments, operation."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from nas_fpn.language.layout import near
from nas_fpn.language.names import reserved
from nas_fpn.language.words import KINDS, WORDS, Argument, Row

__all__ = ["GIVEN", "row_fault"]

# What a constructor may ask for beside the arguments of its word; the plan of a neck gives it.
GIVEN = ("in_channels", "out_channels", "channels", "bias", "operands", "ratio")
MOST_OPERANDS = 64
MOST_PARTS = 64

Fault = tuple[str, str]  # what, how to mend


def row_fault(name: object, row: object, *, module: str) -> Fault | None:
    """The first thing wrong with a row of the file whose module is ``module``, or None."""
    return next(_faults(name, row, module), None)


def _faults(name: object, row: object, module: str) -> Iterator[Fault]:
    if not isinstance(name, str) or not re.fullmatch("[a-z][a-z0-9_]*", name):
        yield f"{name!r} is no word", "a word is lower-case letters, digits and _, a letter first"
        return
    if name in WORDS:
        yield f"the word {name!r} is shipped already", "give yours another name"
        return
    why = reserved(name)
    if why:
        yield f"reserved name: {why}", "give the word another name"
        return
    if not isinstance(row, Row):
        mend = f'write {name!r}: Row("block", cost=…, operation=…)'
        yield f"the row of {name!r} is {_a(row)}, not a Row", mend
        return
    if row.kind not in KINDS:
        kinds = ", ".join(map(repr, KINDS))
        yield f"{name!r} has the kind {row.kind!r}", f"a kind is one of {kinds}"
        return
    yield from _shape(name, row)
    yield from _arguments(name, row.arguments)
    yield from _operation(name, row, module)


def _shape(name: str, row: Row) -> Iterator[Fault]:
    """Arity, and what only words of one kind can be."""
    low, high = row.operands
    if row.kind == "merge" and not 2 <= low <= high <= MOST_OPERANDS:
        mend = f"operands are (at least, at most), from 2 to {MOST_OPERANDS}"
        yield f"{name!r} takes {row.operands} operands", mend
    for what, wrong in (
        ("commutes", row.commutes and row.kind != "merge"),
        ("mixes", row.mixes and row.kind != "merge"),
        ("norm", row.norm and row.kind != "block"),
        ("operands", row.kind != "merge" and row.operands != (2, MOST_OPERANDS)),
    ):
        if wrong:
            kind = "a block" if what == "norm" else "a merge"
            yield f"{name!r} is of kind {row.kind!r}, but says {what}", f"only {kind} says that"
    if not 1 <= row.parts <= MOST_PARTS:
        yield f"{name!r} has {row.parts} parts", f"parts is a whole number from 1 to {MOST_PARTS}"
    if row.mixes and not row.gives:
        mend = "say gives=True, and take out_channels"
        yield f"{name!r} mixes operands of different channels, but gives none of its own", mend


def _arguments(name: str, arguments: tuple[Argument, ...]) -> Iterator[Fault]:
    names = [argument.name for argument in arguments]
    for argument in arguments:
        if not re.fullmatch("[a-z][a-z0-9_]*", argument.name) or names.count(argument.name) > 1:
            mend = "a name of its own: lower-case letters, digits and _, a letter first"
            yield f"{name!r} has the argument {argument.name!r}", mend
        if argument.name == "plain":
            yield f"{name!r} has the argument 'plain'", "that is concat's own; take another name"
        free = argument.name in ("channels", "bias")
        if (argument.default is None) != free:
            mend = "write CHANNELS or BIAS" if free else "give it the constructor's default"
            yield (
                f"the argument {argument.name!r} of {name!r} has {argument.default!r} as default",
                mend,
            )
        elif not free and not _fits(argument):
            yield (
                f"the argument {argument.name!r} of {name!r} cannot be {argument.default!r}",
                "its default is one of its options, or in least..most, and odd where that is said",
            )


def _fits(argument: Argument) -> bool:
    """Whether an argument's default is one of the values that brackets could give."""
    default = argument.default
    if isinstance(default, bool):
        return default is False and not argument.options
    if isinstance(default, str):
        return default in argument.options
    assert default is not None
    return argument.least <= default <= argument.most and not (argument.odd and default % 2 == 0)


def _operation(name: str, row: Row, module: str) -> Iterator[Fault]:
    operation = row.operation
    if operation is None or not callable(operation):
        mend = "a function on tensors or an nn.Module class: Row(…, operation=…)"
        yield (
            f"{name!r} has no operation"
            if operation is None
            else (f"the operation of {name!r} is {_a(operation)}"),
            mend,
        )
        return
    called = getattr(operation, "__qualname__", "")
    there = getattr(operation, "__module__", None) == module and called.isidentifier()
    if not there or (not inspect.isfunction(operation) and not isinstance(operation, type)):
        mend = "define it there by def or class: an exported neck carries its source"
        yield f"the operation of {name!r} is not defined at the top of this file", mend
        return
    if isinstance(operation, type):
        yield from _constructor(name, row, operation)
        return
    for what, wrong in (("arguments", row.arguments), ("gives", row.gives), ("bias", row.bias)):
        if wrong:
            mend = "make it a class: an nn.Module whose constructor takes them"
            yield f"the operation of {name!r} is a function, but its row says {what}", mend


def _constructor(name: str, row: Row, operation: Callable[..., Any]) -> Iterator[Fault]:
    """The constructor asks for what there is, and for all that the row promises."""
    if not callable(getattr(operation, "forward", None)):
        yield f"the operation of {name!r} is a class without forward", "make it an nn.Module"
        return
    wanted = inspect.signature(operation).parameters
    own = {a.name: a for a in row.arguments if a.name not in ("channels", "bias")}
    known = [*GIVEN, *own]
    for parameter in wanted.values():
        if parameter.name not in known or parameter.kind not in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        ):
            yield (
                f"the operation of {name!r} asks for {parameter}, which nothing gives",
                f"it may ask for {', '.join(known)}{near(parameter.name, known)}",
            )
    for needed, why in (
        ("out_channels", row.gives and "gives"),
        ("bias", row.bias and "bias"),
        *((argument, "the argument of this name") for argument in own),
    ):
        if why and needed not in wanted:
            mend = "let the constructor take it, or take that out of the row"
            yield (
                f"the row of {name!r} says {why}, but its operation does not ask for {needed}",
                mend,
            )
    for argument in own.values():
        default = wanted[argument.name].default
        if default != argument.default:
            there = "has none" if default is inspect.Parameter.empty else f"has {default!r}"
            yield (
                f"the argument {argument.name!r} of {name!r} has the default {argument.default!r} "
                f"in its row, but its operation {there}",
                "give both one default",
            )


def _a(value: object) -> str:
    return f"of type {type(value).__name__}"
