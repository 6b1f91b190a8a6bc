"""The check on test: paired differences, their interval, and the sentence that follows."""

import math

import pytest

from nas_fpn.record import Entry, History
from nas_fpn.report import checked_on_test, paired_gap, proxy_checks


def checked(ours: list[float], theirs: list[float], **facts: int) -> str:
    entries = (
        Entry(0, "baseline:panet", None, "aaaaaaaa", "", {}),
        Entry(1, "controller", (0,), "bbbbbbbb", "", {}),
    )
    event = {
        "event": "verdict",
        "split": "test",
        "objective": "ap",
        "trial": 1,
        "control": 0,
        "seeds": list(range(1, len(ours) + 1)),
        "scores": {"trial": ours, "control": theirs},
        **facts,
    }
    said = checked_on_test(History(({"event": "run", "version": 1}, event), entries))
    assert said is not None
    return said


def test_the_interval_is_that_of_student():
    gap = paired_gap([0.31, 0.35, 0.30], [0.30, 0.31, 0.29])
    gaps = [0.01, 0.04, 0.01]
    spread = math.sqrt(sum((g - 0.02) ** 2 for g in gaps) / 2)
    assert gap.mean == pytest.approx(0.02)
    assert gap.half == pytest.approx(4.303 * spread / math.sqrt(3), rel=1e-3)
    assert gap.sign == 0


def test_swapping_the_sides_turns_the_sign():
    one, two = [0.31, 0.32, 0.33], [0.20, 0.21, 0.23]
    assert paired_gap(one, two).sign == 1
    assert paired_gap(two, one).sign == -1
    assert paired_gap(one, two).half == pytest.approx(paired_gap(two, one).half)


def test_one_pair_shows_nothing():
    assert paired_gap([0.9], [0.1]).sign == 0
    assert "one pair has no interval: not shown to differ; keep the baseline panet" in checked(
        [0.9], [0.1]
    )


def test_many_pairs_use_student_too():
    """At 22 pairs the normal's 1.960 would be 6 % too narrow."""
    for pairs, quantile in ((22, 2.0796), (40, 2.0227)):
        ours = [0.5 + 0.01 * (i % 2) for i in range(pairs)]
        gap = paired_gap(ours, [0.5] * pairs)
        spread = math.sqrt(pairs * 0.005**2 / (pairs - 1))
        assert gap.half == pytest.approx(quantile * spread / math.sqrt(pairs), rel=1e-4)


def test_what_is_said():
    assert checked([0.31, 0.32, 0.33], [0.20, 0.21, 0.23]) == (
        "Check on test, in the proxy, with 3 new seeds each: bbbbbbbb (trial 1) 0.3200,\n"
        "panet 0.2133; ap differs by +0.1067 ± 0.0143 (95 %, paired): bbbbbbbb is better.\n"
        "The backbone is frozen here; nas-fpn confirm compares the two end to end."
    )
    assert "not shown to differ; keep the baseline panet" in checked([0.3, 0.4], [0.3, 0.39])
    assert "panet is better; keep it" in checked([0.1, 0.1, 0.1], [0.2, 0.2, 0.21])


def test_trainings_that_diverged_are_counted():
    said = checked([0.31, 0.0, 0.33], [0.20, 0.21, 0.23], diverged=1)
    assert said.splitlines()[-2] == "Trainings that diverged: 1; each counts as a score of 0."
    assert "diverged" not in checked([0.31, 0.0, 0.33], [0.20, 0.21, 0.23])


def test_without_a_check_nothing_is_said():
    assert checked_on_test(History(({"event": "run", "version": 1},))) is None


def test_a_verdict_of_detectors_is_no_check_in_the_proxy():
    old, proxy, real = (
        {"event": "verdict", "objective": "ap"},
        {"event": "verdict", "where": "proxy"},
        {"event": "verdict", "where": "end to end"},
    )
    assert proxy_checks([{"event": "tell"}, old, real, proxy]) == (old, proxy)
    assert checked_on_test(History((real,))) is None
