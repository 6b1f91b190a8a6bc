"""Means over simulated searches."""

import math

import pytest

from nas_fpn.search.regret import found_after, found_within, mean_of, reach
from nas_fpn.search.simulate import Point, Replayed


def one(*found: float) -> Replayed:
    """A search that found so much after 0, 1, 2, … trials of two seconds each."""
    return Replayed(tuple(Point(n, 2.0 * n, f) for n, f in enumerate(found)), exhausted=False)


SEARCHES = [one(0.1, 0.2, 0.3, 0.5), one(0.1, 0.4, 0.4)]


def test_what_was_found_after_trials_and_within_seconds() -> None:
    assert found_after(SEARCHES, 0) == [0.1, 0.1]
    assert found_after(SEARCHES, 2) == [0.3, 0.4]
    assert found_within(SEARCHES, 3.9) == [0.2, 0.4]


def test_a_search_that_ended_keeps_what_it_had() -> None:
    assert found_after(SEARCHES, 3) == [0.5, 0.4]
    assert found_within(SEARCHES, 1000.0) == [0.5, 0.4]


def test_several_points_of_one_trial_count_once() -> None:
    paused = Replayed((Point(0, 0.0, 0.1), Point(1, 1.0, 0.1), Point(1, 2.0, 0.6)), exhausted=False)
    assert found_after([paused], 1) == [0.6]


def test_the_interval_holds_the_mean_and_narrows_with_more_searches() -> None:
    few, many = mean_of([0.1, 0.3] * 4), mean_of([0.1, 0.3] * 100)
    assert few.low < many.low < 0.2 < many.high < few.high
    assert few.value == many.value == pytest.approx(0.2)


def test_trials_to_reach_a_mean() -> None:
    assert reach(SEARCHES, 0.1, trials=3).value == 0
    assert reach(SEARCHES, 0.35, trials=3).value == 2
    assert reach(SEARCHES, 0.45, trials=3).value == 3
    assert reach(SEARCHES, 0.46, trials=3).value == math.inf
    mean = reach(SEARCHES, 0.35, trials=3)
    assert mean.low <= mean.value <= mean.high
