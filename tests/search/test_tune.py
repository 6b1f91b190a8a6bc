"""Ray's runner keeps the laws of the local one; workers that die lose no trial."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nas_fpn.errors import RunError
from nas_fpn.lock import Lock
from nas_fpn.record import Record, Report, read_history, report_event
from nas_fpn.search.halving import Halving
from nas_fpn.search.local import search_here
from nas_fpn.search.outcomes import trained
from nas_fpn.search.plan import Due, Evaluate
from nas_fpn.search.progress import Noted, Over, Progress, Promoted
from nas_fpn.search.tune import search_on_ray, session
from tests.search.fakes import Scripted, random_search, table, with_loop

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def ray_session() -> Iterator[None]:
    with session("local", {"cpu": 1.0, "gpu": 0.0}, workers=2, threads=1):
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.jsonl"


def run(path: Path, evaluate: Evaluate, *, workers: int, **changes: Any) -> list[Progress]:
    progress: list[Progress] = with_loop(
        path, lambda loop: list(search_on_ray(loop, evaluate, workers=workers)), **changes
    )
    return progress


@pytest.mark.parametrize("promotes", [False, True])
def test_one_worker_writes_the_record_of_the_local_runner_line_for_line(
    path: Path, promotes: bool
) -> None:
    here = path.with_name("here.jsonl")
    halving = Halving((100, 200), eta=2, promotes=promotes)
    changes: dict[str, Any] = {"limits": {"params_m": 0.7}, "halving": halving}
    proposals = [(i % 2, i % 4, i // 2 % 3, i // 3 % 4) for i in range(40)]
    expected = with_loop(
        here,
        lambda loop: list(search_here(loop, table("raise"))),
        controller=Scripted(proposals),
        **changes,
    )
    progress = run(path, table("raise"), workers=1, controller=Scripted(proposals), **changes)
    assert path.read_text().splitlines() == here.read_text().splitlines()
    assert progress == expected
    assert any(isinstance(step, Promoted) for step in progress) == promotes
    states = {e.outcome.state for e in read_history(path).entries if e.outcome}
    assert states == {"complete", "stopped", "failed", "rejected", "repeated"}


def test_two_workers_live_long_and_train_at_the_same_time(path: Path) -> None:
    score = table()

    def evaluate(due: Due) -> Iterator[Report]:
        time.sleep(0.3)
        for report in score(due):
            scores = {**report.scores, "process": os.getpid()}
            yield Report(report.steps, scores, report.seconds)

    run(path, evaluate, workers=2, trials=10)
    here = path.with_name("here.jsonl")
    with_loop(here, lambda loop: list(search_here(loop, table())))
    aps = (
        {e.neck: e.outcome.scores["ap"] for e in read_history(p).entries if e.outcome}
        for p in (here, path)
    )
    one, two = aps
    assert all(one[neck] == ap for neck, ap in two.items())
    events = read_history(path).events
    under_way, most = 0, 0
    for event in events:
        under_way += {"ask": 1, "tell": -1}.get(event["event"], 0)
        most = max(most, under_way)
    assert most == 2
    reports = [report for e in read_history(path).entries for report in e.reports]
    assert len({report.scores["process"] for report in reports}) == 2
    assert trained(read_history(path).entries) == 10


def test_a_trial_whose_worker_is_killed_is_tried_again(path: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()

    def evaluate(due: Due) -> Iterator[Report]:
        yield Report(100, {"ap": 0.1})
        if due.number == 3 and not (marks / "once").exists():
            (marks / "once").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if due.number == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        yield Report(200, {"ap": 0.2})

    progress = run(path, evaluate, workers=2, trials=5)
    notes = sorted(step.text for step in progress if isinstance(step, Noted))
    assert notes == [f"trial {n} begins again: its worker has died" for n in (3, 4, 4)]
    entries = read_history(path).entries
    assert (marks / "once").exists()
    for entry in entries:
        assert entry.outcome is not None
        assert entry.outcome.state == ("failed" if entry.number == 4 else "complete")
        assert [r.steps for r in entry.reports] == [100, 200][: 1 if entry.number == 4 else 2]
    assert entries[4].outcome is not None
    assert str(entries[4].outcome.reason).startswith("the worker died in 3 attempts: ")


def test_a_worker_whose_device_is_lost_trains_nothing_more(path: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()

    def lost() -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    def evaluate(due: Due) -> Iterator[Report]:
        torch.cuda.is_initialized = lambda: True  # in this worker
        if not hasattr(torch.cuda, "whole"):
            torch.cuda.whole = torch.cuda.synchronize = lambda: None  # type: ignore[attr-defined]
        yield Report(100, {"ap": 0.1})
        if due.number == 2 and not (marks / "once").exists():
            (marks / "once").touch()
            torch.cuda.synchronize = lost  # type: ignore[assignment]
        torch.cuda.synchronize()
        if due.number == 3:
            raise RuntimeError("CUDA out of memory.")
        yield Report(200, {"ap": 0.2})

    progress = run(path, evaluate, workers=1, trials=5)
    notes = [step.text for step in progress if isinstance(step, Noted)]
    assert notes == ["trial 2 begins again: its worker has died"]
    outcomes = [entry.outcome for entry in read_history(path).entries if entry.outcome]
    assert len(outcomes) >= 5
    reasons = {number: one.reason for number, one in enumerate(outcomes) if one.reason}
    assert reasons == {3: "RuntimeError: CUDA out of memory."}


def test_a_promoted_trial_whose_worker_is_killed_goes_on_from_its_pause(
    path: Path, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()

    def evaluate(due: Due) -> Iterator[Report]:
        """Steps of 50; a mark is the checkpoint; the first that goes on is killed once."""
        for steps in range(due.begin + 50, 350, 50):
            assert not due.begin or (marks / f"{due.number}-{due.begin}").exists()
            if steps == 150 and not (marks / "killed").exists():
                (marks / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if steps == due.pause:
                (marks / f"{due.number}-{steps}").touch()
            yield Report(steps, {"ap": due.number / 100 + steps / 1_000})

    halving = Halving((100, 200), eta=2, promotes=True)
    proposals = [(0, 1 + i % 3, i // 3 % 3, i // 2 % 4) for i in range(12)]
    changes = {"controller": Scripted(proposals), "trials": 5, "baselines": (), "halving": halving}
    run(path, evaluate, workers=2, **changes)
    entries = read_history(path).entries
    assert trained(entries) == 5
    assert (marks / "killed").exists()
    for entry in entries:
        assert entry.outcome is not None
        assert entry.outcome.state in {"complete", "stopped"}
        steps = [report.steps for report in entry.reports]
        assert steps == list(range(50, entry.outcome.steps + 50, 50))


class Unreadable:
    """An ``evaluate`` that no worker can unpickle."""

    def __call__(self, due: Due) -> Iterator[Report]:
        raise NotImplementedError

    def __reduce__(self) -> tuple[Any, ...]:
        return (int, ("three",))


def test_workers_that_cannot_start_end_the_search_before_the_first_trial(path: Path) -> None:
    with pytest.raises(RunError, match=r"a worker cannot start: .*three"):
        run(path, Unreadable(), workers=1)
    assert read_history(path).entries == ()


def test_an_error_of_the_loop_comes_out(path: Path) -> None:
    run(path, table(), workers=1, trials=1)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]))
    with Record(path) as record:
        record.append(report_event(0, Report(100, {"ap": 0.9})))
    with pytest.raises(RunError, match="trial 0: at step 100 the record has"):
        run(path, table(), workers=1, trials=1)


def test_a_search_that_is_closed_leaves_a_record_that_resumes(path: Path) -> None:
    def act(loop: Any) -> None:
        steps = search_on_ray(loop, table(), workers=1)
        for _ in range(7):
            next(steps)
        steps.close()  # type: ignore[attr-defined]

    with_loop(path, act)
    assert trained(read_history(path).entries) < 12
    assert run(path, table(), workers=1)[-1] == Over(trained=12, exhausted=False)
    here = path.with_name("here.jsonl")
    with_loop(here, lambda loop: list(search_here(loop, table())))
    assert path.read_bytes() == here.read_bytes()


PROGRAM = """
import signal, sys, time
from pathlib import Path
from nas_fpn.record import Report
from nas_fpn.search.tune import search_on_ray
from tests.search.fakes import with_loop

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background shell

