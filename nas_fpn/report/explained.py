"""An explanation as numbers: each change and each part of the gain with its interval.

Everything is read off the events "explain", "ablation" and "against" of a record, and holds as far
as trainings are on it. All differences are paired: the same seeds on both sides.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from statistics import fmean, stdev
from typing import Any

from nas_fpn.record import Event, History
from nas_fpn.report.student import student_tail
from nas_fpn.report.verdict import Gap, paired_gap

__all__ = ["SIZES", "Change", "Explained", "Luck", "Part", "explained"]

ERROR = 0.05  # of all changes together
SIZES = ("ap_small", "ap_medium", "ap_large")
PARTS = ("size", "topology", "words", "remainder", "all")


@dataclass(frozen=True, slots=True)
class Change:
    """The neck with one change, minus the neck: below 0, the neck is better as it is.

    ``gap`` is None before a pair of trainings is on record. ``shown`` says that the difference is
    none of chance, all changes counted (Holm 1979, 5 %). ``params`` and ``macs`` are differences.
    """

    label: str
    kind: str
    neck: str
    text: str
    gap: Gap | None
    seeds: int
    shown: bool
    params: int
    macs: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the difference between the neck and the best baseline."""

    name: str
    said: str
    gap: Gap | None


@dataclass(frozen=True, slots=True)
class Luck:
    """The search against the best of as many random necks, on val as both were chosen there.

    ``count`` trials of each side; ``expected`` is the mean of the best of so many random ones.
    """

    run: str
    count: int
    searched: float
    expected: float


@dataclass(frozen=True, slots=True)
class Explained:
    """What is known of a neck. ``done`` of ``wanted`` trainings are on record.

    ``sizes`` are the neck minus the best baseline by object size; ``sizes_nearest`` are scores on
    record of the neck and of the nearest baseline, one training each, on val.
    """

    event: Event
    changes: tuple[Change, ...]
    parts: tuple[Part, ...]
    sizes: Mapping[str, Gap]
    sizes_nearest: Mapping[str, tuple[float, float]]
    luck: Luck | None
    done: int
    wanted: int
    diverged: int


def explained(history: History) -> Explained | None:
    """The last explanation of a record as far as it has been trained; None where there is none."""
    event = next((one for one in reversed(history.events) if one["event"] == "explain"), None)
    if event is None:
        return None
    told = _told(history, event)
    necks = {one["neck"] for one in event["variants"]}
    winner = next(one for one in event["variants"] if one["role"] == "winner")
    wanted = len(necks) * len(event["seeds"])
    return Explained(
        event=event,
        changes=_changes(event, told, winner),
        parts=_parts(event, told),
        sizes=_sizes(event, told),
        sizes_nearest=_sizes_nearest(history, event),
        luck=_luck(history, event),
        done=len(told),
        wanted=wanted,
        diverged=sum(one["reason"] is not None for one in told.values()),
    )


Told = Mapping[tuple[str, int], Event]


def _told(history: History, event: Event) -> Told:
    """The trainings of this explanation by neck and seed; the last of equals counts.

    An older one does not say which they are: then those of its necks, seeds and split.
    """
    mine = event.get("trainings") or None
    necks = {one["neck"] for one in event["variants"]}
    return {
        (one["neck"], one["seed"]): one
        for one in history.events
        if one["event"] == "ablation"
        and one["neck"] in necks
        and one["seed"] in event["seeds"]
        and one["split"] == event["split"]
        and (mine is None or one["of"] in mine)
    }


def _score(told: Told, neck: str, seed: int, name: str) -> float | None:
    """A score; 0 where the training diverged, None where there is none."""
    event = told.get((neck, seed))
    if event is None:
        return None
    if event["reason"] is not None:
        return 0.0
    value: float | None = event["scores"].get(name)
    return value


def _gap(ours: Sequence[float], theirs: Sequence[float]) -> Gap | None:
    return paired_gap(ours, theirs) if ours else None


def _changes(event: Event, told: Told, winner: Mapping[str, Any]) -> tuple[Change, ...]:
    rows, tails = [], []
    name = event["objective"]
    for one in event["variants"]:
        if one["role"] != "change":
            continue
        pairs = [
            (changed, own)
            for seed in event["seeds"]
            if (changed := _score(told, one["neck"], seed, name)) is not None
            and (own := _score(told, winner["neck"], seed, name)) is not None
        ]
        rows.append((one, pairs))
        tails.append(_tail([a - b for a, b in pairs]))
    shown = _holm(tails)
    return tuple(
        Change(
            label=one["label"],
            kind=one["kind"],
            neck=one["neck"],
            text=one["text"],
            gap=_gap([a for a, _ in pairs], [b for _, b in pairs]),
            seeds=len(pairs),
            shown=sure,
            params=one["params"] - winner["params"],
            macs=one["macs"] - winner["macs"],
        )
        for (one, pairs), sure in zip(rows, shown, strict=True)
    )


