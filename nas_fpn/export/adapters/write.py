"""The adapters by library, written into an exported folder."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas_fpn.errors import RunError
from nas_fpn.export.adapters import (
    for_detectron2,
    for_mmdetection,
    for_timm,
    for_torchvision,
    for_transformers,
    for_ultralytics,
)
from nas_fpn.export.adapters.facts import Facts

__all__ = ["ALL", "Written", "adapter_names", "check_adapters", "write_adapters"]

ALL = "all"


@dataclass(frozen=True, slots=True)
class _Adapter:
    """``use`` says how its ``files`` are used, in Python; ``fault`` why a neck cannot go there."""

    files: Callable[[Facts], dict[str, str]]
    use: Callable[[Facts], str]
    fault: Callable[[Facts], str | None] | None = None


_ADAPTERS = {
    "torchvision": _Adapter(for_torchvision.files, for_torchvision.use, for_torchvision.fault),
    "timm": _Adapter(for_timm.files, for_timm.use),
    "detectron2": _Adapter(for_detectron2.files, for_detectron2.use),
    "mmdetection": _Adapter(for_mmdetection.files, for_mmdetection.use),
    "ultralytics": _Adapter(for_ultralytics.files, for_ultralytics.use),
    "transformers": _Adapter(for_transformers.files, for_transformers.use),
}
_FILES = (*(f"for_{name}.py" for name in _ADAPTERS), "for_ultralytics.yaml")


@dataclass(frozen=True, slots=True)
class Written:
    """``held`` says of each file what it holds; ``uses`` has a text in Python by library.

    ``left_out`` says by library why ``all`` is without it.
    """

    held: dict[str, str]
    uses: dict[str, str]
    left_out: dict[str, str]


def adapter_names() -> tuple[str, ...]:
    """The libraries that there is an adapter for."""
    return tuple(_ADAPTERS)


def check_adapters(names: Sequence[str], facts: Facts | None = None) -> None:
    """Raise RunError for a library that there is no adapter for, or that a neck does not fit."""
    known = (*_ADAPTERS, ALL)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            mend = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise RunError(f"--adapter {name}: is not known\n{mend}")
        fault = None if facts is None else _faults(facts).get(name)
        if fault is not None:
            raise RunError(f"--adapter {name}: {fault}\nexport it without that adapter")


def write_adapters(folder: Path, facts: Facts, names: Sequence[str]) -> Written:
    """Write the adapters for libraries into an exported folder; remove those not named.

    ``"all"`` names every one that the neck fits. Raises what :func:`check_adapters` does.
    """
    check_adapters(names, facts)
    faults = _faults(facts)
    named = [name for name in _ADAPTERS if name in names or (ALL in names and name not in faults)]
    for file in _FILES:
        (folder / file).unlink(missing_ok=True)  # of another neck
    held: dict[str, str] = {}
    for name in named:
        for file, text in _ADAPTERS[name].files(facts).items():
            assert file in _FILES
            (folder / file).write_text(text, encoding="utf-8", newline="\n")
            held[file] = f"the neck for {name}"
    return Written(
        held,
        {name: _ADAPTERS[name].use(facts) for name in named},
        faults if ALL in names else {},
    )


def _faults(facts: Facts) -> dict[str, str]:
    """Why a neck does not fit, by library."""
    found = {name: one.fault(facts) for name, one in _ADAPTERS.items() if one.fault is not None}
    return {name: fault for name, fault in found.items() if fault is not None}
