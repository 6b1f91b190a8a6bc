"""What a search loses when something dies: every kind of fault met for real, and counted.

    OMP_NUM_THREADS=1 python benchmarks/faults.py [--only NAME …] [--few] [--write]

The kinds are those of ``tests/faults``, which the tests meet a few times each. ``--few``
tries each as seldom as they do, ``--only`` those whose name begins so. ``--write`` puts the table
into ``benchmarks/results/faults.md``; kinds that are left out keep the rows that stand there.
A disk that is full or read-only is one in memory, which only root may mount; elsewhere these two
are left out, and a limit on the size of files stands for them.
"""

import argparse
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import processor

from tests.faults import kinds, lost_nodes
from tests.faults.places import can_mount
from tests.faults.processes import Tally, cli, undisturbed

RESULTS = Path(__file__).parent / "results" / "faults.md"
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/faults.py --write"
HEAD = """| fault | tried | lost | doubled | recovered, median (most) |
| --- | ---: | ---: | ---: | ---: |"""
ABOUT = """
Tried: so many times, each by `kill -9` or as the row says. Lost: trials that the search had said to
be asked or told and the record does not know so, or that have no end when the search is over, and
searches with one worker whose record is not that of an undisturbed one, line for line (up to
seconds, machine and packages). Doubled: trials asked, told or reported twice at the same step, or
trained beyond the budget. Recovered: seconds from the fault to the next end of a trial; where the
driver died, from its next start, loading Python and replaying the record included. A dash: nothing
ends there, or another row has it. "By fakes" is a training that sleeps, in the search's real
loop; else the real proxy at its smallest, by `nas-fpn search`. Seconds depend on what else the
machine did.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[""], help="names, or how they begin")
    parser.add_argument("--few", action="store_true", help="as seldom as the tests")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faults") as folder:
        for name, tried in _tried(Path(folder), few=given.few).items():
            if name.startswith(tuple(given.only)):
                for row, tally in _named(name, tried()).items():
                    print(_row(row, tally), flush=True)
                    if given.write:  # after each: a long run may be cut short
                        rows = _rows_of(RESULTS) | {row: _row(row, tally)}
                        RESULTS.write_text(_page(rows), encoding="utf-8")


def _tried(folder: Path, *, few: bool) -> Mapping[str, Callable[[], Tally | Mapping[str, Tally]]]:
    """Each kind by its name, how often; the whole run of the proxy is made when first needed."""

    def like() -> Path:
        whole = folder / "whole"
        if not whole.exists():
            undisturbed(kinds.run_folder(whole), cli(whole))
        return whole

    def at(name: str) -> Path:
        return folder / name

    tried: dict[str, Callable[[], Tally | Mapping[str, Tally]]] = {
        "driver killed, by fakes": lambda: kinds.driver_killed(at("here"), times=5 if few else 90),
        "driver killed, two workers on Ray by fakes": lambda: kinds.driver_on_ray_killed(
            at("ray"), times=1 if few else 6
        ),
        "nas-fpn search killed": lambda: kinds.search_killed(
            at("search"), times=2 if few else 4, like=like()
        ),
        "worker killed": lambda: kinds.worker_killed(at("worker"), times=1, like=like()),
        "a trial breaks": lambda: kinds.trial_breaks(at("trial"), times=1),
        "Ray's head killed and started again, by fakes": lambda: kinds.head_restarted(
            at("head"), times=1
        ),
        "Ray's head killed for good, by fakes": lambda: lost_nodes.head_gone(at("gone"), times=1),
        "nodes": lambda: lost_nodes.nodes_lost(at("nodes")),
        "nas-fpn search on two nodes that loses a worker, then a node": lambda: (
            lost_nodes.search_loses(at("loses"))
        ),
        "last line cut short, by fakes": lambda: kinds.torn(at("torn"), times=3 if few else 10),
        "record may not grow (RLIMIT_FSIZE), by fakes": lambda: kinds.file_limit(
            at("limit"), times=2 if few else 10
        ),
        "second driver": lambda: kinds.two_drivers(at("two"), times=1, like=like()),
    }
    if can_mount(folder):
        sizes = (300, 2000) if few else (300, 1000, 2000)
        tried["disk full"] = lambda: kinds.disk_full(at("full"), like=like(), sizes=sizes)
        tried["run folder read-only"] = lambda: kinds.read_only(at("read"), times=1, like=like())
    return tried


def _named(name: str, tried: Tally | Mapping[str, Tally]) -> Mapping[str, Tally]:
    return {name: tried} if isinstance(tried, Tally) else tried


def _row(name: str, tally: Tally) -> str:
    seconds = tally.seconds
    recovered = f"{median(seconds):.1f} s ({max(seconds):.1f})" if seconds else "–"
    return f"| {name} | {tally.times} | {tally.lost} | {tally.doubled} | {recovered} |"


def _rows_of(path: Path) -> dict[str, str]:
    """The rows of a page by what their first cell says."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    rows = [row for row in text.splitlines() if row.startswith("| ")][2:]
    return {row.split(" | ")[0].removeprefix("| "): row for row in rows}


def _page(rows: Mapping[str, str]) -> str:
    on = f"Python {platform.python_version()} on two cores of {processor()}"
    title = "# What dies, and what is lost"
    wrote = f"`{COMMAND}` wrote this file, with {on}."
    return "\n".join(
        [title, "", wrote, ABOUT, HEAD, *(rows[name] for name in sorted(rows, key=str.lower)), ""]
    )


if __name__ == "__main__":
    main()
