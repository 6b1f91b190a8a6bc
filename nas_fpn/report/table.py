"""The record of a run as a table, one row a trial, and what it says so far.

Everything here is read off the record; nothing is measured again.
"""

from typing import Any

import pandas as pd

from nas_fpn.record import Entry, History

__all__ = ["frame", "verdict"]

# The columns that every table has, in this order; further scores (per class) follow.
SCORES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
COLUMNS = (
    "trial",
    "source",
    "neck",
    "state",
    "steps",
    *SCORES,
    "params",
    "macs",
    "seconds",
    "of",
    "reason",
)


def frame(history: History) -> pd.DataFrame:
    """One row per trial on record, in the order of their numbers.

    Scores are on ``val``, in [0, 1]; a score without ground truth is missing, as is every score
    of a trial that has none. ``params`` is a count, ``macs`` the multiply-adds for one image,
    ``seconds`` the trial's own time. A trial that has not ended has the state "running".
    """
    rows = [_row(entry) for entry in history.entries]
    further = sorted({key for row in rows for key in row} - set(COLUMNS))
    table = pd.DataFrame(rows, columns=pd.Index([*COLUMNS, *further]))
    whole = ("trial", "steps", "params", "macs", "of")
    numbers = (*SCORES, "seconds", *further)
    return table.astype(dict.fromkeys(whole, "Int64") | dict.fromkeys(numbers, "Float64"))


def verdict(history: History, objective: str) -> str:
    """The best neck found against the best baseline by one score, and what that is worth so far.

    Only trials that are ``complete`` compare; one that repeats a baseline is that baseline.
    """
    complete = [
        (entry.outcome.scores[objective], entry)
        for entry in history.entries
        if entry.outcome is not None
        and entry.outcome.state == "complete"
        and objective in entry.outcome.scores
    ]
    baselines = [pair for pair in complete if pair[1].source.startswith("baseline:")]
    found = [pair for pair in complete if not pair[1].source.startswith("baseline:")]
    if not found:
        return "Verdict so far: none; no trial beyond the baselines is complete."
    score, best = max(found, key=lambda pair: (pair[0], -pair[1].number))
    said = (
        f"Verdict so far: the best of {_count(len(found), 'neck')} found is {best.neck} "
        f"(trial {best.number}) with {objective} {score:.4f}"
    )
    if not baselines:
        return f"{said}; there is no baseline to set it against."
    control_score, control = max(baselines, key=lambda pair: (pair[0], -pair[1].number))
    return (
        f"{said};\nthe best of {_count(len(baselines), 'baseline')} is "
        f"{control.source.removeprefix('baseline:')} with {control_score:.4f}: "
        f"a difference of {score - control_score:+.4f}.\n"
        "Every neck was trained once, with one seed: the noise is unknown, and the best of many "
        "is chosen\non the val set that it is scored on. This ranks candidates; it does not show "
        "yet that one is better."
    )


def _row(entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {
        "trial": entry.number,
        "source": entry.source,
        "neck": entry.neck,
        "state": "running",
        "params": entry.cost.get("params"),
        "macs": entry.cost.get("macs"),
    }
    outcome = entry.outcome
    if outcome is None:
        return row
    told = {
        "state": outcome.state,
        "steps": outcome.steps,
        "seconds": outcome.seconds,
        "of": outcome.of,
        "reason": outcome.reason,
    }
    return {**row, **outcome.scores, **told}


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
