"""Kendall's τ over necks and seeds: scipy's value, its interval, and what noise hides."""

import math

import numpy as np
import pytest
from scipy.stats import kendalltau

from nas_fpn.report.calibration import (
    Resolution,
    agreement,
    ceiling,
    like_cost,
    resolution_of,
    seeds_for,
    without_noise,
)

NECKS = 16


def normal(seed: int, necks: int, seeds: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """True scores [necks], and scores [necks, seeds] of them with noise."""
    chance = np.random.default_rng(seed)
    truth = chance.normal(size=necks)
    return truth, truth[:, None] + noise * chance.normal(size=(necks, seeds))


@pytest.mark.parametrize("seed", range(5))
def test_tau_is_that_of_scipy_ties_included(seed: int) -> None:
    chance = np.random.default_rng(seed)
    ours, theirs = chance.integers(0, 8, (2, NECKS, 1)).astype(float)
    expected = kendalltau(ours[:, 0], theirs[:, 0]).statistic
    assert agreement(ours, theirs).tau == pytest.approx(expected)


def test_tau_is_the_mean_over_the_seeds_of_the_ranking_of_one() -> None:
    truth, scores = normal(0, NECKS, 3, 0.5)
    each = [kendalltau(scores[:, seed], truth).statistic for seed in range(3)]
    assert agreement(scores, truth[:, None]).tau == pytest.approx(np.mean(each))


def test_luck_that_all_necks_of_a_seed_share_changes_nothing() -> None:
    _, scores = normal(1, NECKS, 2, 0.5)
    _, reference = normal(2, NECKS, 2, 0.5)
    lucky = reference + np.array([0.0, 100.0])
    reference[3, 1] = lucky[3, 1] = np.nan
    assert agreement(scores, lucky) == agreement(scores, reference)
    assert resolution_of(lucky).noise == pytest.approx(resolution_of(reference).noise)


def test_the_interval_holds_the_value_and_repeats() -> None:
    truth, scores = normal(3, NECKS, 2, 0.5)
    found = agreement(scores, truth[:, None])
    assert found.low < found.tau < found.high
    assert agreement(scores, truth[:, None]) == found
    assert found.pairs == NECKS * (NECKS - 1) // 2


def test_a_wider_level_has_a_wider_interval() -> None:
    truth, scores = normal(3, NECKS, 2, 0.5)
    narrow, wide = (agreement(scores, truth[:, None], level=level) for level in (0.5, 0.95))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_interval_holds_the_tau_of_many_necks_about_nine_times_in_ten() -> None:
    # of one seed against exact means, so that nothing but the draw of necks is at stake
    noise, held = 0.6, 0
    expected = 2 / math.pi * math.asin(1 / math.sqrt(1 + noise**2))
    for seed in range(100):
        truth, scores = normal(seed, NECKS, 1, noise)
        found = agreement(scores, truth[:, None], draws=200)
        held += found.low <= expected <= found.high
    assert 0.8 <= held / 100 <= 0.96


def test_a_seed_of_few_necks_weighs_little() -> None:
    truth, scores = normal(4, NECKS, 1, 0.1)
    second = np.full((NECKS, 1), np.nan)
    second[:2] = -scores[:2]
    found = agreement(np.hstack((scores, second)), truth[:, None])
    whole = agreement(scores, truth[:, None])
    assert found.tau == pytest.approx(whole.tau, abs=0.03)
    assert found.low == pytest.approx(whole.low, abs=0.1)


def test_few_pairs_have_a_value_and_no_interval() -> None:
    truth, scores = normal(4, 4, 2, 0.1)
    found = agreement(scores, truth[:, None])
    assert found.pairs == 6
    assert not math.isnan(found.tau)
    assert math.isnan(found.low)


def test_a_missing_training_takes_its_pairs_along() -> None:
    truth, scores = normal(5, NECKS, 1, 0.3)
    scores[0] = np.nan
    found = agreement(scores, truth[:, None])
    assert found.pairs == (NECKS - 1) * (NECKS - 2) // 2
    assert found.tau == pytest.approx(kendalltau(scores[1:, 0], truth[1:]).statistic)


def test_nothing_trained_says_nothing() -> None:
    nothing = np.full((4, 2), np.nan)
    assert math.isnan(agreement(nothing, nothing).tau)
    assert math.isnan(resolution_of(nothing).noise)


def test_size_alone_makes_no_ranking_among_necks_of_like_cost() -> None:
    costs = [100.0, 101.0, 200.0, 202.0, 400.0, 404.0]
    scores = np.array([[0.1], [0.11], [0.2], [0.21], [0.3], [0.31]])
    reference = np.array([[0.11], [0.1], [0.21], [0.2], [0.31], [0.3]])
    alike = like_cost(costs)
    assert agreement(scores, reference).tau > 0.5
    assert agreement(scores, reference, pairs=alike).tau == -1.0
    assert agreement(scores, reference, pairs=alike).pairs == 3


def test_scores_are_a_table() -> None:
    with pytest.raises(ValueError, match=r"scores must be \[necks, seeds\]"):
        agreement([0.1, 0.2], [[0.1], [0.2]])


def test_noise_and_spread_are_recovered() -> None:
    _, scores = normal(6, 2000, 3, 0.5)
    found = resolution_of(scores)
    assert found.noise == pytest.approx(0.5, rel=0.05)
    assert found.between == pytest.approx(1.0, rel=0.05)
    assert found.reliability == pytest.approx(1 / (1 + 0.25 / 3), rel=0.02)
    assert found.p < 1e-9


def test_equal_necks_are_told_apart_by_chance_alone() -> None:
    chance = np.random.default_rng(7)
    small = [resolution_of(chance.normal(size=(NECKS, 2))).p < 0.05 for _ in range(400)]
    assert 0.02 <= np.mean(small) <= 0.09


@pytest.mark.parametrize("noise", [0.3, 0.7, 1.0])
def test_the_ceiling_is_the_tau_of_a_perfect_ranking(noise: float) -> None:
    truth, reference = normal(8, 1500, 1, noise)
    seen = kendalltau(truth, reference[:, 0]).statistic
    reliability = 1 / (1 + noise**2)
    assert seen == pytest.approx(ceiling(reliability), abs=0.03)
    assert without_noise(ceiling(reliability), reliability) == pytest.approx(1.0)


def test_attenuation_is_undone() -> None:
    truth, scores = normal(9, 1500, 1, 0.5)
    reference = truth[:, None] + 0.8 * np.random.default_rng(10).normal(size=(1500, 1))
    seen = kendalltau(scores[:, 0], reference[:, 0]).statistic
    bare = kendalltau(scores[:, 0], truth).statistic
    assert without_noise(seen, 1 / (1 + 0.8**2)) == pytest.approx(bare, abs=0.04)
    assert seen < bare


def test_so_many_seeds_let_a_perfect_ranking_be_seen() -> None:
    spread = Resolution(between=1.0, noise=1.5, reliability=0.0, p=0.0)
    needed = seeds_for(spread, 0.7)
    assert needed is not None
    after, before = (1 / (1 + 1.5**2 / count) for count in (needed, needed - 1))
    assert ceiling(before) < 0.7 <= ceiling(after)
    assert seeds_for(Resolution(0.0, 1.0, 0.0, 0.5), 0.7) is None
