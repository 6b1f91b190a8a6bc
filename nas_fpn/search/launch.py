"""A cluster from outside and from its head: jobs by Ray's Jobs API, and work done on each node.

What goes wrong is a :class:`RunError` that says how to mend it. Ray's own client talks HTTP; the
token of a cluster that asks for one comes from the environment, as Ray has it.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.exceptions import AuthenticationError, GetTimeoutError, RayError
from ray.job_submission import JobSubmissionClient
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nas_fpn.errors import RunError

__all__ = ["Job", "Jobs", "connect", "on_each_node"]

Out = TypeVar("Out")

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
LOGGERS = ("dashboard_sdk", "job.sdk")  # they tell of every upload
VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")  # Ray lets them win over an argument


@dataclass(frozen=True, slots=True)
class Job:
    """What a cluster says of a job; ``started`` and ``ended`` are Unix seconds, None: not yet."""

    state: str  # PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED
    message: str
    started: float | None
    ended: float | None

    @property
    def over(self) -> bool:
        """Whether it has come to an end."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class Jobs:
    """The jobs of one cluster, by their ids. Each method raises :class:`RunError`."""

    address: str
    client: Any  # Ray's JobSubmissionClient

    def start(
        self,
        entrypoint: str,
        *,
        archive: Path,
        cpus: float = 0.0,
        gpus: float = 0.0,
        metadata: Mapping[str, str],
    ) -> str:
        """Run a shell command on the cluster, in a folder that holds what is in a zip; its id.

        ``cpus`` and ``gpus`` are what the command itself reserves; without any it runs on the head.
        """
        reserved: dict[str, float] = {}
        if cpus:
            reserved["entrypoint_num_cpus"] = cpus
        if gpus:
            reserved["entrypoint_num_gpus"] = gpus
        try:
            job: str = self.client.submit_job(
                entrypoint=entrypoint,
                runtime_env={"working_dir": str(archive)},
                metadata=dict(metadata),
                **reserved,
            )
        except (RuntimeError, ConnectionError, ValueError, RayError, OSError) as error:
            raise _fault(self.address, "the job was not taken", error) from None
        return job

    def look(self, job: str) -> Job | None:
        """What the cluster says of it now; None where it does not know it, or not any more."""
        try:
            told = self.client.get_job_info(job)
        except (RuntimeError, ConnectionError, RayError, OSError) as error:
            if "does not exist" in str(error):
                return None
            raise _fault(self.address, f"job {job}", error) from None
        state = getattr(told.status, "value", told.status)
        started, ended = (None if t is None else t / 1000 for t in (told.start_time, told.end_time))
        return Job(str(state), told.message or "", started, ended)

    def stop(self, job: str) -> bool:
        """Have it end, by SIGTERM and seconds later SIGKILL; False where it had ended before."""
        try:
            return bool(self.client.stop_job(job))
        except (RuntimeError, ConnectionError, RayError, OSError) as error:
            raise _fault(self.address, f"job {job}", error) from None

    def log(self, job: str) -> str:
        """All that it has printed so far."""
        try:
            return str(self.client.get_job_logs(job))
        except (RuntimeError, ConnectionError, RayError, OSError) as error:
            raise _fault(self.address, f"the log of job {job}", error) from None

    def follow(self, job: str) -> Iterator[str]:
        """What it prints, from its beginning to its end, piece by piece as it comes."""
        pieces = self.client.tail_job_logs(job)
        loop = asyncio.new_event_loop()
        try:
            while True:
                try:
                    yield loop.run_until_complete(anext(pieces))
                except StopAsyncIteration:
                    return
                except (RuntimeError, ConnectionError, RayError, OSError) as error:
                    what = f"the log of job {job} broke off; the job goes on"
                    raise _fault(self.address, what, error) from None
        finally:
            loop.run_until_complete(pieces.aclose())
            loop.close()


def connect(address: str, *, client: Callable[[str], Any] = JobSubmissionClient) -> Jobs:
    """The jobs of the cluster at ``http://HEAD:8265``.

    Raises:
        RunError: where nobody answers there, ``ray[default]`` is missing here, or the cluster
            asks for a token that is not given.
    """
    if "://" not in address or address.startswith("ray://"):
        raise RunError(
            f"--address {address}: should be the cluster's dashboard, e.g. http://head:8265\n"
            "the Jobs API is served there; ray://… and HEAD:6379 are other doors"
        )
    for name in VARIABLES:
        if os.environ.get(name, address) != address:
            raise RunError(
                f"--address {address}: {name}={os.environ[name]} is set, and Ray would take that\n"
                f"unset {name}, or name the same address"
            )
    for name in LOGGERS:
        logging.getLogger(f"ray.dashboard.modules.{name}").setLevel(logging.WARNING)
    try:
        return Jobs(address, client(address))
    except AuthenticationError as error:
        raise _fault(address, "refused", error) from None
    except (RuntimeError, ConnectionError, RayError, OSError) as error:
        if "ray[default]" in str(error):
            raise RunError(
                "submit, status, stop and fetch need Ray's Jobs API, which is not installed here\n"
                'pip install "nas-fpn[cluster]"'
            ) from None
        raise _fault(address, "no cluster answers here", error) from None


def on_each_node(
    work: Callable[[], Out], *, address: str, seconds: float
) -> dict[str, Out | RunError]:
    """What ``work``, which travels by pickle, gives on each node that is alive, by its name.

    A node that gives nothing within ``seconds``, or fails, has a :class:`RunError` in its place.
    Connects to the cluster, and leaves it, unless there is a session already. Raises
    :class:`RunError` where no cluster answers.
    """
    mine = not ray.is_initialized()
    if mine:
        try:
            ray.init(address=address, log_to_driver=False, logging_level="CRITICAL")
        except ConnectionError as error:
            raise _fault(f"[ray] address = {address}", "no cluster answers", error) from None
    try:
        asked = {
            _name(node): ray.remote(_called)
            .options(
                num_cpus=0,
                max_retries=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            )
            .remote(work)
            for node in ray.nodes()
            if node["Alive"]
        }
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=seconds)
        return {name: _got(one, seconds) for name, one in asked.items()}
    finally:
        if mine:
            ray.shutdown()


def _called(work: Callable[[], Out]) -> Out:
    return work()


def _got(one: Any, seconds: float) -> Any:
    try:
        return ray.get(one, timeout=0)
    except GetTimeoutError:
        ray.cancel(one, force=True)
        return RunError(f"has not answered within {seconds:g} s")
    except RayError as error:
        return RunError(_short(error))


def _name(node: Mapping[str, Any]) -> str:
    """How people know a node: by its name and address, and its id where several share them."""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})"


def _fault(address: str, what: str, error: Exception) -> RunError:
    if isinstance(error, AuthenticationError):
        return RunError(
            f"{address}: the cluster asks for a token, and none, or another, was given\n"
            "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to the cluster's; "
            "`ray get-auth-token` on its head prints it"
        )
    hint = (
        "is the head up, and its port open to this machine? see docs/cluster.md"
        if isinstance(error, ConnectionError)
        else "nas-fpn status RUN says how the job is"
    )
    return RunError(f"{address}: {what}: {_short(error)}\n{hint}")


def _short(error: Exception) -> str:
    """The line of a fault that says most: Ray's own are pages, the cause stands last."""
    rows = [row.strip() for row in str(error).splitlines() if row.strip()]
    return (rows[-1] if rows else type(error).__name__)[:300]
