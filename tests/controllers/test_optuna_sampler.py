"""Optuna's samplers by name, and what Optuna is told of trials that did not complete."""

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from nas_fpn.errors import RunError
from nas_fpn.language import Choice
from nas_fpn.record import Outcome, Trial
from nas_fpn.search.controller import Controller, Problem, generator
from nas_fpn.search.loading import load_controller

FILE = Path(__file__).parents[2] / "controllers" / "optuna_sampler.py"
GOLDEN = Path(__file__).parents[1] / "golden" / "controllers"
PROBLEM = Problem(
    choices=tuple(Choice(f"p{i}.operand1", 4) for i in range(6)),
    identity=lambda genotype: "".join(map(str, genotype)),
    describe=lambda _: {},
)


def make(problem: Problem = PROBLEM, **settings: object) -> Controller:
    return load_controller(FILE, problem, seed=0, settings=settings)


def best(controller: Controller, trials: int) -> float:
    scores = []
    for _ in range(trials):
        trial = controller.ask()
        scores.append(sum(trial.genotype) / 18)
        controller.tell(trial, Outcome("complete", {"ap": scores[-1]}, steps=300))
    return max(scores)


@pytest.mark.parametrize(
    ("sampler", "settings", "integers"),
    [
        ("RandomSampler", {}, False),
        ("TPESampler", {"n_startup_trials": 5, "multivariate": True}, False),
        ("NSGAIISampler", {"population_size": 10}, False),
        ("NSGAIIISampler", {"population_size": 10}, False),
        ("CmaEsSampler", {"n_startup_trials": 4, "with_margin": True}, True),
        ("GPSampler", {"n_startup_trials": 22}, False),
        ("QMCSampler", {}, False),
        ("BruteForceSampler", {}, False),
    ],
)
def test_a_sampler_is_named_by_its_class(
    sampler: str, settings: dict[str, object], integers: bool
) -> None:
    def asks() -> list[tuple[int, ...]]:
        controller = make(sampler=sampler, sampler_settings=settings, integers=integers)
        asked = []
        for _ in range(25):
            trial = controller.ask()
            asked.append(trial.genotype)
            score = sum(trial.genotype) / 18
            controller.tell(trial, Outcome("complete", {"ap": score}, steps=300))
        return asked

    asked = asks()
    assert asked == asks()
    assert len(set(asked)) > 10


def test_tpe_learns() -> None:
    assert best(make(), 80) > best(make(sampler="RandomSampler"), 80)


def test_states_are_told_truthfully() -> None:
    controller = make()
    ends = [
        Outcome("complete", {"ap": 0.5}, steps=300),
        Outcome("stopped", {"ap": 0.2}, steps=100),
        Outcome("failed", reason="RuntimeError: out of memory"),
        Outcome("rejected", reason="gmacs 2.0 is above the limit 1.0"),
        Outcome("repeated", {"ap": 0.5}, steps=300, of=0),
    ]
    for end in ends:
        controller.tell(controller.ask(), end)
    trials = controller._study.trials  # type: ignore[attr-defined]
    assert [trial.state for trial in trials] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.PRUNED,
        TrialState.COMPLETE,
    ]
    assert trials[1].intermediate_values == {100: 0.2}
    assert trials[3].constraints == {"limits": 1.0}
    assert trials[3].value is None
    assert trials[4].value == 0.5


def test_what_is_beyond_the_limits_is_proposed_less_and_less() -> None:
    controller = make()
    rejected = []
    for _ in range(60):
        trial = controller.ask()
        rejected.append(trial.genotype[0] > 1)  # half of the space
        outcome = (
            Outcome("rejected", reason="gmacs 2.0 is above the limit 1.0")
            if rejected[-1]
            else Outcome("complete", {"ap": sum(trial.genotype[1:]) / 15}, steps=300)
        )
        controller.tell(trial, outcome)
    assert sum(rejected[30:]) < 8


@pytest.mark.parametrize("sampler", ["TPESampler", "NSGAIISampler"])
def test_proposals_are_those_of_optunas_own_study(sampler: str) -> None:
    """That each trial has every choice is known beforehand, and changes no proposal."""
    settings = {"NSGAIISampler": {"population_size": 8}}.get(sampler, {})
    controller = make(sampler=sampler, sampler_settings=settings, redraws=0)
    study = optuna.create_study(direction="maximize")
    space = {choice.name: CategoricalDistribution(range(4)) for choice in PROBLEM.choices}
    for n in range(40):
        seed = generator(0, n).getrandbits(32)
        study.sampler = getattr(optuna.samplers, sampler)(seed=seed, **settings)
        theirs, ours = study.ask(space), controller.ask()
        assert tuple(theirs.params.values()) == ours.genotype
        study.tell(theirs, sum(ours.genotype) / 18)
        controller.tell(ours, Outcome("complete", {"ap": sum(ours.genotype) / 18}, steps=300))


def in_a_small_space(asks: int, **settings: object) -> tuple[list[str], Controller]:
    """What is asked for where twelve genotypes are nine necks and all score alike."""
    small = Problem(
        (Choice("a.merge", 4), Choice("a.block", 3)),
        identity=lambda genotype: f"{min(genotype[0], 2)}{genotype[1]}",
        describe=lambda _: {},
    )
    controller = make(small, **settings)
    necks = []
    for _ in range(asks):
        trial = controller.ask()
        necks.append(small.identity(trial.genotype))
        controller.tell(trial, Outcome("complete", {"ap": 0.3}, steps=300))
    return necks, controller


