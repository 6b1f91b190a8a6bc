"""Which score of a short training has the least noise: the last, a mean of the last few, or EMA.

    python benchmarks/averaged.py RUN --seeds 4 --write

RUN is a folder with a run.toml. Necks of its space and its baselines train in the proxy with
several seeds; at the end the weights as they are, the mean score of the last evaluations, and
exponential moving averages of the weights are scored on the same val images, of one and the same
training. ``--write`` leaves ``results/averaged.md``. Trainings are kept in ``RUN/averaged.jsonl``.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas_fpn.language import parse
from nas_fpn.proxy.bank import Bank
from nas_fpn.proxy.optimise import Schedule, draw_order, optimise
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.proxy.train import make_detector
from nas_fpn.proxy.validate import Batch, validate
from nas_fpn.report import agreement, resolution_of
from nas_fpn.run.calibrate_plan import choose_necks
from nas_fpn.run.calibrate_settings import CalibrateSettings
from nas_fpn.run.prepare import prepare
from nas_fpn.run.question import read_question
from nas_fpn.run.settings import read_run
from nas_fpn.run.trainer import build_neck, cached_bank
from nas_fpn.training import follow, make_average

RESULTS = Path(__file__).parent / "results"
DECAYS = (0.9, 0.95, 0.98, 0.99)
LATE = (0.85, 0.9, 0.95, 1.0)  # parts of the steps at which a training is scored
SIZES = ("ap", "ap_small", "ap_medium", "ap_large")
BOOTSTRAP = 2000


def train_once(text: str, bank: Bank, settings: ProxySettings, seed: int) -> dict[str, Any]:
    """Train once; scores by way of averaging, and the CPU seconds that the averages took."""
    neck = build_neck(parse(text), bank, seed=seed)
    detector = make_detector(neck, settings, num_classes=len(bank.categories), seed=seed)
    averages = {decay: make_average(detector) for decay in DECAYS}
    views = int((bank.train.image_ids == bank.train.image_ids[0]).sum())
    images = len(bank.train.image_ids) // views
    order = draw_order(
        images, views, batch_size=settings.batch_size, steps=settings.steps, seed=seed
    )
    spent = dict.fromkeys(("follow", "evaluate"), 0.0)

    def step_all(step: int) -> None:
        began = time.process_time()
        for decay, average in averages.items():
            follow(average, detector, decay=decay, step=step)
        spent["follow"] += time.process_time() - began

    def loss(step: int) -> Tensor:
        if step:
            step_all(step - 1)
        rows = order[step]
        features = {level: bank.train.features[level][rows] for level in neck.inputs}
        return detector.losses(features, bank.train.boxes[rows], bank.train.labels[rows]).total

    def scored(model: nn.Module) -> dict[str, float]:
        began = time.process_time()
        batches = _batches(bank, neck.inputs, settings.batch_size)
        scores = validate(model, batches, truth=bank.truth["val"], categories=bank.categories)  # type: ignore[arg-type]
        spent["evaluate"] += time.process_time() - began
        return {name: scores[name] for name in SIZES if name in scores}

    at = tuple(max(round(settings.steps * part), 1) for part in LATE)
    schedule = Schedule(
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        optimiser=settings.optimiser,
        warmup=settings.warmup,
        clip=settings.clip,
        rungs=at,
    )
    began = time.process_time()
    late = [
        {name: report.scores[name] for name in SIZES if name in report.scores}
        for report in optimise(detector, schedule, loss=loss, evaluate=lambda: scored(detector))
    ]
    step_all(settings.steps - 1)
    ways = {"last": late[-1]}
    for count in (2, 3, 4):
        ways[f"mean of the last {count}"] = {
            name: float(np.mean([one[name] for one in late[-count:]])) for name in late[-1]
        }
    for decay, average in averages.items():
        ways[f"EMA {decay}"] = scored(average)
    whole = time.process_time() - began
    evaluations = len(LATE) + len(DECAYS)
    return {
        "ways": ways,
        "evaluation": spent["evaluate"] / evaluations,
        "follow": spent["follow"] / len(DECAYS),
        "steps": whole - spent["evaluate"] - spent["follow"],
    }


def _batches(bank: Bank, levels: tuple[int, ...], size: int) -> Iterator[Batch]:
    val = bank.val
    for start in range(0, len(val.image_ids), size):
        rows = slice(start, start + size)
        features = {level: val.features[level][rows] for level in levels}
        yield features, val.image_ids[rows], val.scales[rows]


def main() -> None:
    """Train what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--necks", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    run = read_run(given.run)
    question = read_question(run)
    steps = prepare(run, question.levels, warmup_neck=question.warmup_neck)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            bank = cached_bank(end.value.bank)
            break
    necks = choose_necks(question, bank, CalibrateSettings(necks=given.necks), seed=0)
    file = run.folder / "averaged.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    known = {(row["neck"], row["seed"], row["bank"]) for row in rows}
    for seed in range(given.seeds):
        for neck in necks:
            if (neck.neck, seed, bank.key) in known:
                continue
            result = train_once(neck.text, bank, run.settings.proxy, seed)
            row = {"neck": neck.neck, "seed": seed, "bank": bank.key, **result}
            rows.append(row)
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")
            print(
                neck.why, seed, {k: round(v["ap"], 4) for k, v in row["ways"].items()}, flush=True
            )
    rows = [row for row in rows if row["bank"] == bank.key]
    command = f"python benchmarks/{Path(__file__).name} {' '.join(sys.argv[1:])}"
    proxy = run.settings.proxy
    about = (
        f"{len({row['neck'] for row in rows})} necks × {len({row['seed'] for row in rows})} seeds, "
        f"{proxy.steps} steps of {proxy.batch_size} at {proxy.image_size} px, "
        f"{len(bank.val.image_ids)} val images; one thread."
    )
    text = page(rows, command=command, about=about)
    print(text)
    if given.write:
        (RESULTS / "averaged.md").write_text(text, encoding="utf-8")


