"""Docstrings cut to their summaries: an exported neck is read for what it does.

Papers, shapes and where we differ stand in the library's own source.
"""

import ast

__all__ = ["brief"]


def brief(source: str) -> str:
    """The source of a definition, each docstring of several lines cut to its first."""
    rows = source.split("\n")
    for first, last in reversed(list(_docstrings(source))):
        row = rows[first - 1].rstrip()
        quotes = row.lstrip().lstrip("rR")[:3]
        if quotes in ('"""', "'''") and not row.endswith(("\\", quotes[0])):
            rows[first - 1 : last] = [row + quotes]
    return "\n".join(rows)


def _docstrings(source: str) -> list[tuple[int, int]]:
    """First and last line of each docstring of several lines, in order."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or not node.body:
            continue
        text = node.body[0]
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            last = text.end_lineno or text.lineno
            if isinstance(text.value.value, str) and last > text.lineno:
                found.append((text.lineno, last))
    return sorted(found)
