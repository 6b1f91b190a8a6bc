"""What there is to see of a run at one moment: values, and the same in words, row by row."""

from dataclasses import dataclass

from nas_fpn.report import Noise
from nas_fpn.report.counted import counted

__all__ = ["Look", "Shown", "duration", "rows"]

MOST = 5  # reasons, and trials under way, that are shown one by one


@dataclass(frozen=True, slots=True)
class Shown:
    """One trial and its score at ``steps``; ``name`` is a baseline's, else the canonical id."""

    number: int
    name: str
    score: float | None = None
    steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A run at one moment. What is None is not known, or there is none.

    ``done`` of ``total`` is how far the ``stage`` is. ``trials`` and ``baselines`` are pairs:
    trained, wanted. ``per_hour`` counts trained trials, baselines among them; ``measured`` says
    whether this session's clock gave it or the trials' own seconds. ``left`` is in seconds.
    ``busy`` counts necks under way, as the record has it. ``paused`` is (steps, trials) by rung.
    """

    name: str
    stage: str
    done: int
    total: int
    objective: str
    trials: tuple[int, int]
    baselines: tuple[int, int]
    steps: int | None
    per_hour: float | None
    measured: bool
    left: float | None
    best: Shown | None
    control: Shown | None
    noise: Noise | None
    states: tuple[tuple[str, int], ...]
    reasons: tuple[tuple[str, int], ...]
    workers: int
    busy: int
    paused: tuple[tuple[int, int], ...]
    under_way: tuple[Shown, ...]


def rows(look: Look) -> tuple[tuple[str, str], ...]:
    """The look in words: a label and a text each. Names and reasons stand as they were given."""
    found = [
        ("plan", _plan(look)),
        ("trained", _trained(look)),
        ("speed", _speed(look)),
        ("best found", _score(look.best, look.objective)),
        ("best baseline", _score(look.control, look.objective)),
        ("difference", _difference(look)),
        ("ended", ", ".join(f"{count} {state}" for state, count in look.states) or "none yet"),
    ]
    shown = look.reasons[:MOST]
    found += [("" if at else "reasons", f"{n} × {why}") for at, (why, n) in enumerate(shown)]
    if len(look.reasons) > MOST:
        found.append(("", f"and {len(look.reasons) - MOST} more reasons"))
    idle = max(look.workers - look.busy, 0)
    found.append(("workers", f"{min(look.busy, look.workers)} busy, {idle} idle"))
    waiting = ", ".join(f"{count} at step {steps}" for steps, count in look.paused)
    found.append(("paused", waiting or "none"))
    way = [_on_the_way(one, look) for one in look.under_way[:MOST]]
    if len(look.under_way) > MOST:
        way.append(f"and {len(look.under_way) - MOST} more")
    return (*found, *(("" if at else "under way", text) for at, text in enumerate(way)))


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(89), duration(600), duration(7800)
    ('89 s', '10 min', '2 h 10 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _plan(look: Look) -> str:
    if not sum((look.trials[1], look.baselines[1])):
        return "not known before the search begins"
    each = "" if look.steps is None else f", at most {look.steps} steps each"
    trials, baselines = look.trials[1], look.baselines[1]
    return f"{counted(trials, 'trial')} beyond {counted(baselines, 'baseline')}{each}"


def _trained(look: Look) -> str:
    parts = ((look.trials, "trial"), (look.baselines, "baseline"))
    return ", ".join(
        f"{done} of {counted(wanted, what)}"
        if done <= wanted
        else f"{counted(done, what)}, {wanted} were planned"
        for (done, wanted), what in parts
    )


def _speed(look: Look) -> str:
    if look.per_hour is None:
        return "unknown yet"
    said = (
        f"{look.per_hour:.0f} trials/h" if look.per_hour >= 100 else f"{look.per_hour:.3g} trials/h"
    )
    if not look.measured:
        said += " by the trials' own seconds"
    return said if look.left is None else f"{said}, about {duration(look.left)} left"


def _score(one: Shown | None, objective: str) -> str:
    if one is None:
        return "none yet"
    return f"{objective} {one.score:.4f}: {one.name} (trial {one.number})"


def _difference(look: Look) -> str:
    """A difference beyond a lower bound of the noise says nothing, so that it is not called so."""
    noise = look.noise
    gap = None
    if look.best is not None and look.control is not None:
        assert look.best.score is not None
        assert look.control.score is not None
        gap = look.best.score - look.control.score
    said = "none yet" if gap is None else f"{gap:+.4f}"
    if noise is None:
        return f"{said}; noise band unknown: every neck was trained once"
    place = ""
    if gap is not None and abs(gap) <= noise.band:
        place = "inside the "
    elif gap is not None and not noise.at_least:
        place = "outside the "
    least = "at least " if noise.at_least else ""
    return (
        f"{said}, {place}noise band {least}±{noise.band:.4f} (95 % of differences by chance; "
        f"standard deviation of one training {noise.sd:.4f}, {noise.source})"
    )


def _on_the_way(one: Shown, look: Look) -> str:
    said = f"trial {one.number} {one.name}"
    if not one.steps:
        return said
    of = "" if look.steps is None else f" of {look.steps}"
    score = "" if one.score is None else f", {look.objective} {one.score:.4f}"
    return f"{said} at step {one.steps}{of}{score}"
