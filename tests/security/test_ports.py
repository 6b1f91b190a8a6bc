"""What listens while a search runs: nothing that another machine can reach, and not to anybody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}

LISTENING = """
import psutil
from nas_fpn.search.tune import session

with session("local", {"cpu": 1.0, "gpu": 0.0}, workers=1, threads=1):
    import ray

    ray.get(ray.remote(lambda: 0).remote())
    me = psutil.Process()
    for one in (me, *me.children(recursive=True)):
        for connection in one.net_connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                print(connection.laddr.ip, one.name())
"""

STRANGER = """
import os, subprocess, sys
from nas_fpn.search.tune import session

with session("local", {"cpu": 1.0, "gpu": 0.0}, workers=1, threads=1):
    import ray

    address = ray.get_runtime_context().gcs_address
    code = "from ray._raylet import GcsClient; import sys; "
    code += "print(GcsClient(address=sys.argv[1]).internal_kv_keys(b'', None, 5.0))"
    strange = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    for its in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token"}, dict(os.environ)):
        command = [sys.executable, "-c", code, address]
        given = {"RAY_AUTH_TOKEN": "0" * 64, **strange, **its}
        try:
            code_of = subprocess.run(command, env=given, capture_output=True, timeout=30).returncode
        except subprocess.TimeoutExpired:
            code_of = "waits"
        print(code_of)
"""


def run(code: str, *arguments: str) -> str:
    bare = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_ray_listens_on_loopback_only() -> None:
    pytest.importorskip("psutil", reason="needs psutil to see who listens")
    rows = [row.split() for row in run(LISTENING).splitlines()]
    assert {"gcs_server", "raylet"} <= {name for _, name, *_ in rows}
    assert {address for address, *_ in rows} <= LOOPBACK


@pytest.mark.slow
def test_ray_asks_other_users_of_this_machine_for_a_token() -> None:
    without, wrong, right = run(STRANGER).split()
    assert without != "0"
    assert wrong != "0"
    assert right == "0"
