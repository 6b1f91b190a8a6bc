"""Optuna's samplers by name, and what Optuna is told of trials that did not complete."""

from pathlib import Path

import pytest
from optuna.trial import TrialState

from nas_fpn.errors import RunError
from nas_fpn.language import Choice
from nas_fpn.record import Outcome
from nas_fpn.search.controller import Controller, Problem
from nas_fpn.search.loading import load_controller

FILE = Path(__file__).parents[2] / "controllers" / "optuna_sampler.py"
PROBLEM = Problem(
    choices=tuple(Choice(f"p{i}.operand1", 4) for i in range(6)),
    identity=lambda genotype: "".join(map(str, genotype)),
    describe=lambda _: {},
)


def make(**settings: object) -> Controller:
    return load_controller(FILE, PROBLEM, seed=0, settings=settings)


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
        ("QMCSampler", {}, True),
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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampler": "TPE"}, "sampler must be one of .*TPESampler.*, but got 'TPE'"),
        ({"sampler": "GridSampler"}, "sampler must be one of"),
        (
            {"sampler_settings": {"startup": 3}},
            "TPESampler has no setting startup; there are .*n_startup",
        ),
        ({"sampler": 3}, "sampler must be str, but got 3"),
    ],
)
def test_wrong_settings_say_what_there_is(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RunError, match=message):
        make(**settings)
