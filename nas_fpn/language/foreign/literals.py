"""Python and JSON text as values with their places; nothing of it is run.

Read are literals, ``dict(…)`` and other calls (a table with the callee's name as its ``type``),
and names that the file gives one literal at its top. All else is an error that shows the place.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from nas_fpn.errors import SpaceError
from nas_fpn.language.layout import Source, Span

__all__ = ["Config", "Table", "Value", "config", "entry", "evaluate", "place"]

_JSON = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class Table:
    """A ``dict`` of a configuration: values by key, where each stands, and where each key does."""

    source: Source
    span: Span
    values: dict[str, "Value"]
    spans: dict[str, Span]
    keys: dict[str, Span]


Value = str | int | float | bool | list["Value"] | Table | None


@dataclass(frozen=True, slots=True)
class Config:
    """A file: what it assigns at its top by name; ``whole`` where it is one expression."""

    source: Source
    assigned: dict[str, ast.expr]
    twice: frozenset[str]
    whole: ast.expr | None


def config(text: str, file: str) -> Config:
    """Parse a text without running it. Raises SpaceError where it is no Python or JSON."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    source = Source(file, tuple(text.split("\n")))
    try:
        module = ast.parse(text)
    except SyntaxError as error:
        line = error.lineno or 1
        start = max(1, error.offset or 1)
        span = Span(line, start, start + 1)
        source.fail(span, f"no Python or JSON: {error.msg}", "is the file whole?")
    except (RecursionError, MemoryError, ValueError):
        raise SpaceError(
            f"{file}:1:1: no Python or JSON that can be read: nested too deep, or with null bytes\n"
            "is this the right file?"
        ) from None
    assigned: dict[str, ast.expr] = {}
    twice: set[str] = set()
    for name, value in _assignments(module):
        if name in assigned:
            twice.add(name)
        assigned[name] = value
    only = module.body[0] if len(module.body) == 1 else None
    whole = only.value if isinstance(only, ast.Expr) else None
    return Config(source, assigned, frozenset(twice), whole)


def entry(given: Config, node: ast.expr, key: str) -> ast.expr | None:
    """What a ``dict`` has under a key, not evaluated; None where there is none."""
    for name, value, _ in _entries(given, node):
        if name == key:
            return value
    return None


def evaluate(given: Config, node: ast.expr, *, open_: tuple[str, ...] = ()) -> Value:
    """The value of a literal; ``open_`` names what is being looked up."""
    match node:
        case ast.Constant(value=str() | bool() | int() | float() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [evaluate(given, part, open_=open_) for part in parts]
        case ast.Dict() | ast.Call():
            return _table(given, node, open_)
        case ast.Name(id=name) if name in _JSON and name not in given.assigned:
            return _JSON[name]
        case ast.Name(id=name) if name in given.assigned and name not in (*open_, *given.twice):
            return evaluate(given, given.assigned[name], open_=(*open_, name))
        case ast.Attribute():
            return ast.unparse(node)
        case _:
            raise _no_literal(given, node)


def place(source: Source, node: ast.expr | ast.keyword) -> Span:
    """Where a node stands, of several lines the first."""
    line = source.lines[node.lineno - 1]
    code = line.encode("utf-8")
    start = len(code[: node.col_offset].decode("utf-8")) + 1
    ends = node.end_lineno == node.lineno and node.end_col_offset is not None
    end = len(code[: node.end_col_offset].decode("utf-8")) + 1 if ends else len(line.rstrip()) + 1
    return Span(node.lineno, start, max(end, start + 1))


def _assignments(module: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for statement in module.body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    yield target.id, statement.value
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value


def _entries(given: Config, node: ast.expr) -> Iterator[tuple[str, ast.expr, Span]]:
    """The keys of a ``dict``, what stands behind each, and where; all are to be written out."""
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
                given.source.fail(
                    place(given.source, key if key is not None else value),
                    "a key that is no string",
                    "the file is not run: write the keys out",
                )
            yield key.value, value, place(given.source, key)
    elif isinstance(node, ast.Call):
        for keyword in node.keywords:
            if keyword.arg is None:
                given.source.fail(
                    place(given.source, keyword),
                    "keys that another dict gives",
                    "the file is not run: write the keys out",
                )
            yield keyword.arg, keyword.value, place(given.source, keyword)


def _table(given: Config, node: ast.Dict | ast.Call, open_: tuple[str, ...]) -> Table:
    values: dict[str, Value] = {}
    spans: dict[str, Span] = {}
    keys: dict[str, Span] = {}
    if isinstance(node, ast.Call):
        callee = ast.unparse(node.func).rpartition(".")[2]
        if callee != "dict":
            values["type"], spans["type"] = callee, place(given.source, node.func)
        elif node.args:
            given.source.fail(
                place(given.source, node.args[0]), "dict(…) of something else", "write the keys out"
            )
        if node.args:
            values["args"] = [evaluate(given, one, open_=open_) for one in node.args]
            spans["args"] = place(given.source, node.args[0])
    for key, value, there in _entries(given, node):
        if key in values:
            given.source.fail(there, f"{key!r} is given twice", "omit one")
        values[key] = evaluate(given, value, open_=open_)
        spans[key], keys[key] = place(given.source, value), there
    return Table(given.source, place(given.source, node), values, spans, keys)


def _no_literal(given: Config, node: ast.expr) -> SpaceError:
    mend = "the file is not run: write the value here"
    if not isinstance(node, ast.Name):
        what = f"{_short(ast.unparse(node))} is no literal"
        mend += "; read are literals and dict(…)"
    elif node.id in given.twice:
        what = f"{node.id!r} is assigned more than once"
    else:
        what = f"{node.id!r} has no literal value in this file"
    return given.source.error(place(given.source, node), what, mend)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
