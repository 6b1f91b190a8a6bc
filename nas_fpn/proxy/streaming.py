"""A safetensors file that is filled piece by piece, for tensors that memory need not hold."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas_fpn.errors import RunError

__all__ = ["Layout", "put", "streamed_file"]

Layout = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
Places = Mapping[str, np.memmap[Any, Any]]

# Our dtypes: their names in the format, and numpy's type with the same bytes.
DTYPES = {
    torch.int64: ("I64", np.int64),
    torch.float32: ("F32", np.float32),
    torch.bfloat16: ("BF16", np.int16),
    torch.uint8: ("U8", np.uint8),
}


@contextmanager
def streamed_file(path: Path, layout: Layout, facts: Mapping[str, str]) -> Iterator[Places]:
    """Make a file with this layout, give the places of its tensors, and name it when all is in.

    The file appears under ``path`` at once and whole, or not at all. ``facts`` are its metadata.
    Raises ``RunError`` if the disk has no room for it.
    """
    header, offsets = _header(layout, facts)
    size = len(header) + sum(end - start for start, end in offsets.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise RunError(
            f"{path.parent}: the bank takes {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; "
            'make room, take fewer views, a smaller image_size, or dtype = "bfloat16"'
        )
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(header)
            file.truncate(size)
        places = {
            name: np.memmap(
                partial,
                DTYPES[dtype][1],
                "r+",
                offset=len(header) + offsets[name][0],
                shape=shape,
            )
            for name, (dtype, shape) in layout.items()
        }
        yield places
        for place in places.values():
            place.flush()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def put(place: np.memmap[Any, Any], rows: slice, values: Tensor) -> None:
    """Write ``values`` into these rows of a place, bit for bit."""
    values = values.cpu().contiguous()
    bits = values.view(torch.int16) if values.dtype == torch.bfloat16 else values
    place[rows] = bits.numpy()


def _header(
    layout: Layout, facts: Mapping[str, str]
) -> tuple[bytes, Mapping[str, tuple[int, int]]]:
    """The format's header, and where each tensor begins and ends behind it."""
    entries: dict[str, Any] = {"__metadata__": dict(facts)}
    offsets: dict[str, tuple[int, int]] = {}
    end = 0
    # The widest first: so each begins at a multiple of its own width.
    for name in sorted(layout, key=lambda name: (-layout[name][0].itemsize, name)):
        dtype, shape = layout[name]
        start, end = end, end + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        offsets[name] = (start, end)
        entries[name] = {
            "dtype": DTYPES[dtype][0],
            "shape": list(shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, offsets
