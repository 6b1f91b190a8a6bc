"""Where searches are broken: a small disk of its own, and the head of a cluster on loopback."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


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


class Head:
    """The head of a cluster of Ray on this machine; ``address`` is where drivers connect.

    They do so with the variables ``TOKEN``.
    """

    def __init__(self, port: int | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="nh", dir="/tmp"))  # short, for its sockets
        self.address = f"127.0.0.1:{_free_port() if port is None else port}"
        subprocess.run(
            [
                *(str(Path(sys.executable).with_name("ray")), "start", "--head"),
                *("--node-ip-address=127.0.0.1", f"--port={self.address.rpartition(':')[2]}"),
                *("--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats"),
                f"--temp-dir={self._folder}",
            ],
            env={**os.environ, **TOKEN},
            check=True,
            capture_output=True,
        )

    def kill(self) -> None:
        """``kill -9`` of all its processes, whose command lines name its folder."""
        end = time.monotonic() + 60
        while (there := self._processes()) and time.monotonic() < end:
            for process in there:
                _kill(process)
            time.sleep(0.1)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _processes(self) -> list[int]:
        found = []
        for one in Path("/proc").glob("[0-9]*"):
            try:
                command = (one / "cmdline").read_bytes()
            except OSError:  # it has ended
                continue
            if os.fsencode(self._folder) in command:
                found.append(int(one.name))
        return found


@contextmanager
def head(port: int | None = None) -> Iterator[Head]:
    """A head while it lasts."""
    there = Head(port)
    try:
        yield there
    finally:
        there.kill()


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
