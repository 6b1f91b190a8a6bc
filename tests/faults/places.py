"""Where searches are broken: a small disk of their own, which only some users may have."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def can_mount(folder: Path) -> bool:
    """Whether this user may mount a file system in memory."""
    try:
        with mounted(folder / "probe", "size=64k"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system in memory at ``folder`` while it lasts."""
    folder.mkdir(parents=True)
    mount("-t", "tmpfs", "-o", options, "nas-fpn", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
