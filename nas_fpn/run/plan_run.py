"""The plan of a run by itself: everything up to the first trial, and nothing trained for longer."""

import time
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from nas_fpn.lock import Lock
from nas_fpn.record import read_history
from nas_fpn.run.clock import minutes_on_record, spent_on_record
from nas_fpn.run.machine import check_gpus
from nas_fpn.run.packed import Packed, settle, workers_of
from nas_fpn.run.plan import TimePlan
from nas_fpn.run.prepare import Step, prepare
from nas_fpn.run.question import read_question
from nas_fpn.run.settings import Run
from nas_fpn.run.started import Started, not_started
from nas_fpn.run.timed import STAGE, make_plan, minutes_wanted
from nas_fpn.run.trainer import cached_bank

__all__ = ["Outlook", "plan_run"]

UNBOUNDED = 60.0 * 1e7  # seconds: of a run that nobody asked minutes for


@dataclass(frozen=True, slots=True)
class Outlook:
    """A plan, whether minutes were asked for, and what narrowed the choice of steps.

    ``packed`` is how many trials train at a time, each on so many CPU ``threads``.
    """

    plan: TimePlan
    bounded: bool
    why: str | None
    packed: Packed
    threads: int


def plan_run(
    run: Run,
    *,
    minutes: str | None = None,
    began: float | None = None,
    started: Started = not_started,
) -> Generator[Step, None, Outlook]:
    """Prepare the run's data, time a few trainings, and return what a search would plan.

    What is prepared stays, and a search finds it: its time is not part of the plan. ``began`` is
    when the command began, as ``time.monotonic()`` has it; that part a search takes too. Of a run
    without minutes the plan says how long its trials take. ``started`` is as of a search, which
    takes that of ``drive_on_ray``, ``ray_started``, where this has to be told.

    Raises:
        RunError, DataError, SpaceError: as a search; and where the minutes are too few.
    """
    began = time.monotonic() if began is None else began
    torch.set_num_threads(run.settings.proxy.threads)
    history = read_history(run.folder / "history.jsonl")
    wanted = minutes_wanted(run, minutes_on_record(history), minutes)
    with Lock(run.folder / "history.lock"), ExitStack() as sessions:
        question = read_question(run)
        check_gpus(run)
        start = time.monotonic() - began
        prepared = yield from prepare(run, question.levels, warmup_neck=question.warmup_neck)
        since = time.monotonic()
        before = spent_on_record(history, workers=workers_of(run, history))
        run, packed = yield from settle(
            run,
            question,
            prepared.bank,
            history,
            started=started,
            sessions=sessions,
            timed=True,
            clock=None,
        )
        yield Step(STAGE, 0, 1)

        def spent() -> float:
            return before + start + time.monotonic() - since

        plan, why = make_plan(
            run,
            question,
            cached_bank(prepared.bank),
            seconds=UNBOUNDED if wanted is None else 60 * wanted,
            spent=spent,
            trials=run.settings.most_trials if wanted is not None else run.settings.budget.trials,
            packed=packed,
            is_new=wanted is not None and not history.events,
        )
        yield Step(STAGE, 1, 1)
    return Outlook(plan, wanted is not None, why, packed, run.settings.proxy.threads)
