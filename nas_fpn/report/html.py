"""One or several runs as one HTML file: nothing is fetched, so it can be mailed and kept.

The text, plots and drawings of the best stand in the page as they are; the table of trials and the
page of each trial are made by the page's script from the data that it carries. Its policy forbids
every connection and every script but that one.
"""

import base64
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files

from nas_fpn.report.answer import verdict
from nas_fpn.report.charts import cost_section, curve_section, search_section
from nas_fpn.report.compact import block, compact
from nas_fpn.report.compare import compare_section, rivals_of
from nas_fpn.report.confirm_page import confirmed_section
from nas_fpn.report.confirmed import confirmed_brief, last_confirmed
from nas_fpn.report.explained import explained
from nas_fpn.report.explained_page import explained_section
from nas_fpn.report.made_of import made_of_section
from nas_fpn.report.markup import Markup, join, tag
from nas_fpn.report.opened import Opened
from nas_fpn.report.plan import ended, plan_section, progress, time_is_over, trust_section
from nas_fpn.report.verdict import checked_on_test
from nas_fpn.report.winner import front_section, winner_section

__all__ = ["report_html"]


def report_html(runs: Sequence[Opened]) -> str:
    """The page of some runs, at least one; equal records give equal bytes."""
    script, style = _asset("report.js"), _asset("report.css")
    title = f"nas_fpn: {', '.join(run.name for run in runs)}"
    head = tag(
        "head",
        {},
        tag("meta", {"charset": "utf-8"}),
        tag("meta", {"http-equiv": "Content-Security-Policy", "content": _policy(script)}),
        tag("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        tag("meta", {"name": "color-scheme", "content": "light dark"}),
        tag("title", {}, title),
        tag("style", {}, style),
    )
    several = len(runs) > 1
    first = [("compare", "Runs compared", compare_section(runs))] if several else []
    sections = [_section(*one) for one in first]
    links = [(identity, name) for identity, name, _ in first]
    for at, run in enumerate(runs):
        parts = _sections(at, run, runs)
        if several:
            sections.append(tag("h2", {"id": f"run-{at + 1}", "class": "run"}, run.name))
            links.append((f"run-{at + 1}", run.name))
        else:
            links += [(identity, name) for identity, name, _ in parts]
        sections += [_section(*part, level=3 if several else 2) for part in parts]
    links.append(("trials", "Trials"))
    body = tag(
        "body",
        {},
        tag("a", {"class": "skip", "href": "#main"}, "Skip to the verdict"),
        tag(
            "header",
            {},
            tag("h1", {}, ", ".join(run.name for run in runs)),
            tag("p", {}, "Report of a search for feature-pyramid necks, by nas_fpn"),
            tag(
                "nav",
                {"aria-label": "Sections"},
                (tag("a", {"href": f"#{identity}"}, name) for identity, name in links),
            ),
        ),
        tag("main", {"id": "main"}, sections, _section("trials", "Trials", _trials(several))),
        _dialog(),
        tag("div", {"id": "hover", "role": "tooltip", "hidden": True}),
        block("data", compact(runs)),
        tag("script", {}, script),
    )
    return f"<!DOCTYPE html>\n{tag('html', {'lang': 'en'}, head, body)}\n"


def _sections(at: int, run: Opened, runs: Sequence[Opened]) -> list[tuple[str, str, Markup]]:
    """Identity, title and inside of each section of one run."""
    name = f"run-{at + 1}-" if len(runs) > 1 else ""
    several = len(run.objectives) > 1
    event = last_confirmed(run.history)
    confirmed = (
        [] if event is None else [(f"{name}confirmed", "End to end", confirmed_section(event))]
    )
    known = explained(run.history)
    why = [] if known is None else [(f"{name}why", "Why it scores", explained_section(run, known))]
    front = [(f"{name}front", "The front", front_section(at, run))] if several else []
    return [
        (f"{name}verdict", "Verdict", _verdict(run)),
        *confirmed,
        *front,
        (f"{name}winner", "The best neck", winner_section(at, run)),
        *why,
        (f"{name}cost", "Score against cost", cost_section(at, run)),
        (f"{name}search", "The search", search_section(at, run, rivals_of(run, runs))),
        (f"{name}curves", "Learning curves", curve_section(at, run)),
        (f"{name}made-of", "What good necks are made of", made_of_section(run)),
        (f"{name}plan", "Plan", plan_section(run)),
        (f"{name}trust", "How far to trust the proxy", trust_section(run)),
    ]


def _verdict(run: Opened) -> Markup:
    """What detectors end to end say first, then the check on test, if there were; then val."""
    confirmed = last_confirmed(run.history)
    said = [
        None if confirmed is None else f"End to end: {confirmed_brief(confirmed)}",
        checked_on_test(run.history),
        verdict(run.history, run.objectives[0]),
    ]
    wanted = run.trials_wanted
    rows = [tag("p", {"class": "said"}, one) for one in said if one is not None]
    if wanted is not None and ended(run) < wanted and not time_is_over(run.history):
        rows.insert(0, tag("p", {"class": "warning"}, f"Not finished: {progress(run)}."))
    return join(rows)


def _section(identity: str, title: str, inside: Markup, level: int = 2) -> Markup:
    head = tag(f"h{level}", {"id": f"{identity}-title"}, title)
    return tag("section", {"id": identity, "aria-labelledby": f"{identity}-title"}, head, inside)


def _trials(several: bool) -> Markup:
    """The frame of the table that the script fills."""
    return join(
        tag("noscript", {}, tag("p", {}, "The table of trials needs scripts to be allowed.")),
        tag(
            "div",
            {"class": "controls", "role": "search"},
            tag(
                "label",
                {},
                "Filter ",
                tag("input", {"id": "filter", "type": "search", "placeholder": "id, word, reason"}),
            ),
            tag("label", {}, "State ", tag("select", {"id": "state"})),
            tag("label", {"hidden": not several}, "Run ", tag("select", {"id": "run"})),
            tag("output", {"id": "count", "for": "filter state run"}),
        ),
        tag(
            "div",
            {"class": "wide", "tabindex": "0", "role": "region", "aria-label": "Table of trials"},
            tag(
                "table",
                {"id": "table"},
                tag("caption", {}, "A heading sorts by its column; a number opens its trial."),
                tag("thead", {}),
                tag("tbody", {}),
            ),
        ),
    )


def _dialog() -> Markup:
    """The frame of a trial's page."""
    return tag(
        "dialog",
        {"id": "trial", "aria-labelledby": "trial-title"},
        tag(
            "div",
            {"class": "bar-above"},
            tag("a", {"id": "before", "href": "#"}, "← before"),
            tag("a", {"id": "after", "href": "#"}, "after →"),
            tag("button", {"id": "close", "type": "button"}, "Close"),
        ),
        tag("h2", {"id": "trial-title", "tabindex": "-1"}),
        tag("div", {"id": "trial-body"}),
    )


def _policy(script: Markup) -> str:
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    allowed = f"script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _asset(name: str) -> Markup:
    """A file of this package as it stands: ours, so it is markup."""
    path = files("nas_fpn.report") / "assets" / name
    return Markup(path.read_text(encoding="utf-8"))
