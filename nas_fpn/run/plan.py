"""What a run does with its minutes: how far trials are trained, how many, and what is kept back.

All from a few measured seconds: the same measurement gives the same plan. What is planned is what
is expected; the clock of :mod:`nas_fpn.run.clock` decides as the run goes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from nas_fpn.errors import RunError
from nas_fpn.proxy.timing import Timing
from nas_fpn.search import rung_steps

__all__ = ["Measured", "TimePlan", "Wishes", "fidelities", "margin_of", "plan_time"]

PARTS = (Fraction(1), Fraction(2, 3), Fraction(1, 2), Fraction(1, 3))  # of [proxy] steps
KEPT = 0.25  # of the time for the check on test, at most
WANTED = 30  # trials; where fewer fit, each is trained for fewer steps
LEAST = 4  # trials; a budget with room for fewer is refused
HASTE = 3.0  # seconds that the end of a process and its last files may take
MOST_MINUTES = 10_000_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the settings ask for. ``seconds`` in all, ``spent`` of them till now.

    ``steps`` are the numbers of training steps that the plan may choose from. ``trials`` None: as
    many as fit. ``halving`` as in ``[budget]``; where it is "auto" rungs are from ``ranked`` steps
    on, None: nowhere. ``seeds`` are those of the check on test. ``ray_s`` seconds go by while
    workers start and Ray stops.
    """

    seconds: float
    spent: float
    steps: tuple[int, ...]
    evaluations: int
    halving: str = "none"
    eta: int = 3
    rungs: int = 2
    ranked: int | None = None
    trials: int | None = None
    seeds: int = 3
    workers: int = 0
    ray_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How long trainings take: of a neck like most of the space, of a dear one, of each control.

    Each by itself; beside the others that train at a time it takes ``slower`` times as long.
    """

    usual: Timing
    dear: Timing
    controls: tuple[Timing, ...] = ()
    slower: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePlan:
    """The plan of a run. What ends in ``_s`` is in seconds.

    ``steps`` are those of a whole training of ``trial_s``, ``dear_s`` for a dear neck, beside the
    others of ``workers``, which makes it ``slower`` times as long as by itself. ``trials`` are
    expected beyond ``baselines``; ``seeds`` are those of the check.
    """

    minutes: float
    spent_s: float
    steps: int
    most_steps: int
    rungs: tuple[int, ...]
    workers: int
    baselines: int
    trials: int
    seeds: int
    slower: float
    trial_s: float
    dear_s: float
    start_s: float
    baselines_s: float
    trials_s: float
    check_s: float
    export_s: float
    margin_s: float

    @property
    def used_s(self) -> float:
        """Seconds after which the run is expected to be over, those spent among them."""
        parts = (self.start_s, self.baselines_s, self.trials_s, self.check_s, self.export_s)
        return self.spent_s + sum(parts)


def fidelities(steps: int) -> tuple[int, ...]:
    """Numbers of steps that a plan may choose from, the most first.

    >>> fidelities(300)
    (300, 200, 150, 100)
    """
    return tuple(dict.fromkeys(max(round(steps * part), 1) for part in PARTS))


def margin_of(seconds: float) -> float:
    """Seconds at the end of a budget that are planned for nothing: a promise is not to be late."""
    return min(HASTE + 0.02 * seconds, 15.0)


def plan_time(wishes: Wishes, measured: Measured) -> TimePlan:
    """The plan: the most steps at which 30 trials fit, with a quarter of the time to check them.

    Of the same steps all trials to the end come before rungs, where the plan may choose those.
    Where they do not fit at any number of steps, that with which most do.

    Raises:
        RunError: where fewer than four trials fit; it says how many minutes would do.
    """
    plan = _best(wishes, measured)
    if plan is None:
        least = _least_minutes(wishes, measured)
        raise RunError(
            f"[budget] minutes = {wishes.seconds / 60:g} is too short: "
            f"{_said(wishes.spent)} are spent, a trial takes {_said(_cheapest(wishes, measured))}, "
            f"and {LEAST} trials beyond {len(measured.controls)} baselines have to fit, "
            f"with a check on test\nthe least that will do here is minutes = {least:g}; fewer "
            "baselines, or fewer steps in [proxy], take less"
        )
    return plan


def _best(wishes: Wishes, measured: Measured) -> TimePlan | None:
    """The plan, or None where none has room for enough trials."""
    plans = [
        plan
        for steps in wishes.steps
        for rungs in _rungs(wishes, steps)
        if (plan := _plan(wishes, measured, steps, rungs)) is not None
    ]
    wanted = WANTED if wishes.trials is None else min(WANTED, wishes.trials)
    for plan in plans:  # from the most steps
        if plan.trials >= wanted and plan.seeds >= wishes.seeds:
            return plan
    return max(plans, key=lambda one: (one.trials, -one.steps), default=None)


def _plan(
    wishes: Wishes, measured: Measured, steps: int, rungs: tuple[int, ...]
) -> TimePlan | None:
    """The plan at a number of steps; None where there is not the time for it."""
    margin = margin_of(wishes.seconds)
    time = wishes.seconds - wishes.spent - margin - wishes.ray_s
    own = wishes.evaluations
    evaluations = own + len(rungs)
    slower = measured.slower
    usual = _slower(measured.usual, slower)
    trial = usual.seconds(steps, own)
    dear = max(measured.dear.seconds(steps, own), trial / slower)  # in the check, by itself
    each = usual.seconds(0, 0) + _per_proposal(usual, steps, own, rungs, wishes)
    controls = slower * sum(one.seconds(steps, evaluations) for one in measured.controls)
    lanes = max(wishes.workers, 1)
    idle = (lanes - 1) * trial / 2  # at the end of the search, whoever is done waits
    seeds = _seeds(wishes, time, dear)
    while True:
        search = time - (2 * seeds + 1) * dear
        trials = math.floor((search * lanes - controls - idle) / each)
        if trials >= LEAST or seeds <= min(wishes.seeds, 1):
            break
        seeds -= 1
    if trials < min(LEAST, wishes.trials or LEAST):
        return None
    trials = trials if wishes.trials is None else min(trials, wishes.trials)
    return TimePlan(
        minutes=wishes.seconds / 60,
        spent_s=wishes.spent,
        steps=steps,
        most_steps=max(wishes.steps),
        rungs=rungs,
        workers=wishes.workers,
        baselines=len(measured.controls),
        trials=trials,
        seeds=seeds,
        slower=slower,
        trial_s=trial,
        dear_s=slower * dear,
        start_s=wishes.ray_s,
        baselines_s=controls / lanes,
        trials_s=(trials * each + idle) / lanes,
        check_s=2 * seeds * dear,
        export_s=dear,
        margin_s=margin,
    )


def _slower(timing: Timing, times: float) -> Timing:
    return Timing(timing.step_s * times, timing.evaluation_s * times, timing.setup_s * times)


def _seeds(wishes: Wishes, time: float, dear: float) -> int:
    """So many as the settings ask for, or as fit into a quarter of the time; one at least."""
    fit = math.floor((KEPT * time / dear - 1) / 2) if dear > 0 else wishes.seeds
    return min(wishes.seeds, max(fit, 1))


def _per_proposal(
    timing: Timing, steps: int, evaluations: int, rungs: Sequence[int], wishes: Wishes
) -> float:
    """Seconds that a proposal takes on the average, its preparation apart: one in eta goes on."""
    seconds, before, part = 0.0, 0, 1.0
    for rung in (*rungs, steps):
        piece = rung - before
        last = rung == steps
        shown = evaluations * piece / steps + (0 if last else 1)
        seconds += part * timing.seconds(piece, 0) - part * timing.seconds(0, 0)
        seconds += part * shown * timing.evaluation_s
        before, part = rung, part / wishes.eta
    return seconds


def _rungs(wishes: Wishes, steps: int) -> Iterator[tuple[int, ...]]:
    """What a plan of so many steps may choose from: rungs as ``[budget]`` says, if there is room.

    Where it leaves the choice: none first; then the most of them that all rank.
    """
    if wishes.halving in {"none", "auto"}:
        yield ()
    if wishes.halving == "none" or (wishes.halving == "auto" and wishes.ranked is None):
        return
    for count in range(wishes.rungs, 0, -1) if wishes.halving == "auto" else (wishes.rungs,):
        try:
            rungs = rung_steps(steps, eta=wishes.eta, count=count)
        except ValueError:
            continue
        if wishes.halving != "auto" or rungs[0] >= (wishes.ranked or 0):
            yield rungs
            return


def _cheapest(wishes: Wishes, measured: Measured) -> float:
    return measured.usual.seconds(min(wishes.steps), wishes.evaluations)


def _least_minutes(wishes: Wishes, measured: Measured) -> float:
    """The fewest whole minutes for which there is a plan."""
    low, high = 0, 1
    while high < MOST_MINUTES and _best(_of(wishes, high), measured) is None:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if _best(_of(wishes, middle), measured) is None:
            low = middle
        else:
            high = middle
    return high


def _of(wishes: Wishes, minutes: int) -> Wishes:
    return replace(wishes, seconds=60.0 * minutes)


def _said(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
