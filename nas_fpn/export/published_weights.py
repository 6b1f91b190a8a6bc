"""A published checkpoint becomes a neck of ours: where its names begin, and its widths.

The program comes from a configuration (``nas_fpn.language.foreign``), the names from
``references.py``.
"""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nas_fpn.errors import RunError
from nas_fpn.export.published import from_published, name_here, published_names
from nas_fpn.language.foreign import Imported
from nas_fpn.language.graph import Graph
from nas_fpn.language.lower import lower
from nas_fpn.language.program import Architecture
from nas_fpn.necks.neck import Neck

__all__ = ["find_prefix", "neck_with_weights", "read_checkpoint"]

_INSIDE = ("state_dict", "model", "ema_state_dict", "model_state_dict")


def neck_with_weights(
    imported: Imported, architecture: Architecture, state: Mapping[str, Tensor], *, file: str = ""
) -> tuple[Neck, str]:
    """The neck with a checkpoint's weights, and the prefix that its names have there.

    ``in_channels`` are read from the weights. Raises RunError where there is no table of the
    names, the prefix is not one, or the weights are not those of this program.
    """
    if imported.reference is None:
        raise RunError(
            f"{file}: no table names the weights of this kind of neck\n"
            "import its program without --weights"
        )
    prefix = find_prefix(imported.reference, architecture, state, file=file)
    names = published_names(imported.reference, architecture)
    whole = _renamed(state, prefix, names)
    graph = lower(architecture)
    channels = [_channels(graph, level, whole, file) for level in graph.inputs]
    if imported.in_channels is not None and tuple(channels) != imported.in_channels:
        raise RunError(
            f"{file}: the weights are for in_channels {channels}, but the configuration says "
            f"{list(imported.in_channels)}\nare they of this configuration?"
        )
    neck = Neck(architecture, channels)
    mine = {key: value for key, value in state.items() if key.startswith(prefix)}
    try:
        neck.load_state_dict(from_published(imported.reference, mine, neck, prefix=prefix))
    except ValueError as fault:
        raise RunError(f"{file}: {fault}") from None
    return neck, prefix


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors``, or of a ``.pth`` read with ``weights_only=True``.

    Of a training's checkpoint those under ``state_dict`` or ``model``. Raises RunError.
    """
    path.stat()  # what is not there is said alike for both
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as fault:
            raise RunError(f"{path}: no safetensors: {fault}\nis the file whole?") from None
    try:
        given = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError) as fault:
        told = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise RunError(
            f"{path}: no weights alone: {told[:120]}\n"
            "it is not unpickled, which would run code: save its state dict as .safetensors"
        ) from None
    for key in _INSIDE:
        if isinstance(given, dict) and isinstance(given.get(key), dict):
            given = given[key]
            break
    if not isinstance(given, dict):
        raise RunError(f"{path}: holds a {type(given).__name__}, no state dict\nsave a state dict")
    return {str(key): value for key, value in given.items() if isinstance(value, Tensor)}


def find_prefix(
    reference: str, architecture: Architecture, state: Mapping[str, Tensor], *, file: str = ""
) -> str:
    """What stands before the neck's names in a detector's checkpoint: "neck.", "backbone.fpn.".

    Raises RunError where it is none, or several.
    """
    own = Neck(architecture, [1] * len(lower(architecture).inputs)).state_dict()
    names = published_names(reference, architecture)
    wanted = [there for there, here in names.items() if f"{here}.weight" in own]
    found: dict[str, int] = {}
    for key in state:
        for there in wanted:
            for last in ("weight", "kernel"):
                name = f"{there}.{last}"
                if key == name or key.endswith(f".{name}"):
                    prefix = key.removesuffix(name)
                    found[prefix] = found.get(prefix, 0) + 1
    most = max(found.values(), default=0)
    best = [prefix for prefix, count in found.items() if count == most]
    if len(best) == 1:
        return best[0]
    shown = ", ".join(sorted(state)[:4]) or "nothing"
    if not best:
        raise RunError(
            f"{file}: no names of {reference}, such as {wanted[0]}.weight; it has {shown} …\n"
            "is it a checkpoint of this configuration?"
        )
    raise RunError(
        f"{file}: several necks: {', '.join(map(repr, sorted(best)))}\nsave one of them alone"
    )


def _renamed(
    state: Mapping[str, Tensor], prefix: str, names: Mapping[str, str]
) -> dict[str, Tensor]:
    renamed = {}
    for key, value in state.items():
        here = name_here(key.removeprefix(prefix), names) if key.startswith(prefix) else None
        if here is not None:
            renamed[here] = value
    return renamed


def _channels(graph: Graph, level: int, weights: Mapping[str, Tensor], file: str) -> int:
    """The channels of a feature of the backbone, by the first convolution that reads it."""
    for node in graph.nodes:
        for edge in node.edges:
            ops = (*edge.ops, *(node.ops if node.merge is None else ()))
            for op in ops if edge.source == f"c{level}" else ():
                for key in (f"{node.key}.{op.key}.weight", f"{node.key}.{op.key}.0.weight"):
                    if key in weights and weights[key].ndim == 4:
                        return int(weights[key].shape[1])
    raise RunError(
        f"{file}: no weights of the convolution that reads c{level}\n"
        "is it a checkpoint of this configuration?"
    )
