"""The section of what the best necks are made of: words and levels, best decile against all."""

from collections.abc import Sequence

from nas_fpn.language import lower
from nas_fpn.report.census import Share, best_decile, levels_used, words_used
from nas_fpn.report.compact import parsed
from nas_fpn.report.markup import Markup, join, tag
from nas_fpn.report.opened import Opened
from nas_fpn.report.search_curve import in_order

__all__ = ["made_of_section"]


def made_of_section(run: Opened) -> Markup:
    """Two tables with bars; each distinct neck counts once, baselines do not."""
    found = {}
    for score, entry in in_order(run.history, run.objectives[0]):
        if entry.neck not in found and (neck := parsed(entry, run.words)) is not None:
            found[entry.neck] = (score, lower(neck))
    if not found:
        return tag("p", {}, "No proposal is trained to the full budget yet.")
    graphs = [graph for _, graph in found.values()]
    best = best_decile([score for score, _ in found.values()])
    many = len(best) != 1
    said = (
        f"{len(graphs)} distinct necks that the controller proposed and the run trained to the "
        f"end; the best decile {'are' if many else 'is'} {len(best)} of them. A word that is "
        "common among the best need not be what makes them good: the controller prefers what "
        "has scored."
    )
    words, levels = words_used(graphs, best), levels_used(graphs, best)
    return join(
        tag("p", {}, said),
        tag(
            "div",
            {"class": "plots"},
            _table("Necks that use a word, %", words, largest=1.0, percent=True),
            _table(
                "Per neck, mean",
                levels,
                largest=max((max(one.best, one.all) for one in levels), default=1.0) or 1.0,
                percent=False,
            ),
        ),
    )


def _table(caption: str, shares: Sequence[Share], *, largest: float, percent: bool) -> Markup:
    heads = [tag("th", {"scope": "col"}, one) for one in ("", "best decile", "all")]
    rows = [
        tag(
            "tr",
            {},
            tag("th", {"scope": "row"}, share.name),
            _bar(share.best, largest, "best", percent=percent),
            _bar(share.all, largest, "all", percent=percent),
        )
        for share in shares
    ]
    body = tag("thead", {}, tag("tr", {}, heads)), tag("tbody", {}, rows)
    return tag("table", {"class": "bars"}, tag("caption", {}, caption), *body)


def _bar(value: float, largest: float, kind: str, *, percent: bool) -> Markup:
    shown = f"{100 * value:.0f} %" if percent else f"{value:.2f}"
    width = f"--part:{value / largest:.3f}"
    return tag("td", {"class": f"bar {kind}", "style": width}, tag("span", {}, shown))
