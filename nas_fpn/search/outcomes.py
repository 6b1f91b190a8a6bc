"""How a trial can end, and what is wrong with one: facts of a plan and an entry, no state."""

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from nas_fpn.errors import RunError
from nas_fpn.objectives import objective_scores
from nas_fpn.record import CLOCKED, Entry, Outcome, Report, Scores, Trial
from nas_fpn.search.plan import Due, Plan

__all__ = [
    "any_found",
    "as_stopped",
    "beyond",
    "check_proposal",
    "check_repeated",
    "check_report",
    "due",
    "failed",
    "fault",
    "first_objective",
    "passed_by",
    "repeated",
    "report_at",
    "steady",
    "stopped",
    "trained",
]


def check_proposal(plan: Plan, trial: Trial, number: int) -> None:
    """Raise :class:`RunError` for a trial that is not the ``number``-th, or not of the space."""
    counts = [choice.count for choice in plan.problem.choices]
    if trial.number != number:
        raise RunError(f"the controller numbers a trial {trial.number}, but its next is {number}")
    if len(trial.genotype) != len(counts) or not all(
        0 <= index < count for index, count in zip(trial.genotype, counts, strict=True)
    ):
        raise RunError(
            f"the controller proposes {trial.genotype}, but the options of the "
            f"{len(counts)} choices are {counts}"
        )


def check_repeated(path: Path, entry: Entry, trial: Trial) -> None:
    """Raise :class:`RunError` where a replayed controller proposes other than is on record."""
    assert entry.genotype is not None
    if trial.genotype != entry.genotype:
        raise RunError(
            f"{path}: trial {entry.number}: the record has the genotype "
            f"{list(entry.genotype)}, but the controller now proposes {list(trial.genotype)}\n"
            "the controller or its library has changed; put it back, or go on with "
            "--accept-drift"
        )


def check_report(path: Path, number: int, before: Report, report: Report) -> None:
    """Raise :class:`RunError` where a training gives other scores than are on record."""
    if steady(before.scores) != steady(report.scores):
        raise RunError(
            f"{path}: trial {number}: at step {report.steps} the record has "
            f"{dict(before.scores)}, but this training gives {dict(report.scores)}\n"
            "the proxy, its data or a library has changed, or the machine does not repeat "
            "itself; go on with --accept-drift"
        )


def failed(last: Report | None, reason: str) -> Outcome:
    """Of a trial that has failed behind its ``last`` report, None where it gave none."""
    reached = last or Report(0, {})
    return Outcome("failed", steps=reached.steps, seconds=reached.seconds, reason=reason)


def any_found(entries: Iterable[Entry]) -> bool:
    """Whether a proposal was trained to its end."""
    return any(
        not entry.is_baseline and entry.outcome is not None and entry.outcome.state == "complete"
        for entry in entries
    )


def due(plan: Plan, entry: Entry) -> Due:
    """A trial as a runner gets it: from its last pause to its next."""
    begin = entry.pauses[-1] if entry.pauses else 0
    pause = None
    if plan.halving is not None and plan.halving.promotes and not entry.is_baseline:
        pause = next((steps for steps in plan.halving.rungs if steps > begin), None)
    return Due(entry.number, entry.text, begin, pause, entry.neck, not entry.is_baseline)


def beyond(plan: Plan, entry: Entry) -> list[str]:
    """The limits that a neck exceeds, as a person reads them.

    Raises :class:`RunError` for a limit on what is no cost of the neck.
    """
    unknown = [name for name in plan.limits if name not in entry.cost]
    if unknown:
        there = ", ".join(entry.cost) or "none"
        raise RunError(f"limits: {unknown[0]!r} is no cost of a neck; there are {there}")
    return [
        f"{name} {entry.cost[name]:g} is above the limit {most:g}"
        for name, most in plan.limits.items()
        if entry.cost[name] > most
    ]


def fault(plan: Plan, entry: Entry, report: Report) -> str | None:
    """Why a trial with this report has failed, if it has."""
    for name, score in report.scores.items():
        if not math.isfinite(score):
            return f"the score {name} is {score} at step {report.steps}"
    wanted = (name.removeprefix("-") for name in plan.problem.objectives)
    missing = [name for name in wanted if name not in report.scores]
    if missing:
        return f"no score {missing[0]} at step {report.steps}"
    return passed_by(plan, entry, report.steps)


def passed_by(plan: Plan, entry: Entry, steps: float = math.inf) -> str | None:
    """What is wrong with a training that is at ``steps``, if it should have paused before."""
    pause = due(plan, entry).pause
    missed = pause is not None and steps > pause
    return f"the training gave no report at the rung of {pause} steps" if missed else None


def first_objective(plan: Plan, report: Report) -> float:
    """What rungs compare: the first objective, larger is better."""
    objectives = plan.problem.objectives
    return objective_scores(objectives, report.scores)[objectives[0]]


def steady(scores: Scores) -> dict[str, float]:
    """The scores that an equal training gives again."""
    return {name: score for name, score in scores.items() if name not in CLOCKED}


def report_at(entry: Entry, steps: int) -> Report:
    """The report of an entry at ``steps``, which is on record."""
    return next(report for report in entry.reports if report.steps == steps)


def repeated(entry: Entry) -> Outcome:
    """Of a trial whose neck is that of the complete ``entry``."""
    assert entry.outcome is not None
    return replace(entry.outcome, state="repeated", seconds=0.0, of=entry.number)


def stopped(entry: Entry) -> Outcome:
    """Of a trial that is paused for good: its scores at its last rung."""
    last = report_at(entry, entry.pauses[-1])
    return Outcome("stopped", last.scores, last.steps, last.seconds)


def as_stopped(entry: Entry) -> Outcome:
    """Of a trial whose neck is that of ``entry``, which is paused, or was stopped at a rung."""
    return replace(stopped(entry), seconds=0.0, of=entry.number)


def trained(entries: tuple[Entry, ...]) -> int:
    """How many of the controller's trials were trained: what ``trials`` counts.

    To whatever end, or to a rung at least.
    """
    return sum(
        not entry.is_baseline
        and (bool(entry.pauses) if entry.outcome is None else not entry.outcome.is_free)
        for entry in entries
    )
