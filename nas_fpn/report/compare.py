"""Several runs side by side: controllers, spaces, and whether their scores compare at all."""

from collections.abc import Mapping, Sequence
from typing import Any

from nas_fpn.report.front import best_entry
from nas_fpn.report.front_plot import name_of
from nas_fpn.report.markup import Markup, join, tag
from nas_fpn.report.opened import Opened
from nas_fpn.report.plots import Line, plot
from nas_fpn.report.search_curve import best_so_far, in_order

__all__ = [
    "ONE_SEED",
    "but_last_digits",
    "compare_section",
    "compared_said",
    "rivals_of",
    "same_question",
]

ONE_SEED = (
    "One search each says little about controllers: another seed gives another best. "
    "nas-fpn simulate compares controllers over many seeds."
)

LAST_DIGITS = ("threads", "graphs")  # of the proxy, what moves nothing else


def compare_section(runs: Sequence[Opened]) -> Markup:
    """A row and a curve for each run."""
    first = runs[0]
    others = [run.name for run in runs if not same_question(first, run)]
    heads = ("run", "controller", "space", "seed", "trained", "best", "best baseline", "difference")
    table = tag(
        "table",
        {},
        tag("caption", {}, "The runs"),
        tag("thead", {}, tag("tr", {}, (tag("th", {"scope": "col"}, one) for one in heads))),
        tag("tbody", {}, (_row(at, run) for at, run in enumerate(runs))),
    )
    lines = []
    for at, run in enumerate(runs):
        values = best_so_far([score for score, _ in in_order(run.history, run.objectives[0])])
        places = tuple((float(k), value) for k, value in enumerate(values, start=1))
        if places:
            lines.append(Line(places, f"run{at % 6}", _named(run), steps=True))
    label = f"Best {first.objectives[0]} so far against trials, one line a run"
    drawn = plot(label, "proposals trained to the end", first.objectives[0], lines=lines)
    return join(
        tag("p", {"class": "warning" if others else None}, compared_said(first.name, others)),
        tag(
            "div",
            {"class": "wide", "tabindex": "0", "role": "region", "aria-label": "The runs"},
            table,
        ),
        tag("div", {"class": "plots"}, drawn) if lines else "",
        tag("p", {}, ONE_SEED),
    )


def compared_said(first: str, others: Sequence[str]) -> str:
    """Whether scores compare, by the names of runs: ``others`` ask another question than one."""
    if not others:
        return "All were trained on the same features, with the same proxy, for the same objective."
    return (
        f"{', '.join(others)}: trained on other features, with other proxy settings or for "
        f"another objective than {first}. Scores of these do not compare with its own."
    )


def same_question(one: Opened, other: Opened) -> bool:
    """Whether scores of two runs compare: the same features, training and first objective."""
    return (
        one.header.get("bank") == other.header.get("bank")
        and but_last_digits(one.settings.get("proxy"))
        == but_last_digits(other.settings.get("proxy"))
        and one.objectives[0] == other.objectives[0]
    )


def but_last_digits(proxy: Mapping[str, Any] | None) -> dict[str, Any]:
    """``[proxy]`` of a record without what moves the last digits of its scores only."""
    return {name: value for name, value in (proxy or {}).items() if name not in LAST_DIGITS}


def rivals_of(run: Opened, runs: Sequence[Opened]) -> list[Opened]:
    """The runs that searched the same space for the same at random."""
    return [
        other
        for other in runs
        if other is not run
        and other.settings.get("controller") == "random_search"
        and other.header.get("space") == run.header.get("space")
        and same_question(run, other)
    ]


def _row(at: int, run: Opened) -> Markup:
    objective, entries = run.objectives[0], run.history.entries
    best = best_entry([entry for entry in entries if not entry.is_baseline], objective)
    control = best_entry([entry for entry in entries if entry.is_baseline], objective)
    scores = [
        None if one is None or one.outcome is None else one.outcome.scores[objective]
        for one in (best, control)
    ]
    gap = None if scores[0] is None or scores[1] is None else scores[0] - scores[1]
    cells = [
        str(run.settings.get("controller", "–")),
        str(run.settings.get("space", "–")),
        str(run.header.get("seed", "–")),
        str(len(in_order(run.history, objective))),
        "–" if scores[0] is None else f"{scores[0]:.4f}",
        "–" if control is None else f"{scores[1]:.4f} {name_of(control)}",
        "–" if gap is None else f"{gap:+.4f}",
    ]
    link = tag("a", {"href": f"#run-{at + 1}"}, run.name)
    return tag("tr", {}, tag("th", {"scope": "row"}, link), (tag("td", {}, one) for one in cells))


def _named(run: Opened) -> str:
    return f"{run.name} ({run.settings.get('controller', 'controller unknown')})"
