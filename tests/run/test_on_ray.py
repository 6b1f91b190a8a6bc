"""Trials on a cluster: as many as it has room for, with the GPUs that it has."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from nas_fpn.errors import RunError
from nas_fpn.record import History
from nas_fpn.run import Run, drive_here, on_ray
from nas_fpn.run.clock import RunClock
from nas_fpn.run.packed import NONE_THERE, ON_CPU, Packed, settle
from nas_fpn.run.question import read_question
from nas_fpn.run.started import Room, Started, not_started, started_by
from nas_fpn.run.trainer import Trainer
from nas_fpn.search import Loop, nodes
from tests.run.packings import outcome, run_of, shares

GOLDEN = Path(__file__).parents[1] / "golden" / "run"


def settled(run: Run, started: Started, clock: RunClock | None = None) -> tuple[Run, Packed]:
    with ExitStack() as sessions:
        steps = settle(
            run,
            read_question(run),
            Path("bank"),
            History(),
            started=started,
            sessions=sessions,
            timed=True,
            clock=clock,
        )
        return outcome(steps)


def cluster(trials: int, gpus_per_trial: float) -> Started:
    """Room for so many."""

    @contextmanager
    def started(run: Run) -> Iterator[Room]:
        yield Room(trials, gpus_per_trial)

    return started


def test_a_start_that_takes_all_of_the_time_is_ended_and_what_would_do_is_said() -> None:
    ended = []

    @contextmanager
    def slow(run: Run) -> Iterator[Room]:
        try:
            time.sleep(60.0)
            yield Room(1, 0.0)
        finally:
            ended.append("start")

    clock = RunClock(100.0, began=0.0, now=lambda: 94.0)
    with pytest.raises(RunError, match="starting Ray had not ended after 94 s"):
        settled(run_of(address="auto"), slow, clock)
    assert ended == ["start"]
    settled(run_of(address="auto"), cluster(5, 0.0), clock=RunClock(100.0, began=0.0, now=float))


def test_a_cluster_takes_as_many_as_it_has_room_for_now() -> None:
    asked = run_of(address="auto", gpus_per_trial=0.5)
    run, found = settled(asked, cluster(5, 0.5))
    assert shares(run) == (5, 0.5, "auto")
    assert found.text == (
        "5 trials at a time on 1 thread each, 0.5 GPU each: as many as the cluster has room for"
    )
    assert found.line is not None
    assert (found.line["workers"], found.line["gpus_per_trial"]) == (5, 0.5)
    run, found = settled(run_of(address="auto", workers=3), cluster(5, 0.0))
    assert (shares(run), found.workers, found.text) == ((3, 0.0, "auto"), 3, NONE_THERE)
    run, found = settled(run_of("cpu", address="auto", workers=3), cluster(5, 0.0))
    assert (shares(run), found.text) == ((3, 0.0, "cpu"), None)
    assert settled(run_of(address="auto"), cluster(0, 1.0))[1].workers == 1, "it waits for a node"


def test_a_trial_takes_a_gpu_of_a_cluster_that_has_some_and_that_is_said() -> None:
    run, found = settled(run_of(address="auto"), cluster(5, 1.0))
    assert shares(run) == (5, 1.0, "auto")
    assert found.line is not None
    assert (found.line["gpus_per_trial"], found.line["gpus_asked"]) == (1.0, "auto")
    run, found = settled(run_of(address="auto", workers=3), cluster(5, 1.0))
    assert (shares(run), found.text) == (
        (3, 1.0, "auto"),
        "3 trials at a time on 1 thread each, 1 GPU each",
    )
    run, found = settled(run_of(address="auto", workers=3, gpus_per_trial=0), cluster(5, 0.0))
    assert (shares(run), found.text) == ((3, 0.0, "cpu"), ON_CPU)


def test_a_cluster_that_nobody_asked_has_no_room_that_is_known() -> None:
    for ray in ({}, {"workers": 3}, {"gpus_per_trial": 1}):
        with pytest.raises(RunError) as fault:
            settled(run_of(address="auto", **ray), not_started)
        assert f"{fault.value}\n" == (GOLDEN / "packing_not_started.txt").read_text("utf-8")
    asked = run_of(address="auto", workers=3, gpus_per_trial=1)
    assert settled(asked, not_started) == (asked, Packed(workers=3))
    run, _ = settled(run_of(address="auto", workers=3, gpus_per_trial=0), not_started)
    assert shares(run) == (3, 0.0, "cpu")


@pytest.mark.parametrize(
    ("device", "asked", "gpus", "share", "trials"),
    [
        ("auto", "auto", 2, 1.0, 2),
        ("auto", "auto", 0, 0.0, 4),
        ("cuda", "auto", 0, 1.0, 0),
        ("cpu", "auto", 2, 0.0, 4),
        ("auto", 0.5, 2, 0.5, 4),
        ("auto", 0, 2, 0.0, 4),
    ],
)
def test_a_cluster_is_asked_whether_it_has_gpus(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    asked: float | str,
    gpus: int,
    share: float,
    trials: int,
) -> None:
    @contextmanager
    def there(*where: Any, **how: Any) -> Iterator[None]:
        yield

    node = {"CPU": 4.0, "GPU": float(gpus)}
    nodes_now = [{"Alive": True, "Resources": node}]
    monkeypatch.setattr(on_ray, "session", there)
    monkeypatch.setattr(nodes.ray, "nodes", lambda: nodes_now)
    with on_ray.ray_started(run_of(device, address="auto", gpus_per_trial=asked)) as room:
        assert room == Room(trials, share)


def test_whoever_drives_by_ray_starts_it_before_a_plan() -> None:
    assert started_by(on_ray.drive_on_ray) is on_ray.ray_started
    assert started_by(drive_here) is not_started


def test_ray_is_given_a_number_of_workers() -> None:
    loop, trainer = cast(Loop, None), cast(Trainer, None)  # neither is asked
    for workers, golden in (("auto", "ray_not_decided"), (0, "ray_not_asked")):
        with pytest.raises(RunError) as fault:
            on_ray.drive_on_ray(run_of(workers=workers), loop, trainer)
        assert f"{fault.value}\n" == (GOLDEN / f"{golden}.txt").read_text("utf-8")


def test_no_cluster_is_a_message_for_whoever_plans_or_searches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextmanager
    def none_there(*where: Any, **how: Any) -> Iterator[None]:
        raise ConnectionError("Could not find any running Ray instance.\nmore of it")
        yield

    monkeypatch.setattr(on_ray, "session", none_there)
    with (
        pytest.raises(RunError, match=r"address = auto: no cluster answers: Could not find .*\nis"),
        on_ray.ray_started(run_of(address="auto")),
    ):
        pass
