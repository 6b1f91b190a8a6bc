"""A search on a table instead of machines: the real loop under a simulated clock.

:func:`search_in_time` is a runner like that of ``local.py``, but of many workers whose trainings
take as long as their reports say: whoever is done first is told first. :func:`replay` runs a
controller so on the measured necks of a :class:`nas_fpn.search.bench.Table`.
"""

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

from nas_fpn.errors import RunError
from nas_fpn.record import Genotype, Report
from nas_fpn.search.bench import Table
from nas_fpn.search.controller import Controller, Problem
from nas_fpn.search.halving import Halving
from nas_fpn.search.local import advance, training
from nas_fpn.search.loop import Loop
from nas_fpn.search.memory import MemoryRecord
from nas_fpn.search.plan import BeyondLimits, Due, Evaluate, NeckFacts, Plan
from nas_fpn.search.progress import Paused, Progress, Told

__all__ = ["Point", "Replayed", "TableProxy", "replay", "search_in_time"]

UNMEASURED = "unmeasured"  # a cost above its limit: necks outside the table are rejected, for free


@dataclass(frozen=True, slots=True)
class Point:
    """A search at the moment at which a trained trial ended, or paused.

    ``trials`` were trained till then, in ``seconds`` of the clock. ``found`` is the true score of
    the neck that looks best so far, of those trained to the end; before the first of them, that
    of the worst neck of the table.
    """

    trials: int
    seconds: float
    found: float


@dataclass(frozen=True, slots=True)
class Replayed:
    """One simulated search: what it had found when, from the start on.

    One that is ``exhausted`` ended before its trials were trained: nothing new was proposed.
    """

    points: tuple[Point, ...]
    exhausted: bool


def search_in_time(
    loop: Loop, evaluate: Evaluate, *, workers: int
) -> Iterator[tuple[float, Progress]]:
    """Train what the loop asks for, ``workers`` trials at a time; events with their seconds.

    ``seconds`` of the reports are the clock: a report comes when its trial has been in training
    for so long, pauses left out, and a training ends, well or not, with its last report. At equal
    times the order is that in which the trainings came to their last events.
    """
    now, turn = 0.0, count()
    under_way: list[tuple[float, int, _Training, Report | BeyondLimits | str | None]] = []
    trained: dict[int, float] = {}  # seconds in training, by trial

    def proceed(one: _Training) -> None:
        step = advance(one.reports)
        at = one.since + step.seconds if isinstance(step, Report) else now
        heapq.heappush(under_way, (at, next(turn), one, step))

    while True:
        while len(under_way) < workers and (due := loop.next()) is not None:
            since = now - trained.get(due.number, 0.0)
            proceed(_Training(due.number, since, training(evaluate, due)))
        yield from ((now, progress) for progress in loop.drain())
        if not under_way:
            yield now, loop.ending()
            return
        now, _, one, step = heapq.heappop(under_way)
        if isinstance(step, Report):
            trained[one.number] = step.seconds
            if loop.report(one.number, step):
                proceed(one)
        elif isinstance(step, BeyondLimits):
            loop.reject(one.number, str(step))
        else:
            loop.finish(one.number, failure=step)


@dataclass(frozen=True, slots=True)
class _Training:
    """A trial in training; it would have begun at ``since`` had it never paused."""

    number: int
    since: float
    reports: Iterator[Report]


class TableProxy:
    """Reports from a table instead of a training, for one simulated search.

    Each neck is given the curve of one of its seeds, drawn from ``seed``. With the probability
    ``failures`` a trial fails, right behind one of its reports or before the first.
    """

    def __init__(self, table: Table, *, seed: int, failures: float = 0.0) -> None:
        if not 0 <= failures <= 1:
            raise RunError(f"failures must be a probability, but got {failures}")
        self._by_text = {measured.text: measured for measured in table.necks.values()}
        self._seed = seed
        self._failures = failures

    def __call__(self, due: Due) -> Iterator[Report]:
        """The reports of a trial behind ``due.begin``. Raises RuntimeError for one that fails."""
        measured = self._by_text[due.text]
        drawn = random.Random(f"{self._seed}/curve/{measured.neck}")
        curve = measured.curves[drawn.choice(sorted(measured.curves))]
        chance = random.Random(f"{self._seed}/fails/{due.number}/{due.begin}")
        fails = chance.random() < self._failures
        last = chance.randrange(len(curve)) if fails else len(curve)
        for position, report in enumerate(curve):
            if position == last:
                raise RuntimeError("a simulated failure")
            if report.steps > due.begin:
                yield report


def replay(
    table: Table,
    problem: Problem,
    make: Callable[[Problem, int], Controller],
    *,
    workers: int,
    trials: int,
    seed: int,
    failures: float = 0.0,
    halving: Halving | None = None,
) -> Replayed:
    """Search the necks of a table with the controller that ``make(problem, seed)`` gives.

    ``problem`` is of the table's space, its first objective a score of the table; see
    :func:`nas_fpn.search.bench.centred` for what the table should be. A proposal that the table
    does not hold is rejected, and free as in every search. What is true is the mean over seeds.
    """
    objective = problem.objectives[0]
    true = {neck: measured.mean(objective) for neck, measured in table.necks.items()}

    def facts(genotype: Genotype) -> NeckFacts:
        measured = table.necks.get(neck := problem.identity(genotype))
        if measured is None:
            return NeckFacts(neck, "", {UNMEASURED: 1.0})
        return NeckFacts(neck, measured.text, {UNMEASURED: 0.0})

    plan = Plan(
        problem=problem, facts=facts, trials=trials, limits={UNMEASURED: 0.0}, halving=halving
    )
    loop = Loop(MemoryRecord(), make(problem, seed), plan, header={"seed": seed})
    proxy = TableProxy(table, seed=seed, failures=failures)
    best, found = float("-inf"), min(true.values())
    points = [Point(0, 0.0, found)]
    counted: set[int] = set()
    for now, progress in search_in_time(loop, proxy, workers=workers):
        if not isinstance(progress, Told | Paused):
            continue
        entry, outcome = progress.entry, progress.entry.outcome
        if outcome is not None and outcome.state == "complete" and outcome.scores[objective] > best:
            best, found = outcome.scores[objective], true[entry.neck]
        if outcome is not None and (outcome.of is not None or outcome.state == "rejected"):
            continue
        counted.add(entry.number)
        points.append(Point(len(counted), now, found))
    return Replayed(tuple(points), exhausted=len(counted) < trials)
