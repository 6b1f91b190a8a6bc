"""What trained merges multiply their operands with, for looking at."""

from torch import Tensor

from nas_fpn.language.lower import lower
from nas_fpn.necks.cell import Cell
from nas_fpn.necks.merges import Fast, Softmax, Weighted
from nas_fpn.necks.neck import Neck

__all__ = ["normalised", "operand_weights"]


def operand_weights(neck: Neck) -> dict[str, tuple[float, ...]]:
    """The weights of each ``fast``, ``softmax`` and ``weighted`` merge, as it normalises them.

    By the key of its line (``"p4"``, ``"repeat1.2.p4"``), in the order of the operands. Merges
    that weigh pixels or channels (``asff``, ``psum``) are left out: theirs are no numbers by
    operand. :func:`nas_fpn.language.draw.draw` makes lines as thick as these.
    """
    found: dict[str, tuple[float, ...]] = {}
    for node in lower(neck.architecture).nodes:
        cell = neck.get_submodule(node.key)
        merge = cell.merge if isinstance(cell, Cell) else None
        if isinstance(merge, Fast | Softmax | Weighted):
            found[node.key] = tuple(normalised(merge).tolist())
    return found


def normalised(merge: Fast | Softmax | Weighted) -> Tensor:
    """Give the numbers that a merge multiplies its operands with: [operands]."""
    weights = merge.weight.detach()
    if isinstance(merge, Fast):
        weights = weights.relu()
        return weights / (weights.sum() + merge.eps)
    return weights.softmax(dim=0) if isinstance(merge, Softmax) else weights
