"""What listens while a search runs: nothing that another machine can reach, and not to anybody."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}

# One session: who listens, and how those end who ask Ray for its keys.
PROGRAM = """
import json, os, subprocess, sys
from nas_fpn.search.tune import session

def listening():
    try:
        import psutil
    except ImportError:
        return None
    me = psutil.Process()
    return [
        [connection.laddr.ip, one.name()]
        for one in (me, *me.children(recursive=True))
        for connection in one.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]

def strangers(address):
    code = "from ray._raylet import GcsClient; import sys; "
    code += "print(GcsClient(address=sys.argv[1]).internal_kv_keys(b'', None, 5.0))"
    strange = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    for its in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token"}, dict(os.environ)):
        command = [sys.executable, "-c", code, address]
        given = {"RAY_AUTH_TOKEN": "0" * 64, **strange, **its}
        try:
            yield subprocess.run(command, env=given, capture_output=True, timeout=30).returncode
        except subprocess.TimeoutExpired:
            yield "waits"

with session("local", {"cpu": 1.0, "gpu": 0.0}, workers=1, threads=1):
    import ray

    ray.get(ray.remote(lambda: 0).remote())
    address = ray.get_runtime_context().gcs_address
    print(json.dumps({"listening": listening(), "strangers": list(strangers(address))}))
"""


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    bare = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=ROOT, env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_ray_listens_on_loopback_only(seen: dict[str, Any]) -> None:
    if seen["listening"] is None:
        pytest.skip("needs psutil to see who listens")
    assert {"gcs_server", "raylet"} <= {name for _, name in seen["listening"]}
    assert {address for address, _ in seen["listening"]} <= LOOPBACK


def test_ray_asks_other_users_of_this_machine_for_a_token(seen: dict[str, Any]) -> None:
    without, wrong, right = seen["strangers"]
    assert without != 0
    assert wrong != 0
    assert right == 0
