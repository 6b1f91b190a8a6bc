"""Which controller finds how much in how many trials: simulated searches on a table of NeckBench.

    python benchmarks/controllers.py benchmarks/neckbench/shapes.parquet --write

Every controller with its default settings, at 1, 16 and 64 workers, once for each seed, on necks
that were trained: nothing here is a fitted guess. The page says in words, from the numbers, who
beats random search and who does not. ``--write`` leaves ``results/controllers.md`` and a chart.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

from nas_fpn.run.settings import RunSettings
from nas_fpn.run.simulate import Bench, open_bench, simulate
from nas_fpn.search.regret import Mean, found_after, found_within, mean_of, reach
from nas_fpn.search.simulate import Replayed

sys.path.insert(0, str(Path(__file__).parent))
from chart import Panel, draw_panels

RESULTS = Path(__file__).parent / "results"
WORKERS = (1, 16, 64)
CHUNK = 10  # searches that a process runs at a time


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: a controller, its settings, and what a slow one is spared."""

    label: str
    controller: str
    settings: Mapping[str, object] = field(default_factory=dict)
    seeds: int | None = None  # at most; None: all
    trials: int | None = None
    halving: str | None = None  # "stop" or "promote"


ENTRIES = (
    Entry("random_search", "random_search"),
    Entry("evolution", "evolution"),
    Entry("surrogate", "surrogate"),
    Entry("reinforce", "reinforce"),
    Entry("ppo", "ppo"),
    Entry("optuna TPE", "optuna_sampler"),
    Entry("optuna NSGA-II", "optuna_sampler", {"sampler": "NSGAIISampler"}),
    Entry("optuna GP", "optuna_sampler", {"sampler": "GPSampler"}, seeds=5, trials=60),
    Entry("random_search + stops", "random_search", halving="stop"),
    Entry("random_search + promotes", "random_search", halving="promote"),
    Entry("surrogate + promotes", "surrogate", halving="promote"),
)
LEARNING = ("evolution", "surrogate", "reinforce", "ppo", "optuna TPE")


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


def run_chunk(
    table: Path, entry: Entry, workers: int, trials: int, seeds: range
) -> tuple[list[Replayed], float]:
    """Some seeds of one entry, and the CPU seconds that they took."""
    bench = _bench(table)
    began = time.process_time()
    halving = bench.halving(promotes=entry.halving == "promote") if entry.halving else None
    done = simulate(
        bench,
        entry.controller,
        settings=entry.settings,
        workers=workers,
        trials=min(trials, entry.trials or trials),
        seeds=seeds,
        halving=halving,
    )
    return list(done), time.process_time() - began


@lru_cache(maxsize=1)
def _bench(table: Path) -> Bench:
    return open_bench(table)


def run_all(
    table: Path,
    entries: Sequence[Entry],
    *,
    seeds: int,
    trials: int,
    reference: int,
    processes: int,
) -> Race:
    """Every entry at every number of workers; the slow ones first."""
    jobs = [
        (entry, workers, range(start, min(start + CHUNK, seeds, entry.seeds or seeds)))
        for entry in sorted(entries, key=lambda entry: entry.seeds is None)
        for workers in WORKERS
        for start in range(0, min(seeds, entry.seeds or seeds), CHUNK)
    ]
    searches: dict[tuple[str, int], tuple[Replayed, ...]] = {}
    busy: dict[str, float] = {}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        runs = [pool.submit(run_chunk, table, *job[:2], trials, job[2]) for job in jobs]
        for (entry, workers, some), future in zip(jobs, runs, strict=True):
            done, seconds = future.result()
            searches[entry.label, workers] = (*searches.get((entry.label, workers), ()), *done)
            busy[entry.label] = busy.get(entry.label, 0.0) + seconds
            print(f"{entry.label}, {workers} workers, seeds to {some[-1]}: {seconds:.0f} s")
    return Race(_bench(table), searches, tuple(entries), trials, reference, busy)


def main() -> None:
    """Race, print the page, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--trials", type=int, help="default: six in seven necks of the table")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--only", help="labels, with commas; random_search is always there")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    began = time.monotonic()
    labels = {"random_search", *given.only.split(",")} if given.only else None
    entries = [entry for entry in ENTRIES if labels is None or entry.label in labels]
    necks = len(_bench(given.table).table.necks)
    trials = given.trials or necks * 6 // 7
    race = run_all(
        given.table,
        entries,
        seeds=given.seeds,
        trials=trials,
        reference=trials // 2,
        processes=given.processes,
    )
    command = f"python benchmarks/{Path(__file__).name} {given.table} --seeds {given.seeds}"
    text = page(race, command=command, minutes=(time.monotonic() - began) / 60, seeds=given.seeds)
    print(text)
    if given.write:
        (RESULTS / "controllers.md").write_text(text, encoding="utf-8")
        (RESULTS / "controllers.svg").write_text(chart(race), encoding="utf-8")


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
        "- Settings are each controller's defaults, fixed on the planted tables of the tests before "
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


if __name__ == "__main__":
    main()