def table_of(rows: list[dict[str, Any]], way: str, name: str) -> np.ndarray[Any, Any]:
    """[necks, seeds] of a score, NaN where a training is missing."""
    necks = sorted({row["neck"] for row in rows})
    seeds = sorted({row["seed"] for row in rows})
    table = np.full((len(necks), len(seeds)), np.nan)
    for row in rows:
        place = necks.index(row["neck"]), seeds.index(row["seed"])
        table[place] = row["ways"][way].get(name, np.nan)
    return table


def page(rows: list[dict[str, Any]], *, command: str, about: str) -> str:
    """The table of ways, and what follows."""
    ways = list(rows[0]["ways"])
    evaluation = float(np.mean([row["evaluation"] for row in rows]))
    follow_ = float(np.mean([row["follow"] for row in rows]))
    steps = float(np.mean([row["steps"] for row in rows]))
    lines = ["# The score of a short training: last, mean, or EMA", "", f"`{command}`", "", about]
    lines += [
        "",
        "| score | AP, mean | noise (sd between seeds) | 90 % | between necks | between / noise | "
        "tau of two seeds | noise AP_s, AP_m, AP_l | CPU s a training |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for way in ways:
        table = table_of(rows, way, "ap")
        found = resolution_of(table)
        low, high = _interval(table)
        sizes = [resolution_of(table_of(rows, way, name)).noise for name in SIZES[1:]]
        extra = evaluation
        if way.startswith("mean"):
            extra = evaluation * int(way.rsplit(" ", 1)[1])
        if way.startswith("EMA"):
            extra = evaluation + follow_
        lines.append(
            f"| {way} | {np.nanmean(table):.4f} | {found.noise:.4f} | {low:.4f} to {high:.4f} | "
            f"{found.between:.4f} | {found.between / found.noise:.2f} | {_own_tau(table):.2f} | "
            f"{', '.join('–' if math.isnan(x) else f'{x:.4f}' for x in sizes)} | "
            f"{steps + extra:.1f} |"
        )
    lines += [
        "",
        "The noise is the residual of a two-way layout (necks, seeds): luck that all necks of a "
        "seed share moves no ranking. 90 %: bootstrap over necks. All ways are of the same "
        "trainings. tau of two seeds: Kendall's, between the rankings of single seeds, the mean "
        "over all pairs of seeds.",
        "",
        f"An evaluation takes {evaluation:.2f} CPU s, to follow with one average {follow_:.2f}, "
        f"all steps {steps:.1f}.",
        "",
    ]
    return "\n".join(lines)


def _interval(table: np.ndarray[Any, Any]) -> tuple[float, float]:
    chance = np.random.default_rng(0)
    whole = table[~np.isnan(table).any(1)]
    rest = whole - whole.mean(1, keepdims=True) - whole.mean(0) + whole.mean()
    free = (whole.shape[0] - 1) * (whole.shape[1] - 1) / whole.shape[0]
    each = (rest**2).sum(1) / free  # of each neck, [necks]
    drawn = [np.sqrt(chance.choice(each, len(each)).mean()) for _ in range(BOOTSTRAP)]
    low, high = np.quantile(drawn, [0.05, 0.95])
    return float(low), float(high)


def _own_tau(table: np.ndarray[Any, Any]) -> float:
    seeds = range(table.shape[1])
    pairs = [agreement(table[:, [a]], table[:, [b]]).tau for a in seeds for b in seeds if a < b]
    return float(np.mean(pairs)) if pairs else float("nan")


if __name__ == "__main__":
    main()
