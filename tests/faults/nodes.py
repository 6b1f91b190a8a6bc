"""A cluster of Ray on this machine, of nodes that can be killed one by one.

Each node is raylets and workers of their own, under a node id of its own. Where this user may, the
nodes beside the head are as apart as two machines: each has a network of its own, joined by a
bridge, and does not see the folder of the run; else all are on loopback and share the disk.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nas_fpn.search.carry import FOLDER

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
LOOPBACK = "127.0.0.1"
# On a loaded machine: time to start, else 30 s, and workers as nice as we are, else 15 nicer.
PATIENT = {"RAY_agent_register_timeout_ms": "300000", "RAY_worker_niceness": "0"}
SMALL = 100 << 20  # bytes of a node's object store
# In a network of its own, and with a file system in memory over the folder "$1".
HIDING = 'mount -t tmpfs none "$1" && shift && exec "$@"'


class Node:
    """The processes of one node; drivers connect with the variables ``TOKEN``.

    ``address`` is the IP address of the node. ``before`` is what the command stands behind.
    """

    def __init__(
        self, address: str, *arguments: str, cpus: int, before: Sequence[str] = ()
    ) -> None:
        self.address = address
        self.folder = Path(tempfile.mkdtemp(prefix="nh", dir="/tmp"))  # short, for its sockets
        command = [
            *(*before, str(Path(sys.executable).with_name("ray")), "start", *arguments),
            *(f"--node-ip-address={address}", f"--num-cpus={cpus}", "--num-gpus=0"),
            *("--disable-usage-stats", f"--object-store-memory={SMALL}"),
            "--include-log-monitor=false",
            f"--temp-dir={self.folder}",
        ]
        variables = {**os.environ, **TOKEN, **PATIENT, FOLDER: str(self.folder / "copies")}
        for left in reversed(range(3)):  # Ray gives its own processes half a minute to start
            done = subprocess.run(command, env=variables, check=False, capture_output=True)
            if done.returncode == 0:
                return
            self.kill()
            assert left, done.stderr.decode()
            self.folder.mkdir()

    def kill(self) -> None:
        """``kill -9`` of all its processes; they know its folder."""
        end = time.monotonic() + 60
        while (there := self.processes()) and time.monotonic() < end:
            for process in there:
                _kill(process)
            time.sleep(0.1)
        shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self) -> list[int]:
        """The numbers of its processes."""
        found = []
        for one in Path("/proc").glob("[0-9]*"):
            try:
                known = (one / "cmdline").read_bytes() + (one / "environ").read_bytes()
            except OSError:  # it has ended, or is somebody else's
                continue
            if os.fsencode(self.folder) in known:
                found.append(int(one.name))
        return found


class Head(Node):
    """The first node of a cluster; ``gcs`` is where drivers and nodes connect."""

    def __init__(self, port: int | None = None, *, address: str = LOOPBACK, cpus: int = 2) -> None:
        self.gcs = f"{address}:{free_port(address) if port is None else port}"
        port = int(self.gcs.rpartition(":")[2])
        given = ("--head", f"--port={port}", "--include-dashboard=false", "--no-monitor")
        super().__init__(address, *given, cpus=cpus)


@contextmanager
def head(port: int | None = None) -> Iterator[Head]:
    """A head while it lasts."""
    there = Head(port)
    try:
        yield there
    finally:
        there.kill()


@dataclass
class Cluster:
    """A head without room for trials, and the nodes that were added to it.

    ``apart``: the nodes do not see the folder ``hidden``, and each has its own network.
    """

    head: Head
    apart: bool
    hidden: Path
    name: str
    nodes: list[Node] = field(default_factory=list)

    def add(self, *, cpus: int = 2) -> Node:
        """One more node."""
        number = len(self.nodes) + 1
        address, before = LOOPBACK, ()
        if self.apart:
            address = self.head.address.rpartition(".")[0] + f".{number + 1}"
            before = self._network(f"{self.name}n{number}", address)
        node = Node(address, f"--address={self.head.gcs}", cpus=cpus, before=before)
        self.nodes.append(node)
        return node

    def cut(self, node: Node) -> None:
        """Take a node that is apart off the network; it goes on alone."""
        number = self.nodes.index(node) + 1
        _ip("link", "set", f"{self.name}v{number}", "down")

    def _network(self, space: str, address: str) -> tuple[str, ...]:
        """A network of its own for a node; what its command stands behind."""
        outside, inside = space.replace("n", "v"), space.replace("n", "w")
        _ip("netns", "add", space)
        _ip("link", "add", outside, "type", "veth", "peer", "name", inside)
        _ip("link", "set", inside, "netns", space)
        _ip("link", "set", outside, "master", self.name, "up")
        for rest in (
            ("addr", "add", f"{address}/24", "dev", inside),
            ("link", "set", inside, "up"),
            ("link", "set", "lo", "up"),
        ):
            _ip("-netns", space, *rest)
        enter = ("ip", "netns", "exec", space, "unshare", "--mount")
        return (*enter, "sh", "-c", HIDING, "sh", str(self.hidden))


@contextmanager
def cluster(hidden: Path) -> Iterator[Cluster]:
    """A cluster while it lasts; ``hidden`` is a folder that only the head's node is to see."""
    name, address = f"x{os.getpid() % 100_000}", LOOPBACK
    apart = may_be_apart()
    if apart:
        address = f"10.231.{os.getpid() % 250}.1"
        _ip("link", "add", name, "type", "bridge")
        _ip("addr", "add", f"{address}/24", "dev", name)
        _ip("link", "set", name, "up")
    there = Cluster(Head(address=address, cpus=0), apart, hidden, name)
    try:
        yield there
    finally:
        for node in [*there.nodes, there.head]:
            node.kill()
        if apart:
            for number in range(1, len(there.nodes) + 1):
                _ip("netns", "del", f"{name}n{number}")
            _ip("link", "del", name)


def may_be_apart() -> bool:
    """Whether this user may make networks and mounts of their own."""
    name = f"y{os.getpid() % 100_000}"
    try:
        _ip("netns", "add", name)
        try:
            _ip("link", "add", name, "type", "bridge")
            _ip("link", "del", name)
            inside = ("unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt")
            _ip("netns", "exec", name, *inside)
        finally:
            _ip("netns", "del", name)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def free_port(address: str = LOOPBACK) -> int:
    """A port of an address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return
