"""A search whose time is bounded: nothing begins that would be late, what is late is cut."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nas_fpn.record import Entry, Report, read_history
from nas_fpn.search.halving import Halving
from nas_fpn.search.in_time import OVER
from nas_fpn.search.local import search_here
from nas_fpn.search.plan import Due, Evaluate
from nas_fpn.search.progress import Over, Progress
from tests.search.fakes import table, with_loop

HALVING = Halving((100, 200), eta=2, promotes=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.jsonl"


class FakeClock:
    """A second for 100 steps, and so many in all; what trains moves it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.now = 0.0

    def spent(self) -> float:
        return self.now

    def left(self) -> float:
        return 60.0  # of the real clock, which the runner's alarm follows

    def has_room(self, begin: int, pause: int | None) -> bool:
        return self.now + ((pause or 300) - begin) / 100 <= self.seconds

    def timed(self, evaluate: Evaluate) -> Evaluate:
        def train(due: Due) -> Iterator[Report]:
            for report in evaluate(due):
                if report.steps > due.begin:
                    self.now += 1.0
                    yield report

        return train


def search(path: Path, seconds: float, **changes: Any) -> tuple[list[Entry], list[Progress]]:
    clock = FakeClock(seconds)
    progress: list[Progress] = with_loop(
        path,
        lambda loop: list(search_here(loop, clock.timed(table()))),
        clock=clock,
        open_ended=True,
        **changes,
    )
    return list(read_history(path).entries), progress


def test_as_many_are_trained_as_fit_and_no_more(path: Path) -> None:
    entries, progress = search(path, 31.0)
    trained = [one for one in entries if one.outcome and not one.outcome.is_free]
    assert len(trained) == 10, "three seconds each; the eleventh would end after 33"
    assert all(one.outcome and one.outcome.state == "complete" for one in trained)
    assert progress[-1] == Over(8, exhausted=False, late=True)


def test_the_number_of_trials_bounds_a_search_with_time_to_spare(path: Path) -> None:
    clock = FakeClock(1000.0)
    progress = with_loop(
        path,
        lambda loop: list(search_here(loop, clock.timed(table()))),
        clock=clock,
        trials=5,
    )
    assert progress[-1] == Over(5, exhausted=False, late=False)


def test_what_the_run_has_taken_stands_with_each_trial(path: Path) -> None:
    search(path, 13.0)
    told = [e["spent"] for e in read_history(path).events if e["event"] == "tell"]
    assert told == sorted(told)
    assert told[-1] == 12.0


@pytest.mark.parametrize("seconds", [9.0, 20.0, 21.0, 22.0, 23.0, 40.0])
def test_paused_trials_are_told_when_the_time_is_over(path: Path, seconds: float) -> None:
    entries, progress = search(path, seconds, halving=HALVING)
    assert all(one.outcome is not None for one in entries)
    assert isinstance(progress[-1], Over)
    assert progress[-1].late
    last = [e["spent"] for e in read_history(path).events if "spent" in e][-1]
    assert last <= seconds


def test_more_time_goes_on_where_the_time_was_over(path: Path) -> None:
    before, _ = search(path, 13.0)
    entries, progress = search(path, 13.0)
    assert entries[: len(before)] == before
    assert len(entries) > len(before)
    assert progress[-1] == Over(6, exhausted=False, late=True)


def test_what_is_in_training_when_the_time_is_over_is_cut_and_not_lost(path: Path) -> None:
    class Real(FakeClock):
        def left(self) -> float:
            return 0.3

    def hangs(due: Due) -> Iterator[Report]:
        for report in table()(due):
            if due.number == 3 and report.steps == 200:
                time.sleep(60)
            yield report

    clock = Real(1000.0)
    progress = with_loop(
        path, lambda loop: list(search_here(loop, hangs)), clock=clock, open_ended=True
    )
    last = read_history(path).entries[-1]
    assert last.outcome is not None
    assert (last.number, last.outcome.state, last.outcome.steps) == (3, "stopped", 100)
    assert last.outcome.reason == OVER
    assert last.outcome.scores == last.reports[-1].scores
    assert progress[-1] == Over(2, exhausted=False, late=True)


def test_one_that_was_cut_before_it_was_measured_has_failed(path: Path) -> None:
    class Real(FakeClock):
        def left(self) -> float:
            return 0.3

    def hangs(due: Due) -> Iterator[Report]:
        if due.number == 2:
            time.sleep(60)
        yield from table()(due)

    with_loop(
        path, lambda loop: list(search_here(loop, hangs)), clock=Real(1000.0), open_ended=True
    )
    last = read_history(path).entries[-1]
    assert last.outcome is not None
    assert (last.outcome.state, last.outcome.reason) == ("failed", f"{OVER} before it was measured")


def test_a_trial_that_was_under_way_when_the_search_died_is_cut_if_it_has_no_time(
    path: Path,
) -> None:
    class Killed(BaseException):
        pass

    def dies(due: Due) -> Iterator[Report]:
        for report in table()(due):
            if due.number == 3 and report.steps == 200:
                raise Killed
            yield report

    with pytest.raises(Killed):
        with_loop(path, lambda loop: list(search_here(loop, dies)), clock=FakeClock(1000.0))
    entries, progress = search(path, 0.0)
    assert len(entries) == 4
    assert entries[3].outcome is not None
    assert (entries[3].outcome.state, entries[3].outcome.steps) == ("stopped", 100)
    assert progress[-1] == Over(2, exhausted=False, late=True)
