"""The plan of a run's minutes: never more than there is, most of it used, more for more."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nas_fpn.errors import RunError
from nas_fpn.proxy.timing import Timing
from nas_fpn.run.plan import (
    KEPT,
    LEAST,
    WANTED,
    Measured,
    TimePlan,
    Wishes,
    fidelities,
    margin_of,
    plan_time,
)
from nas_fpn.run.plan_text import plan_json, plan_text

GOLDEN = Path(__file__).parents[1] / "golden" / "run"

USUAL = Timing(step_s=0.02, evaluation_s=0.5, setup_s=0.1)
DEAR = Timing(step_s=0.04, evaluation_s=0.7, setup_s=0.1)
MEASURED = Measured(usual=USUAL, dear=DEAR, controls=(USUAL, USUAL, DEAR))
WISHES = Wishes(seconds=600.0, spent=60.0, steps=fidelities(300), evaluations=3)

timings = st.builds(
    Timing,
    step_s=st.floats(1e-4, 1.0),
    evaluation_s=st.floats(0.0, 10.0),
    setup_s=st.floats(0.0, 1.0),
)
measurements = st.builds(
    lambda usual, more, controls, slower: Measured(
        usual=usual,
        dear=Timing(usual.step_s * more, usual.evaluation_s * more, usual.setup_s),
        controls=(usual,) * controls,
        slower=slower,
    ),
    timings,
    st.floats(1.0, 4.0),
    st.integers(0, 5),
    st.floats(1.0, 3.0),
)
wishes = st.builds(
    Wishes,
    seconds=st.floats(60.0, 36000.0),
    spent=st.floats(0.0, 300.0),
    steps=st.integers(9, 3000).map(fidelities),
    evaluations=st.integers(1, 4),
    halving=st.sampled_from(["auto", "none", "stop", "promote"]),
    rungs=st.just(1),
    ranked=st.none() | st.integers(1, 1000),
    seeds=st.integers(0, 5),
    workers=st.integers(0, 4),
    ray_s=st.floats(0.0, 20.0),
)


def planned(wished: Wishes, measured: Measured) -> TimePlan | None:
    try:
        return plan_time(wished, measured)
    except RunError:
        return None


@given(wishes, measurements)
def test_a_plan_never_exceeds_its_time(wished: Wishes, measured: Measured) -> None:
    plan = planned(wished, measured)
    assume(plan is not None)
    assert plan is not None
    assert plan.used_s + plan.margin_s <= wished.seconds * (1 + 1e-9)
    assert plan.trials >= LEAST


@given(wishes, measurements)
def test_a_plan_uses_its_time_but_for_a_trial_a_worker(wished: Wishes, measured: Measured) -> None:
    plan = planned(wished, measured)
    assume(plan is not None)
    assert plan is not None
    whole = max(plan.trial_s, plan.trials_s / plan.trials)
    assert plan.used_s + plan.margin_s + whole + 1e-6 >= wished.seconds
    if whole <= 0.05 * wished.seconds:
        assert plan.used_s >= 0.85 * wished.seconds


@given(wishes, measurements, st.floats(1.0, 20.0))
def test_more_minutes_never_give_less(wished: Wishes, measured: Measured, times: float) -> None:
    less, more = (
        planned(replace(wished, seconds=wished.seconds * by), measured) for by in (1.0, times)
    )
    assume(less is not None)
    assert less is not None
    assert more is not None, "what fits into less time fits into more"
    if (more.steps, more.rungs) == (less.steps, less.rungs):
        assert more.seeds >= less.seeds
        if more.seeds == less.seeds:
            assert more.trials >= less.trials
    if less.trials >= WANTED and less.seeds >= wished.seeds:
        assert more.steps >= less.steps


@given(wishes, measurements)
def test_rungs_are_a_plans_own_choice_on_evidence_only(wished: Wishes, measured: Measured) -> None:
    free, none = replace(wished, halving="auto"), replace(wished, halving="none")
    assert planned(replace(free, ranked=None), measured) == planned(none, measured)
    plan, without = planned(free, measured), planned(none, measured)
    if plan is None or not plan.rungs:
        return
    assert wished.ranked is not None
    assert plan.rungs[0] >= wished.ranked
    if without is not None:  # else there was no plan at all
        assert plan.steps > without.steps or plan.trials > without.trials


@given(wishes, measurements)
def test_at_most_a_quarter_is_kept_for_the_check_unless_one_seed_takes_more(
    wished: Wishes, measured: Measured
) -> None:
    plan = planned(wished, measured)
    assume(plan is not None)
    assert plan is not None
    assert plan.seeds <= wished.seeds
    if plan.seeds > 1:
        assert plan.check_s + plan.export_s <= KEPT * (wished.seconds - wished.spent)


@given(wishes, measurements)
def test_the_least_minutes_of_a_refusal_are_enough_and_one_less_is_not(
    wished: Wishes, measured: Measured
) -> None:
    short = replace(wished, seconds=wished.spent + 1.0)
    with pytest.raises(RunError) as refused:
        plan_time(short, measured)
    least = float(
        str(refused.value).partition("minutes = ")[2].rpartition("minutes = ")[2].split(";")[0]
    )
    assert planned(replace(wished, seconds=60 * least), measured) is not None
    assert planned(replace(wished, seconds=60 * (least - 1)), measured) is None


def test_trials_bound_a_plan_and_a_time_that_is_ample_trains_them_in_full() -> None:
    plan = plan_time(replace(WISHES, seconds=36000.0, trials=50), MEASURED)
    assert (plan.trials, plan.steps, plan.seeds) == (50, 300, 3)
    assert plan.used_s < 3600


def test_where_few_trials_fit_each_is_trained_for_fewer_steps() -> None:
    found = [plan_time(replace(WISHES, seconds=60.0 * m), MEASURED).steps for m in (3, 5, 6, 20)]
    assert found == sorted(found)
    assert len(set(found)) > 2


def test_halving_makes_room_for_more() -> None:
    whole = plan_time(WISHES, MEASURED)
    halved = plan_time(replace(WISHES, halving="promote", rungs=2), MEASURED)
    assert halved.rungs == (33, 100)
    assert halved.trials > whole.trials


def test_two_workers_do_nearly_twice_as_much_but_for_the_start_of_ray() -> None:
    one = plan_time(replace(WISHES, seconds=3600.0, workers=1, ray_s=12.0), MEASURED)
    two = plan_time(replace(WISHES, seconds=3600.0, workers=2, ray_s=12.0), MEASURED)
    assert one.start_s == two.start_s == 12.0
    assert 1.9 * one.trials < two.trials < 2.1 * one.trials


def test_trials_that_share_the_cores_are_planned_as_slow_as_that_makes_them() -> None:
    two = replace(WISHES, seconds=3600.0, workers=2)
    alone = plan_time(two, MEASURED)
    beside = plan_time(two, replace(MEASURED, slower=1.5))
    assert beside.trial_s == pytest.approx(1.5 * alone.trial_s)
    assert beside.trials < alone.trials / 1.4
    assert (beside.check_s, beside.export_s) == (alone.check_s, alone.export_s), "one at a time"


def test_rungs_are_chosen_where_they_rank_and_too_few_trials_fit_without() -> None:
    auto = replace(WISHES, halving="auto", seeds=1)
    found = [
        [
            plan_time(replace(auto, seconds=60.0 * minutes, ranked=ranked), MEASURED).rungs
            for minutes in (5, 20)
        ]
        for ranked in (None, 99, 33, 101)
    ]
    assert found == [
        [(), ()],
        [(100,), ()],
        [(33, 100), ()],
        [(), ()],
    ]


def test_the_end_of_a_budget_is_planned_for_nothing() -> None:
    assert [margin_of(60.0 * minutes) for minutes in (3, 10, 600)] == [6.6, 15.0, 15.0]


def test_a_time_that_is_too_short_is_refused_with_what_would_do() -> None:
    with pytest.raises(RunError) as refused:
        plan_time(replace(WISHES, seconds=90.0), MEASURED)
    assert f"{refused.value}\n" == (GOLDEN / "plan_too_short.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["plan", "plan_unbounded", "plan_workers"])
def test_a_plan_in_words(name: str) -> None:
    bounded = name != "plan_unbounded"
    wished = replace(WISHES, seconds=600.0 if bounded else 6e8, trials=None if bounded else 50)
    measured = MEASURED
    if name == "plan_workers":
        wished = replace(wished, workers=2, ray_s=10.0)
        measured = replace(measured, slower=1.25)
    plan = plan_time(wished, measured)
    text = plan_text(plan, bounded=bounded)
    assert f"{text}\n" == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    assert plan_json(plan)["trials"] == plan.trials
    assert plan_json(plan)["rungs"] == []
