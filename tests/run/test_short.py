"""Minutes that are too few are refused before they are over, whatever takes them."""

import math
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

from nas_fpn.errors import RunError
from nas_fpn.run import Run, RunSettings, Step
from nas_fpn.run.clock import RunClock
from nas_fpn.run.short import has_room, in_the_time, within

GOLDEN = Path(__file__).parents[1] / "golden" / "run"


class Now:
    """A clock that is set by hand."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


def run_of(minutes: float) -> Run:
    budget = RunSettings().budget.model_copy(update={"minutes": minutes})
    settings = RunSettings().model_copy(update={"budget": budget})
    return Run(Path("runs/mine"), settings, settings.data, settings.backbone)


def warming(now: Now, *, each: float) -> Generator[Step, None, str]:
    for done in range(11):
        yield Step("warming up the backbone", done, 10)
        now.seconds += each
    return "prepared"


def test_a_preparation_that_takes_most_of_the_time_is_refused_at_once() -> None:
    now = Now()
    clock = RunClock(180.0, began=0.0, now=now)
    steps = within(warming(now, each=20.0), clock, run_of(3.0))
    with pytest.raises(RunError) as refused:
        list(steps)
    assert now.seconds == 20.0, "seen after the first tenth"
    assert f"{refused.value}\n" == (GOLDEN / "plan_preparation.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("before", [0, 3])
def test_one_step_that_takes_all_of_the_time_is_ended(before: int) -> None:
    clock = RunClock(10.0, began=0.0, now=Now(6.7))  # 0.1 s before what is kept in hand
    done = []

    def steps() -> Generator[Step, None, None]:
        for _ in range(before):
            yield Step("tuning", 0, 1)
        done.append("begun")
        time.sleep(60.0)
        done.append("slept")

    said = f"{'tuning' if before else 'reading the data'} had not ended after"
    with pytest.raises(RunError, match=said):
        list(within(steps(), clock, run_of(1 / 6)))
    assert done == ["begun"]


@pytest.mark.parametrize("minutes", [10.0, math.inf])
def test_a_preparation_that_leaves_time_is_let_through(minutes: float) -> None:
    now = Now()
    clock = None if minutes == math.inf else RunClock(60 * minutes, began=0.0, now=now)
    steps = within(warming(now, each=20.0), clock, run_of(minutes))
    seen = 0
    try:
        while True:
            next(steps)
            seen += 1
    except StopIteration as end:
        assert end.value == "prepared"
    assert seen == 11


def test_room_is_within_the_part_of_the_time_that_preparation_has() -> None:
    clock = RunClock(100.0, began=0.0, now=Now(60.0))
    assert has_room(clock, 9.0)
    assert not has_room(clock, 11.0)
    assert has_room(None, math.inf)


def test_what_begins_when_the_time_is_over_is_refused_at_once() -> None:
    clock = RunClock(180.0, began=0.0, now=Now(175.0))
    done = []
    with pytest.raises(RunError) as refused, in_the_time(clock, run_of(3.0), "starting Ray"):
        time.sleep(60.0)
        done.append("slept")
    assert done == []
    assert f"{refused.value}\n" == (GOLDEN / "plan_in_the_time.txt").read_text(encoding="utf-8")


def test_what_takes_all_of_the_time_is_ended() -> None:
    now = Now(173.0)  # 0.4 s are left before what is kept in hand
    done = []
    with (
        pytest.raises(RunError, match="starting Ray had not ended"),
        in_the_time(RunClock(180.0, began=0.0, now=now), run_of(3.0), "starting Ray"),
    ):
        time.sleep(60.0)
        done.append("slept")
    assert done == []


def test_a_library_that_swallows_the_alarm_does_not_get_by() -> None:
    clock = RunClock(180.0, began=0.0, now=Now(175.0))
    with (
        pytest.raises(RunError, match="too short"),
        in_the_time(clock, run_of(3.0), "this"),
        suppress(BaseException),
    ):
        time.sleep(60.0)


def test_what_ends_in_time_and_what_has_no_clock_are_let_through() -> None:
    done = []
    with in_the_time(RunClock(180.0, began=0.0, now=Now()), run_of(3.0), "this"):
        done.append("in time")
    with in_the_time(None, run_of(math.inf), "this"):
        done.append("no clock")
    assert done == ["in time", "no clock"]


def test_a_fault_of_its_own_is_no_lack_of_time() -> None:
    clock = RunClock(180.0, began=0.0, now=Now())
    with pytest.raises(KeyError), in_the_time(clock, run_of(3.0), "this"):
        raise KeyError("its own")
