"""The top of an exported neck: a docstring with the program, and the imports."""

import ast
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from nas_fpn.export.layout import WIDTH
from nas_fpn.language.canonical import identity
from nas_fpn.language.graph import Graph
from nas_fpn.language.program import Architecture

__all__ = ["Import", "docstring", "imports", "inert", "packages", "span"]

Import = tuple[str, str, str]  # module, name ("": the module itself), the name after `as` or ""


_ALLOWED = ("torch", "torchvision")


def docstring(
    architecture: Architecture,
    graph: Graph,
    provenance: Mapping[str, str],
    wanted: Iterable[Import],
) -> Iterator[str]:
    """The docstring of the module: id, program, what it imports, where it comes from."""
    needs = "torch and torchvision" if "torchvision" in map(_top, wanted) else "torch only"
    inputs, outputs = span("c", graph.inputs), span("p", [level for level, _ in graph.outputs])
    yield f'"""Neck {identity(architecture)}: {inputs} in, {outputs} out.'
    yield ""
    for row in str(architecture).rstrip("\n").split("\n"):
        yield from _wrap(row, "# " if row.startswith("#") else " " * 8) or [""]
    yield ""
    yield "Each line is a submodule, a line of ``Neck.forward`` and a key prefix of the weights."
    yield f"Written by nas_fpn; the operations are its own source. It needs {needs}."
    for name, value in provenance.items():
        yield from _wrap(f"* {name}: {value}", "  ")
    yield '"""'


def inert(text: str) -> str:
    """Text that is only text in a docstring: plain ASCII, no escapes, no two quotes in a row."""
    return re.sub(r'[^ -~]|\\|"(?=")|(?<=")"', lambda found: _escape(found[0]), text)


def span(letter: str, levels: Sequence[int]) -> str:
    """Levels as a range where they are one, else one by one: ``p3..p5``, ``p3, p5``."""
    if len(levels) > 1 and levels[-1] - levels[0] == len(levels) - 1:
        return f"{letter}{levels[0]}..{letter}{levels[-1]}"
    return ", ".join(f"{letter}{level}" for level in levels)


def imports(wanted: Iterable[Import]) -> Iterator[str]:
    """Import lines as isort has them: standard library, then torch and torchvision.

    An operation of torchvision (a deformable convolution) is the one visible exception to "torch
    only". Raises ValueError for anything else: an exported neck could not be loaded where it goes.
    """
    rows = sorted(set(wanted))
    standard = [row for row in rows if _top(row) in sys.stdlib_module_names]
    torch = [row for row in rows if _top(row) in _ALLOWED]
    if len(standard) + len(torch) < len(rows):
        others = ", ".join(row[0] for row in rows if row not in (*standard, *torch))
        raise ValueError(f"an exported neck imports torch only, but an operation needs {others}")
    yield from _section(standard)
    if standard:
        yield ""
    yield from _section(torch)


def packages(text: str) -> tuple[str, ...]:
    """The packages that the source of a neck imports, beside the standard library."""
    found = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
    return tuple(sorted(found - sys.stdlib_module_names))


def _top(row: Import) -> str:
    return row[0].partition(".")[0]


def _section(rows: list[Import]) -> Iterator[str]:
    for module, name, other in rows:
        if not name:
            yield f"import {module} as {other}" if other else f"import {module}"
    for module in sorted({module for module, name, _ in rows if name}):
        names = [(name, other) for of, name, other in rows if of == module and name]
        names.sort(key=lambda row: (not row[0].isupper(), row[0][0].islower(), row[0]))
        text = ", ".join(f"{name} as {other}" if other else name for name, other in names)
        yield f"from {module} import {text}"


def _wrap(text: str, behind: str) -> list[str]:
    return textwrap.wrap(
        inert(text),
        WIDTH,
        subsequent_indent=behind,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
