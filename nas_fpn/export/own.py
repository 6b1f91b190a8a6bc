"""Own words that leave: their source must stand alone, and their files go along."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from nas_fpn.errors import SpaceError
from nas_fpn.export.header import imports
from nas_fpn.export.operations import definitions
from nas_fpn.export.source import neck_source
from nas_fpn.language import Row, Words, lower
from nas_fpn.necks.cell import Cell, double, half
from nas_fpn.necks.neck import Neck, initialise
from nas_fpn.necks.plan import OPERATIONS
from nas_fpn.necks.rehearsal import image_features, rehearsals

__all__ = ["check_exportable", "used_files"]

_TAKEN = {"Neck", "Callable", "Mapping", "Sequence", "Tensor", "nn"}  # in every exported source
_MEND = "an operation uses torch, the standard library and what its file defines at the top"


def check_exportable(words: Words) -> None:
    """Raise SpaceError, naming file and word, where the source of an own word could not travel.

    Each word of a :func:`nas_fpn.necks.rehearse` is exported, read as Python and run; what it
    gives must be the very numbers of the neck.
    """
    shipped = [Cell, double, half, initialise, *OPERATIONS.values()]
    own: list[Any] = []
    for name, row in words.own.items():
        own.append(row.operation)
        _hold(words, name, _fault([*shipped, *own], row))
    for name, neck in rehearsals(words):
        _hold(words, name, _differs(neck))


def used_files(neck: Neck) -> dict[str, bytes]:
    """The files of own words that the program uses, by their place in an exported folder.

    ``neck.py`` does without them; ``neck.neck`` is read again with them.
    """
    architecture, found = neck.architecture, dict[str, bytes]()
    own = architecture.words.own
    ops = [
        op
        for node in lower(architecture).nodes
        for op in (node.merge, *(op for edge in node.edges for op in edge.ops), *node.ops)
        if op is not None and op.name in own
    ]
    files = {architecture.words.file_of(op.row): None for op in ops}
    for number, file in enumerate(files, 1):
        name = Path(file.path).name
        place = f"words/{name}" if f"words/{name}" not in found else f"words/{number}_{name}"
        found[place] = file.content
    return found


def _hold(words: Words, name: str, fault: str | None) -> None:
    if fault is not None:
        where = words.file_of(words.rows[name]).path
        raise SpaceError(f"{where}: {name!r} cannot be exported: {fault}\n{_MEND}")


def _fault(operations: Sequence[Any], row: Row) -> str | None:
    """What the sources of these operations, the last an own word's, lack in one file."""
    try:
        found = definitions(operations)
        list(imports(found.imports))
    except ValueError as error:
        return str(error)
    taken = sorted(_TAKEN & definitions([row.operation]).names)
    return f"an exported neck has its own {', '.join(taken)}" if taken else None


def _differs(neck: Neck) -> str | None:
    """Whether the exported source of a neck gives other numbers than the neck, and why."""
    source = neck_source(neck.architecture, neck.in_channels, provenance={})
    there: dict[str, Any] = {"__name__": "neck"}
    given = image_features(neck)
    try:
        exec(compile(source, "neck.py", "exec"), there)
        copy = there["Neck"]().eval()
        copy.load_state_dict(neck.state_dict())
        with torch.inference_mode():
            pairs = list(zip(neck(given), copy(given), strict=True))
    except Exception as error:  # a user's code may raise anything
        return f"alone it raises {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    if all(torch.equal(ours, theirs) for ours, theirs in pairs):
        return None
    return "alone it gives other numbers"
