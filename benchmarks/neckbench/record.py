"""NeckBench: train every neck of a small space over several seeds, and keep what was measured.

    python benchmarks/neckbench/record.py benchmarks/neckbench/shapes

The folder holds a ``run.toml`` that names the space and the proxy's settings. Raw rows go to
``rows.jsonl`` beside it, one training a line, as they come: killed and started again, it goes on
with what is missing; more ``--seeds`` append. It works through all necks, in an order drawn
once, seed after seed, so that a part of the table is of use as well; only the first few necks get
every seed at once, for an early look at the noise. At its end the table is written beside the
folder, ``shapes.parquet``; ``--pack`` writes what there is and trains nothing. What the table there
holds of the same bank is not trained again; another bank (another machine warms its backbone up
to other weights) is another table, and one that is there is not written over: take it away first.
"""

import argparse
import importlib.metadata
import itertools
import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from nas_fpn.language import Space, canonical, choices, decode, identity, parse
from nas_fpn.proxy.bank import Bank, open_bank
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.proxy.train import train
from nas_fpn.record import Report
from nas_fpn.run.prepare import prepare
from nas_fpn.run.question import Question, read_question
from nas_fpn.run.settings import Run, read_run
from nas_fpn.run.trainer import build_neck, neck_cost
from nas_fpn.search.bench import Measured, Table, centred, read_table, write_table

EARLY = 4  # necks that get every seed at once
ABOUT = {"space", "data", "backbone", "proxy"}  # of the settings, what the numbers depend on
PACKAGES = ("torch", "torchvision", "timm", "numpy")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Neck:
    """A neck of the space: its id, its canonical text and the first genotype that gives it."""

    neck: str
    text: str
    genotype: tuple[int, ...]


def necks_of(space: Space) -> list[Neck]:
    """Every neck of a space once, in order of its first genotype."""
    found: dict[str, Neck] = {}
    for genotype in itertools.product(*(range(choice.count) for choice in choices(space))):
        architecture = decode(space, genotype)
        neck = identity(architecture)
        if neck not in found:
            found[neck] = Neck(neck, str(canonical(architecture)), genotype)
    return list(found.values())


def in_order(necks: Sequence[Neck], seeds: int) -> Iterator[tuple[Neck, int]]:
    """All trainings in the order of recording."""
    drawn = random.Random("neckbench").sample(necks, len(necks))
    yield from ((neck, seed) for neck in drawn[:EARLY] for seed in range(seeds))
    yield from ((neck, seed) for seed in range(seeds) for neck in drawn[EARLY:])


def train_once(bank_path: Path, settings: ProxySettings, neck: Neck, seed: int) -> Row:
    """Train once, in this process, on one thread; CPU seconds count from its beginning."""
    torch.set_num_threads(1)
    bank = open_bank(bank_path)
    architecture = parse(neck.text)
    began = time.process_time()
    curve = [
        {
            "steps": report.steps,
            "scores": {name: score for name, score in report.scores.items() if "/" not in name},
            "cpu_seconds": time.process_time() - began,
        }
        for report in train(build_neck(architecture, bank, seed=seed), bank, settings, seed=seed)
    ]
    cost = asdict(neck_cost(architecture, bank))
    return {**asdict(neck), "seed": seed, "bank": bank.key, "cost": cost, "curve": curve}


