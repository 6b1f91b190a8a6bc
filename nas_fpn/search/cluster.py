"""A session of Ray: one of this machine's own that ends with the search, or a cluster's.

And the nodes of it: how many trials they have room for, and how a file comes to each of them.
"""

import logging
import os
import secrets
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray._private import ray_constants
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nas_fpn.errors import RunError
from nas_fpn.lock import Lock
from nas_fpn.record import Report
from nas_fpn.search.carry import CHUNK, Carried, copies, place
from nas_fpn.search.plan import Due, Evaluate

__all__ = ["Carrier", "room", "session"]

AHEAD = 3  # chunks of a file that are under way to a node while it writes one

LOCK = "driver.lock"  # in the folder of a session, held while it lasts

# Read by Tune in the driver: no snapshots and no log files of a state that lies in our record, no
# long wait for workers that are to stop.
TUNE_ENVIRONMENT = {
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "5",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@contextmanager
def session(
    address: str, resources: Mapping[str, float], *, workers: int, threads: int
) -> Iterator[tuple[str, str]]:
    """A folder for what Tune writes, and the address of the session's dashboard, "" without one."""
    for name, value in TUNE_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with _folder() as folder:
        if ray.is_initialized():
            yield folder, ray.init(ignore_reinit_error=True).dashboard_url or ""
            return
        settings: dict[str, Any] = {
            "logging_level": logging.CRITICAL,
            "log_to_driver": False,
        }
        variables = {"OMP_NUM_THREADS": str(threads), "RAY_CHDIR_TO_TRIAL_DIR": "0"}
        if address == "local":
            # The workers run what this process runs, installed or not.
            paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
            variables["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
            settings |= {
                "num_cpus": max(1, -int(-workers * resources["cpu"] // 1)),
                "include_dashboard": False,
                "_temp_dir": folder,
            }
        with _loopback(on=address == "local"):
            context = ray.init(address=address, runtime_env={"env_vars": variables}, **settings)
        try:
            if address == "local":
                _check(resources, ray.cluster_resources())
            yield folder, context.dashboard_url or ""
        finally:
            ray.shutdown()


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
        names = {node["NodeID"]: _name(node) for node in ray.nodes()}
        for node in ray.get(self._source.reader.sent.remote()):
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


@contextmanager
def _folder() -> Iterator[str]:
    """A folder while it lasts. One that a killed search has left, with what Ray wrote, goes now."""
    # Short: the path of a socket has room for about a hundred characters, Ray's own take eighty.
    short = "/tmp" if Path("/tmp").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="nf", dir=short, ignore_cleanup_errors=True) as folder:
        for left in Path(folder).parent.glob(f"nf*/{LOCK}"):
            if left.parent.lstat().st_uid == os.getuid() and not left.parent.is_symlink():
                _remove(left)
        with Lock(Path(folder) / LOCK):
            yield folder


def _remove(left: Path) -> None:
    """The folder of a lock, if nobody holds it."""
    try:
        with Lock(left):
            shutil.rmtree(left.parent, ignore_errors=True)
    except (RunError, OSError):  # a search holds it, or has just ended
        return


@contextmanager
def _loopback(*, on: bool) -> Iterator[None]:
    """What Ray starts meanwhile listens on 127.0.0.1 only, and asks for a token.

    Else every process of it would listen on all addresses of the machine and run what anybody
    sends. Ray has this for macOS and Windows, by a constant and a variable. It asks for a token
    unless ``RAY_AUTH_MODE`` says otherwise; one in the environment leaves none at home.
    """
    if not on:
        yield
        return
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    name, was = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    before = os.environ.get(name)
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = was
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _check(resources: Mapping[str, float], there: Mapping[str, float]) -> None:
    for name, needed in resources.items():
        if needed > there.get(name.upper(), 0.0):
            raise RunError(
                f"[ray]: a trial takes {needed:g} {name.upper()}, but this machine has "
                f"{there.get(name.upper(), 0.0):g}"
            )
