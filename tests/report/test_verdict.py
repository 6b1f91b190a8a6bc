"""The check on test: paired differences, their interval, and the sentence that follows."""

import math

import pytest

from nas_fpn.record import Entry, History
from nas_fpn.report import checked_on_test, paired_gap, proxy_checks


def checked(ours: list[float], theirs: list[float]) -> str:
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
    }
    said = checked_on_test(History(({"event": "run", "version": 1}, event), entries))
    assert said is not None
    return said


def test_the_interval_is_that_of_student():
    gap = paired_gap([0.31, 0.35, 0.30], [0.30, 0.31, 0.29])
    gaps = [0.01, 0.04, 0.01]
    spread = math.sqrt(sum((g - 0.02) ** 2 for g in gaps) / 2)
    assert gap.mean == pytest.approx(0.02)
    assert gap.half == pytest.approx(4.303 * spread / math.sqrt(3))
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


def test_many_pairs_use_the_normal_quantile():
    ours = [0.5 + 0.01 * (i % 2) for i in range(40)]
    gap = paired_gap(ours, [0.5] * 40)
    spread = math.sqrt(40 * 0.005**2 / 39)
    assert gap.half == pytest.approx(1.960 * spread / math.sqrt(40))


def test_what_is_said():
    assert checked([0.31, 0.32, 0.33], [0.20, 0.21, 0.23]) == (
        "Check on test, in the proxy, with 3 new seeds each: bbbbbbbb (trial 1) 0.3200,\n"
        "panet 0.2133; ap differs by +0.1067 ± 0.0143 (95 %, paired): bbbbbbbb is better.\n"
        "The backbone is frozen here; nas-fpn confirm compares the two end to end."
    )
    assert "not shown to differ; keep the baseline panet" in checked([0.3, 0.4], [0.3, 0.39])
    assert "panet is better; keep it" in checked([0.1, 0.1, 0.1], [0.2, 0.2, 0.21])


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
