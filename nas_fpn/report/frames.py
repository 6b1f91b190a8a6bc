"""A run as pandas frames, for notebooks: everything on record, and choices by their names."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nas_fpn.language import Space, explain
from nas_fpn.record import Entry, Event, History
from nas_fpn.report.opened import Opened, open_run
from nas_fpn.report.table import frame

__all__ = ["Frames", "frames"]


@dataclass(frozen=True, slots=True)
class Frames:
    """A run in five tables; ``trial`` is the number that joins them.

    ``trials``: a row each, as ``nas-fpn table --csv`` writes them (:func:`nas_fpn.report.frame`).
    ``reports``: the curves, a row for each evaluation on the way: trial, steps, seconds, scores.
    ``choices``: by trial, a column for each choice of the space and the option taken as text;
    missing where a choice was not asked, and of a baseline that is no member of the space.
    ``costs``: by trial, a column for each cost of the neck: params, macs, …
    ``events``: the record line by line: event, trial, steps, and the whole line as JSON.
    """

    trials: pd.DataFrame
    reports: pd.DataFrame
    choices: pd.DataFrame
    costs: pd.DataFrame
    events: pd.DataFrame


def frames(run: Path | str | Opened, *, space: Space | None = None) -> Frames:
    """Read a run folder (or take one that is open) as pandas frames; nothing is changed.

    The record has genotypes only: the choices get their names from the space that run.toml names,
    if it is still the file whose hash is on record, or from ``space``, which must be the one that
    was searched. Without either, choice k is the column "choice k" and its options are numbers. So
    they are of a run with own words, which are code: ``open_run(path, trust=True)`` runs them, and
    what it gives can be the run. Raises :class:`RunError` where there is no record, or a malformed
    one.
    """
    opened = run if isinstance(run, Opened) else open_run(Path(run))
    history = opened.history
    return Frames(
        trials=frame(history),
        reports=_reports(history),
        choices=_choices(history, opened.space if space is None else space),
        costs=_by_trial(history, [dict(entry.cost) for entry in history.entries], "Float64"),
        events=_events(history),
    )


def _reports(history: History) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {
            "trial": entry.number,
            "steps": report.steps,
            "seconds": report.seconds,
            **{k: v for k, v in report.scores.items() if k not in {"trial", "steps", "seconds"}},
        }
        for entry in history.entries
        for report in entry.reports
    ]
    names = dict.fromkeys(["trial", "steps", "seconds", *(name for row in rows for name in row)])
    kinds = {name: "Int64" if name in {"trial", "steps"} else "Float64" for name in names}
    return pd.DataFrame(rows, columns=pd.Index(list(names))).astype(kinds)


def _choices(history: History, space: Space | None) -> pd.DataFrame:
    return _by_trial(history, [_taken(entry, space) for entry in history.entries], "string")


def _taken(entry: Entry, space: Space | None) -> dict[str, str]:
    if entry.genotype is None:
        return {}
    if space is None:
        return {f"choice {k}": str(index) for k, index in enumerate(entry.genotype)}
    return dict(explain(space, entry.genotype))


def _by_trial(history: History, rows: list[Any], kind: str) -> pd.DataFrame:
    names = list(dict.fromkeys(name for row in rows for name in row))
    index = pd.Index([entry.number for entry in history.entries], name="trial", dtype="Int64")
    table = pd.DataFrame(rows, index=index, columns=pd.Index(names, dtype=object))
    return table.astype(dict.fromkeys(names, kind))


def _events(history: History) -> pd.DataFrame:
    rows = [_event(line) for line in history.events]
    table = pd.DataFrame(rows, columns=pd.Index(["event", "trial", "steps", "json"]))
    return table.astype({"event": "string", "trial": "Int64", "steps": "Int64", "json": "string"})


def _event(line: Event) -> dict[str, Any]:
    return {
        "event": line["event"],
        "trial": line.get("trial"),
        "steps": line.get("steps"),
        "json": json.dumps(line, ensure_ascii=False),
    }
