"""The section of the best neck found: drawing, program, what sets it apart, source."""

import base64
from collections.abc import Iterable
from difflib import unified_diff

from nas_fpn.language import Architecture, canonical
from nas_fpn.language.draw import draw, draw_diff
from nas_fpn.record import Entry
from nas_fpn.report.compact import parsed, trial_key
from nas_fpn.report.front import best_entry, front
from nas_fpn.report.front_plot import name_of
from nas_fpn.report.markup import Markup, join, tag
from nas_fpn.report.opened import Opened

__all__ = ["front_section", "picture", "winner_section"]

DRAWN = 40  # necks of a front; the drawings of the others are on their pages


def winner_section(at: int, run: Opened) -> Markup:
    """The best neck found by the first objective, against the best baseline."""
    objective, entries = run.objectives[0], run.history.entries
    best = best_entry([entry for entry in entries if not entry.is_baseline], objective)
    if best is None:
        return tag("p", {}, "No proposal is complete yet.")
    control = best_entry([entry for entry in entries if entry.is_baseline], objective)
    neck, exported = parsed(best, run.words), run.exports.get(best.number)
    address = f"#{trial_key(at, best.number)}"
    named = tag("a", {"href": address}, f"trial {best.number}, neck {best.neck}")
    parts = [tag("p", {}, "The best score among the proposals: ", named, ".")]
    alt = f"Drawing of neck {best.neck}; its program says the same"
    if exported is not None and exported.drawing is not None:
        parts.append(picture(exported.drawing, alt))
    elif neck is not None:
        parts.append(picture(draw(neck), alt))
    else:
        parts.append(tag("p", {}, "It cannot be drawn: its own words are not at hand."))
    parts.append(_folded("Its program", tag("pre", {"tabindex": "0"}, best.text), shown=True))
    if control is not None:
        parts.append(_difference(run, best, neck, control))
    if exported is None:
        said = f"Its source is not exported yet: nas-fpn export RUN:{best.number} --to FOLDER"
        parts.append(tag("p", {}, said))
    else:
        code = tag("pre", {"tabindex": "0"}, exported.source)
        parts.append(_folded("Its source, as exported to best/neck.py", code))
    return join(parts)


def front_section(at: int, run: Opened) -> Markup:
    """Several objectives: every neck of the front with its drawing."""
    best = front(run.history.entries, run.objectives)
    if not best:
        return tag("p", {}, "No trial is complete yet.")
    names = [name.removeprefix("-") for name in run.objectives]
    rows = []
    for at_front, entry in enumerate(best):
        assert entry.outcome is not None
        neck = parsed(entry, run.words) if at_front < DRAWN else None
        link = tag("a", {"href": f"#{trial_key(at, entry.number)}"}, name_of(entry))
        cells = [tag("td", {"class": "n"}, f"{entry.outcome.scores[name]:.4g}") for name in names]
        drawn = (
            picture(draw(neck), f"Drawing of {name_of(entry)}")
            if neck is not None
            else "on its page"
        )
        kind = {"class": "control" if entry.is_baseline else None}
        named = tag("th", {"scope": "row"}, link, " (baseline)" if entry.is_baseline else "")
        rows.append(tag("tr", kind, named, cells, tag("td", {"class": "drawn"}, drawn)))
    heads = [
        tag("th", {"scope": "col", "class": "n" if one in names else None}, one)
        for one in ("neck", *names, "drawing")
    ]
    said = (
        f"The necks that no other on record equals or beats in all of {', '.join(run.objectives)} "
        "(a minus: smaller is better)."
    )
    return join(
        tag("p", {}, said),
        tag(
            "div",
            {"class": "wide", "tabindex": "0", "role": "region", "aria-label": "The front"},
            tag(
                "table",
                {},
                tag("caption", {}, "The front"),
                tag("thead", {}, tag("tr", {}, heads)),
                tag("tbody", {}, rows),
            ),
        ),
    )


def picture(drawing: str, alt: str) -> Markup:
    """A drawing as an image of its own: nothing in it can reach the page, or the network."""
    data = base64.b64encode(drawing.encode()).decode()
    return tag("img", {"class": "neck", "alt": alt, "src": f"data:image/svg+xml;base64,{data}"})


def _difference(run: Opened, best: Entry, neck: Architecture | None, control: Entry) -> Markup:
    """Both in one drawing, and line by line."""
    other = parsed(control, run.words)
    name = name_of(control)
    before, after, drawn = control.text, best.text, Markup()
    if neck is not None and other is not None:
        one, two = canonical(other), canonical(neck)
        before, after = str(one), str(two)
        both = draw_diff(one, two, names=(name, best.neck))
        drawn = picture(
            both, f"{name} and {best.neck} in one drawing; the lines below say the same"
        )
    rows = list(unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=99))[3:]
    key = "− only in the baseline, + only in the neck that was found; both in canonical form."
    return _folded(
        f"What sets it apart from the best baseline, {name}",
        drawn,
        tag("p", {}, key),
        tag("pre", {"class": "diff", "tabindex": "0"}, (_changed(row) for row in rows)),
        shown=True,
    )


def _changed(row: str) -> Markup:
    kinds = {"-": "del", "+": "ins"}
    text = row + "\n"
    return tag(kinds[row[0]], {}, text) if row[:1] in kinds else join(text)


def _folded(title: str, *inside: str | Iterable[str], shown: bool = False) -> Markup:
    return tag("details", {"open": shown}, tag("summary", {}, title), *inside)
