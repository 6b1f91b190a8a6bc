"""Which trials a table shows, and in which order: checked against what is on record."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import pandas as pd

from nas_fpn.errors import RunError
from nas_fpn.record import State

__all__ = ["Selection", "is_score", "selected"]

STATES = (*get_args(State), "running", "paused")


@dataclass(frozen=True, slots=True)
class Selection:
    """What is wanted of a table; nothing given is all of it, in the order of the trials.

    ``sort`` is a column: scores stand with the largest first, all else with the smallest, and what
    is missing last; ``reverse`` turns that. ``states`` and ``sources`` keep trials of any of them:
    a source is whole ("baseline:fpn") or without its name ("baseline", "controller", "prior").
    ``top`` keeps the first so many.
    """

    sort: str | None = None
    reverse: bool = False
    states: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    top: int | None = None


def selected(table: pd.DataFrame, wanted: Selection) -> pd.DataFrame:
    """The rows of :func:`nas_fpn.report.frame` that are wanted, in the order that is wanted.

    Raises:
        RunError: for a column, a state or a source that there is not.
    """
    for state in wanted.states:
        _known("--state", state, STATES)
    if wanted.states:
        table = table[table["state"].isin(wanted.states)]
    if wanted.sources:
        kind = table["source"].str.partition(":")[0] if len(table) else table["source"]
        there = ["baseline", "controller", "prior", *table["source"].unique()]
        for source in wanted.sources:
            _known("--source", source, list(dict.fromkeys(there)))
        table = table[table["source"].isin(wanted.sources) | kind.isin(wanted.sources)]
    if wanted.sort is not None:
        _known("--sort", wanted.sort, list(table.columns))
        upwards = is_score(wanted.sort) == wanted.reverse
        table = table.sort_values(wanted.sort, ascending=upwards, na_position="last", kind="stable")
    elif wanted.reverse:
        table = table.iloc[::-1]
    return table if wanted.top is None else table.head(wanted.top)


def is_score(column: str) -> bool:
    """Whether a column is better when larger.

    >>> is_score("ap75"), is_score("ap/fish"), is_score("constrained"), is_score("latency_ms")
    (True, True, True, False)
    """
    return column.startswith("ap") or column == "constrained"


def _known(option: str, given: str, there: Sequence[str]) -> None:
    if given not in there:
        near = difflib.get_close_matches(given, there, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise RunError(f"{option} {given!r}: there are {', '.join(there)}{hint}")
