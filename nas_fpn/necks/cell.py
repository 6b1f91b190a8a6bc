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
    """Operations one after another; the one at ``resampler`` is told the size to end at.

    A resampler that goes down, or up with weights, can miss that size where the backbone does not
    halve by rounding up; the nearest values then fill it exactly. A chain that does not resample
    has None.
    """

    def __init__(self, *operations: Callable[..., Tensor], resampler: int | None = 0) -> None:
        super().__init__()
        self._follow(operations, resampler)

    def _follow(self, operations: Sequence[Callable[..., Tensor]], resampler: int | None) -> None:
        self._length, self._resampler = len(operations), resampler
        for position, operation in enumerate(operations):
            setattr(self, str(position), operation)  # a module is a child, a function is not

    def forward(self, size: Sequence[int], feature: Tensor) -> Tensor:
        """Take ``feature`` [B, C, h, w] to [B, C', H, W], ``size`` being (H, W)."""
        for position in range(self._length):
            operation = getattr(self, str(position))
            if position != self._resampler:
                feature = operation(feature)
                continue
            feature = operation(feature, size)
            if feature.shape[-2] != size[0] or feature.shape[-1] != size[1]:
                feature = F.interpolate(feature, size=size, mode="nearest")
        return feature


class Cell(Chain):
    """One line of a program: ``operations(merge(operands) + addends)``.

    ``via`` holds for each operand the chain that it comes by, or None where it has no operations
    of its own; without a ``merge`` there is one operand. ``operations`` are the line's own blocks.
    """

    def __init__(
        self,
        *operations: Callable[..., Tensor],
        merge: Callable[..., Tensor] | None = None,
        via: tuple[Chain | None, ...] = (None,),
        resampler: int | None = None,
    ) -> None:
        super().__init__()
        self._operands = len(via)
        for number, chain in enumerate(via, start=1):
            setattr(self, f"operand{number}", chain)
        self.merge = merge
        self._follow(operations, resampler)  # last, so that children stand as they are applied

    def forward(self, size: Sequence[int], *features: Tensor) -> Tensor:
        """Make the cell's feature [B, C, H, W], ``size`` being (H, W).

        ``features`` are the operands in order, each [B, c, h, w] of its level, then the addends,
        each [B, C, H, W].
        """
        operands = []
        for i, feature in enumerate(features[: self._operands], start=1):
            chain = getattr(self, f"operand{i}")
            operands.append(feature if chain is None else chain(size, feature))
        merged = operands[0] if self.merge is None else self.merge(*operands)
        del operands  # not held while the blocks run
        for addend in features[self._operands :]:
            merged = merged + addend
        return super().forward(size, merged)


def half(size: Sequence[int]) -> tuple[int, int]:
    """Give the size one level coarser: each side halved, rounded up."""
    return (size[0] - 1) // 2 + 1, (size[1] - 1) // 2 + 1  # as torch writes it for a pool


def double(size: Sequence[int]) -> tuple[int, int]:
    """Give the size one level finer: each side doubled."""
    return 2 * size[0], 2 * size[1]
