"""The plots of one run: cost against score, the search, the trainings; and what each says in words.

A section whose plot would be empty says why there is none.
"""

from collections.abc import Callable, Mapping, Sequence

from nas_fpn.record import Entry
from nas_fpn.report.compact import trial_key
from nas_fpn.report.front import best_entry
from nas_fpn.report.front_plot import name_of
from nas_fpn.report.markup import Markup, join, tag
from nas_fpn.report.opened import Opened
from nas_fpn.report.plots import Line, Point, Rule, plot
from nas_fpn.report.search_curve import best_so_far, in_order, shuffled

__all__ = ["cost_section", "curve_section", "search_section"]

COSTS: Mapping[str, Callable[[Entry], float | None]] = {
    "parameters of the neck, millions": lambda entry: _scaled(entry.cost.get("params"), 1e6),
    "multiply-adds of the neck, 1e9": lambda entry: _scaled(entry.cost.get("macs"), 1e9),
    "latency, ms": lambda entry: (
        None if entry.outcome is None else entry.outcome.scores.get("latency_ms")
    ),
}
CROWD = 150  # trials, beyond which a curve is paler
MARKS = 60  # places at which the shuffled order is worked out


def cost_section(at: int, run: Opened) -> Markup:
    """The score against each cost on record, the front of each plot joined, baselines by name."""
    objective = run.objectives[0]
    entries = _complete(run)
    best = best_entry([entry for entry in entries if not entry.is_baseline], objective)
    plots = []
    for name, cost in COSTS.items():
        priced = [(x, entry) for entry in entries if (x := cost(entry)) is not None]
        if not priced:
            continue
        scored = [(x, _score(entry, objective), entry) for x, entry in priced]
        edge = _edge([(x, y) for x, y, _ in scored])
        points = [
            Point(
                x,
                y,
                _kind(entry, best, is_edge=(x, y) in edge),
                trial_key(at, entry.number),
                f"trial {entry.number}, {name_of(entry)}: {objective} {y:.4f}, {name} {x:.4g}",
                name_of(entry) if entry.is_baseline else "best found" if entry is best else "",
            )
            for x, y, entry in sorted(scored, key=lambda one: _depth(one[2], best))
        ]
        label = f"{objective} against {name}: {len(points)} necks, {len(edge)} on the front"
        line = Line(tuple(edge), "edge", "front: none is both cheaper and better", steps=True)
        plots.append(plot(label, name, objective, points=points, lines=[line]))
    if not plots:
        return tag("p", {}, "No trial is complete yet.")
    return join(
        tag(
            "p",
            {},
            f"Each mark is a neck trained to the full budget: {objective} on val, in the proxy, "
            "one training each. Squares are baselines. Costs are of the neck alone. The table of "
            "trials below has the same numbers.",
        ),
        tag("div", {"class": "plots"}, plots),
    )


def search_section(at: int, run: Opened, rivals: Sequence[Opened] = ()) -> Markup:
    """The best so far against trials, baselines as a line, and a reference that says what it is.

    ``rivals`` are other runs of the same question whose controller is random search.
    """
    objective = run.objectives[0]
    ordered = in_order(run.history, objective)
    if not ordered:
        return tag("p", {}, "No proposal is trained to the full budget yet.")
    values = [score for score, _ in ordered]
    running = best_so_far(values)
    is_random = run.settings.get("controller") == "random_search"
    lines = []
    said = [
        "Proposals trained to the full budget, in the order in which they finished. "
        "Repeated, stopped and failed ones are left out."
    ]
    if is_random:
        trusted = sum(entry.source.startswith("prior:") for entry in run.history.entries)
        after = f", after {trusted} of its prior" if trusted else ""
        said.append(f"The controller of this run is random search itself{after}.")
    elif not rivals:
        said.append(
            "What random search would have found was not run. The pale line is no substitute: it "
            "is the mean over all orders of this run's own scores, and says only whether good "
            "necks came early. For a real comparison report this run beside one with controller = "
            '"random_search".'
        )
    if not is_random and not rivals:
        counts = _marks(len(values))
        places = zip(counts, shuffled(values, counts), strict=True)
        lines.append(Line(tuple(places), "pale", "the same scores in random order (expected)"))
    for rival in rivals:
        other = best_so_far([score for score, _ in in_order(rival.history, objective)])
        lines.append(Line(_counted(other), "other", f"random search: {rival.name}", steps=True))
    lines.append(Line(_counted(running), "found", "best so far", steps=True))
    control = best_entry([e for e in _complete(run) if e.is_baseline], objective)
    rules = []
    if control is not None:
        named = f"best baseline: {name_of(control)}"
        rules.append(Rule(_score(control, objective), "control", named))
    points = [
        Point(k, score, "found faint", trial_key(at, entry.number), f"trial {entry.number}")
        for k, (score, entry) in enumerate(ordered, start=1)
    ]
    label = f"Best {objective} so far against trials: {running[-1]:.4f} after {len(running)}"
    steps = [
        (k, score, entry)
        for k, (score, entry) in enumerate(ordered, start=1)
        if k == 1 or score > running[k - 2]
    ]
    table = tag(
        "table",
        {},
        tag("caption", {}, "Each new best"),
        tag("thead", {}, _row("th", "after", "trial", objective)),
        tag(
            "tbody",
            {},
            (_row("td", str(k), _link(at, entry), f"{score:.4f}") for k, score, entry in steps),
        ),
    )
    drawn = plot(
        label, "proposals trained to the end", objective, points=points, lines=lines, rules=rules
    )
    return join(
        (tag("p", {}, one) for one in said),
        tag("div", {"class": "plots"}, drawn, tag("div", {}, table)),
    )


