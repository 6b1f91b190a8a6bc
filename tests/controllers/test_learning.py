"""Every controller but random search must beat random search on the planted tables.

Each race is run with a controller and with random search under the same seeds, hours and
measurements; Student's t of the paired differences must exceed what chance alone exceeds in one
case of a hundred; where it is looked at up to three times, in one of three hundred each. Seeds are
fixed, so that a test passes always or never.
"""

import random
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from nas_fpn.record import Outcome, Trial
from nas_fpn.search.controller import Controller, Problem
from nas_fpn.search.loading import load_controller
from tests.controllers.planted import PROBLEM, Make, race, students_t, tables

FOLDER = Path(__file__).parents[2] / "controllers"
LEARNING = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "random_search")
FEW, SOME = 4, 8  # seeds
TRIALS = 150
# Student's t at one in a hundred, seeds - 1 degrees of freedom.
BEYOND_CHANCE = {FEW: 4.541, SOME: 2.998}
LOOKS = {6: 4.456, 12: 3.334, 24: 2.982}  # the same after so many seeds, at one in three hundred


def make(name: str) -> Make:
    def made(problem: Problem, seed: int) -> Controller:
        return load_controller(FOLDER / f"{name}.py", problem, seed=seed, settings={})

    return made


@cache
def final(name: str, table: int, seed: int, workers: int) -> float:
    return race(make(name), tables()[table], seed=seed, trials=TRIALS, workers=workers)[-1]


def advantage(name: str, table: int, *, seeds: int, workers: int) -> float:
    runs = [(table, seed, workers) for seed in range(seeds)]
    return students_t([final(name, *run) - final("random_search", *run) for run in runs])


@pytest.mark.parametrize("name", LEARNING)
def test_a_controller_that_learns_beats_random_search(name: str) -> None:
    assert advantage(name, 0, seeds=FEW, workers=1) > BEYOND_CHANCE[FEW]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [16])  # one at a time: the test above
@pytest.mark.parametrize("table", range(3), ids=[table.name for table in tables()])
@pytest.mark.parametrize("name", LEARNING)
def test_it_does_so_on_every_table(name: str, table: int, workers: int) -> None:
    gained = {}
    for seeds, beyond in LOOKS.items():
        gained[seeds] = advantage(name, table, seeds=seeds, workers=workers)
        if gained[seeds] > beyond:
            return
    raise AssertionError(gained)


def test_random_search_does_not_beat_itself() -> None:
    other = [final("random_search", 0, seed + 100, 1) for seed in range(FEW)]
    here = [final("random_search", 0, seed, 1) for seed in range(FEW)]
    drawn = [a - b for a, b in zip(other, here, strict=True)]
    assert abs(students_t(drawn)) < BEYOND_CHANCE[FEW]


FRONTS = [name for name in LEARNING if name in {"evolution", "optuna_sampler", "surrogate"}]
WORST_AP, WORST_GMACS = 0.25, 20.0  # the corner that the area under a front is measured from


@cache
def front(name: str, table: int, seed: int) -> float:
    """The area that 120 necks dominate where AP and cost pull apart; four train at a time."""
    problem = replace(PROBLEM, objectives=("ap", "-gmacs"))
    controller = make(name)(problem, seed)
    order = random.Random(seed)
    training: list[Trial] = []
    points = []
    for _ in range(120):
        training.append(controller.ask())
        if len(training) == 4:
            trial = training.pop(order.randrange(4))
            gmacs = PROBLEM.describe(trial.genotype)["gmacs"]
            scores = {"ap": tables()[table].measured(trial.genotype, seed), "-gmacs": -gmacs}
            controller.tell(trial, Outcome("complete", scores, 300))
            points.append((tables()[table].truth(trial.genotype), WORST_GMACS - gmacs))
    area = saved = 0.0
    for ap, saving in sorted(points, reverse=True):
        area += max(0.0, saving - saved) * max(0.0, ap - WORST_AP)
        saved = max(saved, saving)
    return area


@pytest.mark.slow
@pytest.mark.parametrize("table", range(3), ids=[table.name for table in tables()])
@pytest.mark.parametrize("name", FRONTS)
def test_a_controller_that_keeps_a_front_finds_a_better_one(name: str, table: int) -> None:
    seeds = range(SOME)
    gained = [front(name, table, s) - front("random_search", table, s) for s in seeds]
    assert students_t(gained) > BEYOND_CHANCE[SOME]
