"""How large a search can be: one driver, many simulated workers, then many trials through Ray.

    python -m benchmarks.scale simulated random_search 10000    # 256 workers, a virtual clock
    python -m benchmarks.scale simulated surrogate 10000
    python -m benchmarks.scale ray random_search 2000 4         # 4 workers of Ray on this machine
    python -m benchmarks.scale views          # reading, table, report, mirror of the first record
    python -m benchmarks.scale page           # benchmarks/results/scale.md from what was measured

The simulated search drives the runner's own loop with the real record on disk, the real space and
the real controller; only the training is a formula, which takes as long as its clock says. So what
is measured is the driver: its seconds of CPU, its memory, its file.
"""

import json
import platform
import random
import resource
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.machine import processor
from nas_fpn.language import decode, find_space, identity, read
from nas_fpn.record import Record, Report, read_history
from nas_fpn.report import answer_text, open_run, report_html
from nas_fpn.report.mirrors import rebuild
from nas_fpn.run.question import make_problem
from nas_fpn.search import Loop, NeckFacts, Plan, Told, find_controller, load_controller
from nas_fpn.search.plan import Due
from nas_fpn.search.simulate import search_in_time

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "runs" / "scale"  # ignored by git: the records and what was measured of them
PAGE = ROOT / "benchmarks" / "results" / "scale.md"
SPACE = "nas_fpn"
CHANNELS = {3: 24, 4: 40, 5: 96}
STEPS = (100, 200, 300, 400, 500, 600)
SECONDS = (300.0, 900.0)  # of a training: uniform between
MARKS = (100, 200, 500, 1000, 2000, 5000, 10000)
HEAD = (
    "| controller | workers | trials | CPU s | CPU ms a trial | wall s | memory MB | record MB |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
)
CUTS = (1000, 2000, 5000, 10000)  # trials of the records that are shown


def evaluate(due: Due) -> Iterator[Report]:
    """A learning curve that follows from the text alone, as a training's would."""
    draw = random.Random(sha256(due.text.encode()).digest())
    top, whole = draw.uniform(0.2, 0.4), draw.uniform(*SECONDS)
    for steps in STEPS:
        ap = top * (1 - 0.5 ** (6 * steps / STEPS[-1]))
        scores = {"ap": ap, "ap50": 1.5 * ap, "ap75": 0.9 * ap, "ap_small": 0.4 * ap}
        yield Report(steps, scores, whole * steps / STEPS[-1])


def loop_of(record: Record, controller: str, trials: int, settings: dict[str, Any]) -> Loop:
    """The loop of a search of the paper's space."""
    space = read(find_space(SPACE))
    problem = make_problem(space, CHANNELS, image_size=320, objectives=("ap",))

    def facts(genotype: tuple[int, ...]) -> NeckFacts:
        neck = decode(space, genotype)
        price = {"params": 1e6, "macs": 1e9, "activation_bytes": 1e7}
        return NeckFacts(identity(neck), str(neck), price)

    made = load_controller(find_controller(controller), problem, seed=0, settings=settings)
    header = {
        "seed": 0,
        "space": sha256(find_space(SPACE).read_bytes()).hexdigest(),
        "controller": controller,
        "settings": {"space": SPACE, "controller": controller, "budget": {"trials": trials}},
    }
    return Loop(record, made, Plan(problem=problem, facts=facts, trials=trials), header=header)


def simulated(controller: str, *, trials: int, workers: int) -> dict[str, Any]:
    """One search on a virtual clock, and what it cost the driver."""
    folder = FIGURES / f"{controller}-{trials}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "history.jsonl"
    path.unlink(missing_ok=True)
    marks: list[dict[str, float]] = []
    busy, clock = 0.0, 0.0
    began = (time.process_time(), time.monotonic())
    with Record(path) as record:
        loop = loop_of(record, controller, trials, {})
        for now, progress in search_in_time(loop, evaluate, workers=workers):
            clock = now
            if not isinstance(progress, Told):
                continue
            outcome = progress.entry.outcome
            assert outcome is not None
            busy += outcome.seconds
            done = progress.entry.number + 1
            if any(done >= mark > (marks[-1]["trials"] if marks else 0) for mark in MARKS):
                marks.append(_mark(done, began, path))
                print(controller, marks[-1], flush=True)
    idle = 1 - busy / (workers * clock)
    return {
        "controller": controller,
        "trials": trials,
        "workers": workers,
        "clock_hours": clock / 3600,
        "idle": idle,
        "marks": marks,
    }


def _mark(trials: int, began: tuple[float, float], path: Path) -> dict[str, float]:
    return {
        "trials": trials,
        "cpu": time.process_time() - began[0],
        "wall": time.monotonic() - began[1],
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "history_mb": path.stat().st_size / 1e6,
    }


