"""A baseline at another neck's cost: nearest to it, by width, then by repeats."""

import pytest

from nas_fpn.language import (
    Architecture,
    cost,
    find_neck,
    fit,
    lower,
    parse,
    read_neck,
    shipped_folder,
)
from nas_fpn.language.resize import repeats, resized

BASELINES = sorted(p.stem for p in (shipped_folder("search_spaces") / "baselines").glob("*.neck"))
CHANNELS = {1: 16, 2: 24, 3: 32, 4: 96, 5: 320}
BIFPN = fit(read_neck(find_neck("bifpn")), width=64, levels=(3, 4, 5, 6, 7))


def params(neck: Architecture) -> float:
    return cost(neck, CHANNELS, image_size=256).params


def shipped(name: str) -> Architecture:
    return fit(read_neck(find_neck(name)), width=64, levels=(3, 4, 5))


def at_widths(neck: Architecture, low: int, high: int) -> list[float]:
    return [params(neck.with_width(width)) for width in range(low, high + 1, 8)]


@pytest.mark.parametrize("name", BASELINES)
def test_a_neck_at_its_own_cost_costs_the_same(name: str) -> None:
    neck = shipped(name)
    assert params(resized(neck, params(neck), params)) == params(neck)


@pytest.mark.parametrize("name", ["bifpn", "fpn", "nas_fpn_lite", "panet", "yolox"])
@pytest.mark.parametrize("factor", [0.5, 0.8, 1.3, 2.5])
def test_no_width_within_twice_its_own_is_nearer(name: str, factor: float) -> None:
    neck = shipped(name)
    target = params(neck) * factor
    found = resized(neck, target, params)
    off = abs(params(found) - target)
    assert parse(str(found)) == found
    assert [level for level, _ in lower(found).outputs] == [3, 4, 5]
    if repeats(found) == repeats(neck):
        assert all(abs(one - target) >= off for one in at_widths(neck, 32, 128))


def test_a_larger_target_never_gives_a_cheaper_neck() -> None:
    for neck in (shipped("panet"), BIFPN):
        costs = [params(resized(neck, target, params)) for target in range(2000, 900_000, 90_000)]
        assert costs == sorted(costs)


def test_the_width_is_asked_for_a_few_times_only() -> None:
    asked: list[int] = []

    def counted(neck: Architecture) -> float:
        asked.append(neck.width)
        return params(neck)

    resized(shipped("panet"), 150_000, counted)
    assert len(asked) == len(set(asked)) <= 8


def test_a_cell_is_repeated_where_no_width_within_twice_its_own_is_enough() -> None:
    assert repeats(BIFPN) == 2
    wide = params(BIFPN.with_width(128))
    assert repeats(resized(BIFPN, wide, params)) == 2
    deeper = resized(BIFPN, 1.2 * wide, params)
    assert repeats(deeper) == 3
    assert abs(params(deeper) - 1.2 * wide) < 0.05 * wide
    assert 32 <= deeper.width <= 128


def test_a_cell_runs_less_often_where_half_the_width_is_too_much() -> None:
    small = resized(BIFPN, 0.7 * params(BIFPN.with_width(32)), params)
    assert repeats(small) == 1


def test_without_repeats_left_to_change_any_width_is_taken() -> None:
    wide = resized(shipped("fpn"), 10 * params(shipped("fpn")), params)
    assert wide.width > 128
    assert resized(shipped("fpn"), 0, params).width == 8
    huge = resized(BIFPN, 1e9, params)
    assert (repeats(huge), huge.width) == (8, 2048)


def test_a_measurement_that_is_off_is_near_all_the_same() -> None:
    neck = shipped("panet")

    def noisy(one: Architecture) -> float:
        return params(one) * (1.02 if one.width % 16 else 0.98)

    target = 1.5 * params(neck)
    assert abs(params(resized(neck, target, noisy)) / target - 1) < 0.12
