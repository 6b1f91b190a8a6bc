"""The clock of a run: what is spent, what fits, and what a session that goes on has left."""

import time
from pathlib import Path

import pytest

from nas_fpn.errors import RunError
from nas_fpn.record import Entry, Event, History, Outcome, Report
from nas_fpn.run import RunSettings
from nas_fpn.run.clock import RunClock, command_began, minutes_on_record, spent_on_record
from nas_fpn.run.settings import Run
from nas_fpn.run.timed import minutes_wanted, over_event, run_clock

GOLDEN = Path(__file__).parents[1] / "golden" / "run"


class Now:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def entry(seconds: float, steps: int = 300, number: int = 0) -> Entry:
    reports = (Report(steps, {"ap": 0.1}, seconds),)
    done = Outcome("complete", {"ap": 0.1}, steps, seconds)
    return Entry(number, "controller", None, f"n{number}", "", {}, reports, done)


def run_of(minutes: float | None = 10.0) -> Run:
    budget = RunSettings().budget.model_copy(update={"minutes": minutes})
    settings = RunSettings().model_copy(update={"budget": budget})
    return Run(Path("runs/mine"), settings, settings.data, settings.backbone)


def test_the_clock_starts_with_the_process() -> None:
    began = command_began()
    assert began <= time.monotonic()
    assert command_began() == pytest.approx(began, abs=0.1)


def test_what_fits_is_what_the_last_trainings_say() -> None:
    now = Now()
    clock = RunClock(600.0, began=0.0, before=60.0, now=now)
    clock.follow(steps=300, seeds=3, expected=10.0)
    assert clock.spent() == 60.0
    assert clock.left() == pytest.approx(600 - 15 - 60 - 7 * 10)
    assert clock.has_room(0, None)
    assert clock.training(0, 100) == pytest.approx(10 / 3)
    clock.learn([entry(20.0), entry(8.0)])
    assert clock.training() == 20.0, "the longest of the last ones"
    clock.learn([entry(8.0)] * 8)
    assert clock.training() == 8.0, "a machine that got faster"
    now.seconds = 600 - 15 - 60 - 7 * 8 - 8
    assert clock.has_room(0, None)
    now.seconds += 0.1
    assert not clock.has_room(0, None)
    assert clock.has_room(200, None)


def test_what_went_as_far_says_more_than_what_was_paused_early() -> None:
    clock = RunClock(600.0, began=0.0, now=Now())
    clock.follow(steps=300, seeds=0)
    clock.learn([entry(3.0, steps=30), entry(12.0, steps=300)])
    assert clock.training(0, 30) == 3.0
    assert clock.training() == 12.0
    assert clock.training(30, 100) == pytest.approx(3.0 / 30 * 70)


def test_a_machine_that_slows_down_leaves_a_smaller_check_and_a_search_all_the_same() -> None:
    clock = RunClock(600.0, began=0.0, now=Now())
    clock.follow(steps=300, seeds=3, expected=10.0)
    clock.learn([entry(60.0)])
    assert clock.to_end() - clock.left() == pytest.approx(180.0), "one pair, and best/"
    clock.learn([entry(30.0)] * 8)
    assert clock.to_end() - clock.left() == pytest.approx(150.0), "a quarter of 600"


def test_what_waits_at_the_end_leaves_the_export_the_time_of_a_training() -> None:
    clock = RunClock(600.0, began=0.0, before=500.0, now=Now())
    clock.follow(steps=300, seeds=3, expected=10.0)
    assert clock.to_end() - clock.to_export() == 10.0
    clock.learn([entry(60.0)])
    assert clock.to_end() - clock.to_export() == 60.0


def test_a_closed_clock_has_room_for_nothing() -> None:
    clock = RunClock(600.0, began=0.0, now=Now())
    clock.close()
    assert not clock.has_room(0, 1)


def test_earlier_sessions_count_as_the_record_has_them() -> None:
    told = ({"event": "tell", "spent": 12.5}, {"event": "verdict", "spent": 40.0}, {"event": "x"})
    assert spent_on_record(History(told), workers=1) == 40.0
    assert spent_on_record(History((), (entry(8.0), entry(4.0, number=1))), workers=2) == 6.0
    clock = run_clock(run_of(), History(told), 10.0, began=time.monotonic())
    assert clock is not None
    assert clock.spent() == pytest.approx(40.0, abs=1.0)


def test_a_run_that_has_used_its_minutes_is_over_until_it_gets_more() -> None:
    clock = RunClock(600.0, began=0.0, now=Now())
    history = History((over_event(clock, 5),))
    for minutes, closed in ((10.0, True), (9.0, True), (11.0, False)):
        again = run_clock(run_of(), history, minutes, began=0.0)
        assert again is not None
        assert again.is_closed == closed
    assert run_clock(run_of(), history, None, began=0.0) is None


@pytest.mark.parametrize(
    ("in_file", "on_record", "asked", "wanted"),
    [
        (None, None, None, None),
        (10.0, None, None, 10.0),
        (10.0, 40.0, None, 40.0),
        (None, 40.0, None, None),
        (10.0, 40.0, "+30", 70.0),
        (10.0, None, "90", 90.0),
        (None, None, "2.5", 2.5),
    ],
)
def test_minutes_are_those_of_the_command_else_of_file_and_record(
    in_file: float | None, on_record: float | None, asked: str | None, wanted: float | None
) -> None:
    assert minutes_wanted(run_of(in_file), on_record, asked) == wanted


@pytest.mark.parametrize("asked", ["", "soon", "-3", "0", "+0", "nan", "inf"])
def test_minutes_that_are_none_are_refused(asked: str) -> None:
    with pytest.raises(RunError, match="should be a number of minutes"):
        minutes_wanted(run_of(), None, asked)


def test_every_extension_adds_to_those_before() -> None:
    events: tuple[Event, ...] = ({"event": "plan", "minutes": 60.0},)
    for in_all in (90.0, 120.0, 150.0):
        history = History(events)
        minutes = minutes_wanted(run_of(60.0), minutes_on_record(history), "+30")
        assert minutes == in_all
        clock = run_clock(run_of(60.0), history, minutes, began=0.0)
        assert clock is not None
        assert not clock.is_closed
        events += (over_event(clock, 5),)
    fewer = over_event(RunClock(60.0, began=0.0, now=Now()), 5)
    assert minutes_on_record(History(({"event": "plan", "minutes": 60.0}, fewer))) == 60.0


def test_one_thread_asks_while_another_learns() -> None:
    clock = RunClock(600.0, began=0.0, now=Now())
    clock.follow(steps=300, seeds=0)
    clock.learn([entry(3.0)])

    class Compared(int):
        """Steps that the other thread learns beside, just as they are compared."""

        def __rsub__(self, steps: int) -> int:
            clock.learn([entry(3.0, steps=steps + 1)])
            return steps - int(self)

    assert clock.training(0, Compared(300)) == 3.0


def test_the_last_plan_says_the_minutes() -> None:
    plans = ({"event": "plan", "minutes": 10}, {"event": "plan", "minutes": 30.0})
    assert minutes_on_record(History(plans)) == 30.0
    assert minutes_on_record(History()) is None
