"""What trained merges multiply their operands with, for looking at."""

from nas_fpn.language.lower import lower
from nas_fpn.necks.cell import Cell
from nas_fpn.necks.merges import Fast, Softmax, Weighted
from nas_fpn.necks.neck import Neck

__all__ = ["operand_weights"]


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
        if isinstance(merge, Fast):
            weights = merge.weight.relu()
            weights = weights / (weights.sum() + merge.eps)
        elif isinstance(merge, Softmax):
            weights = merge.weight.softmax(dim=0)
        elif isinstance(merge, Weighted):
            weights = merge.weight
        else:
            continue
        found[node.key] = tuple(weights.detach().tolist())
    return found
