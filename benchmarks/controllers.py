"""Which controller finds how much in how many trials: simulated searches on a table of NeckBench.

    python benchmarks/controllers.py benchmarks/neckbench/shapes.parquet --write

Every controller with its default settings, at 1, 16 and 64 workers, once for each seed, on necks
that were trained: nothing here is a fitted guess. The page says in words, from the numbers, who
beats random search and who does not. ``--write`` leaves ``results/controllers.md`` and a chart.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

from nas_fpn.run.simulate import Bench, open_bench, simulate
from nas_fpn.search.simulate import Replayed

sys.path.insert(0, str(Path(__file__).parent))
from controllers_page import WORKERS, Entry, Race, chart, page

RESULTS = Path(__file__).parent / "results"
CHUNK = 10  # searches that a process runs at a time

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


if __name__ == "__main__":
    main()
