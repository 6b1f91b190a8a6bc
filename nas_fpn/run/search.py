"""A search from its first trial to its answer: record, trials, the check on test, the best neck."""

import json
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from typing import Any

from nas_fpn.lock import Lock
from nas_fpn.record import Entry, History, Record, read_history
from nas_fpn.record import Event as Line
from nas_fpn.report import nothing_learnt, proxy_checks, trust_said
from nas_fpn.report.at_a_time import changed_workers
from nas_fpn.run.best import export_best
from nas_fpn.run.calibrate import keep_calibration
from nas_fpn.run.code import code_files, keep_code
from nas_fpn.run.header import make_header
from nas_fpn.run.live import PATIENCE, followed, views
from nas_fpn.run.packed import Packed
from nas_fpn.run.paused import checkpoint_folder, tidied
from nas_fpn.run.prepare import Step
from nas_fpn.run.ready import Asked, Ready, Spread, make_ready
from nas_fpn.run.settings import Run
from nas_fpn.run.started import Drive, Started, started_by
from nas_fpn.run.timed import (
    Planned,
    in_time,
    learning,
    over_event,
    plan_event,
    planned_steps,
)
from nas_fpn.run.trainer import Trainer
from nas_fpn.run.verdict import Checked, check_on_test
from nas_fpn.search import (
    Loop,
    Noted,
    Progress,
    search_here,
)

__all__ = ["Begun", "Checked", "Drive", "Event", "drive_here", "search_run"]


@dataclass(frozen=True, slots=True)
class Begun:
    """The search itself starts now, or goes on.

    ``trials`` counts the controller's; ``entries`` are those on record already; ``notes`` say
    which splits were made; every answer repeats them; ``checks`` are the events "verdict" so far.
    """

    trials: int
    baselines: int
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
    checks: tuple[Line, ...] = ()


Event = Step | Begun | Packed | Planned | Checked | Progress


def drive_here(run: Run, loop: Loop, trainer: Trainer) -> Iterator[Progress]:
    """Train one trial after another in this process; works where Ray is not installed."""
    return search_here(loop, trainer, seconds=run.settings.trial_seconds)


def search_run(
    run: Run,
    *,
    trials: str | None = None,
    minutes: str | None = None,
    began: float | None = None,
    accept_drift: bool = False,
    drive: Drive = drive_here,
    started: Started | None = None,
) -> Generator[Event, None, None]:
    """Search, or go on; then check the best on test and export it to ``best/``. Yields events.

    ``trials`` is a new budget: "80" in all, or "+100" beyond what the run was last asked for; so
    are ``minutes``, whose clock starts at ``began``, as ``time.monotonic()`` has it; None: now.
    ``drive`` trains the trials: ``drive_here``, or ``drive_on_ray`` of ``nas_fpn.run.on_ray``.
    ``started`` is what is started for it before time is planned; None: what it names itself.

    Raises:
        SpaceError, DataError, RunError: for wrong input, a record that belongs to another
            question, an objective that val cannot measure, and a resume whose proposals differ
            from the record.
        FloatingPointError: when the backbone's warm-up diverged.
        OSError: where the run's folder takes no more; what is on record stays.
    """
    began = time.monotonic() if began is None else began
    # Before the bank: two would write it at once.
    with Lock(run.folder / "history.lock") as lock, ExitStack() as sessions:
        if lock.left is not None:
            yield Noted(f"the search before ended unawares ({lock.left}); it goes on")
        asked = Asked(trials=trials, minutes=minutes, began=began, accept_drift=accept_drift)
        spread = None
        if drive is not drive_here:
            spread = Spread(started or started_by(drive), sessions)
        yield from _search(run, lock, asked, drive, spread)


def _search(
    run: Run, lock: Lock, asked: Asked, drive: Drive, spread: Spread | None
) -> Generator[Event, None, None]:
    history_path = run.folder / "history.jsonl"
    history = read_history(history_path)
    ready = yield from make_ready(run, history, asked, spread)
    clock, trainer, planned = ready.clock, ready.trainer, ready.planned
    with Record(history_path, lock=lock) as record:
        if record.history.torn is not None:
            yield Noted(record.history.torn)
        loop = Loop(record, ready.controller, ready.plan, header=_header(run, ready, history))
        keep_code(run.folder, code_files(ready.question))
        keep_calibration(run.folder, record)
        for line in _decided(run, ready, history):
            record.append(line)
        if planned is not None:
            yield planned
        yield Begun(
            ready.plan.trials,
            len(ready.plan.baselines),
            loop.entries,
            ready.notes,
            proxy_checks(history.events),
        )

        def steps() -> Generator[Progress | Step | Checked, None, None]:
            trials = learning(drive(ready.run, loop, trainer), clock)
            yield from tidied(checkpoint_folder(run), loop, trials)
            if spread is not None:
                spread.sessions.close()  # the check trains here
            unchecked = yield from check_on_test(
                ready.run, record, record.history, loop.entries, trainer, clock=clock
            )
            over = loop.ending()
            if clock is not None and not clock.is_closed and (over.late or unchecked):
                record.append(over_event(clock, over.trained))

        with closing(steps()) as trained:  # an interrupt stops the workers at once
            patience = clock.to_export if clock is not None else lambda: PATIENCE
            yield from followed(history_path, trained, views(ready.run), patience=patience)
    history = read_history(history_path)
    for said in (nothing_learnt(history, run.settings.objectives[0]), trust_said(history)):
        if said is not None:
            yield Noted(said)
    best = export_best(ready.run, history, trainer, notes=ready.notes)
    yield from in_time(best, clock, run.folder)


def _header(run: Run, ready: Ready, history: History) -> dict[str, Any]:
    """The first line of the record, with ``run`` as it was asked where that was left open."""
    header = make_header(
        ready.run, ready.question, bank=ready.bank, notes=ready.notes, trials=ready.plan.trials
    )
    header["settings"]["proxy"]["device"] = run.settings.proxy.device  # "auto", wherever that is
    header["machine"]["ray"] = run.settings.ray.model_dump(mode="json")
    if kept := planned_steps(history, None if ready.planned is None else ready.planned.plan):
        header["plan"] = dict(kept)
    if ready.prior.genotypes:
        # As the record gives it back.
        header["prior"] = json.loads(json.dumps(asdict(ready.prior)))
    return header


def _decided(run: Run, ready: Ready, history: History) -> Iterator[Line]:
    """Events for the record: how many trials at a time, and the plan."""
    workers = changed_workers(
        history, ready.run.settings.ray.workers, asked=run.settings.ray.workers
    )
    if (line := ready.packed.line or workers) is not None:
        yield line
    if ready.planned is not None and ready.planned.plan is not None:
        yield plan_event(ready.planned.plan)
