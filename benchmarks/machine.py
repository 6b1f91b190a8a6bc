"""What a benchmark ran on."""

import platform
from pathlib import Path


def processor() -> str:
    """What the machine calls its processor."""
    known = Path("/proc/cpuinfo")
    for line in known.read_text(encoding="utf-8").splitlines() if known.exists() else []:
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()
