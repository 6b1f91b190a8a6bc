"""What a dashboard says of a run and of each trial in words: Markdown, in which nothing is alive.

Names, programs and reasons are other people's text: in a sentence every sign that means something
to Markdown or HTML is escaped, longer texts stand in a fence that they cannot close.
"""

import re

from nas_fpn.record import Entry, History
from nas_fpn.report.answer import verdict
from nas_fpn.report.front import front
from nas_fpn.report.front_plot import name_of
from nas_fpn.report.verdict import checked_on_test

__all__ = ["escaped", "fenced", "run_note", "trial_note"]

SHOWN = 10  # necks of the front in a note


def escaped(text: str) -> str:
    r"""A text that stands in a line of Markdown as it is.

    >>> escaped("<b> & *c*")
    '&lt;b&gt; &amp; \\*c\\*'
    """
    one_line = " ".join(text.split())
    safe = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~$:-])", r"\\\1", safe)


def fenced(text: str) -> str:
    """A text as a block of its own, behind a fence longer than any in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.rstrip()}\n{fence}"


def trial_note(entry: Entry) -> str:
    """Who proposed the neck, its program, and after its end what became of it."""
    who = f"**Baseline {escaped(name_of(entry))}**" if entry.is_baseline else "Found"
    if entry.source.startswith("prior:"):
        who = f"Proposed first, from the prior {escaped(entry.source.removeprefix('prior:'))}"
    outside = " It is no member of the space." if entry.genotype is None else ""
    return f"{who}: neck {escaped(entry.neck)}.{outside}\n\n{fenced(entry.text)}\n"


def run_note(name: str, history: History, objectives: tuple[str, ...]) -> str:
    """The verdict so far, the baselines and the best, and what was decided about the data."""
    names = [one.removeprefix("-") for one in objectives]
    parts = [f"# {escaped(name)}", escaped(verdict(history, objectives[0]))]
    if (checked := checked_on_test(history)) is not None:
        parts.append(f"**{escaped(checked)}**")
    best = front(history.entries, objectives)[:SHOWN]
    controls = [entry for entry in history.entries if entry.is_baseline and entry not in best]
    if best or controls:
        head = ["", "trial", "neck", *names, "params"]
        lines = [_line(head), _line(["---"] * len(head))]
        lines += [_of_entry("best" if len(names) == 1 else "front", one, names) for one in best]
        lines += [_of_entry("baseline", one, names) for one in controls]
        parts.append("\n".join(lines))
    settings = history.events[0].get("settings", {}) if history.events else {}
    notes = [f"- {escaped(str(note))}" for note in settings.get("notes", [])]
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])]) + "\n"


def _of_entry(role: str, entry: Entry, names: list[str]) -> str:
    known = {} if entry.outcome is None else entry.outcome.scores
    scores = [f"{known[name]:.4g}" if name in known else "–" for name in names]
    role = "baseline" if entry.is_baseline else role
    cells = [role, str(entry.number), escaped(name_of(entry)), *scores]
    return _line([*cells, str(entry.cost.get("params", "–"))])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
