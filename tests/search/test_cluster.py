"""Sessions of Ray: there are those that a search asks for, and no others."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import ray
from ray._private import auto_init_hook
from nas_fpn.search.cluster import no_other_session

def start(*arguments, **settings):
    raise AssertionError("a session was started")

ray.init = start
with no_other_session():
    for call in (lambda: ray.put(1), lambda: ray.util.placement_group([{"CPU": 1}])):
        try:
            call()
        except AssertionError:
            raise
        except Exception as error:
            print(type(error).__name__)
try:
    ray.put(1)
except AssertionError as error:
    print(error)
"""


def test_a_call_that_comes_after_a_session_starts_no_other_one() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    *refused, after = done.stdout.splitlines()
    assert refused == ["RaySystemError", "RaySystemError"]
    assert after == "a session was started"  # as Ray has it: what is forbidden was what happens
