"""What a step is given: rows of a split on the device, and the box that each point learns.

Features are gathered into buffers that every step uses again, channels last: the layout that
convolutions of this size are fastest in. A view of an image never changes, and so neither does
which box a point of it learns: that is worked out when a row is first seen, and remembered for
all trials of the process.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from nas_fpn.proxy.bank import Split

__all__ = ["Feed", "Memory", "Table", "let_go", "memory_of", "placed"]

CHUNK = 64  # rows assigned at once on a device that works best unasked
PAIRS = 2**24  # of a box and a point that are held against each other at once: 64 MB a value
TABLES = 8  # of pyramids that are remembered at a time; necks of a run share one or two


class Cells(Protocol):
    """The points or anchors of a pyramid: how many each level has."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Finest level first."""


AnyCells = TypeVar("AnyCells", bound=Cells)


class Feed:
    """Features of a split's rows for one neck, [B, C, H, W] by level, float32, channels last.

    On the split's own device the tensors are overwritten by the next call.
    """

    def __init__(self, split: Split, levels: Sequence[int], device: torch.device) -> None:
        self._features = {level: split.features[level] for level in levels}
        self._device = device
        self._raw: dict[int, Tensor] = {}
        self._ready: dict[int, Tensor] = {}

    def __call__(self, rows: Tensor) -> Mapping[int, Tensor]:
        """The features of ``rows``, int64 [B] on the split's device."""
        return {level: self._gathered(level, rows) for level in self._features}

    def _gathered(self, level: int, rows: Tensor) -> Tensor:
        stored = self._features[level]
        if stored.device.type != self._device.type:
            fresh = stored.index_select(0, rows).to(self._device, torch.float32, non_blocking=True)
            return fresh.contiguous(memory_format=torch.channels_last)
        if level not in self._raw or len(self._raw[level]) != len(rows):
            raw = stored.new_empty(len(rows), *stored.shape[1:])
            self._raw[level] = raw
            self._ready[level] = torch.empty_like(
                raw, dtype=torch.float32, memory_format=torch.channels_last
            )
        torch.index_select(stored, 0, rows, out=self._raw[level])
        return self._ready[level].copy_(self._raw[level])


class Memory:
    """For each row of a split, the box that each point of a pyramid learns."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self._tables: dict[tuple[object, ...], Table] = {}

    def index(
        self,
        rows: Tensor,
        cells: AnyCells,
        *,
        rule: tuple[object, ...],
        assign: Callable[[AnyCells, Tensor, Tensor], Tensor],
    ) -> Tensor:
        """The rows of boxes that the points of ``cells`` learn, int64 [B, P], below 0 for none.

        ``assign(cells, boxes, labels)`` says so of any rows; ``rule`` is what it depends on beside
        the counts of ``cells``.
        """
        table = self.table(cells.counts, rule=rule)
        return table.index(rows, lambda *truth: assign(cells, *truth))

    def table(self, counts: tuple[int, ...], *, rule: tuple[object, ...]) -> "Table":
        """What is remembered of one pyramid; whoever holds it has it after it is forgotten here."""
        key = (rule, counts)
        if key not in self._tables:
            if len(self._tables) == TABLES:
                del self._tables[next(iter(self._tables))]
            self._tables[key] = Table(self._split, points=sum(counts))
        return self._tables[key]


class Table:
    """The memory of one pyramid, a byte or two for each point of each row."""

    def __init__(self, split: Split, *, points: int) -> None:
        rows, most = split.labels.shape
        dtype = torch.int8 if most <= torch.iinfo(torch.int8).max else torch.int16
        self._split = split
        self._at_once = max(1, min(CHUNK, PAIRS // (most * points)))  # rows
        self._index = torch.empty(rows, points, dtype=dtype, device=split.labels.device)
        self._known = torch.zeros(rows, dtype=torch.bool)  # on the CPU: read at every step
        self._whole = False

    def index(
        self,
        rows: Tensor,
        assign: Callable[[Tensor, Tensor], Tensor],
        *,
        device: torch.device | None = None,
    ) -> Tensor:
        """What the points of ``rows`` learn, int64 [B, P], as ``assign(boxes, labels)`` says.

        Rows not seen before are assigned now, on a CUDA device all. ``device`` is where ``assign``
        has its points, that of the split unless it is given; the answer is where the split is.
        """
        if not self._whole:
            asked = rows if rows.device.type == "cpu" else torch.arange(len(self._known))
            new = asked[~self._known[asked]].unique()
            if len(new):
                self._assign(new, assign, device or self._index.device)
        return self._index.index_select(0, rows).long()

    def _assign(
        self, new: Tensor, assign: Callable[[Tensor, Tensor], Tensor], device: torch.device
    ) -> None:
        for part in new.to(self._index.device).split(self._at_once):
            boxes, labels = self._split.boxes[part], self._split.labels[part]
            self._index[part] = assign(boxes.to(device), labels.to(device)).to(self._index)
        if self._index.device.type == "cuda":  # trainings on other streams read it unasked
            torch.cuda.current_stream(self._index.device).synchronize()
        self._known[new] = True
        self._whole = bool(self._known.all())


@lru_cache(maxsize=2)
def memory_of(split: Split) -> Memory:
    """The memory of a split, one in a process: workers live longer than trials."""
    return Memory(split)


@lru_cache(maxsize=4)
def placed(split: Split, device: torch.device) -> Split:
    """The split on the device if it takes less than half of its free memory, else as it is.

    One copy in a process, for all its trials. A warning says that it stays where it is: features
    then cross at every step, and no step can be captured.
    """
    if device.type != "cuda":
        return split
    size = sum(f.numel() * f.element_size() for f in split.features.values())
    free = torch.cuda.mem_get_info(device)[0]
    if size <= free / 2:
        try:
            return replace(
                split,
                features={level: f.to(device) for level, f in split.features.items()},
                boxes=split.boxes.to(device),
                labels=split.labels.to(device),
            )
        except torch.OutOfMemoryError:  # other processes saw the same room, and took it
            torch.cuda.empty_cache()
            free = torch.cuda.mem_get_info(device)[0]
    warnings.warn(
        f"{size / 1e9:.1f} GB of features stay in the host's memory, since {device} has "
        f"{free / 1e9:.1f} GB free and half of it is kept for training; steps are slower",
        RuntimeWarning,
        stacklevel=2,
    )
    return split


def let_go() -> None:
    """Give back what this process has of the memory of CUDA devices: others may need it.

    Splits are placed anew when they are asked for again. What a caller holds stays; without CUDA
    nothing happens.
    """
    if torch.cuda.is_initialized():
        placed.cache_clear()
        memory_of.cache_clear()
        torch.cuda.empty_cache()
