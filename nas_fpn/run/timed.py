"""A run whose minutes are bounded: how its plan is made, and what of it stands on record."""

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nas_fpn.errors import RunError, command_line
from nas_fpn.proxy.bank import Bank
from nas_fpn.record import Event, History
from nas_fpn.run.clock import RunClock, spent_on_record
from nas_fpn.run.look import duration
from nas_fpn.run.packed import Packed, workers_of
from nas_fpn.run.plan import TimePlan, Wishes, margin_of, plan_time
from nas_fpn.run.plan_measure import calibrated_steps, measure
from nas_fpn.run.plan_text import plan_text
from nas_fpn.run.prepare import Step
from nas_fpn.run.question import Question
from nas_fpn.run.settings import Run
from nas_fpn.run.short import in_the_time
from nas_fpn.search import Noted, Paused, Progress, Told, budget_on_record
from nas_fpn.search.limit import Late, alarm

__all__ = [
    "Planned",
    "as_planned",
    "in_time",
    "learning",
    "make_plan",
    "minutes_wanted",
    "over_event",
    "plan_event",
    "planned_steps",
    "run_clock",
    "start_plan",
]

GRACE = 5.0  # seconds beyond the time that the export may take, of the 20 that a promise leaves
STAGE = "timing a few trainings"
# Seconds: till the workers of Ray are ready, where nobody knows; what they take longer than the
# processes of a measurement, which load less; and till Ray has stopped.
READY, MORE, STOP = 8.0, 3.0, 4.0


@dataclass(frozen=True, slots=True)
class Planned:
    """The time is planned, and the search begins; ``left`` seconds are left of it.

    ``text`` says it to a person; ``plan`` is None in a session that goes on with what is left.
    """

    plan: TimePlan | None
    text: str
    left: float


def minutes_wanted(run: Run, on_record: float | None, asked: str | None) -> float | None:
    """Of the command line, else the larger of the file and the record; None: unbounded.

    Without a line in the file the record counts for what ``asked`` adds to, and for nothing else.

    Raises:
        RunError: for an ``asked`` that is neither a number nor "+" and a number.
    """
    given = [one for one in (run.settings.budget.minutes, on_record) if one is not None]
    before = max(given, default=None) if run.settings.budget.minutes is not None else None
    if asked is None:
        return before
    try:
        minutes = float(asked.removeprefix("+"))
    except ValueError:
        minutes = math.nan
    if not 0 < minutes < math.inf:
        raise RunError(f"--minutes = {asked!r}: should be a number of minutes, or +30 for more")
    return (max(given, default=0.0) + minutes) if asked.startswith("+") else minutes


def run_clock(
    run: Run, history: History, minutes: float | None, *, began: float
) -> RunClock | None:
    """The clock of a run of so many minutes; None without any.

    Closed for a run that has used them; what is on record tells it how long trainings take.
    """
    if minutes is None:
        return None
    before = spent_on_record(history, workers=workers_of(run, history))
    clock = RunClock(60 * minutes, began=began, before=before)
    over = [event for event in history.events if event["event"] == "over"]
    if over and over[-1]["minutes"] >= minutes:
        clock.close()
    clock.learn(entry for entry in history.entries if entry.outcome or entry.paused)
    return clock


def make_plan(
    run: Run,
    question: Question,
    bank: Bank,
    *,
    seconds: float,
    spent: Callable[[], float],
    trials: int | None,
    packed: Packed,
    is_new: bool = True,
) -> tuple[TimePlan, str | None]:
    """Time a few trainings and plan; also what narrowed the choice of steps. Takes seconds.

    ``spent()`` is asked after that; Ray, where trials are spread by it, has been started. A run
    that is not new keeps its steps.

    Raises:
        RunError: where the time is too short, or a calibration cannot be read.
    """
    settings = run.settings
    steps, ranked, why = calibrated_steps(run) if is_new else ((settings.proxy.steps,), None, None)
    beside = None
    if packed.neck is not None and packed.step_s is not None:
        beside = packed.neck, packed.step_s
    measured = measure(
        question.space,
        [one.neck for one in question.baselines],
        bank,
        settings.proxy,
        seed=settings.seed,
        beside=beside,
    )
    workers_s = READY if packed.ready_s is None else packed.ready_s + MORE
    wishes = Wishes(
        seconds=seconds,
        spent=spent(),
        steps=steps,
        evaluations=settings.proxy.evaluations,
        halving=settings.budget.halving,
        eta=settings.budget.eta,
        rungs=settings.budget.rungs,
        ranked=ranked,
        trials=trials,
        seeds=settings.confirm.seeds,
        workers=packed.workers,
        ray_s=workers_s + STOP if packed.workers else 0.0,
    )
    return plan_time(wishes, measured), why


