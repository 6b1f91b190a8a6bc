"""The screen: who stays, what it costs, and that it finds what one score hides."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_fpn.errors import RunError
from nas_fpn.report import ScreeningPlan, screen, screening_cost

GOLDEN = Path(__file__).parents[1] / "golden" / "report"
few = settings(max_examples=60, deadline=None, derandomize=True, database=None)
PLANS = st.builds(
    ScreeningPlan,
    keep=st.integers(1, 20),
    finalists=st.integers(1, 5),
    seeds=st.integers(1, 3),
)


def run(truth: np.ndarray, plan: ScreeningPlan, *, seed: int) -> tuple[tuple[str, ...], int]:
    """The finalists of a screen with noise 1, and the trainings that it took."""
    chance = np.random.default_rng(seed)
    scores = {str(i): [float(one + chance.normal())] for i, one in enumerate(truth)}
    cost = 0
    while due := screen(scores, plan).due:
        for one in due:
            assert one.place == len(scores[one.neck])
            scores[one.neck].append(float(truth[int(one.neck)] + chance.normal()))
            cost += 1
    return screen(scores, plan).left, cost


@few
@given(plan=PLANS, necks=st.integers(1, 30), seed=st.integers(0, 9))
def test_it_costs_what_was_said_and_ends_with_finalists(
    plan: ScreeningPlan, necks: int, seed: int
) -> None:
    left, cost = run(np.zeros(necks), plan, seed=seed)
    assert cost == screening_cost(plan, necks)
    assert len(left) == len(set(left)) == min(plan.keep, plan.finalists, necks)


def test_those_who_score_best_again_and_again_stay_best_first() -> None:
    scores = {"a": [0.1, 0.1], "b": [0.3, 0.3], "c": [0.2, 0.3], "d": [0.05, 0.9]}
    plan = ScreeningPlan(keep=3, finalists=2, seeds=1)
    done = screen(scores, plan)
    assert done.left == ("b", "c")
    assert done.due == ()


def test_of_equal_means_the_first_is_better() -> None:
    scores = {"a": [0.3, 0.3], "b": [0.3, 0.3]}
    assert screen(scores, ScreeningPlan(keep=2, finalists=1)).left == ("a",)


def test_few_necks_are_taken_as_they_are() -> None:
    assert screen({"a": [0.1], "b": [0.2]}, ScreeningPlan(finalists=2)).left == ("b", "a")
    assert screen({}, ScreeningPlan()).left == ()


def test_it_finds_a_better_neck_far_more_often_than_the_list_does() -> None:
    truth = np.zeros(64)
    truth[5] = 2.0
    screened = sum("5" in run(truth, ScreeningPlan(), seed=seed)[0] for seed in range(300))
    listed = sum("5" in run(truth, ScreeningPlan(keep=2), seed=seed)[0] for seed in range(300))
    assert screened >= 265
    assert listed <= 190


@pytest.mark.parametrize("name", ["keep", "finalists", "seeds"])
def test_nothing_to_keep_says_so(name: str) -> None:
    with pytest.raises(RunError) as error:
        ScreeningPlan(**{name: 0})
    golden = GOLDEN / f"screening_plan_{name}.txt"
    assert str(error.value) + "\n" == golden.read_text(encoding="utf-8")
