"""mmdetection's necks without its compiled operations, where its Python packages are installed.

    pip install mmdet mmengine mmcv-lite

The packages import everything in their ``__init__``, compiled operations of mmcv among them, which
the necks compared here never call. So the necks' own files are imported alone, with an empty
module in the place of what is compiled.
"""

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["mmdet_neck"]

_PACKAGES = ("mmcv", "mmcv.ops", "mmdet", "mmdet.models", "mmdet.models.layers")


class _Empty(ModuleType):
    """Has every name, each a class of nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def mmdet_neck(file: str, name: str) -> Any:
    """The class ``name`` of ``mmdet/models/necks/FILE.py``; ImportError says what is missing."""
    for package in ("mmdet", "mmengine", "mmcv"):
        if package not in sys.modules and find_spec(package) is None:
            raise ImportError(f"{package} is not installed")
    for package in (*_PACKAGES, "mmdet.models.necks"):
        if package not in sys.modules:
            module = _Empty(package) if package.endswith(("ops", "layers")) else ModuleType(package)
            module.__path__ = [str(_folder(package))]
            sys.modules[package] = module
    sys.modules.setdefault("mmcv._ext", _Empty("mmcv._ext"))
    if file == "yolox_pafpn":
        layers = sys.modules["mmdet.models.layers"]
        layers.CSPLayer = importlib.import_module("mmdet.models.layers.csp_layer").CSPLayer
    return getattr(importlib.import_module(f"mmdet.models.necks.{file}"), name)


def _folder(package: str) -> Path:
    top, *rest = package.split(".")
    module = sys.modules.get(top)
    places = list(module.__path__) if module else find_spec(top).submodule_search_locations
    return Path(places[0]).joinpath(*rest)