def start_plan(
    run: Run,
    question: Question,
    bank: Bank,
    clock: RunClock,
    history: History,
    most: int | None,
    *,
    packed: Packed,
) -> Generator[Step, None, tuple[Run, Planned, int]]:
    """Plan what is left of the time; the run with its steps, the plan, and the trials to expect.

    A session that goes on goes by the trainings on record; ``most`` trials are wanted at most.
    """
    seeds = run.settings.confirm.seeds
    minutes = duration(clock.seconds)
    expected = budget_on_record(history) or run.settings.budget.trials
    if not clock.is_to_plan:
        clock.follow(steps=run.settings.proxy.steps, seeds=seeds)
        text = f"{duration(clock.spent())} of {minutes} are used"
        if clock.is_closed:
            text += "; for more of them: --minutes +30"
        return run, Planned(None, text, clock.to_end()), most or expected
    yield Step(STAGE, 0, 1)
    with in_the_time(clock, run, STAGE):
        plan, why = make_plan(
            run,
            question,
            bank,
            seconds=clock.seconds,
            spent=clock.spent,
            trials=most,
            packed=packed,
            is_new=not history.events,
        )
    clock.follow(steps=plan.steps, seeds=plan.seeds, expected=plan.dear_s)
    yield Step(STAGE, 1, 1)
    text = "\n".join(filter(None, [plan_text(plan), why]))
    return as_planned(run, plan), Planned(plan, text, clock.to_end()), most or plan.trials


def as_planned(run: Run, plan: TimePlan) -> Run:
    """The run with the steps of a plan, and its rungs where the settings leave them to it."""
    settings, budget = run.settings, run.settings.budget
    if budget.halving == "auto":
        rungs = {"halving": "promote", "rungs": len(plan.rungs)}
        budget = budget.model_copy(update=rungs if plan.rungs else {"halving": "none"})
    proxy = settings.proxy.model_copy(update={"steps": plan.steps})
    update = {"proxy": proxy, "budget": budget}
    return replace(run, settings=settings.model_copy(update=update))


def learning(steps: Iterator[Progress], clock: RunClock | None) -> Iterator[Progress]:
    """``steps`` of a search; the clock takes in how long its trainings took."""
    for step in steps:
        if clock is not None and isinstance(step, Told | Paused):
            clock.learn([step.entry])
        yield step


def in_time(steps: Iterator[Step], clock: RunClock | None, folder: Path) -> Iterator[Step | Noted]:
    """``steps`` of the export; given up where the promise would be broken for it."""
    late = None
    if clock is not None and not clock.is_closed:
        late = time.monotonic() + clock.to_end() + margin_of(clock.seconds) + GRACE
    while True:
        try:
            with alarm(late):
                step = next(steps, None)
        except Late:
            yield Noted(
                f"{folder / 'best'} is not written, for lack of time; the same command does it, "
                f"or {command_line('export', folder, '--to', 'FOLDER')}"
            )
            return
        if step is None:
            return
        yield step


def planned_steps(history: History, plan: TimePlan | None) -> Mapping[str, Any] | None:
    """What the first line of the record keeps of a plan, or kept; None where there is none."""
    if history.events:
        kept: Mapping[str, Any] | None = history.events[0].get("plan")
        return kept
    return None if plan is None else {"steps": plan.steps, "most_steps": plan.most_steps}


def plan_event(plan: TimePlan) -> Event:
    """The line of a plan, one a session that made one."""
    return {"event": "plan", **asdict(plan), "rungs": list(plan.rungs)}


def over_event(clock: RunClock, trained: int) -> Event:
    """The line that says that the time is over: nothing more comes, unless there is more time."""
    return {
        "event": "over",
        "minutes": clock.seconds / 60,
        "trained": trained,
        "spent": round(clock.spent(), 3),
    }
