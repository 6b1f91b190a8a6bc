"""A file that trainings read, brought once to a node that does not see it.

The driver's node sees it, and so do nodes that share its folder; they read it where it is. Any
other keeps a copy in a folder of its own, named after the SHA-256 of its bytes, so that whatever
is there already is right, for this search and for the next. All workers of a node map that one.
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nas_fpn.errors import RunError
from nas_fpn.search.plan import Evaluate

__all__ = ["CHUNK", "FOLDER", "Carried", "Source", "copies", "place"]

FOLDER = "NAS_FPN_COPIES"  # the variable that names a node's folder of copies
CHUNK = 1 << 25  # bytes that travel at once
UNUSED = 86_400.0  # seconds after which a copy that nobody has begun with makes room
_NAME = re.compile(r".+-[0-9a-f]{16}(\.[^.]*)?")  # of a copy, whole or not


@dataclass(frozen=True, slots=True)
class Carried:
    """What trains, and the file that it reads: ``make(path)`` for a node that has it at ``path``.

    Both travel to the workers by pickle; the file does only to nodes that do not see it.
    """

    file: Path
    make: Callable[[Path], Evaluate]


class Source(Protocol):
    """Where the bytes of a file come from, seen from another node."""

    def sha256(self) -> str:
        """Of all its bytes."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """Its bytes from the first to the last."""
        ...


def copies() -> Path:
    """This node's folder of copies: of the variable ``NAS_FPN_COPIES``, else in its temporary one.

    Only its owner may read it. Raises :class:`RunError` where somebody else has made it.
    """
    named = os.environ.get(FOLDER)
    folder = Path(named) if named else Path(tempfile.gettempdir()) / f"nas-fpn-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    there = folder.lstat()
    if there.st_uid != os.getuid() or folder.is_symlink():
        raise RunError(
            f"{folder}: belongs to somebody else, and what lies there could be anything\n"
            f"name a folder of your own in the variable {FOLDER} of the node"
        )
    return folder


def place(file: Path, size: int, source: Source, folder: Path) -> tuple[Path, bool]:
    """Where this node finds a ``file`` of ``size`` bytes, and whether it was copied just now.

    The workers of a node that ask at once wait for one of them, who copies; a copy appears whole or
    not at all. Copies that nobody has begun with for a day are removed first, and no file else.
    Raises OSError where the folder takes no more, :class:`RunError` where other bytes come than
    were promised.
    """
    if file.is_file() and file.stat().st_size == size:
        return file, False
    sha256 = source.sha256()
    copy = folder / f"{file.stem}-{sha256[:16]}{file.suffix}"
    with _alone(copy.with_suffix(".lock")):
        if copy.is_file() and copy.stat().st_size == size:
            os.utime(copy)
            return copy, False
        _make_room(folder, size)
        _write(copy, source, sha256)
    return copy, True


def _write(copy: Path, source: Source, sha256: str) -> None:
    partial, digest = copy.with_suffix(".partial"), hashlib.sha256()
    try:
        with partial.open("wb") as out:
            for chunk in source.chunks():
                digest.update(chunk)
                out.write(chunk)
        if digest.hexdigest() != sha256:
            raise RunError(f"{copy}: what it is copied from changes; leave that, and search again")
        partial.replace(copy)
    except OSError as fault:
        raise OSError(fault.errno, fault.strerror, str(copy)) from None
    finally:
        partial.unlink(missing_ok=True)


def _make_room(folder: Path, size: int) -> None:
    for old in folder.iterdir():
        if _is_copy(old) and time.time() - old.stat().st_mtime > UNUSED:
            old.unlink(missing_ok=True)  # whoever has mapped it keeps its bytes
    free = shutil.disk_usage(folder).free
    if free < size:
        what = f"{size / 1e9:.1f} GB are to be copied here, and {free / 1e9:.1f} GB are free"
        raise OSError(errno.ENOSPC, what, str(folder))


def _is_copy(path: Path) -> bool:
    """Whether a file is of this module's making: by its name, and the lock that stays beside it."""
    lock = path.with_suffix(".lock")
    is_plain = path.is_file() and not path.is_symlink()
    return is_plain and path != lock and _NAME.fullmatch(path.name) is not None and lock.is_file()


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold a lock as soon as nobody else does; the kernel gives back that of a killed process."""
    with lock.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
