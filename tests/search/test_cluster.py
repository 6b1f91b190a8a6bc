"""Sessions of Ray: there are those that a search asks for, and no others."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from nas_fpn.errors import RunError
from nas_fpn.search.cluster import started

GOLDEN = Path(__file__).parents[1] / "golden" / "search"
WAIT = "RAY_raylet_start_wait_time_s"
SLOW = "The current node timed out during startup. This could happen because"
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


def raising(error: Exception) -> Callable[..., object]:
    """A stand-in for ``ray.init``."""

    def init(**settings: object) -> object:
        raise error

    return init


def test_what_does_not_start_in_time_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", raising(Exception(SLOW)))
    with pytest.raises(RunError) as fault:
        started({"address": "local"})
    golden = GOLDEN / "ray_does_not_start.txt"
    assert f"{fault.value}\n" == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("address", "error"),
    [("auto", Exception(SLOW)), ("local", ValueError("no such resource"))],
)
def test_other_faults_are_raised_as_they_are(
    monkeypatch: pytest.MonkeyPatch, address: str, error: Exception
) -> None:
    monkeypatch.setattr(ray, "init", raising(error))
    with pytest.raises(type(error)) as fault:
        started({"address": address})
    assert fault.value is error


@pytest.mark.parametrize("given", ["", "7"])
def test_ray_has_two_minutes_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setattr(ray, "init", lambda **settings: os.environ[WAIT])
    monkeypatch.setenv(WAIT, given)  # put back after the test
    if not given:
        monkeypatch.delenv(WAIT)
    assert started({"address": "local"}) == (given or "120")
