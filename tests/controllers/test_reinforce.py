"""REINFORCE: its gradient, its floor, its baseline, and what it makes of late and failed trials."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from controllers import reinforce
from nas_fpn.errors import RunError
from nas_fpn.language import Choice
from nas_fpn.record import Outcome, Trial
from nas_fpn.search.advantage import MovingBaseline
from nas_fpn.search.controller import Problem
from nas_fpn.search.loading import load_controller

FILE = Path(__file__).parents[2] / "controllers" / "reinforce.py"
COUNTS = [2, 5, 3, 1, 4]
PROBLEM = Problem(
    choices=tuple(Choice(f"c{i}", count) for i, count in enumerate(COUNTS)),
    identity=lambda genotype: "".join(map(str, genotype)),
    describe=lambda _: {},
)
PLACES = [(i, k) for i, count in enumerate(COUNTS) for k in range(count)]


def make(problem: Problem = PROBLEM, **settings: float) -> reinforce.Reinforce:
    return reinforce.controller(problem, seed=0, **settings)  # type: ignore[arg-type]


def plain(**changes: float) -> reinforce.Settings:
    values = {
        "learning_rate": 1.0,
        "entropy_weight": 0.0,
        "entropy_floor": 0.0,
        "most_ratio": 1.0,
        "penalty": 1.0,
    }
    return reinforce.Settings(**(values | changes))


def drawn_logits(seed: int = 0, scale: float = 1.0) -> reinforce.Table:
    drawn = np.random.default_rng(seed).normal(size=(len(COUNTS), max(COUNTS)), scale=scale)
    return np.where(reinforce.uniform_logits(COUNTS) == 0, drawn, reinforce.NEVER)


def gradient_of(function: Callable[[reinforce.Table], float], at: reinforce.Table) -> list[float]:
    """By central differences, at every option that there is."""
    slopes = []
    for place in PLACES:
        ahead, behind = at.copy(), at.copy()
        ahead[place] += 1e-5
        behind[place] -= 1e-5
        slopes.append((function(ahead) - function(behind)) / 2e-5)
    return slopes


def told(score: float) -> Outcome:
    return Outcome("complete", {"ap": score}, steps=300)


def test_a_step_is_the_gradient_of_the_log_probability_times_the_advantage() -> None:
    logits, genotype = drawn_logits(), (1, 3, 0, 0, 2)

    def log_probability(at: reinforce.Table) -> float:
        policy = reinforce.softmax(at)
        return 1.7 * sum(math.log(policy[i, k]) for i, k in enumerate(genotype))

    policy = reinforce.softmax(logits)
    step = reinforce.ascent(policy, policy, genotype, 1.7, plain())
    assert_allclose([step[place] for place in PLACES], gradient_of(log_probability, logits), 1e-6)


def test_the_bonus_is_the_gradient_of_the_entropy() -> None:
    logits = drawn_logits(1)
    step = reinforce.entropy_ascent(reinforce.softmax(logits))
    slopes = gradient_of(lambda at: float(reinforce.entropy(reinforce.softmax(at)).sum()), logits)
    assert_allclose([step[place] for place in PLACES], slopes, 1e-5, 1e-9)


def test_probabilities_sum_to_one_and_padding_has_none() -> None:
    for scale in (0.0, 1.0, 300.0):
        policy = reinforce.softmax(drawn_logits(2, scale))
        assert_allclose(policy.sum(axis=1), 1.0)
        assert sum(policy[place] for place in PLACES) == pytest.approx(len(COUNTS))


@pytest.mark.parametrize("floor", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_the_entropy_floor_holds_and_keeps_the_order_of_options(floor: float, scale: float) -> None:
    logits = drawn_logits(3, scale)
    floored = reinforce.with_floor(logits, floor)
    entropies = reinforce.entropy(reinforce.softmax(floored))
    assert (entropies >= floor * np.log(COUNTS) - 1e-12).all()
    if floor < 1:
        assert_array_equal(floored.argsort(axis=1), logits.argsort(axis=1))


def test_what_is_above_the_floor_is_left_alone() -> None:
    assert_array_equal(reinforce.with_floor(drawn_logits(4, 0.1), 0.2), drawn_logits(4, 0.1))


def test_the_floor_holds_in_a_search_that_is_always_right() -> None:
    controller = make(entropy_floor=0.3)
    for _ in range(200):
        trial = controller.ask()
        controller.tell(trial, told(float(trial.genotype == (1, 4, 2, 0, 3))))
        entropies = reinforce.entropy(controller._policy)
        assert (entropies >= 0.3 * np.log(COUNTS) - 1e-12).all()


def test_the_ratio_of_each_choice_weighs_its_late_score_and_is_truncated() -> None:
    now, then = (reinforce.softmax(drawn_logits(seed)) for seed in (5, 6))
    genotype = (0, 2, 1, 0, 3)
    late = reinforce.ascent(now, then, genotype, 1.0, plain(most_ratio=1.2))
    prompt = reinforce.ascent(now, now, genotype, 1.0, plain())
    ratios = np.array([min(now[i, k] / then[i, k], 1.2) for i, k in enumerate(genotype)])
    assert ratios.min() < 1 and ratios.max() == 1.2
    assert_allclose(late, ratios[:, None] * prompt)


def test_the_baseline_is_the_moving_mean_of_the_scores_before() -> None:
    scores = [0.30, 0.32, 0.27, 0.35, 0.31]
    baseline = MovingBaseline(0.8)
    found = [baseline.advantage(score) for score in scores]
    expected = [0.0]
    for n in range(1, len(scores)):
        before = np.average(scores[:n], weights=0.8 ** np.arange(n)[::-1])
        weights = 0.8 ** np.arange(n + 1)[::-1]
        mean = np.average(scores[: n + 1], weights=weights)
        variance = np.average((np.array(scores[: n + 1]) - mean) ** 2, weights=weights)
        expected.append((scores[n] - before) / math.sqrt(variance))
    assert_allclose(found, expected)


def test_equal_scores_teach_nothing() -> None:
    controller = make(entropy_weight=0.0)
    for _ in range(10):
        controller.tell(controller.ask(), told(0.3))
    assert_array_equal(controller._logits, reinforce.uniform_logits(COUNTS))


def test_the_unit_of_the_score_does_not_matter() -> None:
    asked = []
    for unit in (1.0, 1000.0):
        controller = make()
        asked.append([])
        for _ in range(40):
            trial = controller.ask()
            asked[-1].append(trial)
            controller.tell(trial, told(unit * sum(trial.genotype)))
    assert asked[0] == asked[1]


def test_stopped_trials_teach_nothing_and_rejected_ones_are_avoided() -> None:
    controller = make(entropy_weight=0.0)
    stopped = Outcome("stopped", {"ap": 0.9}, steps=100)
    controller.tell(controller.ask(), stopped)
    assert_array_equal(controller._logits, reinforce.uniform_logits(COUNTS))
    for _ in range(5):
        trial = controller.ask()
        rejected = Outcome("rejected", reason="gmacs 2.0 is above the limit 1.0")
        before = controller._policy
        controller.tell(trial, rejected)
        for i, k in enumerate(trial.genotype):
            assert controller._policy[i, k] < before[i, k] or COUNTS[i] == 1


def test_priors_come_first_and_are_learnt_from() -> None:
    prior = ((1, 4, 2, 0, 3), (0, 0, 0, 0, 0))
    controller = make(Problem(PROBLEM.choices, PROBLEM.identity, PROBLEM.describe, prior=prior))
    asked = [controller.ask() for _ in range(3)]
    assert tuple(trial.genotype for trial in asked[:2]) == prior
    controller.tell(asked[1], told(0.2))
    controller.tell(asked[0], told(0.4))
    assert all(controller._policy[i, k] > 1 / COUNTS[i] for i, k in enumerate(prior[0]) if k)


def test_a_neck_is_proposed_again_only_after_the_redraws() -> None:
    two = Problem((Choice("c", 3),), lambda genotype: str(genotype[0] > 0), lambda _: {})
    controller = make(two)
    first, second, third = (controller.ask() for _ in range(3))
    assert (first.genotype[0] > 0) != (second.genotype[0] > 0)
    assert third.number == 2


def test_a_policy_that_has_settled_still_finds_new_necks() -> None:
    controller = make()
    asked = set()
    for _ in range(120):  # that is the whole space
        trial = controller.ask()
        asked.add(trial.genotype)
        controller.tell(trial, told(float(sum(trial.genotype))))
    assert len(asked) > 110


def test_it_learns_which_options_are_good() -> None:
    controller = make()
    for _ in range(150):
        trial = controller.ask()
        controller.tell(trial, told(sum(trial.genotype)))
    assert controller._policy[1, 3:].sum() > 0.8 and controller._policy[0, 1] > 0.8


def test_a_trial_that_was_trained_with_another_genotype_is_learnt_from_as_trained() -> None:
    controller = make(entropy_weight=0.0)
    controller.tell(controller.ask(), told(0.3))
    controller.tell(Trial(controller.ask().number, (1, 4, 2, 0, 3)), told(0.5))
    assert controller._policy[1, 4] > 0.2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": -1.0}, r"learning_rate must be in \[0, inf\], but got -1"),
        ({"entropy_floor": 1.5}, r"entropy_floor must be in \[0, 1\], but got 1.5"),
        ({"redraws": -1}, r"redraws must be in \[0, inf\], but got -1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RunError, match=message):
        load_controller(FILE, PROBLEM, seed=0, settings=settings)
