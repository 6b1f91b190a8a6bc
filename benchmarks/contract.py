"""Promises of time, kept or not: ``[budget] minutes`` from the command to ``best/``.

    python -m benchmarks.contract 3 10 30 --small --rows contract.jsonl
    python -m benchmarks.contract 3 10 --workers auto --rows contract.jsonl
    python -m benchmarks.contract 3 --workers auto --prepared --rows contract.jsonl
    python -m benchmarks.contract --rows contract.jsonl --write

The first two run a search from nothing for each number of minutes, one after another, and append a
row each; the third has `nas-fpn plan` prepare backbone and features first, which no clock sees; the
last writes benchmarks/results/contract.md, or another ``--page``, from the rows. What is measured
is the wall time of the whole process, started and waited for here: imports, data, warm-up, search,
check on test, export.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.machine import processor
from benchmarks.proxy_steps import machine
from nas_fpn.record import read_history
from nas_fpn.report import best_entry

PAGE = Path(__file__).parent / "results" / "contract.md"
DEFAULT = """[budget]
minutes = {minutes}
[ray]
workers = {workers}
"""
SMALL = """baselines = ["none", "fpn"]
[budget]
minutes = {minutes}
[data]
shapes_train = 96
shapes_val = 32
shapes_test = 32
shapes_warmup = 48
[backbone]
warmup_steps = 60
warmup_batch_size = 8
[proxy]
image_size = 64
steps = 90
batch_size = 8
views = 2
[ray]
workers = {workers}
"""
COLUMNS = (
    *("promised", "size", "workers", "used", "of it", "late by", "planned", "trained", "cut"),
    *("seeds", "best/", "best found, AP on val", "best baseline", "load", "when"),
)
COMMAND = "from nas_fpn.cli import main; main()"
ALLOWED = (0.05, 20.0)  # of the time, or seconds, whichever is more


def keep(minutes: float, *, workers: str, small: bool, prepared: bool) -> dict[str, Any]:
    """Search for so many minutes, from nothing or prepared; what was promised, what came of it."""
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        run.mkdir()
        spread = f'"{workers}"' if workers == "auto" else workers
        question = (SMALL if small else DEFAULT).format(minutes=f"{minutes:g}", workers=spread)
        (run / "run.toml").write_text(question, encoding="utf-8")
        if prepared:
            # Its code is no matter: the plan, whose clock saw the warm-up, may be refused.
            subprocess.run([sys.executable, "-c", COMMAND, "plan", str(run)], check=False)
        began = monotonic()
        before = os.getloadavg()[0]
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, "search", str(run)],
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = monotonic() - began
        row = {
            "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "minutes": minutes,
            "workers": workers,
            "small": small,
            "prepared": prepared,
            "seconds": seconds,
            "code": done.returncode,
            "load": [before, os.getloadavg()[0]],
            "said": (done.stdout + done.stderr)[-6000:],
            "processor": processor(),
            "cpus": os.cpu_count(),
        }
        return {**row, **_found(run)}


def _found(run: Path) -> dict[str, Any]:
    """What is on record of a run that has ended."""
    history = read_history(run / "history.jsonl")
    entries = history.entries
    own = [one for one in entries if not one.is_baseline and one.outcome is not None]
    best = best_entry([one for one in entries if not one.is_baseline], "ap")
    control = best_entry([one for one in entries if one.is_baseline], "ap")
    plans = [event for event in history.events if event["event"] == "plan"]
    checks = [event for event in history.events if event["event"] == "verdict"]
    packings = [event for event in history.events if event["event"] == "packing"]
    return {
        "plan": dict(plans[0]) if plans else None,
        "packing": dict(packings[0]) if packings else None,
        "trials": sum(not one.outcome.is_free for one in own if one.outcome is not None),
        "cut": sum(one.outcome is not None and one.outcome.reason is not None for one in own),
        "best": None if best is None or best.outcome is None else best.outcome.scores["ap"],
        "control": None
        if control is None or control.outcome is None
        else control.outcome.scores["ap"],
        "seeds": len(checks[-1]["seeds"]) if checks else 0,
        "exported": (run / "best" / "neck.py").is_file(),
    }


def page(rows: list[dict[str, Any]]) -> str:
    """The table of all rows, newest of each number of minutes and workers last."""
    lines = [
        "# Minutes promised, minutes used",
        "",
        "    python -m benchmarks.contract 3 10 30 --small --rows contract.jsonl",
        "    python -m benchmarks.contract 3 10 --workers auto --rows contract.jsonl",
        "    python -m benchmarks.contract 3 --workers auto --prepared --rows contract.jsonl",
        "    python -m benchmarks.contract --rows contract.jsonl --write",
        "",
        "Whole processes, from their start to their end: imports, data, warm-up of the backbone,",
        "features, timing, search, check on test with new seeds, and the best neck trained once",
        "more for `best/`. A promise is broken by more than 5 % or 20 s, whichever is larger; 85 %",
        "or more should be used. From nothing, or *prepared*: with backbone and features there, as",
        "after `nas-fpn plan`. All on the embedded scenes, with the settings that a run has",
        "where nothing is set, or at the small size (`--small`), whose trainings are too short to",
        "tell one neck from another. Workers 0 train in the search's own process, others",
        "are Ray's; auto measures how many at a time are fastest, within the time. Load is the",
        "machine's average over a minute, before and after: above the number of cores others took",
        "most of the machine meanwhile. Trainings then take several times as long as when they",
        "were timed, and the search trains fewer than planned.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"| {' | '.join('---' for _ in COLUMNS)} |",
    ]
    refused: list[str] = []
    for row in sorted(rows, key=lambda one: (one["minutes"], one["at"])):
        promised = 60 * row["minutes"]
        late = row["seconds"] - promised
        kept = late <= max(ALLOWED[0] * promised, ALLOWED[1])
        plan = row["plan"]
        if plan is None:  # refused: what it said is the answer
            said = row["said"].strip().splitlines()[-2:]
            refused.append(
                f"- {row['minutes']:g} min at size {_size(row)}, workers {_workers(row)}, "
                f"at {row['at']}, after {row['seconds']:.0f} s{_load(row)}:"
            )
            refused += ["", *(f"      {line}" for line in said), ""]
            continue
        planned = f"{plan['trials']} at {plan['steps']} steps"
        before, after = row["load"]
        cells = [
            f"{row['minutes']:g} min",
            _size(row),
            _workers(row),
            f"{row['seconds']:.1f} s",
            f"{row['seconds'] / promised:.1%}",
            f"{'' if late > 0 else 'not late, '}{abs(late):.1f} s{'' if late > 0 else ' early'}"
            + ("" if kept else ", **broken**"),
            planned,
            str(row["trials"]),
            str(row["cut"]),
            str(row["seeds"]),
            "yes" if row["exported"] else "no",
            "–" if row["best"] is None else f"{row['best']:.3f}",
            "–" if row["control"] is None else f"{row['control']:.3f}",
            f"{before:.1f}, {after:.1f}",
            row["at"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if refused:
        lines += [
            "",
            "Refused:",
        ]
        lines += ["", *refused[:-1]]
    last = rows[-1]
    lines += [
        "",
        f"{last['processor']}, {last['cpus']} cores; where this page was written one of them does "
        f"{machine()['matrix_gmacs']:.1f} · 10⁹ multiply-adds a second in a product of matrices.",
        "",
    ]
    return "\n".join(lines)


def _load(row: dict[str, Any]) -> str:
    before, _ = row["load"] or (None, None)
    return "" if before is None else f", load {before:.1f}"


def _size(row: dict[str, Any]) -> str:
    size = "small" if row["small"] else "default"
    return f"{size}, prepared" if row.get("prepared") else size


def _workers(row: dict[str, Any]) -> str:
    """As asked, and what was found."""
    packing = row.get("packing")
    if packing is None:
        return str(row["workers"])
    return f"{row['workers']}: {packing['workers']} on {packing['threads']} thread each"


def main() -> None:
    """Run, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", nargs="*", type=float)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--workers", default="0", help='a number, or "auto"')
    parser.add_argument("--small", action="store_true", help="a tenth of the proxy's work")
    parser.add_argument("--prepared", action="store_true", help="with backbone and features ready")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--page", type=Path, default=PAGE, help="what is written")
    given = parser.parse_args()
    for minutes in given.minutes:
        row = keep(minutes, workers=given.workers, small=given.small, prepared=given.prepared)
        with given.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps({k: v for k, v in row.items() if k != "plan"}, indent=1), flush=True)
    if given.write:
        rows = [json.loads(line) for line in given.rows.read_text(encoding="utf-8").splitlines()]
        given.page.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
