"""What workers and Ray cost the proxy: processes against threads, and one trial's hand-over."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.scale import loop_of
from nas_fpn.proxy.packing import Packing, measure_packing
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.record import Record, Report
from nas_fpn.search import Told
from nas_fpn.search.plan import Due
from nas_fpn.search.progress import Asked
from nas_fpn.search.tune import search_on_ray

TRIAL = 5.0  # seconds
REPORTS = 3
WORKERS = 2
TRIALS = 16
TURNS = 3


def measure_packings(bank: Path, text: str, settings: ProxySettings) -> list[dict[str, Any]]:
    """Two workers of one thread and one of two, in turns; medians."""
    candidates = (Packing(2, 1), Packing(1, 2))
    turns = [measure_packing(bank, text, settings, candidates=candidates) for _ in range(TURNS)]
    return [
        {**asdict(one[0]), "steps_per_second": statistics.median(p.steps_per_second for p in one)}
        for one in zip(*turns, strict=True)
    ]


def evaluate(due: Due) -> Iterator[Report]:
    """A trial of five seconds that leaves the processor alone; three reports."""
    began = time.monotonic()
    for number in range(1, REPORTS + 1):
        time.sleep(max(began + TRIAL * number / REPORTS - time.monotonic(), 0.0))
        yield Report(number, {"ap": 0.1}, time.monotonic() - began)


def measure_hand_over(folder: Path) -> dict[str, Any]:
    """The wall of a search on warm workers of Ray, over its trials' seconds divided by workers."""
    begins, trials = 0.0, []
    with Record(folder / "history.jsonl") as record:
        loop = loop_of(record, "random_search", TRIALS, {})
        for progress in search_on_ray(loop, evaluate, workers=WORKERS, cpus=0.5):
            if isinstance(progress, Asked):
                begins = begins or time.monotonic()
            if isinstance(progress, Told):
                ends = time.monotonic()
                assert progress.entry.outcome is not None
                trials.append(progress.entry.outcome.seconds)
    ideal = sum(trials) / WORKERS
    wall = ends - begins
    return {
        "workers": WORKERS,
        "trials": len(trials),
        "trial_s": statistics.median(trials),
        "wall_s": wall,
        "ratio": wall / ideal,
        "hand_over_ms": 1e3 * (wall - ideal) * WORKERS / len(trials),
    }
