"""An exported neck in other libraries: a small file for each, beside ``neck.py``."""

from nas_fpn.export.adapters.facts import Facts
from nas_fpn.export.adapters.write import (
    ALL,
    Written,
    adapter_names,
    check_adapters,
    write_adapters,
)

__all__ = ["ALL", "Facts", "Written", "adapter_names", "check_adapters", "write_adapters"]
