"""Who is compared end to end: the finalists of a search, the best baselines, and these re-sized.

A neck found has to beat a baseline as it was searched, which is what a person would take, and the
same at equal cost, which its size alone does not beat. Chosen once, before the first training, and
put on record as the event "confirm": what is compared must not depend on a score of the comparison,
and a latency is measured anew each time.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from nas_fpn.errors import RunError
from nas_fpn.language import Words, identity, parse
from nas_fpn.language.resize import repeats
from nas_fpn.record import Entry, Event, History
from nas_fpn.report import VerdictPlan, front, name_of
from nas_fpn.run.equal_cost import Frame, detector_costs, equal_cost
from nas_fpn.run.proposals import proposal_hashes
from nas_fpn.run.settings import Run

__all__ = [
    "Contender",
    "Contest",
    "asked",
    "candidates",
    "contest_event",
    "contest_on_record",
    "make_contest",
]

FIRST_SEED = 101  # beyond the run's own: the search and its check have not used these


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A neck that is trained end to end, and the trial that it comes from.

    ``neck`` is the canonical id of what is trained. ``was`` is a baseline before it was re-sized:
    its width and repeats; None of one that is as it was in the search. ``cost`` has "params_m",
    "gmacs" and "latency_ms" of neck and head.
    """

    neck: str
    role: Literal["found", "control"]
    trial: int
    name: str
    text: str
    width: int
    repeats: int
    was: Mapping[str, int] | None
    cost: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """What is compared, how, and with which seeds; ``of`` is the hash of all that was asked."""

    of: str
    objective: str
    equal_cost: str
    seeds: tuple[int, ...]
    plan: VerdictPlan
    contenders: tuple[Contender, ...]

    def contender(self, neck: str) -> Contender:
        """The contender with this id."""
        return next(one for one in self.contenders if one.neck == neck)


def asked(run: Run, bank: str, history: History) -> str:
    """The hash of all that a comparison depends on; another one begins another contest.

    The trials are part of it: a search that went on may have found others.
    """
    settings = run.settings
    tables = {
        "controls": "as searched, and at equal cost",
        "detector": settings.detector.model_dump(mode="json"),
        "training": settings.training.model_dump(mode="json"),
        "confirm": settings.confirm.model_dump(exclude={"seeds", "minutes", "workers"}),
        "objective": settings.objectives,
        "seed": settings.seed,
        "bank": bank,
        "proposals": proposal_hashes(settings.detector, run.data),
        "told": sum(event["event"] == "tell" for event in history.events),
    }
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()[:16]


def candidates(history: History, objectives: Sequence[str]) -> tuple[Entry, ...]:
    """The necks found that may become finalists, best first; of several objectives the front.

    Raises:
        RunError: where the record has no neck found, or no baseline, that is complete.
    """
    entries, first = history.entries, objectives[0]
    known = {one.neck for one in entries if one.is_baseline}
    found = [one for one in entries if not one.is_baseline and one.neck not in known]
    kept = front(found, objectives) if len(objectives) > 1 else _ranked(found, first)
    if not kept:
        raise RunError("no neck found is complete: there is nothing to confirm\nsearch on first")
    if not _ranked([one for one in entries if one.is_baseline], first):
        raise RunError(
            "no baseline is complete: there is nothing to compare with\n"
            "name some in run.toml, baselines = [...], and search on"
        )
    return kept


def make_contest(
    run: Run, finalists: Sequence[Entry], history: History, frame: Frame, *, of: str, words: Words
) -> Contest:
    """The finalists, and for each of them the best baselines, as searched and then at its cost.

    The order of a finalist's controls is that in which it has to beat them. Those as searched come
    first: all finalists share their trainings. A finalist that is a baseline at another size, the
    very neck that this one becomes at equal cost, is no design of its own and is left out.

    Raises:
        RunError: where nothing is left to compare.
    """
    settings = run.settings
    ranked = _ranked([one for one in history.entries if one.is_baseline], settings.objectives[0])
    controls = ranked[: settings.confirm.controls]
    searched = [_contender(one, one.text, "control", words=words) for one in controls]
    made: dict[str, Contender] = {}
    pairs: list[tuple[str, str]] = []
    for entry in finalists:
        neck = parse(entry.text, words=words)
        held = {one.neck: one for one in searched}
        for other in controls:
            before = parse(other.text, words=words)
            after = equal_cost(before, neck, frame, by=settings.confirm.equal_cost)
            was = {"width": before.width, "repeats": repeats(before)}
            resized = _contender(other, str(after), "control", words=words)
            held.setdefault(resized.neck, replace(resized, was=was))
        if entry.neck in held:
            continue
        made.setdefault(entry.neck, _contender(entry, entry.text, "found", words=words))
        for one in held.values():
            made.setdefault(one.neck, one)
            pairs.append((entry.neck, one.neck))
    if not pairs:
        raise RunError(
            "every finalist is a baseline at its own cost: there is nothing to compare\n"
            'raise controls in [confirm], or set equal_cost = "none"'
        )
    costs = detector_costs({k: parse(one.text, words=words) for k, one in made.items()}, frame)
    first = settings.seed + FIRST_SEED
    return Contest(
        of=of,
        objective=settings.objectives[0],
        equal_cost=settings.confirm.equal_cost,
        seeds=tuple(range(first, first + settings.confirm.max_seeds)),
        plan=VerdictPlan(
            pairs=tuple(pairs),
            min_seeds=settings.confirm.min_seeds,
            max_seeds=settings.confirm.max_seeds,
        ),
        contenders=tuple(replace(one, cost=costs[one.neck]) for one in made.values()),
    )


def contest_event(contest: Contest) -> Event:
    """The line that says what is about to be compared."""
    row = asdict(contest)
    return {"event": "confirm", **row, "plan": asdict(contest.plan)}


def contest_on_record(history: History, of: str) -> Contest | None:
    """The contest that was asked so, as it was begun; None where there was none."""
    event = next(
        (e for e in reversed(history.events) if e["event"] == "confirm" and e["of"] == of), None
    )
    if event is None:
        return None
    plan: Mapping[str, Any] = event["plan"]
    return Contest(
        of=of,
        objective=event["objective"],
        equal_cost=event["equal_cost"],
        seeds=tuple(event["seeds"]),
        plan=VerdictPlan(**{**plan, "pairs": tuple(map(tuple, plan["pairs"]))}),
        contenders=tuple(Contender(**one) for one in event["contenders"]),
    )


def _ranked(entries: Sequence[Entry], objective: str) -> tuple[Entry, ...]:
    """The complete ones, best first; of equal scores the first trial."""
    complete = [
        (entry.outcome.scores[objective], entry)
        for entry in entries
        if entry.outcome is not None
        and entry.outcome.state == "complete"
        and objective in entry.outcome.scores
    ]
    complete.sort(key=lambda pair: (-pair[0], pair[1].number))
    return tuple(entry for _, entry in complete)


def _contender(
    entry: Entry, text: str, role: Literal["found", "control"], *, words: Words
) -> Contender:
    neck = parse(text, words=words)
    return Contender(
        neck=identity(neck),
        role=role,
        trial=entry.number,
        name=name_of(entry),
        text=text,
        width=neck.width,
        repeats=repeats(neck),
        was=None,
        cost={},
    )
