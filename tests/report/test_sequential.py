"""What is said of pairs, when, and how often it is wrong or found."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_fpn.errors import RunError
from nas_fpn.report import Next, VerdictPlan, decide, detectable, paired_gap

GOLDEN = Path(__file__).parents[1] / "golden" / "report"
ONE = (("mine", "panet"),)
BOTH = (*ONE, ("mine", "panet at equal cost"))
few = settings(max_examples=60, deadline=None, derandomize=True, database=None)
SCORES = st.lists(st.floats(0, 1, width=32), min_size=0, max_size=12)


def said(gaps: list[float], **asked: object):
    plan = VerdictPlan(pairs=ONE, **asked)
    scores = {"mine": [0.3 + gap for gap in gaps], "panet": [0.3] * len(gaps)}
    return decide(scores, plan).pairs[0]


def simulated(plan: VerdictPlan, shifts: list[float], *, runs: int):
    """Decisions of whole verdicts; neck i found is ``shifts[i]`` better, the noise is normal."""
    chance = np.random.default_rng(0)
    names = [found for found, _ in plan.pairs]
    for _ in range(runs):
        luck = chance.normal(0, 1, plan.max_seeds)
        scores = {
            name: (shift + luck + chance.normal(0, 1, plan.max_seeds)).tolist()
            for name, shift in zip([*names, "panet"], [*shifts, 0.0], strict=True)
        }
        yield decide(scores, plan)


def test_nothing_is_said_before_the_first_look() -> None:
    assert said([0.1, 0.1001]).outcome == "continue"
    assert said([0.1, 0.1001]).half == math.inf
    assert math.isnan(said([0.1]).sd)


def test_a_clear_difference_is_said_at_once_and_in_its_direction() -> None:
    gaps = [0.100, 0.102, 0.101]
    assert said(gaps).outcome == "better"
    assert said([-gap for gap in gaps]).outcome == "worse"
    assert said(gaps).half == pytest.approx(said([-gap for gap in gaps]).half)


def test_at_the_last_seed_something_is_said() -> None:
    gaps = [0.02, -0.01, 0.03, 0.0, 0.02, -0.01, 0.03, 0.01]
    assert said(gaps[:7], max_seeds=8).outcome == "continue"
    assert said(gaps, max_seeds=8).outcome == "not shown"


def test_when_the_budget_ends_what_is_open_is_not_shown() -> None:
    plan = VerdictPlan(pairs=ONE)
    scores = {"mine": [0.32, 0.33, 0.31], "panet": [0.30, 0.32, 0.305]}
    assert decide(scores, plan).pairs[0].outcome == "continue"
    ended = decide(scores, plan, ended=True)
    assert ended.pairs[0].outcome == "not shown"
    assert ended.due == ()


def test_what_has_no_hope_is_given_up_unless_asked_otherwise() -> None:
    gaps = [-0.02, -0.03, 0.0]
    assert said(gaps).outcome == "not shown"
    assert said(gaps, give_up=False).outcome == "continue"


def test_one_look_is_students_interval() -> None:
    ours, theirs = [0.31, 0.35, 0.30, 0.33], [0.30, 0.31, 0.29, 0.30]
    plan = VerdictPlan(pairs=ONE, min_seeds=4, max_seeds=4)
    pair = decide({"mine": ours, "panet": theirs}, plan).pairs[0]
    usual = paired_gap(ours, theirs)
    assert (pair.mean, pair.half) == pytest.approx((usual.mean, usual.half), rel=1e-3)


@few
@given(ours=SCORES, theirs=SCORES)
def test_the_interval_leaves_out_zero_exactly_where_a_side_is_taken(
    ours: list[float], theirs: list[float]
) -> None:
    pair = decide({"mine": ours, "panet": theirs}, VerdictPlan(pairs=ONE)).pairs[0]
    takes_side = pair.outcome in ("better", "worse")
    assert takes_side == (pair.seeds >= 3 and abs(pair.mean) > pair.half)
    if takes_side:
        assert (pair.outcome == "better") == (pair.mean > 0)


@few
@given(ours=SCORES, theirs=SCORES)
def test_swapping_the_sides_swaps_better_and_worse(ours: list[float], theirs: list[float]) -> None:
    plan = VerdictPlan(pairs=ONE, give_up=False)
    one = decide({"mine": ours, "panet": theirs}, plan).pairs[0].outcome
    other = decide({"mine": theirs, "panet": ours}, plan).pairs[0].outcome
    assert {"better": "worse", "worse": "better"}.get(one, one) == other


@few
@given(ours=SCORES, theirs=SCORES, more=SCORES)
def test_what_was_said_stands_whatever_comes_later(
    ours: list[float], theirs: list[float], more: list[float]
) -> None:
    n = min(len(ours), len(theirs))
    plan = VerdictPlan(pairs=ONE)
    before = decide({"mine": ours[:n], "panet": theirs[:n]}, plan).pairs[0]
    after = decide({"mine": ours[:n] + more, "panet": theirs[:n] + more}, plan).pairs[0]
    if before.outcome != "continue":
        assert after == before


@few
@given(ours=SCORES, theirs=SCORES, others=SCORES, more=SCORES)
def test_what_was_said_of_the_first_control_stands_whatever_the_second_says(
    ours: list[float], theirs: list[float], others: list[float], more: list[float]
) -> None:
    alone = decide({"mine": ours, "panet": theirs}, VerdictPlan(pairs=ONE))
    scores = {"mine": ours, "panet": theirs, "panet at equal cost": others}
    for equal in (others, others + more):
        both = decide(scores | {"panet at equal cost": equal}, VerdictPlan(pairs=BOTH))
        assert both.pairs[0] == alone.pairs[0]
        assert (both.pairs[1].outcome == "not reached") == (alone.pairs[0].outcome != "better")


@few
@given(ours=SCORES, theirs=SCORES)
def test_training_what_is_due_leads_to_an_end(ours: list[float], theirs: list[float]) -> None:
    plan = VerdictPlan(pairs=(("a", "panet"), ("b", "panet")), max_seeds=6)
    drawn = {"a": [0.5, *ours] * 7, "b": [0.4, 0.2, *theirs] * 7, "panet": [0.3, 0.1, 0.2, 0.3] * 2}
    scores: dict[str, list[float]] = {}
    rounds = 0
    while due := decide(scores, plan).due:
        rounds += 1
        for one in due:
            assert one.place == len(scores.setdefault(one.neck, []))
            scores[one.neck].append(drawn[one.neck][one.place])
    assert rounds <= 4
    assert all(pair.outcome != "continue" for pair in decide(scores, plan).pairs)
    assert max(map(len, scores.values())) <= 6


def test_a_control_goes_on_only_as_long_as_a_pair_needs_it() -> None:
    plan = VerdictPlan(pairs=(("a", "panet"), ("b", "fpn")))
    scores = {
        "a": [0.5, 0.51, 0.52],
        "panet": [0.3, 0.31, 0.32],
        "b": [0.32, 0.35, 0.33],
        "fpn": [0.3, 0.33, 0.325],
    }
    decision = decide(scores, plan)
    assert [pair.outcome for pair in decision.pairs] == ["better", "continue"]
    assert decision.due == (Next("b", 3), Next("fpn", 3))
    assert decision.better == decision.pairs[:1]
    assert decision.beats_all("a")
    assert not decision.beats_all("b")
    assert not decision.beats_all("nobody")


def test_controls_are_taken_one_after_the_other() -> None:
    plan = VerdictPlan(pairs=BOTH)
    assert {one.neck for one in decide({}, plan).due} == {"mine", "panet"}
    scores = {"mine": [0.5, 0.51, 0.52], "panet": [0.3, 0.31, 0.32]}
    decision = decide(scores, plan)
    assert [pair.outcome for pair in decision.pairs] == ["better", "continue"]
    assert decision.due == tuple(Next("panet at equal cost", place) for place in range(3))
    assert not decision.beats_all("mine")
    both = decide({**scores, "panet at equal cost": [0.2, 0.21, 0.221]}, plan)
    assert both.beats_all("mine") and both.due == ()


def test_a_neck_that_one_control_stops_is_not_held_against_the_next() -> None:
    plan = VerdictPlan(pairs=BOTH)
    scores = {"mine": [0.30, 0.30, 0.33], "panet": [0.32, 0.33, 0.33]}
    easy = {"panet at equal cost": [0.1, 0.11, 0.121]}  # as another neck found has needed it
    for seen in (scores, scores | easy):
        decision = decide(seen, plan)
        assert [pair.outcome for pair in decision.pairs] == ["not shown", "not reached"]
        assert decision.pairs[1].differences == ()
        assert decision.due == () and not decision.beats_all("mine")


def test_controls_need_no_share_of_the_error_and_necks_found_do() -> None:
    one, both = VerdictPlan(pairs=ONE), VerdictPlan(pairs=BOTH)
    assert both.bounds == one.bounds
    assert VerdictPlan(pairs=(*ONE, ("b", "panet"))).bounds[0] > one.bounds[0]


@pytest.mark.parametrize("first", [0.0, 3.0])
def test_a_neck_that_is_better_than_one_control_only_rarely_wins(first: float) -> None:
    """Whichever control it is that it does not beat; 2.5 % at most are expected."""
    plan = VerdictPlan(pairs=BOTH, max_seeds=6)
    chance = np.random.default_rng(0)
    wins = wrong = 0
    for _ in range(2000):
        mine, panet, equal = chance.normal(0, 1, (3, plan.max_seeds))
        scores = {
            "mine": mine.tolist(),
            "panet": (panet - first).tolist(),
            "panet at equal cost": (equal - 3.0 * (first == 0)).tolist(),
        }
        decision = decide(scores, plan)
        wins += decision.beats_all("mine")
        wrong += any(pair.control == ("panet at equal cost" if first else "panet")
                     for pair in decision.better)  # fmt: skip
    assert wins <= wrong <= 70


def test_necks_that_never_differ_are_not_told_apart() -> None:
    assert said([0.0, 0.0, 0.0], max_seeds=3).outcome == "not shown"


@pytest.mark.parametrize("give_up", [True, False])
def test_of_equal_necks_few_are_called_better(give_up: bool) -> None:
    plan = VerdictPlan(pairs=(("a", "panet"), ("b", "panet")), max_seeds=6, give_up=give_up)
    decisions = list(simulated(plan, [0.0, 0.0], runs=2000))
    wins = sum(bool(decision.better) for decision in decisions)
    assert wins <= 70  # 50 at most are expected: 2.5 % of 2,000, and three standard deviations
    if not give_up:
        wrong = sum(any(p.outcome != "not shown" for p in one.pairs) for one in decisions)
        assert 60 <= wrong <= 130  # 100 at most are expected; the pairs share a control


def test_worse_necks_are_never_called_better() -> None:
    plan = VerdictPlan(pairs=(("a", "panet"), ("b", "panet")), max_seeds=6)
    assert not any(decision.better for decision in simulated(plan, [-1.0, -2.0], runs=500))


@pytest.mark.parametrize("most", [3, 6, 10])
def test_the_smallest_detectable_difference_is_detected_as_often_as_it_says(most: int) -> None:
    plan = VerdictPlan(pairs=ONE, max_seeds=most)
    shift = detectable(plan, math.sqrt(2))
    found = sum(bool(one.better) for one in simulated(plan, [shift], runs=1000))
    assert found >= 770  # 800 or more are expected, less two and a half standard deviations
    if most == 3:
        assert found <= 830


def test_a_budget_that_ends_early_detects_less_than_a_plan_that_ends_there() -> None:
    plan = VerdictPlan(pairs=ONE, max_seeds=10)
    assert detectable(plan, 1.0, seeds=10) == detectable(plan, 1.0)
    assert detectable(plan, 1.0, seeds=5) > detectable(VerdictPlan(pairs=ONE, max_seeds=5), 1.0)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("no_pairs", {"pairs": ()}),
        ("pair_twice", {"pairs": (*ONE, *ONE)}),
        ("own_control", {"pairs": (("panet", "panet"),)}),
        ("one_seed", {"pairs": ONE, "min_seeds": 1}),
        ("fewer_at_most", {"pairs": ONE, "min_seeds": 5, "max_seeds": 4}),
        ("error_above_one", {"pairs": ONE, "error": 5.0}),
    ],
)
def test_a_plan_that_cannot_be_says_why(name: str, asked: dict[str, object]) -> None:
    with pytest.raises(RunError) as error:
        VerdictPlan(**asked)
    golden = GOLDEN / f"verdict_plan_{name}.txt"
    assert str(error.value) + "\n" == golden.read_text(encoding="utf-8")
