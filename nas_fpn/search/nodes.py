"""The nodes of a cluster: room for trials, a head that may be gone, a file for each of them."""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nas_fpn.errors import RunError
from nas_fpn.record import Report
from nas_fpn.search.carry import CHUNK, Carried, copies, place
from nas_fpn.search.plan import Due, Evaluate

__all__ = ["Carrier", "head_watched", "room"]

ASKED = 5.0  # seconds between two looks whether the head is there
PATIENCE = 50.0  # seconds that it may be gone: less than the 60 after which Ray ends the process
AHEAD = 3  # chunks of a file that are under way to a node while it writes one


@contextmanager
def head_watched(gone: Callable[[str], None]) -> Iterator[None]:
    """Meanwhile, call ``gone`` once, in a thread, when the session's head is and stays away.

    It is told how long. Ray itself says so to nobody, but ends the process.
    """
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    over = threading.Event()

    def watch() -> None:
        seen = time.monotonic()
        while not over.wait(ASKED):
            if _answers(host.strip("[]"), int(port)):
                seen = time.monotonic()
            elif (away := time.monotonic() - seen) > PATIENCE:
                gone(f"its head, {host}:{port}, has not answered for {away:.0f} s")
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), ASKED).close()
    except OSError:
        return False
    return True


def room(resources: Mapping[str, float]) -> int:
    """How many trials that take ``resources`` the nodes could run now, if they had nothing else."""
    return sum(_room(node["Resources"], resources) for node in ray.nodes() if node["Alive"])


def _room(there: Mapping[str, float], resources: Mapping[str, float]) -> int:
    # Ray knows resources to a ten-thousandth.
    most = [there.get(k.upper(), 0.0) / v + 1e-4 for k, v in resources.items() if v > 0]
    return int(min(most, default=1.0))


class Carrier:
    """A training on any node of a cluster: what it reads is brought there first, once a node.

    Made by the driver; its copies in workers, by pickle, are evaluates. A node that joins late is
    served by the first trial that it trains, in the time of that trial.
    """

    def __init__(self, carried: Carried) -> None:
        self._carried = carried
        self._size = carried.file.stat().st_size
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        reader = ray.remote(_Reader).options(
            num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here
        )
        self._source = _Source(reader.remote(carried.file))
        self._evaluate: Evaluate | None = None
        self._known: set[str] = set()  # nodes that the driver knows to have a copy

    def __call__(self, due: Due) -> Iterator[Report]:
        """Yield the reports of a trial, on a node."""
        if self._evaluate is None:
            path, _ = place(self._carried.file, self._size, self._source, copies())
            self._evaluate = self._carried.make(path)
        yield from self._evaluate(due)

    def deliver(self, resources: Mapping[str, float]) -> Iterator[str]:
        """Bring the file to the nodes that could run a trial now; yield a line for each copy.

        Raises OSError or :class:`RunError` with the name of a node that cannot have it. A node that
        is lost meanwhile is none of them.
        """
        file, task = self._carried.file, ray.remote(_deliver)
        names = {
            node["NodeID"]: _name(node)
            for node in ray.nodes()
            if node["Alive"] and _room(node["Resources"], resources)
        }
        waiting = {
            task.options(
                num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
            ).remote(file, self._size, self._source): node
            for node in names
        }
        while waiting:
            (done,), _ = ray.wait(list(waiting))
            node = waiting.pop(done)
            try:
                seconds = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise _at(names[node], error.cause) from None
            except ray.exceptions.RayError:  # the node is gone
                continue
            if seconds is not None:
                self._known.add(node)
                yield f"{self._what()} has been copied to node {names[node]} in {seconds:.1f} s"

    def latecomers(self) -> Iterator[str]:
        """A line for each copy that :meth:`deliver` did not make."""
        try:
            names = {node["NodeID"]: _name(node) for node in ray.nodes()}
            sent = ray.get(self._source.reader.sent.remote())
        except ray.exceptions.RayError:  # the search is over all the same
            return
        for node in sent:
            if node not in self._known:
                yield f"{self._what()} has been copied to node {names[node]}, which joined late"

    def _what(self) -> str:
        return f"{self._carried.file.name} ({self._size / 1e6:.1f} MB)"


class _Reader:
    """On the driver's node: the bytes of a file, for whoever asks from another one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._sha256 = ""
        self._sent: set[str] = set()

    def sha256(self) -> str:
        if not self._sha256:
            with self._file.open("rb") as file:
                self._sha256 = file_digest(file, "sha256").hexdigest()
        return self._sha256

    def read(self, offset: int, node: str) -> Any:
        """The next chunk, uint8 [N]; none is left where N is 0."""
        self._sent.add(node)
        return np.fromfile(self._file, np.uint8, CHUNK, offset=offset)

    def sent(self) -> set[str]:
        """The nodes that were sent it."""
        return self._sent


class _Source:
    """The reader, seen from a node."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader

    def sha256(self) -> str:
        return str(ray.get(self.reader.sha256.remote()))

    def chunks(self) -> Iterator[bytes]:
        node = ray.get_runtime_context().get_node_id()
        offsets = iter(range(0, 1 << 62, CHUNK))
        coming = deque(self.reader.read.remote(next(offsets), node) for _ in range(AHEAD))
        while len(chunk := ray.get(coming.popleft())):
            yield chunk.tobytes()
            coming.append(self.reader.read.remote(next(offsets), node))


def _deliver(file: Path, size: int, source: _Source) -> float | None:
    """A task on a node: the seconds that its copy took, None where it needed none."""
    began = time.monotonic()
    _, copied = place(file, size, source, copies())
    return time.monotonic() - began if copied else None


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _at(node: str, error: BaseException | None) -> BaseException:
    """What went wrong on a node, with its name."""
    if isinstance(error, OSError):
        return OSError(error.errno, f"{error.strerror}, on node {node}", error.filename)
    return RunError(f"node {node}: {error}")
