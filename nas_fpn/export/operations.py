"""The library's own source of the operations that a neck uses, and of what they use in turn.

Read from the modules' text, so that comments and docstrings come along. A definition may use
torch, the standard library, and other definitions of its module or of modules beside it.
"""

import ast
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.abc import InspectLoader
from typing import Any

__all__ = ["Definitions", "definitions"]


@dataclass(frozen=True, slots=True)
class Definitions:
    """Sources in an order in which Python can read them, and the imports that they need."""

    names: frozenset[str]
    sources: tuple[str, ...]
    imports: frozenset[tuple[str, str, str]]  # module, name ("" for the module), as


@dataclass(slots=True)
class _Found:
    instead: Mapping[tuple[str, str], tuple[str, str]]
    definitions: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)  # those that others use first
    imports: set[tuple[str, str, str]] = field(default_factory=set)


def definitions(targets: Iterable[Any], instead: Mapping[Any, Any] | None = None) -> Definitions:
    """The sources of functions and classes, each once, with all that they need.

    ``instead`` says which definition stands for which, wherever that is used; their names are
    the same. Raises ValueError where two modules mean different things by one name.
    """
    found = _Found({_place(one): _place(other) for one, other in (instead or {}).items()})
    for target in targets:
        _collect(*_place(target), found)
    names = [name for _, name in found.definitions]
    twice = sorted({name for name in names if names.count(name) > 1} | _clashing(found))
    if twice:
        raise ValueError(f"two modules of operations define {', '.join(twice)}; rename one")
    order = sorted(
        found.definitions.items(), key=lambda row: (found.modules.index(row[0][0]), row[1][0])
    )
    return Definitions(
        frozenset(names), tuple(source for _, (_, source) in order), frozenset(found.imports)
    )


def _clashing(found: _Found) -> set[str]:
    """Names that imports bind to different things, or to what is defined here."""
    bound: dict[str, set[str]] = {}
    for module, name, other in found.imports:
        whole = f"{module}.{name}" if name else module if other else module.partition(".")[0]
        bound.setdefault(other or name or whole, set()).add(whole)
    defined = {name for _, name in found.definitions}
    return {name for name, wholes in bound.items() if len(wholes) > 1 or name in defined}


def _place(target: Any) -> tuple[str, str]:
    return target.__module__, target.__name__


def _collect(module: str, name: str, found: _Found) -> None:
    """Take one definition of a module, first what stands behind the names in it."""
    module, name = found.instead.get((module, name), (module, name))
    if (module, name) in found.definitions:
        return
    text, statements = _module(module)
    statement = statements[name]
    if isinstance(statement, ast.Import | ast.ImportFrom):  # a package that passes a name on
        _follow(module, name, found)
        return
    decorators = getattr(statement, "decorator_list", [])
    first = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
    source = "\n".join(text.split("\n")[first - 1 : statement.end_lineno])
    found.definitions[module, name] = first, source
    for used in sorted(_loaded(statement) & statements.keys()):
        _follow(module, used, found)
    if module not in found.modules:
        found.modules.append(module)


def _follow(module: str, name: str, found: _Found) -> None:
    statement = _module(module)[1][name]
    if isinstance(statement, ast.ImportFrom):
        assert statement.module is not None
        given = next(alias for alias in statement.names if _bound(alias) == name)
        if not statement.module.startswith("nas_fpn."):
            found.imports.add((statement.module, given.name, given.asname or ""))
        elif given.asname is None:
            _collect(statement.module, name, found)
        else:
            raise ValueError(f"{module} imports {given.name} as {name}: use one name")
    elif isinstance(statement, ast.Import):
        given = next(alias for alias in statement.names if _bound(alias) == name)
        found.imports.add((given.name, "", given.asname or ""))
    else:
        _collect(module, name, found)


@cache
def _module(name: str) -> tuple[str, dict[str, ast.stmt]]:
    """The text of a module, and its top-level statements by the names that they bind."""
    module = importlib.import_module(name)
    loader = None if module.__spec__ is None else module.__spec__.loader
    assert isinstance(loader, InspectLoader)  # a user's own words come from the bytes once read
    text = loader.get_source(name) or ""
    bound: dict[str, ast.stmt] = {}
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            bound[statement.name] = statement
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            bound.update({_bound(alias): statement for alias in statement.names})
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            bound.update({t.id: statement for t in targets if isinstance(t, ast.Name)})
    return text, bound


def _bound(alias: ast.alias) -> str:
    """The name that an import binds: of ``import a.b`` it is ``a``."""
    return alias.asname or alias.name.partition(".")[0]


def _loaded(statement: ast.stmt) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