@pytest.mark.parametrize("sampler", ["TPESampler", "NSGAIISampler", "QMCSampler"])
def test_no_neck_is_asked_for_twice_while_there_are_others(sampler: str) -> None:
    necks, _ = in_a_small_space(9, sampler=sampler, redraws=2)
    assert len(set(necks)) == 9


def test_without_redraws_the_sampler_repeats_itself() -> None:
    necks, _ = in_a_small_space(9, redraws=0)
    assert len(set(necks)) < 9


def test_of_proposals_passed_over_no_sampler_learns() -> None:
    _, controller = in_a_small_space(12, redraws=2)
    states = [trial.state for trial in controller._study.trials]  # type: ignore[attr-defined]
    assert set(states) == {TrialState.COMPLETE, TrialState.FAIL}
    assert states.count(TrialState.COMPLETE) == 12


def test_going_through_all_does_not_end_the_search() -> None:
    necks, _ = in_a_small_space(14, sampler="BruteForceSampler")
    assert len(set(necks)) == 9


def test_what_was_trained_in_place_of_a_proposal_is_told() -> None:
    controller = make()
    ends = [
        Outcome("complete", {"ap": 0.5}, steps=300),
        Outcome("stopped", {"ap": 0.2}, steps=100),
        Outcome("failed", reason="RuntimeError: out of memory"),
    ]
    for end in ends:
        controller.tell(Trial(controller.ask().number, (3,) * 6), end)
    trials = controller._study.trials  # type: ignore[attr-defined]
    told = [trial for trial in trials if set(trial.params.values()) == {3}]
    assert [trial.state for trial in told] == [TrialState.COMPLETE, TrialState.PRUNED]
    assert told[0].value == 0.5
    assert told[1].intermediate_values == {100: 0.2}
    assert sum(trial.state == TrialState.FAIL for trial in trials) == 3


def test_the_prior_is_learnt_from_like_any_other() -> None:
    controller = make(replace(PROBLEM, prior=((1,) * 6, (2,) * 6)))
    for score in (0.1, 0.4, 0.2):
        controller.tell(controller.ask(), Outcome("complete", {"ap": score}, steps=300))
    trials = controller._study.trials  # type: ignore[attr-defined]
    assert [tuple(trial.params.values()) for trial in trials[:2]] == [(1,) * 6, (2,) * 6]
    assert [trial.value for trial in trials] == [0.1, 0.4, 0.2]


def front(trials: int, **settings: object) -> float:
    """The area that a search dominates where AP and speed pull apart."""
    controller = make(replace(PROBLEM, objectives=("ap", "-gmacs")), **settings)
    points = []
    for _ in range(trials):
        trial = controller.ask()
        bent = sum(x == 3 for x in trial.genotype) + sum(x == 1 for x in trial.genotype[:3])
        points.append((bent / 6, 1 - sum(trial.genotype) / 18))
        scores = {"ap": points[-1][0], "-gmacs": points[-1][1] - 1}
        controller.tell(trial, Outcome("complete", scores, steps=300))
    area = level = 0.0
    for ap, speed in sorted(points, reverse=True):
        area += max(0.0, speed - level) * ap
        level = max(level, speed)
    return area


@pytest.mark.parametrize(
    ("sampler", "settings"), [("TPESampler", {}), ("NSGAIISampler", {"population_size": 20})]
)
def test_of_several_objectives_the_front_is_learnt(
    sampler: str, settings: dict[str, object]
) -> None:
    learnt = front(120, sampler=sampler, sampler_settings=settings)
    assert learnt > front(120, sampler="RandomSampler")


def test_tpe_is_multivariate_for_several_objectives_too() -> None:
    def asks(**settings: object) -> float:
        return front(30, sampler_settings=settings)

    assert asks() == asks(multivariate=True) != asks(multivariate=False)


REFUSED: dict[str, dict[str, object]] = {
    "unknown_sampler": {"sampler": "TPE"},
    "sampler_not_offered": {"sampler": "GridSampler"},
    "unknown_sampler_setting": {"sampler_settings": {"startup": 3}},
    "type_of_sampler_setting": {"sampler_settings": {"n_startup_trials": 2.5}},
    "refused_by_sampler": {"sampler": "NSGAIISampler", "sampler_settings": {"population_size": 1}},
    "cma_es_of_categories": {"sampler": "CmaEsSampler"},
    "cma_es_of_stopped_trials": {
        "sampler": "CmaEsSampler",
        "integers": True,
        "sampler_settings": {"consider_pruned_trials": True},
    },
    "negative_redraws": {"redraws": -1},
    "type_of_sampler": {"sampler": 3},
}


def message(problem: Problem = PROBLEM, **settings: object) -> str:
    with pytest.raises(RunError) as caught:
        make(problem, **settings)
    return str(caught.value).replace(str(FILE), "optuna_sampler.py") + "\n"


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_settings_say_what_there_is(name: str) -> None:
    golden = GOLDEN / f"optuna_{name}.txt"
    assert message(**REFUSED[name]) == golden.read_text(encoding="utf-8")


def test_cma_es_refuses_several_objectives() -> None:
    two = replace(PROBLEM, objectives=("ap", "-latency_ms"))
    golden = GOLDEN / "optuna_cma_es_of_several_objectives.txt"
    found = message(two, sampler="CmaEsSampler", integers=True)
    assert found == golden.read_text(encoding="utf-8")
