"""One suite for every controller: a file in controllers/ passes by being there, nothing more."""

import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from nas_fpn.language import Choice
from nas_fpn.record import Genotype, Outcome, Trial
from nas_fpn.search.controller import Controller, Problem
from nas_fpn.search.loading import load_controller

FILES = sorted((Path(__file__).parents[2] / "controllers").glob("*.py"))
COUNTS = (2, 5, 3, 1, 4, 2, 7, 3)
PROBLEM = Problem(
    choices=tuple(Choice(f"a.choice{i}", count) for i, count in enumerate(COUNTS)),
    identity=lambda genotype: "".join(map(str, genotype[1:])),  # the first choice is idle
    describe=lambda genotype: {f"option{i}": float(x) for i, x in enumerate(genotype)},
)
TWO = Problem(PROBLEM.choices, PROBLEM.identity, PROBLEM.describe, ("ap", "-latency_ms"))

Make = Callable[..., Controller]


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def make(request: pytest.FixtureRequest) -> Make:
    def made(seed: int = 0, problem: Problem = PROBLEM, **settings: object) -> Controller:
        return load_controller(request.param, problem, seed=seed, settings=settings)

    return made


def score(genotype: Genotype) -> float:
    return sum(x / (n - 1) for x, n in zip(genotype, COUNTS, strict=True) if n > 1) / len(COUNTS)


def outcome(trial: Trial, objectives: Iterable[str] = ("ap",)) -> Outcome:
    """Every way in which a trial ends, by its number."""
    scores = {name: score(trial.genotype) * (-1 if name[0] == "-" else 1) for name in objectives}
    match trial.number % 8:
        case 2:
            return Outcome("failed", reason="the score ap is nan at step 100")
        case 3:
            return Outcome("stopped", scores, steps=100)
        case 5:
            return Outcome("rejected", reason="gmacs 2.0 is above the limit 1.0")
        case 6:
            return Outcome("repeated", scores, steps=300, of=0)
        case _:
            return Outcome("complete", scores, steps=300)


Event = tuple[str, Trial]


def search(controller: Controller, asks: int, *, workers: int, chance: int = 0) -> list[Event]:
    """The asks and tells of a search in which trials end in any order."""
    order = random.Random(chance)
    events: list[Event] = []
    running: list[Trial] = []
    for _ in range(asks):
        if len(running) == workers:
            trial = running.pop(order.randrange(workers))
            controller.tell(trial, outcome(trial))
            events.append(("tell", trial))
        running.append(controller.ask())
        events.append(("ask", running[-1]))
    return events


def test_asks_are_genotypes_of_the_space_and_numbered_in_order(make: Make) -> None:
    asked = [trial for what, trial in search(make(), 40, workers=1) if what == "ask"]
    assert [trial.number for trial in asked] == list(range(40))
    for trial in asked:
        assert len(trial.genotype) == len(COUNTS)
        assert all(
            type(x) is int and 0 <= x < n for x, n in zip(trial.genotype, COUNTS, strict=True)
        )


def test_one_seed_gives_the_same_asks_and_another_seed_others(make: Make) -> None:
    first, again, other = (search(make(seed), 30, workers=3) for seed in (4, 4, 5))
    assert first == again
    assert first != other


def test_asks_differ_from_one_another(make: Make) -> None:
    asked = {trial.genotype for what, trial in search(make(), 20, workers=1) if what == "ask"}
    assert len(asked) > 15


def test_sixty_four_asks_in_flight_are_told_in_any_order(make: Make) -> None:
    controller = make()
    events = search(controller, 130, workers=64, chance=1)
    assert sum(what == "ask" for what, _ in events) == 130
    told = {trial.number for what, trial in events if what == "tell"}
    running = [trial for what, trial in events if what == "ask" and trial.number not in told]
    for trial in reversed(running):
        controller.tell(trial, outcome(trial))
    assert controller.ask().number == 130


@pytest.mark.parametrize("workers", [1, 8])
def test_replay_of_a_recorded_history_gives_the_same_next_ask(make: Make, workers: int) -> None:
    controller = make(seed=3)
    events = search(controller, 40, workers=workers, chance=2)
    replayed = make(seed=3)
    for what, trial in events:
        if what == "ask":
            assert replayed.ask() == trial
        else:
            replayed.tell(trial, outcome(trial))
    assert [replayed.ask() for _ in range(3)] == [controller.ask() for _ in range(3)]


def test_a_space_of_one_genotype_is_asked_for_again_and_again(make: Make) -> None:
    one = Problem((Choice("width", 1),), lambda _: "0", lambda _: {})
    controller = make(problem=one)
    for _ in range(12):
        trial = controller.ask()
        assert trial.genotype == (0,)
        controller.tell(trial, Outcome("complete", {"ap": 0.3}, steps=300))


def test_a_search_in_which_every_trial_fails_goes_on(make: Make) -> None:
    controller = make()
    for number in range(30):
        trial = controller.ask()
        assert trial.number == number
        controller.tell(trial, Outcome("failed", reason="RuntimeError: out of memory"))


def test_what_was_trained_may_differ_from_what_was_asked(make: Make) -> None:
    controller = make()
    for number in range(15):
        asked = controller.ask()
        genotype = tuple(n - 1 for n in COUNTS)
        trial = Trial(asked.number, genotype)
        controller.tell(trial, outcome(trial))
        assert asked.number == number


def test_several_objectives_are_told_at_once(make: Make) -> None:
    controller = make(problem=TWO)
    for number in range(30):
        trial = controller.ask()
        assert trial.number == number
        controller.tell(trial, outcome(trial, TWO.objectives))
