"""The page of benchmarks/controllers.py: tables, a chart, and in words who beats whom."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chart import Panel, draw_panels

from nas_fpn.run.settings import RunSettings
from nas_fpn.run.simulate import Bench
from nas_fpn.search.regret import Mean, found_after, found_within, mean_of, reach
from nas_fpn.search.simulate import Replayed

WORKERS = (1, 16, 64)
LEARNING = ("evolution", "surrogate", "reinforce", "ppo", "optuna TPE")


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: a controller, its settings, and what a slow one is spared."""

    label: str
    controller: str
    settings: Mapping[str, object] = field(default_factory=dict)
    seeds: int | None = None  # at most; None: all
    trials: int | None = None
    halving: str | None = None  # "stop" or "promote"


@dataclass(frozen=True, slots=True)
class Race:
    """The searches of every entry, by label and workers."""

    bench: Bench
    searches: Mapping[tuple[str, int], tuple[Replayed, ...]]
    entries: tuple[Entry, ...]
    trials: int
    reference: int  # trials of random search that the others are held against
    busy: Mapping[str, float]  # seconds of computing, by label

    def of(self, label: str, workers: int) -> tuple[Replayed, ...]:
        return self.searches[label, workers]

    def regret(self, found: Sequence[float]) -> Mean:
        mean = mean_of([self.bench.best - one for one in found])
        return Mean(max(mean.value, 0.0), max(mean.low, 0.0), max(mean.high, 0.0))

    def reach(self, label: str, workers: int, reference: int) -> Mean:
        """The trials to what random search has found, on average, after the reference trials."""
        target = mean_of(found_after(self.of("random_search", workers), reference)).value
        return reach(self.of(label, workers), target, trials=self.trials)

    def early(self, label: str, workers: int) -> list[float]:
        """Of each search, the regret meaned over the trials up to the reference."""
        sums = [0.0] * len(self.of(label, workers))
        for trials in range(1, self.reference + 1):
            for at, found in enumerate(found_after(self.of(label, workers), trials)):
                sums[at] += self.bench.best - found
        return [one / self.reference for one in sums]


