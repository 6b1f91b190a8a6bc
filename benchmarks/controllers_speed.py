"""What a controller costs: CPU milliseconds per ask and per tell, by the length of the history.

    OMP_NUM_THREADS=1 python benchmarks/controllers_speed.py [--write]

``--write`` puts the table into ``benchmarks/results/controllers_speed.md``. The space has 60
choices of 5 options. A history is told by way of ``problem.prior``, which every controller asks
for first; then the controller's own trials are timed, each told before the next is asked for.
Times are of the process, so that what else the machine does counts little; with more threads
than one they would count threads that spin.
"""

import argparse
import platform
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time

from nas_fpn.language import Choice
from nas_fpn.record import Genotype, Outcome
from nas_fpn.search.controller import Controller, Problem
from nas_fpn.search.loading import find_controller, load_controller

sys.path.insert(0, str(Path(__file__).parent))
from machine import processor

RESULTS = Path(__file__).parent / "results" / "controllers_speed.md"
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/controllers_speed.py --write"
CHOICES, OPTIONS = 60, 5
LENGTHS = (100, 1_000, 5_000)
TIMED = 32  # own trials after the history, of which the mean is shown


@dataclass(frozen=True)
class Row:
    """A controller, the longest history that it is asked to bear, and how many trials are timed."""

    file: str
    settings: Mapping[str, object] = field(default_factory=dict)
    longest: int = LENGTHS[-1]
    timed: int = TIMED


def sampler(name: str, *, longest: int = LENGTHS[-1], timed: int = TIMED, **more: object) -> Row:
    return Row("optuna_sampler", {"sampler": name, **more}, longest, timed)


ROWS = {
    "random_search": Row("random_search"),
    "evolution": Row("evolution"),
    "reinforce": Row("reinforce"),
    "ppo": Row("ppo"),
    "surrogate": Row("surrogate"),
    "optuna_sampler, TPE": sampler("TPESampler"),
    "optuna_sampler, TPE in groups": sampler("TPESampler", sampler_settings={"group": True}),
    "optuna_sampler, NSGA-II": sampler("NSGAIISampler"),
    "optuna_sampler, NSGA-III": sampler("NSGAIIISampler", longest=1_000),
    "optuna_sampler, CMA-ES of integers": sampler("CmaEsSampler", integers=True, longest=1_000),
    "optuna_sampler, GP": sampler("GPSampler", longest=100, timed=1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    given = parser.parse_args()
    lengths = " | ".join(f"ask, {n:,} | tell, {n:,}" for n in LENGTHS)
    rows = [f"| controller | {lengths} |", f"| --- |{' ---: |' * 2 * len(LENGTHS)}"]
    for name in [name for name in ROWS if given.only in name]:
        rows.append(row(name))
        print(rows[-1], file=sys.stderr, flush=True)
    text = "\n".join(
        [
            f"CPU milliseconds per ask and per tell after a history of so many trials, in a space "
            f"of {CHOICES} choices of {OPTIONS} options; means of {TIMED} trials (GP: one). A "
            "dash: not measured, as it would take too long. What the space itself needs to name "
            "and describe a neck comes on top (language.md).",
            "",
            *rows,
            "",
        ]
    )
    print(text)
    if given.write:
        RESULTS.write_text(
            f"# Cost of a controller\n\n`{COMMAND}` wrote this file, with Python "
            f"{platform.python_version()} on one core of {processor()}.\n\n{text}",
            encoding="utf-8",
        )


def row(name: str) -> str:
    cells = []
    for length in LENGTHS:
        if length > ROWS[name].longest:
            cells += ["–", "–"]
            continue
        asks, tells = milliseconds(ROWS[name], length)
        cells += [f"{asks:.2f}", f"{tells:.2f}"]
    return f"| {name} | {' | '.join(cells)} |"


def milliseconds(row: Row, length: int) -> tuple[float, float]:
    """The mean of an ask and of a tell after a history of ``length`` trials."""
    problem = Problem(
        choices=tuple(Choice(f"c{i}.option", OPTIONS) for i in range(CHOICES)),
        identity=lambda genotype: "".join(map(str, genotype)),
        describe=described,
        prior=drawn(length),
    )
    path = find_controller(row.file)
    controller = load_controller(path, problem, seed=0, settings=row.settings)
    for _ in range(length):
        ask_and_tell(controller)
    timed = [ask_and_tell(controller) for _ in range(row.timed)]
    asks, tells = (1e3 * sum(seconds) / row.timed for seconds in zip(*timed, strict=True))
    return asks, tells


def ask_and_tell(controller: Controller) -> tuple[float, float]:
    """The CPU seconds of both."""
    start = process_time()
    trial = controller.ask()
    between = process_time()
    outcome = Outcome("complete", {"ap": score(trial.genotype)}, steps=300)
    after = process_time()
    controller.tell(trial, outcome)
    return between - start, process_time() - after


def drawn(number: int) -> tuple[Genotype, ...]:
    chance = random.Random(0)
    return tuple(tuple(chance.randrange(OPTIONS) for _ in range(CHOICES)) for _ in range(number))


def described(genotype: Genotype) -> Mapping[str, float]:
    return {f"of{option}": float(genotype.count(option)) for option in range(OPTIONS)} | {
        f"depth{i}": float(sum(genotype[i : i + 4])) for i in range(0, CHOICES, 2)
    }


def score(genotype: Genotype) -> float:
    noise = random.Random(str(genotype)).gauss(0, 0.005)
    return 0.2 + 0.3 * sum(genotype) / (CHOICES * (OPTIONS - 1)) + noise


if __name__ == "__main__":
    main()
