"""The section of an explanation: changes, where the gain is from, the nearest baseline drawn."""

from collections.abc import Sequence

from pandas import DataFrame

from nas_fpn.language.compare import diff_text
from nas_fpn.language.draw import draw_diff
from nas_fpn.report.compact import parsed
from nas_fpn.report.explained import Explained
from nas_fpn.report.explained_text import (
    changes_table,
    explained_notes,
    luck_said,
    parts_head,
    parts_table,
    sizes_said,
)
from nas_fpn.report.front_plot import name_of
from nas_fpn.report.markup import Markup, join, tag
from nas_fpn.report.opened import Opened
from nas_fpn.report.winner import picture

__all__ = ["explained_section"]

WORDS = ("change", "kind", "shown")  # columns that are no number


def explained_section(run: Opened, known: Explained) -> Markup:
    """What each simpler choice would have cost, and where the gain comes from."""
    entry = run.history.entries[known.event["trial"]]
    said = [*luck_said(run.history, known), *sizes_said(run.history, known)]
    return join(
        tag("p", {}, f"Neck {entry.neck} of trial {entry.number}, one change at a time."),
        _table(known) if known.changes else Markup(),
        (tag("p", {}, line) for line in explained_notes(known)),
        _parts(run, known),
        (tag("p", {}, line) for line in said),
        _nearest(run, known),
    )


def _parts(run: Opened, known: Explained) -> Markup:
    """How much of the gain comes from size, topology and words."""
    return _wide(
        parts_table(known),
        words=("part", "from"),
        label="Parts of the gain",
        caption=parts_head(run.history, known),
    )


def _table(known: Explained) -> Markup:
    return _wide(
        changes_table(known),
        words=WORDS,
        label="Changes",
        caption="The neck with one change, minus the neck",
    )


def _wide(table: DataFrame, *, words: Sequence[str], label: str, caption: str) -> Markup:
    heads = [
        tag("th", {"scope": "col", "class": None if one in words else "n"}, str(one))
        for one in table.columns
    ]
    rows = []
    for first, *cells in table.itertuples(index=False):
        inside = [
            tag("td", {"class": None if column in words else "n"}, str(cell))
            for column, cell in zip(table.columns[1:], cells, strict=True)
        ]
        rows.append(tag("tr", {}, tag("th", {"scope": "row"}, str(first)), inside))
    return tag(
        "div",
        {"class": "wide", "tabindex": "0", "role": "region", "aria-label": label},
        tag(
            "table",
            {},
            tag("caption", {}, caption),
            tag("thead", {}, tag("tr", {}, heads)),
            tag("tbody", {}, rows),
        ),
    )


def _nearest(run: Opened, known: Explained) -> Markup:
    """The nearest baseline and the neck in one drawing, and line by line."""
    entry, near = (run.history.entries[known.event[key]] for key in ("trial", "nearest"))
    ours, theirs = parsed(entry, run.words), parsed(near, run.words)
    name = name_of(near)
    if ours is None or theirs is None:
        return tag("p", {}, "It cannot be drawn: its own words are not at hand.")
    names = (name, entry.neck)
    drawn = draw_diff(theirs, ours, names=names)
    rows = diff_text(theirs, ours, names=names)
    return tag(
        "details",
        {"open": True},
        tag("summary", {}, f"What changed against the nearest baseline, {name}"),
        picture(drawn, f"{name} and {entry.neck} in one drawing; the lines below say the same"),
        tag("pre", {"class": "diff", "tabindex": "0"}, rows),
    )