def _tail(gaps: Sequence[float]) -> float:
    """The two-sided probability of so large a mean where there is no difference; 1 unknown."""
    if len(gaps) < 2:
        return 1.0
    mean, spread = fmean(gaps), stdev(gaps)
    if spread == 0:
        return 1.0 if mean == 0 else 0.0
    t = abs(mean) / (spread / math.sqrt(len(gaps)))
    return 2 * float(student_tail(t, len(gaps) - 1))


def _holm(tails: Sequence[float]) -> list[bool]:
    """Which hypotheses fall at the error of all together (Holm 1979)."""
    shown = [False] * len(tails)
    order = sorted(range(len(tails)), key=lambda at: tails[at])
    for rank, at in enumerate(order):
        if tails[at] > ERROR / (len(tails) - rank):
            break
        shown[at] = True
    return shown


def _parts(event: Event, told: Told) -> tuple[Part, ...]:
    """Differences between steps from the best baseline to the neck, seed by seed."""
    by_role = {one["role"]: one for one in event["variants"] if one["role"] != "change"}
    rows = []
    for seed in event["seeds"]:
        row = {
            role: _score(told, one["neck"], seed, event["objective"])
            for role, one in by_role.items()
        }
        if all(value is not None for value in row.values()):
            rows.append({role: value for role, value in row.items() if value is not None})
    ways: dict[str, Callable[[Mapping[str, float]], float]] = {
        "size": lambda r: r["resized"] - r["baseline"],
        "topology": lambda r: r["plain"] - r["plain baseline"],
        "words": lambda r: r["winner"] - r["plain"],
        "remainder": lambda r: r["plain baseline"] - r["resized"],
        "all": lambda r: r["winner"] - r["baseline"],
    }
    label = {role: one["label"] for role, one in by_role.items()}
    said = {
        "size": f"{label['resized']}, against {label['baseline']}",
        "topology": f"{label['plain']}, against {label['plain baseline']}",
        "words": f"{label['winner']}, against {label['plain']}",
        "remainder": "what the parts do not add up to: they act on one another",
        "all": f"{label['winner']}, against {label['baseline']}",
    }
    zeros = [0.0] * len(rows)
    return tuple(
        Part(name, said[name], _gap([ways[name](row) for row in rows], zeros)) for name in PARTS
    )


def _sizes(event: Event, told: Told) -> dict[str, Gap]:
    by_role = {one["role"]: one["neck"] for one in event["variants"] if one["role"] != "change"}
    gaps = {}
    for name in SIZES:
        pairs = [
            (ours, theirs)
            for seed in event["seeds"]
            if (ours := _score(told, by_role["winner"], seed, name)) is not None
            and (theirs := _score(told, by_role["baseline"], seed, name)) is not None
        ]
        if pairs:
            gaps[name] = paired_gap([a for a, _ in pairs], [b for _, b in pairs])
    return gaps


def _sizes_nearest(history: History, event: Event) -> dict[str, tuple[float, float]]:
    own, near = (history.entries[event[key]].outcome for key in ("trial", "nearest"))
    if own is None or near is None:
        return {}
    return {
        name: (own.scores[name], near.scores[name])
        for name in SIZES
        if name in own.scores and name in near.scores
    }


def _luck(history: History, event: Event) -> Luck | None:
    random = next(
        (
            one
            for one in reversed(history.events)
            if one["event"] == "against" and one["objective"] == event["objective"]
        ),
        None,
    )
    searched = [
        entry.outcome.scores[event["objective"]]
        for entry in history.entries
        if not entry.is_baseline
        and entry.outcome is not None
        and entry.outcome.state == "complete"
        and event["objective"] in entry.outcome.scores
    ]
    if random is None or not searched:
        return None
    count = min(len(searched), len(random["scores"]))
    return Luck(
        random["run"], count, max(searched[:count]), _expected_best(random["scores"], count)
    )


def _expected_best(scores: Sequence[float], count: int) -> float:
    """The mean of the best of ``count`` that are drawn without replacement."""
    ranked = sorted(scores)
    whole = comb(len(ranked), count)
    return sum(
        score * (comb(at, count - 1) / whole) for at, score in enumerate(ranked) if at >= count - 1
    )
