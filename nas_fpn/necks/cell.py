"""A merge cell as a module: operands with their own operations, a merge, addends, operations.

It stands alone (torch only), because an exported neck carries its source. The children of a cell
are named by the neck language: ``operand1``, ``operand2`` …, ``merge``, and ``0``, ``1`` … for
the line's own blocks. What has no weights and no arguments is a function and no child; positions
count it nevertheless.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Cell", "Chain", "double", "half"]


class Chain(nn.Module):
    """Operations one after another; ``resampler`` is the position of the one that resamples.

    The resampler is told the ``size`` to end at. One that goes down, or up with
    weights, can miss it where the backbone does not halve by rounding up; the nearest values
    then fill the size exactly.
    """

    def __init__(self, *operations: Callable[..., Tensor], resampler: int | None = None) -> None:
        super().__init__()
        self._fill(operations, resampler)

    def _fill(self, operations: Sequence[Callable[..., Tensor]], resampler: int | None) -> None:
        self._functions = tuple(None if isinstance(o, nn.Module) else o for o in operations)
        self._resampler = resampler
        for position, operation in enumerate(operations):
            if isinstance(operation, nn.Module):
                self.add_module(str(position), operation)

    def forward(self, size: Sequence[int], feature: Tensor) -> Tensor:
        """Take ``feature`` [B, C, h, w] to [B, C', H, W], ``size`` being (H, W)."""
        for position, function in enumerate(self._functions):
            operation = getattr(self, str(position)) if function is None else function
            if position == self._resampler:
                feature = operation(feature, size)
                if feature.shape[-2] != size[0] or feature.shape[-1] != size[1]:
                    feature = F.interpolate(feature, size=size, mode="nearest")
            else:
                feature = operation(feature)
        return feature


class Cell(Chain):
    """One line of a program: ``operations(merge(operands) + addends)``.

    ``operands`` holds a chain for each operand that has operations of its own, else None; without
    a ``merge`` there is one operand. ``operations`` are the line's own blocks.
    """

    merge: nn.Module | None

    def __init__(
        self,
        *operations: Callable[..., Tensor],
        merge: Callable[..., Tensor] | None = None,
        operands: tuple[Chain | None, ...] = (None,),
        resampler: int | None = None,
    ) -> None:
        super().__init__()
        self._count = len(operands)
        for number, operand in enumerate(operands, start=1):
            self.add_module(f"operand{number}", operand)
        self._merge = None if isinstance(merge, nn.Module) else merge
        self.add_module("merge", merge if isinstance(merge, nn.Module) else None)
        self._fill(operations, resampler)  # last, so that children stand as they are applied

    def forward(self, size: Sequence[int], *features: Tensor) -> Tensor:
        """Make the cell's feature [B, C, H, W], ``size`` being (H, W).

        ``features`` are the operands in order, each [B, c, h, w] of its level, then the addends,
        each [B, C, H, W].
        """
        operands = list(features[: self._count])
        for i in range(self._count):
            chain = getattr(self, f"operand{i + 1}")
            if chain is not None:
                operands[i] = chain(size, operands[i])
        merge = self.merge if self._merge is None else self._merge
        merged = operands[0] if merge is None else merge(*operands)
        del operands  # not held while the blocks run
        for addend in features[self._count :]:
            merged = merged + addend
        return super().forward(size, merged)


def half(size: Sequence[int]) -> tuple[int, int]:
    """Give the size one level coarser: each side halved, rounded up."""
    return (size[0] - 1) // 2 + 1, (size[1] - 1) // 2 + 1  # as torch writes it for a pool


def double(size: Sequence[int]) -> tuple[int, int]:
    """Give the size one level finer: each side doubled."""
    return 2 * size[0], 2 * size[1]
