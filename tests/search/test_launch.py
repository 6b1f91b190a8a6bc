"""The Jobs API as we use it: the fake is true to it, and its faults are messages."""

import inspect
import zipfile
from pathlib import Path

import pytest
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from nas_fpn.errors import RunError
from nas_fpn.search import launch
from tests.run.fake_jobs import FakeCluster, FakeJobSubmissionClient

ADDRESS = "http://head:8265"


def parameters(method: object) -> list[tuple[str, object, object]]:
    given = inspect.signature(method).parameters.values()  # type: ignore[arg-type]
    return [(one.name, one.kind, one.default) for one in given]


@pytest.mark.parametrize(
    "name", [name for name in vars(FakeJobSubmissionClient) if not name.startswith("_")]
)
def test_the_fake_has_the_signatures_of_the_ray_that_is_installed(name: str) -> None:
    fake, real = getattr(FakeJobSubmissionClient, name), getattr(JobSubmissionClient, name)
    assert parameters(fake) == parameters(real)
    assert inspect.isasyncgenfunction(fake) == inspect.isasyncgenfunction(real)


def test_a_job_is_looked_at_followed_and_stopped(tmp_path: Path) -> None:
    cluster = FakeCluster(tmp_path, work=lambda here: "one\ntwo\n", running=True)
    jobs = launch.connect(ADDRESS, client=cluster.client)
    client = jobs.client
    archive = make_archive(tmp_path)
    job = jobs.start("python -m nas_fpn.cli job", archive=archive, gpus=0.5, metadata={"a": "b"})
    assert cluster.submitted[0]["gpus"] == 0.5
    assert jobs.look(job) == launch.Job("RUNNING", "Job finished successfully.", 1.0, 2.0)
    assert "".join(jobs.follow(job)) == jobs.log(job) == client.get_job_logs(job)
    assert jobs.stop(job)
    assert not jobs.stop(job)
    assert jobs.look(job).over
    assert jobs.look("another") is None


def make_archive(folder: Path) -> Path:
    path = folder / "job.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("job.json", "{}")
    return path


class Broken:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, address: str) -> object:
        raise self.error


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        ("head:6379", None, "should be the cluster's dashboard"),
        (ADDRESS, ConnectionError("Failed to connect"), "is the head up, and its port open"),
        (ADDRESS, AuthenticationError("401"), "asks for a token, and none, or another, was given"),
        (ADDRESS, RuntimeError("needs `pip install 'ray[default]'`"), 'install "nas-fpn.cluster.'),
    ],
)
def test_a_cluster_that_is_not_reached_is_a_message(
    address: str, error: Exception | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(RunError, match=message):
        launch.connect(address, client=Broken(error or AssertionError()))


def test_an_address_that_ray_would_not_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(RunError, match=r"RAY_ADDRESS=10\.0\.0\.1:6379 is set"):
        launch.connect(ADDRESS, client=Broken(AssertionError()))
