"""A controller from its file: found by name or path, its settings checked against its signature.

The file is code of whoever wrote it, and runs with the rights of the search.
"""

import difflib
import inspect
import json
import sys
import typing
from collections.abc import Callable, Mapping
from hashlib import sha256
from importlib.abc import SourceLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from nas_fpn.errors import RunError
from nas_fpn.language.files import shipped_folder
from nas_fpn.search.controller import Controller, Problem

__all__ = ["find_controller", "load_controller"]

GIVEN = ("problem", "seed")  # what a search hands over; the rest of a signature are settings


def find_controller(name: str, *, base: Path | None = None) -> Path:
    """The file of a shipped controller ("random_search") or of a path ("mine.py", "a/b.py").

    A path is relative to ``base``, the current folder if None.
    """
    if name.endswith(".py") or "/" in name:
        path = (base or Path()) / name
        if not path.is_file():
            raise RunError(f"controller = {name!r}: there is no file {path}")
        return path
    files = {path.stem: path for path in sorted(shipped_folder("controllers").glob("*.py"))}
    if name not in files:
        raise RunError(
            f"controller = {name!r}: no shipped controller has this name{_near(name, files)}\n"
            f"shipped are {', '.join(files)}; a file of your own is a path that ends in .py"
        )
    return files[name]


def load_controller(
    path: Path,
    problem: Problem,
    *,
    seed: int,
    settings: Mapping[str, object],
    source: bytes | None = None,
) -> Controller:
    """Run the file and make its controller; ``settings`` are ``[controller_settings]``.

    ``source`` is what the file held when it was read; None: what it holds now.
    Raises :class:`RunError` for a file that cannot be run or defines no ``controller``, and for
    all unknown, missing and ill-typed settings at once.
    """
    module = _run(path, path.read_bytes() if source is None else source)
    factory = getattr(module, "controller", None)
    if not inspect.isfunction(factory):
        raise RunError(f"{path}: must define controller(problem, *, seed, …settings)")
    values = _checked(path, factory, settings)
    try:
        made: Controller = factory(problem, seed=seed, **values)
    except ValueError as error:
        raise RunError(f"{path}: {error}") from error
    if not (callable(getattr(made, "ask", None)) and callable(getattr(made, "tell", None))):
        raise RunError(f"{path}: controller() must give an object with ask() and tell()")
    return made


class _Loader(SourceLoader):
    """Runs the very bytes that are hashed: no bytecode beside the file, no later edit of it."""

    def __init__(self, path: Path, source: bytes) -> None:
        self._path = path
        self._source = source

    def get_filename(self, fullname: str) -> str:
        return str(self._path)

    def get_data(self, path: str | bytes) -> bytes:
        return self._source


def _run(path: Path, source: bytes) -> ModuleType:
    # Two files of one name must not be taken for each other, nor one before and after an edit.
    name = f"nas_fpn_controller_{path.stem}_{sha256(source).hexdigest()[:8]}"
    spec = spec_from_loader(name, _Loader(path, source))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise RunError(f"{path}:{error.lineno}: {error.msg}") from error
    except ModuleNotFoundError as error:
        raise RunError(
            f"{path}: needs the module {error.name!r}, which is not installed here"
        ) from error
    return module


def _checked(
    path: Path, factory: Callable[..., Any], settings: Mapping[str, object]
) -> dict[str, Any]:
    """The settings in the types of the signature."""
    parameters = inspect.signature(factory).parameters
    if [name for name in GIVEN if name not in parameters]:
        raise RunError(f"{path}: controller() must take problem and seed=")
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        raise RunError(f"{path}: controller() must name its settings, not take a bag of them")
    known = {name: p for name, p in parameters.items() if name not in GIVEN}
    types = typing.get_type_hints(factory)
    values: dict[str, Any] = {}
    faults = [
        f"{name} has no default and must be set"
        for name, parameter in known.items()
        if parameter.default is parameter.empty and name not in settings
    ]
    for name, value in settings.items():
        if name not in known:
            there = f"there are {', '.join(known)}" if known else "this controller has none"
            faults.append(f"unknown setting {name!r}{_near(name, known) or f'; {there}'}")
            continue
        try:
            # By way of JSON, so that a list of the TOML may become a tuple, and "3" no number.
            values[name] = TypeAdapter(types.get(name, Any)).validate_json(
                json.dumps(value, default=str), strict=True
            )
        except ValidationError:
            wanted = inspect.formatannotation(types[name])
            faults.append(f"{name} must be {wanted}, but got {value!r}")
    if faults:
        raise RunError(
            "\n".join([f"[controller_settings] of {path}:", *(f"  {f}" for f in faults)])
        )
    return values


def _near(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
