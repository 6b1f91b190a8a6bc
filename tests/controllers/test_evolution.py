"""Regularised evolution: who lives, who is a parent, and which children are not proposed."""

from pathlib import Path

import pytest

from nas_fpn.errors import RunError
from nas_fpn.language import Choice
from nas_fpn.record import Genotype, Outcome, State, Trial
from nas_fpn.search.controller import Controller, Problem
from nas_fpn.search.loading import load_controller

FILE = Path(__file__).parents[2] / "controllers" / "evolution.py"
COUNTS = (3, 4, 1, 5, 2, 3)
PROBLEM = Problem(
    choices=tuple(Choice(f"a.choice{i}", count) for i, count in enumerate(COUNTS)),
    identity=lambda genotype: "".join(map(str, genotype[1:])),  # the first choice is idle
    describe=lambda _: {},
)


def make(problem: Problem = PROBLEM, **settings: object) -> Controller:
    return load_controller(FILE, problem, seed=0, settings=settings)


def distance(one: Genotype, other: Genotype) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def grow(controller: Controller, scores: dict[int, float], *, count: int = 4) -> list[Trial]:
    """A population of ``count``; a trial scores 0.1 if ``scores`` does not say otherwise."""
    trials = []
    for number in range(count):
        trials.append(controller.ask())
        controller.tell(trials[-1], Outcome("complete", {"ap": scores.get(number, 0.1)}, 300))
    return trials


def test_a_child_is_the_best_of_the_sample_with_one_choice_changed() -> None:
    controller = make(population=4, sample=4, more=0.0)
    trials = grow(controller, {2: 0.3})
    for _ in range(5):
        assert distance(controller.ask().genotype, trials[2].genotype) == 1


def test_with_the_chance_more_a_child_differs_in_more_than_one() -> None:
    controller = make(population=4, sample=4, more=0.9)
    trials = grow(controller, {2: 0.3})
    apart = {distance(controller.ask().genotype, trials[2].genotype) for _ in range(20)}
    assert max(apart) > 2


def test_the_oldest_leaves_however_good_it_is() -> None:
    controller = make(population=4, sample=4, more=0.0)
    trials = grow(controller, {0: 0.9, 3: 0.2})
    assert distance(controller.ask().genotype, trials[0].genotype) == 1
    controller.tell(Trial(4, (1, 3, 0, 4, 1, 2)), Outcome("complete", {"ap": 0.05}, 300))
    for _ in range(5):
        assert distance(controller.ask().genotype, trials[3].genotype) == 1


def test_a_child_equal_to_anything_proposed_is_not_proposed() -> None:
    controller = make(population=2, sample=2)
    grow(controller, {}, count=2)
    asked = [controller.ask() for _ in range(60)]
    assert len({PROBLEM.identity(trial.genotype) for trial in asked}) == 60


def test_when_all_necks_were_proposed_it_goes_on_with_those() -> None:
    small = Problem(PROBLEM.choices[4:], lambda g: str(g), lambda _: {})
    controller = make(small, population=2, sample=1, redraws=5)
    asked = [controller.ask().genotype for _ in range(12)]
    assert len(set(asked)) == 6


@pytest.mark.parametrize("state", ["stopped", "failed", "rejected"])
def test_what_has_no_score_at_the_full_budget_is_no_parent(state: State) -> None:
    controller = make(population=4, sample=4, more=0.0)
    scores = {"ap": 0.9} if state == "stopped" else {}
    for _ in range(3):
        controller.tell(controller.ask(), Outcome(state, scores, steps=100, reason="no memory"))
    best = controller.ask()
    controller.tell(best, Outcome("complete", {"ap": 0.1}, 300))
    for _ in range(5):
        assert distance(controller.ask().genotype, best.genotype) == 1


def test_a_repeated_neck_joins_if_it_was_not_told_before_and_only_once() -> None:
    controller = make(population=3, sample=3, more=0.0)
    trials = grow(controller, {0: 0.4}, count=3)
    same = Outcome("repeated", {"ap": 0.1}, steps=300, of=1)
    for number in (3, 4, 5):
        controller.tell(Trial(number, trials[1].genotype), same)  # nobody is pushed out
    assert distance(controller.ask().genotype, trials[0].genotype) == 1
    known = (1, 3, 0, 4, 1, 2)  # equals a baseline, say
    controller.tell(Trial(6, known), Outcome("repeated", {"ap": 0.5}, steps=300, of=0))
    assert distance(controller.ask().genotype, known) == 1


def test_of_several_objectives_a_parent_is_dominated_by_none() -> None:
    two = Problem(PROBLEM.choices, PROBLEM.identity, PROBLEM.describe, ("ap", "-gmacs"))
    controller = make(two, population=4, sample=4, more=0.0)
    front = []
    for scores in ((0.3, -2.0), (0.2, -3.0), (0.2, -1.0), (0.3, -2.5)):
        trial = controller.ask()
        controller.tell(trial, Outcome("complete", dict(zip(two.objectives, scores, strict=True))))
        if scores in {(0.3, -2.0), (0.2, -1.0)}:
            front.append(trial.genotype)
    parents = set()
    for _ in range(20):
        child = controller.ask().genotype
        near = [parent for parent in front if distance(child, parent) == 1]
        assert near
        parents.update(near if len(near) == 1 else ())
    assert parents == set(front)


def test_the_prior_is_asked_for_first_and_has_children() -> None:
    prior = ((0, 0, 0, 0, 0, 0), (2, 3, 0, 4, 1, 2))
    trusting = Problem(PROBLEM.choices, PROBLEM.identity, PROBLEM.describe, prior=prior)
    controller = make(trusting, population=2, sample=2, more=0.0)
    for genotype, score in zip(prior, (0.1, 0.2), strict=True):
        trial = controller.ask()
        assert trial.genotype == genotype
        controller.tell(trial, Outcome("complete", {"ap": score}, 300))
    assert distance(controller.ask().genotype, prior[1]) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"population": 0, "sample": 1}, "population must be at least 1, but got 0"),
        ({"population": 5}, r"sample must be in 1 .. population = 5, but is 10; set both"),
        ({"more": 1.0}, "more must be a chance"),
        ({"redraws": -1}, "redraws must be at least 0, but got -1"),
    ],
)
def test_wrong_settings_say_what_there_is(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RunError, match=message):
        make(**settings)