def through_ray(controller: str, *, trials: int, workers: int) -> dict[str, Any]:
    """A search on Ray Tune's workers whose trainings take no time: what Ray itself costs."""
    from nas_fpn.search.tune import search_on_ray  # noqa: PLC0415  (Ray only where it is measured)

    folder = FIGURES / f"ray-{controller}-{trials}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "history.jsonl"
    path.unlink(missing_ok=True)
    began = (time.process_time(), time.monotonic())
    marks: list[dict[str, float]] = []
    with Record(path) as record:
        loop = loop_of(record, controller, trials, {})
        for progress in search_on_ray(loop, evaluate, workers=workers, cpus=0.01):
            if isinstance(progress, Told) and (progress.entry.number + 1) % (trials // 4) == 0:
                marks.append(_mark(progress.entry.number + 1, began, path))
                print(controller, marks[-1], flush=True)
    return {"controller": controller, "trials": trials, "workers": workers, "marks": marks}


def views() -> list[dict[str, Any]]:
    """What it takes to read and to show the record that the simulated search left, cut to sizes."""
    rows = (
        (FIGURES / "random_search-10000" / "history.jsonl").read_bytes().splitlines(keepends=True)
    )
    asks = [at for at, row in enumerate(rows) if row.startswith(b'{"event": "ask"')]
    found = []
    for trials in CUTS:
        folder = FIGURES / f"cut-{trials}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "history.jsonl"
        path.write_bytes(b"".join(rows[: asks[trials] if trials < len(asks) else len(rows)]))
        history, seconds = timed(read_history, path)
        row: dict[str, Any] = {"trials": trials, "read": seconds}
        row["history_mb"] = path.stat().st_size / 1e6
        _, row["table"] = timed(answer_text, history)
        opened, row["open"] = timed(open_run, folder)
        page, row["report"] = timed(report_html, [opened])
        row["page_mb"] = len(page.encode()) / 1e6
        _, row["mirror"] = timed(rebuild, folder)
        row["mirror_mb"] = sum(one.stat().st_size for one in folder.rglob("mirror/**/*")) / 1e6
        row["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found.append(row)
        print(row, flush=True)
        keep("views", found)
    return found


def timed(act: Any, given: Any) -> tuple[Any, float]:
    """The result of a call and its seconds of CPU."""
    began = time.process_time()
    return act(given), time.process_time() - began


def keep(name: str, value: object) -> None:
    """Put what was measured beside the records."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    (FIGURES / f"{name}.json").write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def measured(pattern: str) -> list[Any]:
    """All that was measured under a name."""
    return [json.loads(path.read_text()) for path in sorted(FIGURES.glob(f"{pattern}.json"))]


def page() -> str:
    """The page of what was measured."""
    said = [
        "# Scale",
        "",
        "`python -m benchmarks.scale page` wrote this file from what its other commands measured, "
        f"with Python {platform.python_version()} on one core of {processor()}; docs/scale.md "
        "reads it.",
        "",
        f"## The driver: simulated searches of the space {SPACE}",
        "",
        "Record on disk, flushed with every decision; trainings of 300 to 900 s on a virtual "
        "clock, six reports each. Milliseconds a trial are between this row and the "
        "one before; the machine was shared with other work, which tells in the wall clock.",
        "",
        *HEAD,
    ]
    runs = measured("simulated-*")
    for run in runs:
        said += _rows(run)
    said += ["", "| controller | workers | trials | hours of the clock | workers idle, % |"]
    said += ["| --- | ---: | ---: | ---: | ---: |"]
    for run in runs:
        facts = f"| {run['controller']} | {run['workers']} | {run['trials']} "
        said.append(f"{facts}| {run['clock_hours']:.2f} | {100 * run['idle']:.1f} |")
    through = measured("ray-*")
    if through:
        said += ["", "## Through Ray Tune: trainings that take no time", ""]
        said += HEAD
    for run in through:
        said += _rows(run)
    said += ["", "## Reading and showing: CPU seconds", ""]
    said += ["| trials | record MB | read | table | open | report | page MB | mirror | mirror MB |"]
    said += ["| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for row in next(iter(measured("views")), []):
        keys = ("history_mb", "read", "table", "open", "report", "page_mb", "mirror", "mirror_mb")
        said.append(f"| {row['trials']} | {' | '.join(f'{row[key]:.1f}' for key in keys)} |")
    return "\n".join(said) + "\n"


def _rows(run: dict[str, Any]) -> Iterator[str]:
    trials, cpu = 0, 0.0
    for mark in run["marks"]:
        each = 1000 * (mark["cpu"] - cpu) / (mark["trials"] - trials)
        trials, cpu = mark["trials"], mark["cpu"]
        yield (
            f"| {run['controller']} | {run['workers']} | {trials} | {cpu:.1f} | {each:.2f} "
            f"| {mark['wall']:.0f} | {mark['rss_mb']:.0f} | {mark['history_mb']:.1f} |"
        )


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "simulated":
        name, count = rest[0], int(rest[1])
        keep(f"simulated-{name}-{count}", simulated(name, trials=count, workers=256))
    elif what == "ray":
        keep(f"ray-{rest[0]}", through_ray(rest[0], trials=int(rest[1]), workers=int(rest[2])))
    elif what == "views":
        views()
    elif what == "page":
        PAGE.write_text(page(), encoding="utf-8", newline="\n")
    else:
        sys.exit(f"{what!r}: should be simulated, ray, views or page")
