"""The noise of a score: what the record knows of it, and where it knows nothing."""

import random
from statistics import stdev

import pytest

from nas_fpn.record import Entry, Event, Outcome, Report
from nas_fpn.report import noise_of

DRAWN = 1500


def check(ours: list[float], theirs: list[float], objective: str = "ap") -> Event:
    scores = {"trial": ours, "control": theirs}
    return {"event": "verdict", "split": "test", "objective": objective, "scores": scores}


def trained(number: int, aps: list[float], steps: tuple[int, ...] = (100, 200, 300)) -> Entry:
    reports = tuple(Report(at, {"ap": ap}) for at, ap in zip(steps, aps, strict=True))
    outcome = Outcome("complete", reports[-1].scores, steps[-1])
    return Entry(number, "controller", (0,), f"{number:08x}", "", {}, reports, outcome)


def test_seeds_give_the_spread_pooled_over_both_necks() -> None:
    noise = noise_of((), [check([0.1, 0.2, 0.3], [0.5, 0.5, 0.5])], "ap")
    assert noise is not None
    assert noise.sd == pytest.approx(stdev([0.1, 0.2, 0.3]) / 2**0.5)
    # 2.776 is Student's t for 95 % and four degrees of freedom, two from each neck.
    assert noise.band == pytest.approx(2.776 * 2**0.5 * noise.sd, rel=1e-3)
    assert noise.source == "between 3 seeds of both necks, on test"
    assert not noise.at_least


@pytest.mark.parametrize("seeds", [2, 3, 9])
def test_the_band_holds_95_of_100_differences_however_few_seeds_it_is_taken_from(
    seeds: int,
) -> None:
    chance = random.Random(0)

    def draw(count: int) -> list[float]:
        return [chance.gauss(0.3, 0.01) for _ in range(count)]

    inside = 0
    for _ in range(DRAWN):
        noise = noise_of((), [check(draw(seeds), draw(seeds))], "ap")
        assert noise is not None
        one, other = draw(2)
        inside += abs(one - other) <= noise.band
    assert inside / DRAWN == pytest.approx(0.95, abs=0.015)


def test_the_last_check_with_several_seeds_of_this_objective_counts() -> None:
    checks = [check([0.1, 0.3], [0.1, 0.3]), check([0.5], [0.1]), check([1, 2], [3, 9], "ap50")]
    noise = noise_of((), checks, "ap")
    assert noise is not None
    assert noise.sd == pytest.approx(stdev([0.1, 0.3]))


def test_curves_give_the_noise_of_an_evaluation_whatever_their_slope_and_common_bend() -> None:
    chance = random.Random(0)
    entries = []
    for number in range(400):
        start, slope = chance.random(), chance.random()
        aps = [start + slope * k - 0.02 * k**2 + chance.gauss(0, 0.01) for k in range(3)]
        entries.append(trained(number, aps))
    noise = noise_of(entries, [], "ap")
    assert noise is not None
    assert noise.sd == pytest.approx(0.01, rel=0.15)
    assert noise.at_least


def test_nothing_is_known_of_few_or_uneven_or_unfinished_curves() -> None:
    aps = [0.1, 0.2, 0.25]
    assert noise_of([trained(k, aps) for k in range(4)], [], "ap") is None
    assert noise_of([trained(k, aps, (33, 100, 300)) for k in range(9)], [], "ap") is None
    assert noise_of([trained(k, aps[:2], (100, 200)) for k in range(9)], [], "ap") is None
    assert noise_of([trained(k, aps) for k in range(9)], [], "ap50") is None
    assert noise_of((), [check([0.1], [0.2])], "ap") is None
