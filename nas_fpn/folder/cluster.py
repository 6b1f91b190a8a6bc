"""A cluster as runs are sent there and asked after: its jobs, which ``search/launch.py`` wraps."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

__all__ = ["Cluster", "Seen"]


class Seen(Protocol):
    """What a cluster says of a job."""

    @property
    def state(self) -> str:
        """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""

    @property
    def message(self) -> str:
        """What Ray says of it."""

    @property
    def over(self) -> bool:
        """Whether it has come to an end."""


class Cluster(Protocol):
    """The jobs of a cluster, by their ids; every method raises :class:`RunError`."""

    @property
    def address(self) -> str:
        """http://HEAD:8265."""

    def start(
        self,
        entrypoint: str,
        *,
        archive: Path,
        cpus: float = 0.0,
        gpus: float = 0.0,
        metadata: Mapping[str, str],
    ) -> str:
        """Run a shell command in a folder that holds what is in a zip; its id."""

    def look(self, job: str) -> Seen | None:
        """What the cluster says of it; None where it does not know it."""

    def stop(self, job: str) -> bool:
        """Have it end; False where it had ended before."""

    def log(self, job: str) -> str:
        """All that it has printed so far."""

    def follow(self, job: str) -> Iterator[str]:
        """What it prints, as it comes."""
