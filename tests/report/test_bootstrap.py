"""The interval over images and seeds holds what it says, in worlds whose truth is known."""

import numpy as np
import pytest

from nas_fpn.report import image_weights, spread_of_gap
from nas_fpn.report.student import student_quantile


def world(
    chance: np.random.Generator, *, seeds: int, images: int, by_seed: float, by_image: float
) -> np.ndarray:
    """Differences [seeds, images] whose true mean, over all seeds and images, is 0.01."""
    return (
        0.01
        + chance.normal(0, by_seed, (seeds, 1))
        + chance.normal(0, by_image, (1, images))
        + chance.normal(0, by_image, (seeds, images))
    )


def spread(world: np.ndarray, weights: np.ndarray, *, seed: int = 0):
    gaps = world @ weights.T / weights.sum(1)
    return spread_of_gap(gaps, np.zeros_like(gaps), seed=seed)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(("by_seed", "by_image"), [(0.01, 0.0), (0.01, 0.1), (0.001, 0.2)])
def test_it_holds_the_truth_as_often_as_it_says(
    seeds: int, by_seed: float, by_image: float
) -> None:
    chance = np.random.default_rng(seeds)
    weights = image_weights(60, draws=400, seed=1)
    held = 0
    for number in range(400):
        one = world(chance, seeds=seeds, images=60, by_seed=by_seed, by_image=by_image)
        found = spread(one, weights, seed=number)
        held += found.low < 0.01 < found.high
    assert held / 400 >= 0.925  # 0.95 less two standard errors


def test_without_spread_over_images_it_is_students_interval() -> None:
    gaps = np.array([0.010, 0.013, 0.008, 0.011])
    found = spread_of_gap(np.repeat(gaps[:, None], 20001, 1), np.zeros((4, 20001)), seed=0)
    half = student_quantile(0.025, 3) * gaps.std(ddof=1) / 2
    assert found.mean == pytest.approx(gaps.mean())
    assert found.high - found.mean == pytest.approx(half, rel=0.06)
    assert found.mean - found.low == pytest.approx(half, rel=0.06)
    assert found.images_error == pytest.approx(0, abs=1e-12)
    assert found.seeds_error == pytest.approx(gaps.std(ddof=1) / 2)


def test_its_parts_are_those_of_the_world() -> None:
    one = world(np.random.default_rng(0), seeds=8, images=200, by_seed=0.01, by_image=0.1)
    found = spread(one, image_weights(200, draws=2000, seed=0))
    assert found.images_error == pytest.approx(one.mean(0).std(ddof=1) / 200**0.5, rel=0.05)
    assert found.seeds_error == pytest.approx(one.mean(1).std(ddof=1) / 8**0.5)


def test_swapping_the_sides_turns_it() -> None:
    chance = np.random.default_rng(0)
    gaps = chance.normal(0.02, 0.001, (3, 500))
    assert spread_of_gap(gaps, np.zeros((3, 500)), seed=0).sign == 1
    assert spread_of_gap(np.zeros((3, 500)), gaps, seed=0).sign == -1
    assert spread_of_gap(gaps - 0.02, np.zeros((3, 500)), seed=0).sign == 0


def test_draws_without_an_object_are_left_out() -> None:
    gaps = np.random.default_rng(0).normal(0.02, 0.001, (3, 500))
    gaps[1, 7] = np.nan
    assert np.isfinite(spread_of_gap(gaps, np.zeros((3, 500)), seed=0).low)


def test_one_seed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2 seeds or more, not \(1, 5\)"):
        spread_of_gap(np.zeros((1, 5)), np.zeros((1, 5)), seed=0)


def test_weights_are_drawn_by_the_seed() -> None:
    weights = image_weights(50, draws=10, seed=3)
    assert (weights[0] == 1).all()
    assert (weights.sum(1) == 50).all()
    assert (weights == image_weights(50, draws=10, seed=3)).all()
    assert (weights != image_weights(50, draws=10, seed=4)).any()
