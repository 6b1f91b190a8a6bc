"""The surrogate: what it learns from, what it proposes, and when it falls back on evolution."""

from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from nas_fpn.errors import RunError
from nas_fpn.language import Choice
from nas_fpn.record import Genotype, Outcome, State, Trial
from nas_fpn.search.controller import Controller, Problem
from nas_fpn.search.loading import load_controller

FILE = Path(__file__).parents[2] / "controllers" / "surrogate.py"
COUNTS = (3, 4, 1, 5, 2, 3, 4, 3)
PROBLEM = Problem(
    choices=tuple(Choice(f"a.choice{i}", count) for i, count in enumerate(COUNTS)),
    identity=lambda genotype: "".join(map(str, genotype[1:])),  # the first choice is idle
    describe=lambda genotype: {"sum": float(sum(genotype[1:])), "macs": 1e9 * genotype[3]},
)
BEST = sum(count - 1 for count in COUNTS[1:])


def make(problem: Problem = PROBLEM, **settings: object) -> Controller:
    return load_controller(FILE, problem, seed=0, settings=settings)


def distance(one: Genotype, other: Genotype) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def score(genotype: Genotype) -> float:
    return 0.2 + 0.01 * sum(genotype[1:])


def learn(controller: Controller, asks: int) -> list[Trial]:
    trials = []
    for _ in range(asks):
        trials.append(controller.ask())
        ap = score(trials[-1].genotype)
        controller.tell(trials[-1], Outcome("complete", {"ap": ap}, steps=300))
    return trials


def test_it_finds_what_is_planted() -> None:
    trials = learn(make(), 24)
    assert max(sum(trial.genotype[1:]) for trial in trials) == BEST


def test_it_learns_from_features_that_no_choice_says() -> None:
    def pairs(genotype: Genotype) -> int:
        return sum(a == b for a, b in pairwise(genotype[1:]))

    telling = replace(PROBLEM, describe=lambda g: {"pairs": float(pairs(g))})
    silent = replace(PROBLEM, describe=lambda g: {})
    found = []
    for problem in (telling, silent):
        controller, seen = make(problem), []
        for _ in range(30):
            trial = controller.ask()
            seen.append(pairs(trial.genotype))
            controller.tell(trial, Outcome("complete", {"ap": 0.1 * seen[-1]}, steps=300))
        found.append(sum(seen[10:]))
    assert found[0] > found[1]


def test_asks_in_flight_are_different_necks() -> None:
    controller = make()
    learn(controller, 12)
    asked = [controller.ask().genotype for _ in range(64)]
    assert len({PROBLEM.identity(genotype) for genotype in asked}) == 64
    apart = [distance(one, other) for one, other in combinations(asked, 2)]
    assert sum(apart) / len(apart) > 2  # not all of them around one place


def test_without_a_model_that_ranks_what_is_known_it_is_evolution() -> None:
    controller = make(parents=1, more=0.0, trust=1.0)
    best = max(learn(controller, 5), key=lambda trial: score(trial.genotype))
    for _ in range(5):
        assert distance(controller.ask().genotype, best.genotype) == 1


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_what_has_no_score_at_the_full_budget_is_not_learnt(state: State) -> None:
    with_them, without = make(), make()
    for number in range(20):
        ours, theirs = with_them.ask(), without.ask()
        assert ours == theirs
        ended = Outcome("complete", {"ap": score(ours.genotype)}, steps=300)
        if number % 3 == 0:
            scores = {"ap": 9.0} if state == "stopped" else {}
            with_them.tell(ours, Outcome(state, scores, steps=100, reason="no memory"))
            without.tell(theirs, Outcome("failed", reason="another"))
        else:
            with_them.tell(ours, ended)
            without.tell(theirs, ended)


def test_what_is_beyond_the_limits_is_hardly_proposed() -> None:
    controller = make()
    rejected = []
    for _ in range(60):
        trial = controller.ask()
        rejected.append(trial.genotype[3] > 2)  # costs more multiply-adds than allowed
        scores = {"ap": score(trial.genotype)}
        controller.tell(
            trial,
            Outcome("rejected", reason="gmacs 3 is above the limit 2")
            if rejected[-1]
            else Outcome("complete", scores, steps=300),
        )
    assert sum(rejected[20:]) < 4  # chance: 16


def test_a_repeated_neck_counts_once() -> None:
    once, often = make(), make()
    for controller in (once, often):
        learn(controller, 12)
    known = Trial(12, once.ask().genotype)
    often.ask()
    for controller, times in ((once, 1), (often, 3)):
        controller.tell(known, Outcome("complete", {"ap": score(known.genotype)}, steps=300))
        for number in range(13, 16):
            controller.ask()
            if number < 13 + times:
                same = Trial(number, (1 - known.genotype[0] % 2, *known.genotype[1:]))
                controller.tell(same, Outcome("repeated", {"ap": 0.9}, steps=300, of=12))
            else:
                controller.tell(Trial(number, known.genotype), Outcome("failed", reason="none"))
    assert once.ask() == often.ask()


def test_asks_for_several_objectives_spread_along_the_front() -> None:
    two = replace(PROBLEM, objectives=("ap", "-gmacs"))
    controller = make(two)
    heavy = []
    for _ in range(60):
        trial = controller.ask()
        heavy.append(sum(trial.genotype[1:]))
        scores = {"ap": score(trial.genotype), "-gmacs": -float(sum(trial.genotype[1:]))}
        controller.tell(trial, Outcome("complete", scores, steps=300))
    # Every neck is on this front: good ones are dear. Both of its ends are visited.
    assert min(heavy) <= 2
    assert max(heavy) >= BEST - 2


def test_equal_scores_are_no_reason_to_stop() -> None:
    controller = make()
    for _ in range(30):
        controller.tell(controller.ask(), Outcome("complete", {"ap": 0.0}, steps=300))
    assert controller.ask().number == 30


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": 1}, "start must be at least 2, but got 1"),
        ({"members": 0}, "members must be at least 1, but got 0"),
        ({"kappa": -1.0}, "kappa must be at least 0, but got -1.0"),
        ({"more": 1.0}, "more must be a chance"),
    ],
)
def test_wrong_settings_say_what_there_is(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RunError, match=message):
        make(**settings)
