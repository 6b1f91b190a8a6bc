"""A run as it is watched: events in, values out; the table in words is golden text."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from nas_fpn.record import Entry, Outcome, Report
from nas_fpn.run import Begun, Checked, Event, Look, Step, Watch, rows
from nas_fpn.run.look import duration
from nas_fpn.search import Asked, Over, Paused, Promoted, Reported, Told

GOLDEN = Path(__file__).parents[1] / "golden" / "run" / "look"
FIRST = Entry(0, "baseline:fpn", None, "aaaaaaaa", "", {})


def reported(entry: Entry, *aps: float) -> Entry:
    reports = tuple(Report(100 * k, {"ap": ap}, 10.0 * k) for k, ap in enumerate(aps, start=1))
    return Entry(
        entry.number, entry.source, entry.genotype, entry.neck, "", {}, reports, entry.outcome
    )


def ended(entry: Entry, state: str, ap: float | None = None, **told: object) -> Entry:
    scores = {} if ap is None else {"ap": ap}
    outcome = Outcome(state, scores, 300, 30.0, **told)  # type: ignore[arg-type]
    return Entry(
        entry.number, entry.source, entry.genotype, entry.neck, "", {}, entry.reports, outcome
    )


def found(number: int, neck: str | None = None) -> Entry:
    return Entry(number, "controller", (0,), neck or f"{number:08x}", "", {})


def paused(number: int) -> Entry:
    reports = (Report(100, {"ap": 0.1}, 10.0),)
    return Entry(number, "controller", (0,), f"{number:08x}", "", {}, reports, None, (100,), True)


def seen(*events: Event, workers: int = 2, seconds: float = 60.0) -> Watch:
    watch = Watch("ap", name="mine", workers=workers, steps=300)
    for at, event in enumerate(events):
        watch.see(event, now=at * seconds)
    return watch


def said(look: Look) -> str:
    return "\n".join(f"{label:15}{text}" for label, text in rows(look)) + "\n"


BEGUN = Begun(10, 1, (), ())
VERDICT = {
    "event": "verdict",
    "split": "test",
    "objective": "ap",
    "trial": 1,
    "control": 0,
    "seeds": [1, 2, 3],
    "scores": {"trial": [0.31, 0.32, 0.33], "control": [0.29, 0.31, 0.30]},
    "seconds": 60.0,
}
SEARCHING: tuple[Event, ...] = (
    BEGUN,
    Told(ended(FIRST, "complete", 0.30)),
    Told(ended(found(1), "complete", 0.33)),
    Told(ended(found(2), "failed", reason="RuntimeError: no memory for 12 MB")),
    Told(ended(found(3), "failed", reason="RuntimeError: no memory for 7.5 MB\nat line 3")),
    Told(ended(found(4), "rejected", reason="params 9e+06 is above the limit 5e+06")),
    Paused(paused(5)),
    Asked(found(6)),
    Asked(found(7, "00000006")),
    Reported(reported(found(6), 0.1, 0.2), Report(200, {"ap": 0.2}, 20.0)),
)


@pytest.mark.parametrize(
    ("name", "events"),
    [
        ("nothing_yet", ()),
        ("begun", (BEGUN,)),
        ("searching", SEARCHING),
        ("checked", (*SEARCHING[:3], Over(10, exhausted=False), Checked(VERDICT))),
    ],
)
def test_the_rows_are_those_of_the_golden_text(name: str, events: Sequence[Event]) -> None:
    watch = seen(*events)
    assert said(watch.look(now=600.0)) == (GOLDEN / f"{name}.txt").read_text()


def test_a_look_changes_nothing() -> None:
    watch = seen(*SEARCHING)
    assert watch.look(now=600.0) == watch.look(now=600.0)
    assert seen(*SEARCHING).look(now=600.0) == watch.look(now=600.0)


def test_equal_necks_keep_one_worker_busy() -> None:
    look = seen(BEGUN, Asked(found(0)), Asked(found(1, "00000000")), Asked(found(2))).look(now=9.0)
    assert (look.busy, len(look.under_way)) == (2, 3)


def test_a_paused_trial_takes_no_worker_until_it_is_promoted() -> None:
    look = seen(BEGUN, Paused(paused(0))).look(now=9.0)
    assert (look.busy, look.paused) == (0, ((100, 1),))
    goes_on = Entry(0, "controller", (0,), "00000000", "", {}, paused(0).reports, None, (100,))
    look = seen(BEGUN, Paused(paused(0)), Promoted(goes_on)).look(now=9.0)
    assert (look.busy, look.paused) == (1, ())


def test_the_speed_is_measured_once_a_trial_has_ended_here() -> None:
    there = ended(FIRST, "complete", 0.3)
    before = seen(Begun(10, 1, (there,), ())).look(now=5.0)
    assert (before.per_hour, before.measured) == (2 * 3600 / 30.0, False)
    watch = seen(Begun(10, 1, (there,), ()), Told(ended(found(1), "complete", 0.2)))
    after = watch.look(now=120.0)
    assert (after.per_hour, after.measured) == (30.0, True)
    assert after.left == pytest.approx(9 * 120.0)


def test_the_speed_stands_still_when_the_search_is_over() -> None:
    watch = seen(BEGUN, Told(ended(found(0), "complete", 0.2)), Over(10, exhausted=False))
    assert watch.look(now=120.0).per_hour == watch.look(now=9000.0).per_hour == 30.0
    assert watch.look(now=120.0).left is None


def test_reasons_that_differ_in_numbers_are_one() -> None:
    assert seen(*SEARCHING).look(now=1.0).reasons == (
        ("RuntimeError: no memory for 12 MB", 2),
        ("params 9e+06 is above the limit 5e+06", 1),
    )


def test_a_check_is_a_line_and_gives_the_noise() -> None:
    watch = seen(*SEARCHING[:3])
    assert watch.look(now=1.0).noise is None
    line = watch.see(Checked(VERDICT), now=1.0)
    assert line is not None
    assert line.startswith("Check on test, in the proxy, with 3 new seeds each: 00000001 (trial 1)")
    noise = watch.look(now=1.0).noise
    assert noise is not None
    assert noise.sd == pytest.approx(0.01)


def test_what_a_run_was_checked_with_before_is_known_when_it_goes_on() -> None:
    there = (ended(FIRST, "complete", 0.3), ended(found(1), "complete", 0.33))
    watch = seen(Begun(20, 1, there, (), (VERDICT,)))
    assert watch.look(now=0.0).noise is not None


def test_more_trials_than_were_planned_are_no_part_of_them() -> None:
    there = (ended(FIRST, "complete", 0.3), *(ended(found(n), "complete", 0.3) for n in (1, 2, 3)))
    look = seen(Begun(2, 1, there, ())).look(now=0.0)
    assert (look.done, look.total) == (4, 4)
    assert dict(rows(look))["trained"] == "3 trials, 2 were planned, 1 of 1 baseline"


def test_durations_are_said_as_a_person_would() -> None:
    spoken = [duration(s) for s in (0.2, 89.4, 90, 7140, 7200, 86400)]
    assert spoken == ["0 s", "89 s", "2 min", "119 min", "2 h 0 min", "24 h 0 min"]


def test_a_long_stage_says_now_and_then_how_far_it_is() -> None:
    watch = Watch("ap")
    steps = [(0.0, 0), (10.0, 50), (25.0, 100), (30.0, 120), (45.1, 150), (50.0, 200)]
    lines = [watch.see(Step("warming up", done, 200), now=at) for at, done in steps]
    assert lines == [
        None,
        None,
        "warming up: 100 of 200",
        None,
        "warming up: 150 of 200",
        "warming up: done",
    ]
    assert watch.see(Step("storing features", 0, 9), now=99.0) is None
    assert watch.see(Step("storing features", 1, 9), now=100.0) is None
