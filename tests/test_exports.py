"""The public names are the ``__all__`` of the packages, and they are there."""

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

PACKAGE = Path(__file__).parents[1] / "nas_fpn"
PACKAGES = sorted(p.parent.name for p in PACKAGE.glob("*/__init__.py"))


@pytest.mark.parametrize("name", PACKAGES)
def test_all_equals_what_is_there(name: str) -> None:
    package = importlib.import_module(f"nas_fpn.{name}")
    there = {
        public
        for public, value in vars(package).items()
        if not public.startswith("_") and not isinstance(value, ModuleType)
    }
    assert set(package.__all__) == there
    assert package.__doc__


def test_the_root_is_a_docstring() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1
