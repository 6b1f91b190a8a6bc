"""A plan in words, for a person who decides whether to wait for it; and as JSON."""

from dataclasses import asdict
from typing import Any

from nas_fpn.run.look import duration
from nas_fpn.run.plan import TimePlan

__all__ = ["plan_json", "plan_text"]


def plan_json(plan: TimePlan) -> dict[str, Any]:
    """The plan for a program; ``used_s`` is when it is expected to be over."""
    told = {key: _rounded(value) for key, value in asdict(plan).items()}
    return {**told, "rungs": list(plan.rungs), "used_s": _rounded(plan.used_s)}


def plan_text(plan: TimePlan, *, bounded: bool = True) -> str:
    """The plan, a line for each thing that takes time.

    ``bounded`` False: nobody asked for minutes, these are what the trials would take.
    """
    steps = f"{plan.steps} steps"
    if plan.steps != plan.most_steps:
        steps = f"{plan.steps} of {plan.most_steps} steps"
    rungs = f", compared at {' and '.join(map(str, plan.rungs))}" if plan.rungs else ""
    lanes = "one at a time" if plan.workers < 2 else f"{plan.workers} at a time"
    head = f"the plan: over after about {_time(plan.used_s)}"
    if bounded:
        head += f" of {_time(60 * plan.minutes)}"
    beside = f"; by itself {_seconds(plan.trial_s / plan.slower)} s" if plan.slower > 1 else ""
    rows = [
        ("spent so far", _time(plan.spent_s)),
        ("a trial", f"{steps}{rungs}: {_span(plan.trial_s, plan.dear_s)}{beside}"),
        ("baselines", f"{plan.baselines}, about {_time(plan.baselines_s)}"),
        ("trials", f"about {plan.trials}, {lanes}, about {_time(plan.trials_s)}"),
        ("check on test", _check(plan)),
        ("best/", f"the best once more, about {_time(plan.export_s)}"),
    ]
    if plan.start_s:
        rows.insert(1, ("Ray", f"workers start, and stop, in about {_time(plan.start_s)}"))
    if bounded:
        rows.append(("in hand", _time(plan.margin_s)))
    return "\n".join([head, *(f"  {label:15}{text}" for label, text in rows)])


def _check(plan: TimePlan) -> str:
    if not plan.seeds:
        return "none ([confirm] seeds = 0)"
    seeds = "1 new seed" if plan.seeds == 1 else f"{plan.seeds} new seeds"
    return f"{seeds} of the best found and the best baseline, about {_time(plan.check_s)}"


def _span(usual: float, dear: float) -> str:
    if f"{usual:.2g}" == f"{dear:.2g}":
        return f"{_seconds(usual)} s"
    return f"{_seconds(usual)} s, a dear neck {_seconds(dear)} s"


def _time(seconds: float) -> str:
    """Seconds to the second, up to two hours.

    >>> _time(89.6), _time(600), _time(634.2), _time(7800)
    ('90 s', '10 min', '10 min 34 s', '2 h 10 min')
    """
    whole = round(seconds)
    if not 90 < whole < 7200:
        return duration(seconds)
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def _seconds(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value
