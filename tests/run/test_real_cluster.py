"""A real head of Ray on loopback: a run is submitted, stopped, fetched, goes on, is looked at."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from nas_fpn.detect.shapes import write_shapes
from nas_fpn.record import read_history
from tests.run.smallest import SMALL_BACKBONE, SMALL_PROXY

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
TRIES = 3  # to start a head

TINY = (
    """
space = "quick"
controller = "../mine.py"
baselines = ["fpn"]
[budget]
trials = {trials}
[confirm]
seeds = 0
[data]
images = "{data}/images"
train = "{data}/train.json"
"""
    + SMALL_BACKBONE
    + SMALL_PROXY
)


@dataclass
class Head:
    address: str
    environment: dict[str, str]
    folder: Path

    def run(self, *arguments: str, **changes: str) -> tuple[int, str, str]:
        """A verb as a user runs it: exit code, stdout, stderr."""
        command = [sys.executable, "-m", "nas_fpn.cli", *arguments]
        env = {**self.environment, **changes}
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def state(self, folder: Path) -> str:
        """Of a folder's job, as the job server says it: a verb takes seconds to start."""
        job = json.loads((folder / "submitted.json").read_text())["job"]
        token = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        asked = urllib.request.Request(f"{self.address}/api/jobs/{job}", headers=token)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return str(json.load(answer)["status"])

    def begin(self, name: str, *, trials: int) -> Path:
        folder = self.folder / name
        folder.mkdir()
        data = self.folder / "data"
        (folder / "run.toml").write_text(TINY.format(trials=trials, data=data))
        shutil.copyfile(ROOT / "controllers" / "random_search.py", self.folder / "mine.py")
        return folder


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """Ray's head with its job server: loopback only, a token, a home of its own."""
    pytest.importorskip("aiohttp", reason="needs ray[default], for the job server")
    folder = tmp_path_factory.mktemp("cluster")
    write_shapes(folder / "data", seed=0, image_size=64, train=24, val=2, test=2, warmup=0)
    (folder / "home").mkdir()
    head, dashboard, client, agent = free_ports(4)
    bare = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    with (
        tempfile.TemporaryDirectory(prefix="nf", dir="/tmp", ignore_cleanup_errors=True) as short,
        (folder / "head.log").open("w") as log,
    ):
        environment = {
            **bare,
            "HOME": str(folder / "home"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{bare['PATH']}",
            "OMP_NUM_THREADS": "1",
            "NO_COLOR": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # 127.0.0.1, as search/cluster.py
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # else 15: starved where other tests run beside it
        }
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head"),
            *("--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"),
            *(f"--port={head}", f"--dashboard-port={dashboard}", "--num-cpus=2"),
            *(f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}"),
            *("--min-worker-port=0", "--max-worker-port=0", f"--temp-dir={short}"),
        ]
        try:
            for attempt in range(TRIES):
                log.truncate(0)
                done = subprocess.run(
                    command,
                    cwd=folder,
                    env=environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    timeout=300,
                    check=False,
                )
                if done.returncode == 0:
                    break
                end_all(short)
                assert attempt < TRIES - 1, (folder / "head.log").read_text()
            wait_for(f"http://127.0.0.1:{dashboard}/api/version", folder / "head.log")
            yield Head(f"http://127.0.0.1:{dashboard}", environment, folder)
        finally:
            end_all(short)


def end_all(folder: str) -> None:
    """End every process that names the session's folder, and what these have started."""
    named = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(folder in word for word in process.info["cmdline"] or ())
    ]
    started = [child for process in named for child in children(process)]
    for process in (*named, *started):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs([*named, *started], timeout=5)


def children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def wait_for(url: str, log: Path) -> None:
    """Wait until the job server answers."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=10):
                return
        except urllib.error.HTTPError as refused:  # it asks for the token
            refused.close()
            return
        except OSError:
            time.sleep(1)
    raise AssertionError(log.read_text())


def test_a_job_is_stopped_goes_on_and_its_answer_comes_home(head: Head) -> None:
    folder = head.begin("mine", trials=2000)
    storage = head.folder / "storage"
    given = ("--address", head.address, "--storage", str(storage), "--workers", "0")
    code, out, err = head.run("submit", str(folder), *given, "--no-follow")
    assert (code, err) == (0, ""), out + err
    assert f"[data] train = {head.folder / 'data/train.json'}: stays where it is" in out
    there = Path(json.loads((folder / "submitted.json").read_text())["folder"])
    record = there / "history.jsonl"
    end = time.monotonic() + 300
    while not record.is_file() or record.read_text().count('"tell"') < 2:
        assert time.monotonic() < end, head.run("status", str(folder))
        time.sleep(0.5)
    code, out, _ = head.run("stop", str(folder))
    assert (code, "is told to end" in out) == (0, True)
    while head.state(folder) == "RUNNING":
        assert time.monotonic() < end
        time.sleep(0.5)
    assert head.run("fetch", str(folder))[0] == 0
    history = read_history(folder / "history.jsonl")
    assert history.torn is None
    assert not (folder / "best").exists()
    first = (folder / "history.jsonl").read_text()

    asked = sum(event["event"] == "ask" for event in history.events)
    given = ("--workers", "1", "--trials", str(asked + 2))
    code, out, err = head.run("submit", str(folder), *given)
    assert (code, err) == (0, ""), out + err
    assert "data and weights: reached from 1 nodes" in out
    assert f"the search is over: {asked + 2} trials beyond the baselines" in out

    code, out, _ = head.run("status", str(folder), "--json")
    assert (code, json.loads(out)["state"]) == (0, "SUCCEEDED")

    code, out, err = head.run("fetch", str(folder))
    assert (code, err) == (0, ""), out + err
    for name in ("history.jsonl", "best/neck.py", "best/model.safetensors"):
        assert (folder / name).read_bytes() == (there / name).read_bytes()
    assert (folder / "history.jsonl").read_text().startswith(first)
    entries = read_history(folder / "history.jsonl").entries
    assert {e.outcome.state if e.outcome else None for e in entries} <= {"complete", "repeated"}
    assert (
        sum(e.outcome is not None and e.outcome.state == "complete" for e in entries) == asked + 3
    )

    code, _, err = head.run("status", str(folder), RAY_AUTH_TOKEN="0" * 64)
    assert code == 2
    assert "asks for a token, and none, or another, was given" in err
