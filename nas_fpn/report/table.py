"""The record of a run as a table, one row a trial.

Everything here is read off the record; nothing is measured again.
"""

from typing import Any

import pandas as pd

from nas_fpn.record import Entry, History

__all__ = ["frame"]

# The columns that every table has, in this order; further scores (per class) and costs follow.
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
    of a trial that has none. ``params`` is a count, ``macs`` the multiply-adds for one image; any
    other cost on record is a column "cost/NAME". ``seconds`` is the trial's own time. A trial that
    has not ended has the state "running", or "paused" with its scores at the rung where it waits.
    """
    rows = [_row(entry) for entry in history.entries]
    further = sorted({key for row in rows for key in row} - set(COLUMNS))
    table = pd.DataFrame(rows, columns=pd.Index([*COLUMNS, *further]))
    whole = ("trial", "steps", "params", "macs", "of")
    numbers = (*SCORES, "seconds", *further)
    return table.astype(dict.fromkeys(whole, "Int64") | dict.fromkeys(numbers, "Float64"))


def _count(number: float | None) -> int | None:
    """A number that is a count; another, which only a stranger's record has, is left out."""
    if number is None or not 0 <= number < 2**53 or int(number) != number:
        return None
    return int(number)


def _row(entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {
        "trial": entry.number,
        "source": entry.source,
        "neck": entry.neck,
        "state": "running",
        "params": _count(entry.cost.get("params")),
        "macs": _count(entry.cost.get("macs")),
        **{f"cost/{key}": one for key, one in entry.cost.items() if key not in ("params", "macs")},
    }
    outcome = entry.outcome
    if outcome is None and entry.paused:
        (last,) = [one for one in entry.reports if one.steps == entry.pauses[-1]]
        paused = {"state": "paused", "steps": last.steps, "seconds": last.seconds}
        return {**row, **last.scores, **paused}
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