def curve_section(at: int, run: Opened) -> Markup:
    """The score of each report of each trial, baselines and the best found by name."""
    objective = run.objectives[0]
    best = best_entry([e for e in run.history.entries if not e.is_baseline], objective)
    faint = "found faint crowd" if len(run.history.entries) > CROWD else "found faint"
    lines = []
    for entry in sorted(run.history.entries, key=lambda entry: _depth(entry, best)):
        places = tuple(
            (report.steps, report.scores[objective])
            for report in entry.reports
            if objective in report.scores
        )
        if len(places) < 2:
            continue
        kind, name = faint, ""
        if entry.is_baseline:
            kind, name = "control", ""
        elif entry is best:
            kind, name = "found thick", f"best found: trial {entry.number}"
        lines.append(Line(places, kind, name, trial_key(at, entry.number)))
    if not lines:
        return tag("p", {}, "No trial has reported more than once.")
    controls = [line for line in lines if line.kind == "control"]
    if controls:
        lines.append(Line(controls[0].places, "control", "baselines"))
    label = f"{objective} against training steps of {len(lines)} trials"
    return join(
        tag(
            "p",
            {},
            f"{objective} on val at each report of each training; a line that ends early was "
            "stopped, or still runs.",
        ),
        tag("div", {"class": "plots"}, plot(label, "steps", objective, lines=lines)),
        tag(
            "details",
            {"data-table": "curves", "data-run": str(at)},
            tag("summary", {}, "The same as a table"),
        ),
    )


def _complete(run: Opened) -> list[Entry]:
    return [
        entry
        for entry in run.history.entries
        if entry.outcome is not None
        and entry.outcome.state == "complete"
        and run.objectives[0] in entry.outcome.scores
    ]


def _score(entry: Entry, objective: str) -> float:
    assert entry.outcome is not None
    return entry.outcome.scores[objective]


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


def _edge(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The places that none beats in both: cheapest first, each better than all before it."""
    edge: list[tuple[float, float]] = []
    for x, y in sorted(places, key=lambda place: (place[0], -place[1])):
        if not edge or y > edge[-1][1]:
            edge.append((x, y))
    return edge


def _kind(entry: Entry, best: Entry | None, *, is_edge: bool) -> str:
    return " ".join(
        [
            "control" if entry.is_baseline else "found",
            *(["winner"] if entry is best else []),
            "best" if is_edge or entry is best or entry.is_baseline else "faint",
        ]
    )


def _depth(entry: Entry, best: Entry | None) -> int:
    """What is drawn last lies on top."""
    return 2 if entry is best else 1 if entry.is_baseline else 0


def _marks(count: int) -> list[int]:
    return sorted({max(1, round(k * count / MARKS)) for k in range(1, MARKS + 1)} | {1})


def _counted(values: Sequence[float]) -> tuple[tuple[float, float], ...]:
    return tuple((float(k), value) for k, value in enumerate(values, start=1))


def _link(at: int, entry: Entry) -> Markup:
    return tag("a", {"href": f"#{trial_key(at, entry.number)}"}, f"{entry.number} {name_of(entry)}")


def _row(kind: str, *cells: str) -> Markup:
    return tag("tr", {}, (tag(kind, {"scope": "col" if kind == "th" else None}, c) for c in cells))
