"""One driver a run: a file that the kernel holds for a process, and that says which process.

The kernel lets go of it with the process, however that ends, so a file that is left behind is
stale as soon as nobody holds it; no clock and no process number decides that. On NFS the lock is
the server's: it works between machines where its lock service runs, not where it is mounted with
``nolock`` or ``local_lock``.
"""

import errno
import fcntl
import json
import os
import socket
import time
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from nas_fpn.errors import RunError

__all__ = ["Lock"]


class Lock:
    """The lock ``path``, held until :meth:`close` or the end of this process.

    ``left`` says who held it last and went without giving it back, as a killed process does; else
    it is None. Raises :class:`RunError` where somebody holds it, and says who; where the file
    system knows no locks; and where ``path`` is a link: what it leads to is not written. Raises
    OSError, with the path, where the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        while True:
            self._file = _opened(path)
            try:
                self._take()
            except BaseException:
                self._file.close()
                raise
            if _is_at(path, self._file.fileno()):
                break
            self._file.close()  # its holder gave it back, and took the file away, in between
        self._file.seek(0)
        self.left = _who(self._file.read())
        self._file.truncate(0)
        try:
            self._file.write(json.dumps(_me()).encode())
        except OSError as fault:
            self.close()
            raise OSError(fault.errno, fault.strerror, str(path)) from None

    def close(self) -> None:
        """Give it back and take the file away. Closing twice does nothing."""
        if not self._file.closed:
            self.path.unlink(missing_ok=True)  # while it is held: nobody else's is taken away
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _take(self) -> None:
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            who = _who(self._file.read())
            raise RunError(
                f"{self.path.parent}: another process is searching this run"
                f"{'' if who is None else f': {who}'}\nwait for it, or stop it"
            ) from None
        except OSError as fault:
            raise RunError(
                f"{self.path}: this file system takes no lock ({fault.strerror}), so that two "
                "searches of one run could not be told apart\nput the run's folder on another one"
            ) from None


def _opened(path: Path) -> FileIO:
    """The file for reading and writing, made where it is not there; never where a link leads."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return FileIO(os.open(path, flags, 0o666), "a+")
    except OSError as fault:
        if fault.errno != errno.ELOOP:
            raise
        raise RunError(
            f"{path}: is a link, and what it leads to would be written over\n"
            "take it away, if you did not make it; a lock is a file of its own"
        ) from None


def _me() -> dict[str, object]:
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}


def _who(data: bytes) -> str | None:
    """Whom the file names, as a person reads it; None where it is empty or cut short."""
    try:
        said = json.loads(data)
        return f"process {said['pid']} on {said['host']}, since {said['since']}"
    except (ValueError, KeyError, TypeError):
        return None


def _is_at(path: Path, file: int) -> bool:
    """Whether an open file is the one at a path."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(file))
    except FileNotFoundError:
        return False
