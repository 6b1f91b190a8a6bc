"""A user's own backbone: ``name = "mine.py:build"``, any module that gives a pyramid of features.

The file is code of whoever wrote it, and runs with the rights of the search.
"""

import hashlib
import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas_fpn.errors import RunError
from nas_fpn.proxy.settings import BackboneSettings

__all__ = ["Own", "build_own", "code_of", "own_file"]

NAME = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_]\w*)")
PROBE = 256  # pixels: strides up to 256 are told apart


@dataclass(frozen=True, slots=True, eq=False)
class Own:
    """What the function gave: ``net``, and by level the place of each feature and its channels.

    A place is a key of the dict, or an index of the list, that the net gives. ``code`` is the hash
    of the file and the function's name.
    """

    net: nn.Module
    code: str
    stages: dict[int, int | str]
    channels: dict[int, int]


def own_file(name: str) -> tuple[Path, str] | None:
    """The file and the function of ``FILE.py:FUNCTION``; None for the name of a timm model."""
    found = NAME.fullmatch(name)
    return None if found is None else (Path(found["file"]), found["function"])


def code_of(source: bytes, function: str) -> str:
    """What names the code of an own backbone: the hash of its file, and the function in it."""
    return f"{hashlib.sha256(source).hexdigest()}:{function}"


def build_own(settings: BackboneSettings, *, seed: int) -> Own:
    """Run the file and call its function with ``[backbone] arguments``.

    The module that it gives takes images [B, 3, H, W], normalised by the settings' mean and std
    (absent: 0..1 as they are), to a list, tuple or dict of features [B, C, H/s, W/s], each stride s
    a power of two; of several with one stride the last counts. What its function draws starts
    from ``seed``. Raises ``RunError`` for all else.
    """
    found = own_file(settings.name)
    assert found is not None
    path, function = found
    where = f"[backbone] name = {settings.name!r}"
    try:
        source = path.read_bytes()
    except OSError as error:
        raise RunError(f"{where}: {path}: {error.strerror}; the path starts at run.toml") from None
    sha = hashlib.sha256(source).hexdigest()
    build = getattr(_run(path, sha, where), function, None)
    if not callable(build):
        raise RunError(f"{where}: {path} defines no function {function}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            net = build(**settings.arguments)
        except TypeError as error:
            raise RunError(
                f"{where}, arguments = {settings.arguments}: {function}() takes others: {error}"
            ) from error
    if not isinstance(net, nn.Module):
        raise RunError(f"{where}: {function}() must give an nn.Module, but gave {type(net)}")
    features = _probed(net, where)
    stages: dict[int, int | str] = {}
    channels: dict[int, int] = {}
    for place, feature in features.items():
        level = _level(feature, f"{where}: feature {place!r}")
        stages[level], channels[level] = place, feature.shape[1]
    return Own(
        net,
        code_of(source, function),
        {level: stages[level] for level in sorted(stages)},
        {level: channels[level] for level in sorted(stages)},
    )


def _run(path: Path, sha: str, where: str) -> Any:
    # Two files of one name must not be taken for each other, nor one before and after an edit.
    name = f"nas_fpn_backbone_{path.stem}_{sha[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise RunError(f"{where}: {path}:{error.lineno}: {error.msg}") from error
    except ModuleNotFoundError as error:
        raise RunError(
            f"{where}: {path}: needs the module {error.name!r}, which is not installed here"
        ) from error
    return module


def _probed(net: nn.Module, where: str) -> dict[int | str, Tensor]:
    """The features of an empty image, by place."""
    training = net.training
    try:
        with torch.no_grad():
            given = net.eval()(torch.zeros(1, 3, PROBE, PROBE))
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        raise RunError(
            f"{where}: it takes no image [1, 3, {PROBE}, {PROBE}]: {type(error).__name__}: {error}"
        ) from error
    net.train(training)
    if isinstance(given, Mapping):
        features = dict(given)
    elif isinstance(given, Sequence):
        features = dict(enumerate(given))
    else:
        features = {}
    if not features or not all(isinstance(f, Tensor) and f.ndim == 4 for f in features.values()):
        raise RunError(
            f"{where}: it must give a list or dict of features [B, C, H, W], but gave {type(given)}"
        )
    return features


def _level(feature: Tensor, where: str) -> int:
    side = feature.shape[2]
    stride = PROBE // max(side, 1)
    if feature.shape[2] != feature.shape[3] or side * stride != PROBE or stride.bit_count() != 1:
        raise RunError(
            f"{where} is {tuple(feature.shape)} for an image of {PROBE} pixels; its stride must be "
            "a power of two, and its sides those of the image over it"
        )
    return stride.bit_length() - 1