def page(race: Race, *, command: str, minutes: float, seeds: int) -> str:
    """The whole page."""
    marks = _marks(race.trials)
    best = sorted((one.mean("ap") for one in race.bench.table.necks.values()), reverse=True)
    necks = len(best)
    lines = ["# Controllers on NeckBench", "", f"`{command}`", ""]
    lines += [
        f"- {necks} necks, each trained with {_seeds_of(race)} seeds (docs/neckbench.md says how); "
        f"the best has a mean AP of {best[0]:.4f}, the second {best[1]:.4f}, the tenth "
        f"{best[9]:.4f}, the median {best[necks // 2]:.4f}, the worst {best[-1]:.4f}.",
        f"- {seeds} searches of each row, of {race.trials} trials each"
        + "".join(
            f"; {one.label}: {one.seeds} searches of {one.trials}"
            for one in race.entries
            if one.seeds
        )
        + ". A trial is a neck in training; proposals answered from the record are free.",
        "- Found is the neck that looks best in a search, at its true AP, the mean over the "
        "table's seeds; a search sees one of them, drawn for each neck, less what all necks of "
        "that seed share. Regret is what the best neck of the table has above it.",
        "- Intervals are 95 %, a bootstrap over searches. Only measured necks count.",
        "- Settings are the controllers' defaults, fixed on the planted tables of the tests before "
        f"this table was opened. Computing took {minutes:.0f} minutes; CPU "
        "seconds "
        + ", ".join(f"{label} {seconds:.0f}" for label, seconds in race.busy.items())
        + ".",
        "",
        "![Regret against trials](controllers.svg)",
        "",
        "## In words",
        "",
        *words(race),
        "",
        "## Trials to what random search finds",
        "",
        "A dash: not within the trials of a search. With stops or promotions most trials are "
        "short: compare those by hours, below.",
        "",
        f"In {race.reference} trials:",
        "",
        *_reach_table(race, race.reference),
        f"In {race.reference // 2} trials:",
        "",
        *_reach_table(race, race.reference // 2),
        "## Regret against trials, × 1000",
        "",
        *_tables(race, marks),
        "## Best AP found against trials",
        "",
        *_tables(race, marks, regret=False),
        "## Regret against simulated hours, × 1000",
        "",
        "Of the workers' clock, at the table's CPU seconds of a training; minutes, as necks are "
        "small here. The last column is when the last random search has trained all its trials; a "
        "dash: nobody has trained a neck.",
        "",
    ]
    for workers in WORKERS:
        lines += _one_table(race, workers, _clock(race, workers), found_within, "{:.2f} min", 60)
    return "\n".join(lines)


def words(race: Race) -> list[str]:
    """What the numbers say, in sentences."""
    default, labels = RunSettings().controller, [entry.label for entry in race.entries]
    said = []
    for workers, goal in ((1, 1 / 3), (16, 1 / 2)):
        if default in labels:
            share = race.reach(default, workers, race.reference).value / race.reference
            verdict = "met" if share <= goal else "NOT met"
            said.append(
                f"- Goal at {_workers(workers)}: the default, {default}, needs "
                f"{_number(share, '.2f')} of the {race.reference} trials of random search, of at "
                f"most {goal:.2f}: {verdict}."
            )
    said += [_against(race, label, "random_search") for label in LEARNING if label in labels]
    if {"ppo", "reinforce"} <= {*labels}:
        said.append(_against(race, "ppo", "reinforce"))
    return [
        *said,
        "",
        f"In brackets: regret meaned over the first {race.reference} trials, × 1000, and the 95 % "
        "interval of the difference, seed by seed.",
    ]


def _against(race: Race, label: str, other: str) -> str:
    """One controller against another, at every number of workers."""
    said = []
    for workers in WORKERS:
        mine, theirs = race.early(label, workers), race.early(other, workers)
        gap = mean_of([a - b for a, b in zip(mine, theirs, strict=True)])
        if gap.high < 0:
            verdict = "beats"
        elif gap.low > 0:
            verdict = "LOSES to"
        else:
            verdict = "does not stand out from"
        said.append(
            f"{verdict} {other} at {_workers(workers)} ({1000 * mean_of(mine).value:.1f} against "
            f"{1000 * mean_of(theirs).value:.1f}; {1000 * gap.low:+.1f} to {1000 * gap.high:+.1f})"
        )
    return f"- {label} {', '.join(said)}."


def _reach_table(race: Race, reference: int) -> list[str]:
    heads = "".join(f" {_workers(w)} | of random's |" for w in WORKERS)
    lines = [f"| controller |{heads}", "| --- |" + " --- | --- |" * len(WORKERS)]
    for entry in race.entries:
        cells = ""
        for workers in WORKERS:
            mean = race.reach(entry.label, workers, reference)
            ends = f"{_number(mean.low, '.0f')} to {_number(mean.high, '.0f')}"
            share = _number(mean.value / reference, ".2f")
            cells += f" {_number(mean.value, '.0f')} ({ends}) | {share} |"
        lines.append(f"| {entry.label} |{cells}")
    return [*lines, ""]


def _tables(race: Race, marks: Sequence[float], *, regret: bool = True) -> list[str]:
    lines: list[str] = []
    for workers in WORKERS:
        lines += _one_table(race, workers, marks, found_after, "{:.0f}", 1, regret=regret)
    return lines


def _one_table(
    race: Race,
    workers: int,
    marks: Sequence[float],
    found: Callable[[Sequence[Replayed], float], list[float]],
    head: str,
    unit: float,
    *,
    regret: bool = True,
) -> list[str]:
    heads = "".join(f" {head.format(mark / unit)} |" for mark in marks)
    lines = [f"{_workers(workers)}:", ""]
    lines += [f"| controller |{heads}", "| --- |" + " --- |" * len(marks)]
    nothing = race.of("random_search", workers)[0].points[0].found
    for entry in race.entries:
        cells = ""
        for mark in marks:
            some = found(race.of(entry.label, workers), mark)
            mean = race.regret(some) if regret else mean_of(some)
            by, digits = (1000, ".1f") if regret else (1, ".4f")
            low, high = (format(by * end, digits) for end in (mean.low, mean.high))
            known = set(some) != {nothing}
            cells += f" {by * mean.value:{digits}} ({low} to {high}) |" if known else " – |"
        lines.append(f"| {entry.label} |{cells}")
    return [*lines, ""]


def _clock(race: Race, workers: int) -> list[float]:
    """Seconds at which to look: in equal ratios from the first trial's end to the last's."""
    searches = race.of("random_search", workers)
    first = max(one.points[1].seconds for one in searches)
    whole = max(one.points[-1].seconds for one in searches)
    return [first * (whole / first) ** (at / 4) for at in range(5)]


def chart(race: Race) -> str:
    """Regret against trials, one panel for each number of workers."""
    shown = [entry.label for entry in race.entries if not entry.halving]
    panels = [
        Panel(
            _workers(workers),
            {
                label: [
                    1000 * race.regret(found_after(race.of(label, workers), trials)).value
                    for trials in range(1, race.trials + 1)
                ]
                for label in shown
            },
        )
        for workers in WORKERS
    ]
    return draw_panels(panels, across="trials", up="regret, AP × 1000")


def _marks(trials: int) -> list[int]:
    return sorted({max(round(trials / 2**power), 1) for power in range(5)})


def _seeds_of(race: Race) -> str:
    counts = {len(one.curves) for one in race.bench.table.necks.values()}
    return " or ".join(str(count) for count in sorted(counts))


def _workers(count: int) -> str:
    return f"{count} worker{'s' * (count > 1)}"


def _number(value: float, how: str) -> str:
    return "–" if math.isinf(value) else format(value, how)
