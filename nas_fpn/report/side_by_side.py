"""Several runs side by side, for a terminal and for a program: controllers, spaces, seeds."""

import json
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import pandas as pd

from nas_fpn.record import Entry
from nas_fpn.report.answer import answer_json
from nas_fpn.report.compare import ONE_SEED, compared_said, same_question
from nas_fpn.report.front import best_entry
from nas_fpn.report.front_plot import name_of
from nas_fpn.report.noise import noise_of
from nas_fpn.report.opened import Opened
from nas_fpn.report.search_curve import in_order
from nas_fpn.report.selection import Selection, selected
from nas_fpn.report.table import frame
from nas_fpn.report.verdict import proxy_checks

__all__ = ["side_by_side", "side_by_side_json", "stacked"]

WIDTH = 90  # columns of the sentences below the table


def side_by_side(runs: Mapping[str, Opened]) -> str:
    """A row for each run by its name, then whether their scores compare at all.

    ``trained`` counts proposals that were trained to the end; ``noise`` is the band of a
    difference (:func:`nas_fpn.report.noise_of`), "≥" before what is a lower bound.
    """
    rows = [_row(name, run) for name, run in runs.items()]
    table = pd.DataFrame(rows).astype(object)
    shown = table.where(table.notna(), "–").to_string(index=False)
    said = compared_said(next(iter(runs)), _others(runs))
    return "\n".join([shown, "", *(fill(one, WIDTH) for one in (said, ONE_SEED))])


def side_by_side_json(runs: Mapping[str, Opened], wanted: Selection) -> dict[str, Any]:
    """The same for a program, with all that :func:`nas_fpn.report.answer_json` says of each."""
    rows = json.loads(pd.DataFrame([_row(*run) for run in runs.items()]).to_json(orient="records"))
    return {
        "runs": [
            {**row, **answer_json(run.history, wanted)}
            for row, run in zip(rows, runs.values(), strict=True)
        ],
        "compare": not _others(runs),
    }


def stacked(runs: Mapping[str, Opened], wanted: Selection) -> pd.DataFrame:
    """The trials of all runs below one another, the name of the run first."""
    parts = {name: selected(frame(run.history), wanted) for name, run in runs.items()}
    kinds = {str(key): kind for part in parts.values() for key, kind in part.dtypes.items()}
    wide = [
        part.astype(object).reindex(columns=list(kinds)).assign(run=name)
        for name, part in parts.items()
    ]
    return pd.concat(wide, ignore_index=True)[["run", *kinds]].astype(kinds)


def _row(name: str, run: Opened) -> dict[str, Any]:
    objective, entries = run.objectives[0], run.history.entries
    best = best_entry([entry for entry in entries if not entry.is_baseline], objective)
    control = best_entry([entry for entry in entries if entry.is_baseline], objective)
    ours, theirs = _score(best, objective), _score(control, objective)
    checks = proxy_checks(run.history.events)
    noise = noise_of(entries, checks, objective)
    least = "" if noise is None or not noise.at_least else "≥"
    done = len(in_order(run.history, objective))
    wanted = "" if run.trials_wanted is None else f"/{run.trials_wanted}"
    if run.trials_wanted is not None and done > run.trials_wanted:  # with time to spare
        wanted = ""
    seconds = sum(entry.outcome.seconds for entry in entries if entry.outcome is not None)
    return {
        "run": name,
        "controller": run.settings.get("controller"),
        "space": run.settings.get("space"),
        "seed": run.header.get("seed"),
        "trained": f"{done}{wanted}",
        "failed": sum(e.outcome is not None and e.outcome.state == "failed" for e in entries),
        "objective": objective,
        "best": None if ours is None else f"{ours:.4f}",
        "neck": None if best is None else best.neck,
        "baseline": None if theirs is None else f"{theirs:.4f}",
        "name": None if control is None else name_of(control),
        "difference": None if ours is None or theirs is None else f"{ours - theirs:+.4f}",
        "noise": None if noise is None else f"{least}{noise.band:.4f}",
        "hours": f"{seconds / 3600:.2f}",
    }


def _score(entry: Entry | None, objective: str) -> float | None:
    return None if entry is None or entry.outcome is None else entry.outcome.scores[objective]


def _others(runs: Mapping[str, Opened]) -> Sequence[str]:
    """The runs whose scores do not compare with those of the first."""
    first = next(iter(runs.values()))
    return [name for name, run in runs.items() if not same_question(first, run)]
