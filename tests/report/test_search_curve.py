"""The reference of the search curve is the exact mean over all orders; shares are counted right."""

from itertools import permutations
from statistics import fmean

import pytest

from nas_fpn.language import find_neck, lower, read_neck
from nas_fpn.report.census import best_decile, levels_used, words_used
from nas_fpn.report.search_curve import best_so_far, shuffled

VALUES = [0.3, 0.1, 0.4, 0.1, 0.5]


def test_shuffled_is_the_mean_over_every_order() -> None:
    curves = [best_so_far(order) for order in permutations(VALUES)]
    expected = [fmean(column) for column in zip(*curves, strict=True)]
    assert shuffled(VALUES, [1, 2, 3, 4, 5]) == pytest.approx(expected)


def test_shuffled_begins_at_the_mean_and_ends_at_the_best() -> None:
    values = [((7919 * k) % 1000) / 1000 for k in range(1000)]
    first, last = shuffled(values, [1, 1000])
    assert first == pytest.approx(fmean(values))
    assert last == pytest.approx(max(values))


def test_the_best_decile_is_rounded_up() -> None:
    assert best_decile([0.0]) == [0]
    assert best_decile([k / 30 for k in range(21)]) == [20, 19, 18]


def test_words_and_levels_are_counted_by_neck() -> None:
    graphs = [lower(read_neck(find_neck(name))) for name in ("none", "fpn")]
    words = {share.name: (share.best, share.all) for share in words_used(graphs, [1])}
    assert words["conv1"] == (1.0, 1.0)
    assert words["sum"] == (1.0, 0.5)
    levels = {share.name: (share.best, share.all) for share in levels_used(graphs, [1])}
    assert levels["merges at level 3"] == (1.0, 0.5)
    assert levels["operands from a coarser level"] == (2.0, 1.0)
    assert next(iter(levels)) == "merges at level 4"
