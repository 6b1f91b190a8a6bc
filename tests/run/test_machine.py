"""Cores as containers limit them, and parts of devices that Ray can give."""

import doctest
import json
import os
import secrets
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from nas_fpn.errors import RunError
from nas_fpn.run import Run, RunSettings, machine
from nas_fpn.run.machine import cores, devices_of, fit, refuse_more_gpus, share_of, this_machine

GOLDEN = Path(__file__).parents[1] / "golden" / "run"
SIZES = tuple(product((1, 2, 3, 4, 5, 7, 8, 12, 30), (1, 2, 3, 4, 8)))  # workers, devices


def run_of() -> Run:
    settings = RunSettings()
    return Run(Path("runs/mine"), settings, settings.data, settings.backbone)


def test_the_examples_of_the_module_hold() -> None:
    assert doctest.testmod(machine).failed == 0


def test_this_machine_has_a_core() -> None:
    here = this_machine(run_of())
    assert here.cores >= 1
    assert here.gpus == 0, "trials train on the CPU where nobody says otherwise"


@pytest.mark.parametrize(("workers", "gpus"), SIZES)
def test_all_workers_fit_with_the_largest_share_that_lets_them(workers: int, gpus: int) -> None:
    share = share_of(workers, gpus)
    assert 0 < share <= 1
    assert fit(share, gpus) >= workers
    assert share == 1 or fit(share + 0.0001, gpus) < workers
    devices = devices_of(workers, share, gpus)
    assert devices <= gpus
    assert fit(share, devices) >= workers


def test_without_a_device_there_is_no_share() -> None:
    assert share_of(4, 0) == 0.0
    assert devices_of(4, 0.0, 2) == 0


def test_a_part_of_a_device_is_never_of_two() -> None:
    assert fit(0.6, 2) == 2, "not three"
    assert fit(0.4, 2) == 4, "not five"
    assert (fit(2.0, 3), devices_of(1, 2.0, 3)) == (1, 1)


@pytest.mark.parametrize(("share", "gpus"), [(2.0, 1), (4.0, 2), (0.5, 0)])
def test_more_gpus_than_there_are_is_a_message(share: float, gpus: int) -> None:
    with pytest.raises(RunError) as fault:
        refuse_more_gpus(run_of(), share, gpus)
    golden = GOLDEN / f"more_gpus_{gpus}.txt"
    assert f"{fault.value}\n" == golden.read_text(encoding="utf-8")
    refuse_more_gpus(run_of(), float(gpus), gpus)


def test_a_limit_of_the_container_counts_in_either_version(tmp_path: Path) -> None:
    free = cores(tmp_path)
    assert free == cores(tmp_path / "nowhere")
    first = tmp_path / "first" / "cpu"
    first.mkdir(parents=True)
    for quota, count in (("-1", free), ("100000", 1), ("150000", 1), ("1000", 1)):
        (first / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (first / "cpu.cfs_period_us").write_text("100000\n")
        assert cores(first.parent) == count
    second = tmp_path / "second"
    second.mkdir()
    for text, count in (("max 100000\n", free), ("100000 100000\n", 1), ("1000 100000\n", 1)):
        (second / "cpu.max").write_text(text)
        assert cores(second) == count


PLACES = """
import json, sys
import ray
from ray.util import placement_group
from nas_fpn.search.cluster import started
share, most, gpus = json.loads(sys.argv[1])
here = {"address": "local", "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
started({**here, "num_cpus": 1, "num_gpus": gpus})
held = [placement_group([{"GPU": share}]) for _ in range(most + 1)]
there = [one.wait(20 if number < most else 1) for number, one in enumerate(held)]
ray.shutdown()
print(json.dumps(there))
"""


@pytest.mark.slow
def test_ray_has_room_for_as_many_as_fit() -> None:
    """In a process of its own: one that has met a token of Ray's keeps to it."""
    workers, gpus = 7, 3  # of these Ray only counts
    share = share_of(workers, gpus)
    most = fit(share, gpus)
    token = secrets.token_hex(32)  # else one is left at home
    done = subprocess.run(
        [sys.executable, "-c", PLACES, json.dumps([share, most, gpus])],
        env={**os.environ, "RAY_AUTH_TOKEN": token},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [True] * most + [False]
    assert most >= workers