def main() -> None:
    """Prepare the bank, train what is missing, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--pack", action="store_true", help="write what there is, train nothing")
    given = parser.parse_args()
    run = read_run(given.folder)
    question = read_question(run)
    bank = _prepared(run, question)
    _carry_over(run, open_bank(bank).key)
    if not given.pack:
        _record(run, question, bank, seeds=given.seeds, workers=given.workers)
    table = _table(run, question, open_bank(bank))
    path = run.folder.with_suffix(".parquet")
    write_table(path, table)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB", *_facts(table), sep="\n")


def _prepared(run: Run, question: Question) -> Path:
    steps = prepare(run, question.levels, warmup_neck=question.warmup_neck)
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value.bank
        print(f"{step.stage}: {step.done}/{step.total}", flush=True)


def _carry_over(run: Run, key: str) -> None:
    """Bring what the table holds into ``rows.jsonl``, so that a clone goes on from it."""
    path, file = run.folder.with_suffix(".parquet"), run.folder / "rows.jsonl"
    if not path.is_file():
        return
    table = read_table(path)
    if table.about["bank"] != key:
        raise SystemExit(
            f"{path}: is of the bank {table.about['bank'][:16]}, but this machine makes "
            f"{key[:16]}; their scores do not compare\n"
            "move the table away to record one of this machine"
        )
    known = {(row["text"], row["seed"]) for row in _rows(file) if row["bank"] == key}
    new = [
        {
            "neck": one.neck,
            "text": one.text,
            "seed": seed,
            "bank": key,
            "cost": one.cost,
            "curve": [
                {"steps": at.steps, "scores": at.scores, "cpu_seconds": at.seconds} for at in curve
            ],
        }
        for one in table.necks.values()
        for seed, curve in one.curves.items()
        if (one.text, seed) not in known
    ]
    if new:
        with file.open("a", encoding="utf-8") as out:
            out.writelines(json.dumps(row) + "\n" for row in new)
        print(f"{len(new)} trainings are taken over from {path.name}", flush=True)


def _record(run: Run, question: Question, bank: Path, *, seeds: int, workers: int) -> None:
    """Train what is missing in ``rows.jsonl`` and append it."""
    file = run.folder / "rows.jsonl"
    rows = _rows(file)
    key = open_bank(bank).key
    known = {(row["text"], row["seed"]) for row in rows if row["bank"] == key}
    every = list(in_order(necks_of(question.space), seeds))
    todo = [(neck, seed) for neck, seed in every if (neck.text, seed) not in known]
    print(f"{len(every) - len(todo)} of {len(every)} trainings are recorded", flush=True)
    done, settings = len(every) - len(todo), run.settings.proxy
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        trainings = [pool.submit(train_once, bank, settings, *one) for one in todo]
        for training in as_completed(trainings):
            row, done = training.result(), done + 1
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")
            last = row["curve"][-1]
            print(
                f"{done}/{len(every)} {row['neck']} seed {row['seed']}: "
                f"{last['scores']['ap']:.4f} in {last['cpu_seconds']:.1f} CPU s",
                flush=True,
            )


def _table(run: Run, question: Question, bank: Bank) -> Table:
    """What is on file for this bank, of every neck that has a training, in order of the space."""
    curves: dict[str, dict[int, tuple[Report, ...]]] = {}
    costs: dict[str, dict[str, float]] = {}
    for row in _rows(run.folder / "rows.jsonl"):
        if row["bank"] == bank.key:
            reports = (Report(at["steps"], at["scores"], at["cpu_seconds"]) for at in row["curve"])
            curves.setdefault(row["text"], {})[row["seed"]] = tuple(reports)
            costs[row["text"]] = row["cost"]
    return Table(
        space=question.space_file.read_text(encoding="utf-8"),
        in_channels=bank.channels,
        image_size=bank.image_size,
        necks={
            one.neck: Measured(one.neck, one.text, costs[one.text], curves[one.text])
            for one in necks_of(question.space)
            if one.text in curves
        },
        about={
            "bank": bank.key,
            "settings": run.settings.model_dump(mode="json", include=ABOUT),
            "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        },
    )


def _facts(table: Table) -> list[str]:
    """How far necks differ, and by how much their seeds do."""
    necks = list(table.necks.values())
    whole = [one for one in centred(table).necks.values() if len(one.curves) > 1]
    trainings = sum(len(one.curves) for one in necks)
    said = [f"{len(necks)} necks, {trainings} trainings"]
    if len(whole) > 1:
        ends = [[curve[-1].scores["ap"] for curve in one.curves.values()] for one in whole]
        between = statistics.stdev(statistics.mean(end) for end in ends)
        noise = statistics.mean(statistics.variance(end) for end in ends) ** 0.5
        said.append(
            f"AP of {len(whole)} necks of several seeds: {min(map(statistics.mean, ends)):.4f} to "
            f"{max(map(statistics.mean, ends)):.4f}; between the means a standard deviation of "
            f"{between:.4f}, between the seeds of a neck {noise:.4f} (what all necks of a seed "
            "share taken off)"
        )
    return said


def _rows(file: Path) -> list[Row]:
    """The rows on file; a last line that a killed writer left incomplete is cut off."""
    if not file.exists():
        return []
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        file.write_text(whole, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


if __name__ == "__main__":
    main()
