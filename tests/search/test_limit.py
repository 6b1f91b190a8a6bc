"""A training that hangs fails; a disk that takes no more ends the search and no trial."""

import errno
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from nas_fpn.errors import RunError
from nas_fpn.record import Outcome, Report, read_history
from nas_fpn.search.limit import Late, alarm
from nas_fpn.search.local import search_here
from nas_fpn.search.plan import Due
from tests.search.fakes import table, with_loop

REASON = "it took longer than 0.005 minutes, its limit in [budget] trial_minutes"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.jsonl"


def hanging(due: Due) -> Iterator[Report]:
    """Trial 3 hangs after its first report, and takes any error for its own affair."""
    for report in table()(due):
        while due.number == 3 and report.steps == 200:
            try:
                time.sleep(60)
            except Exception:
                continue
        yield report


def outcomes(path: Path) -> list[Outcome]:
    return [entry.outcome for entry in read_history(path).entries if entry.outcome is not None]


def test_a_training_that_hangs_has_failed_and_the_search_goes_on(path: Path) -> None:
    with_loop(path, lambda loop: list(search_here(loop, hanging, seconds=0.3)), trials=4)
    ended = outcomes(path)
    assert [one.state for one in ended] == [*["complete"] * 3, "failed", *["complete"] * 2]
    assert (ended[3].reason, ended[3].steps) == (REASON, 100)


def test_beside_the_main_thread_a_training_that_is_slow_has_failed_too(path: Path) -> None:
    def slow(due: Due) -> Iterator[Report]:
        for report in table()(due):
            time.sleep(0.4 if due.number == 1 else 0.0)
            yield report

    def search() -> None:
        with_loop(path, lambda loop: list(search_here(loop, slow, seconds=0.3)), trials=1)

    thread = threading.Thread(target=search)
    thread.start()
    thread.join()
    assert [one.state for one in outcomes(path)] == ["complete", "failed", "complete"]
    assert outcomes(path)[1].reason == REASON


def test_an_alarm_that_is_not_needed_does_not_ring() -> None:
    with alarm(time.monotonic() + 0.05):
        pass
    with alarm(None):
        time.sleep(0.1)
    with pytest.raises(Late), alarm(time.monotonic() - 1):
        time.sleep(60)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_no_more_ends_the_search_and_no_trial(path: Path, number: int) -> None:
    def act(evaluate: Callable[[Due], Iterator[Report]]) -> None:
        with_loop(path, lambda loop: list(search_here(loop, evaluate)), trials=4)

    def no_room(due: Due) -> Iterator[Report]:
        for report in table()(due):
            if due.number == 3 and report.steps == 200:
                raise OSError(number, "no room", "a checkpoint")
            yield report

    with pytest.raises(OSError, match="a checkpoint"):
        act(no_room)
    assert read_history(path).entries[3].outcome is None
    act(table())
    resumed = path.read_bytes()
    path.unlink()
    act(table())
    assert path.read_bytes() == resumed


@pytest.mark.parametrize("of", ["Python", "torch"])
def test_a_trial_that_runs_out_of_memory_says_so(path: Path, of: str) -> None:
    def greedy(due: Due) -> Iterator[Report]:
        if of == "torch":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        yield Report(bytearray(1 << 60)[0], {})

    with_loop(path, lambda loop: list(search_here(loop, greedy)), trials=1, baselines=())
    reasons = {
        "Python": "MemoryError",
        "torch": "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    }
    assert outcomes(path)[0].reason == reasons[of]


def test_a_lost_device_ends_a_search_in_its_process_and_the_next_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = []

    def evaluate(due: Due) -> Iterator[Report]:
        if due.number in (2, 3) and not lost:
            if due.number == 3:
                lost.append(due.number)
            raise RuntimeError("CUDA error")
        yield from table()(due)

    def synchronize() -> None:
        if lost:
            raise RuntimeError("CUDA error: device-side assert triggered\nCompile with ...")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    with pytest.raises(RunError) as caught:
        with_loop(path, lambda loop: list(search_here(loop, evaluate)), trials=4)
    assert str(caught.value) == (
        "after trial 3, which has failed, the CUDA device no longer answers this process "
        "(CUDA error: device-side assert triggered)\n"
        "every later trial would fail as well, so the search ends here; the same command, in a "
        "process of its own, goes on with the next trial"
    )
    states = [*["complete"] * 2, "failed", "failed", *["complete"] * 2]
    assert [one.state for one in outcomes(path)] == states[:4]
    monkeypatch.undo()
    with_loop(path, lambda loop: list(search_here(loop, table())), trials=4)
    assert [one.state for one in outcomes(path)] == states
