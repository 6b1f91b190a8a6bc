"""A fake of Ray's ``JobSubmissionClient``: the same methods, a folder for a cluster, no Ray.

``tests/search/test_launch.py`` holds its signatures against those of the Ray that is installed. A
job is unpacked where Ray would unpack it; its command runs as a process at once, to its end, unless
``work`` does instead of it what a search would do.
"""

import shlex
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nas_fpn.errors import RunError


@dataclass
class FakeCluster:
    """What outlives a client: the jobs, and a folder that they are unpacked in."""

    folder: Path
    work: Callable[[Path], str] | None = None  # instead of the command "… job": its log
    running: bool = False  # such a job never ends
    damage: Callable[[str], str] = lambda log: log
    jobs: dict[str, Any] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    submitted: list[dict[str, Any]] = field(default_factory=list)

    def client(self, address: str) -> "FakeJobSubmissionClient":
        return FakeJobSubmissionClient(address, cluster=self)


class FakeJobSubmissionClient:
    def __init__(self, address: str, *, cluster: FakeCluster) -> None:
        self.address = address
        self.cluster = cluster

    def submit_job(
        self,
        *,
        entrypoint: str,
        job_id: str | None = None,
        runtime_env: dict[str, Any] | None = None,
        metadata: dict[str, str] | None = None,
        submission_id: str | None = None,
        entrypoint_num_cpus: int | float | None = None,
        entrypoint_num_gpus: int | float | None = None,
        entrypoint_memory: int | None = None,
        entrypoint_resources: dict[str, float] | None = None,
        entrypoint_label_selector: dict[str, str] | None = None,
    ) -> str:
        assert runtime_env is not None
        job = f"raysubmit_{len(self.cluster.jobs)}"
        here = self.cluster.folder / job
        with zipfile.ZipFile(runtime_env["working_dir"]) as archive:
            archive.extractall(here)
        asked = {"entrypoint": entrypoint, "gpus": entrypoint_num_gpus, "metadata": metadata}
        self.cluster.submitted.append(asked)
        state, message = "SUCCEEDED", "Job finished successfully."
        if self.cluster.work is not None and entrypoint.endswith(" job"):
            try:
                log = self.cluster.work(here)
                state = "RUNNING" if self.cluster.running else state
            except RunError as fault:  # as the verb does
                log, state, message = str(fault), "FAILED", "exit code 2"
        else:
            command = [sys.executable, *shlex.split(entrypoint)[1:]]
            done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
            log = done.stdout + done.stderr
            if done.returncode:
                state, message = "FAILED", f"exit code {done.returncode}"
        self.cluster.logs[job] = self.cluster.damage(f"2026 INFO job_manager\n{log}")
        self.cluster.jobs[job] = SimpleNamespace(
            status=state, message=message, start_time=1000, end_time=2000
        )
        return job

    def get_job_info(self, job_id: str) -> Any:
        self._known(job_id)
        return self.cluster.jobs[job_id]

    def get_job_logs(self, job_id: str) -> str:
        self._known(job_id)
        return self.cluster.logs[job_id]

    def stop_job(self, job_id: str) -> bool:
        self._known(job_id)
        was = self.cluster.jobs[job_id].status
        if was == "RUNNING":
            self.cluster.jobs[job_id].status = "STOPPED"
        return bool(was == "RUNNING")

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        self._known(job_id)
        for row in self.cluster.logs[job_id].splitlines(keepends=True):
            yield row

    def _known(self, job_id: str) -> None:
        if job_id not in self.cluster.jobs:
            raise RuntimeError(f"Request failed with status code 404: Job {job_id} does not exist.")