def evaluate(due):
    for steps in range(100, 4_000, 100):
        time.sleep(0.05)
        yield Report(steps, {"ap": 0.1})

def act(loop):
    for step in search_on_ray(loop, evaluate, workers=2):
        print(type(step).__name__, flush=True)

with_loop(Path(sys.argv[1]), act)
"""


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_and_kill_leave_a_run_that_resumes_under_the_same_numbers(
    path: Path, kill: signal.Signals
) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    driver = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path)],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert driver.stdout is not None
    reported = 0
    for line in driver.stdout:
        reported += line.startswith("Reported")
        if reported == 8:
            break
    if kill is signal.SIGINT:
        os.killpg(driver.pid, kill)  # as a terminal does: Ray's processes get it too
    else:
        driver.kill()
    errors = driver.communicate(timeout=60)[1]
    assert driver.returncode != 0
    if kill is signal.SIGINT:
        assert errors.strip().endswith("KeyboardInterrupt")
        assert "ray." not in errors
    asked = [(entry.number, entry.neck) for entry in read_history(path).entries]
    assert len(asked) == 2
    assert all(entry.outcome is None for entry in read_history(path).entries)

    def evaluate(due: Due) -> Iterator[Report]:
        yield from (Report(steps, {"ap": 0.1}) for steps in range(100, 4_000, 100))

    run(path, evaluate, workers=2)
    entries = read_history(path).entries
    assert [(entry.number, entry.neck) for entry in entries][:2] == asked
    assert all(entry.outcome and entry.outcome.state == "complete" for entry in entries)
    for entry in entries:
        assert [report.steps for report in entry.reports] == list(range(100, 4_000, 100))


def test_a_workers_disk_that_takes_no_more_ends_the_search_and_no_trial(path: Path) -> None:
    def full(due: Due) -> Iterator[Report]:
        yield Report(100, {"ap": 0.1})
        if due.number == 2:
            raise OSError(28, "No space left on device", "a checkpoint")
        yield Report(200, {"ap": 0.2})

    def free(due: Due) -> Iterator[Report]:
        yield from (Report(steps, {"ap": steps / 1_000}) for steps in (100, 200))

    with pytest.raises(OSError, match="No space left on device, on ") as caught:
        run(path, full, workers=1, trials=2)
    assert caught.value.filename == "a checkpoint"
    assert read_history(path).entries[2].outcome is None
    run(path, free, workers=1, trials=2)
    assert all(e.outcome and e.outcome.state == "complete" for e in read_history(path).entries)


def test_what_a_killed_search_left_in_the_temporary_folder_goes_with_the_next() -> None:
    left, used = (Path(tempfile.mkdtemp(prefix="nf", dir="/tmp")) for _ in range(2))
    (left / "driver.lock").touch()
    with Lock(used / "driver.lock"), session("local", {}, workers=1, threads=1) as (folder, _):
        assert Path(folder).is_dir()
        assert used.is_dir()
        assert not left.exists()
    shutil.rmtree(used)


def test_what_this_machine_does_not_have_is_said_before_the_search(path: Path) -> None:
    steps = with_loop(
        path, lambda loop: search_on_ray(loop, table(), workers=0), controller=random_search()
    )
    with pytest.raises(RunError, match="workers must be at least 1, but got 0"):
        next(steps)
