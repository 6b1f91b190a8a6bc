"""Graph features: counted by hand for FPN and PANet; the same for all texts of one neck."""

import random

import pytest

from nas_fpn.language import (
    Architecture,
    canonical,
    choices,
    decode,
    find_neck,
    find_space,
    identity,
    lower,
    parse,
    read,
    read_neck,
    sample,
)
from nas_fpn.language.cost import Cost
from nas_fpn.language.features import NO_PATH, features
from nas_fpn.language.words import WORDS

PRICE = Cost(1, 2, 3)


def described(
    neck: Architecture, *, reads: tuple[int, ...], levels: tuple[int, ...]
) -> dict[str, float]:
    graph = lower(canonical(neck))
    return features(graph, PRICE, words=tuple(WORDS), reads=reads, levels=levels)


def test_fpn_by_hand() -> None:
    got = described(read_neck(find_neck("fpn")), reads=(3, 4, 5), levels=(3, 4, 5, 6, 7))
    counts = {"conv1": 3, "conv3": 3, "sum": 2, "nearest": 2, "stride": 2, "relu": 1}
    for word in WORDS:
        assert got[f"count_{word}"] == counts.get(word, 0), word
    assert (got["params"], got["macs"], got["activation_bytes"]) == (1, 2, 3)
    assert [got[f"merges_{level}"] for level in (3, 4, 5, 6, 7)] == [1, 1, 0, 0, 0]
    paths = {
        (source, level): (got[f"shortest_c{source}_p{level}"], got[f"longest_c{source}_p{level}"])
        for source in (3, 4, 5)
        for level in (3, 4, 5, 6, 7)
    }
    there = {(3, 3): 1, (4, 3): 2, (5, 3): 2, (4, 4): 1, (5, 4): 1, (5, 5): 0, (5, 6): 0, (5, 7): 0}
    assert paths == {key: (there.get(key, NO_PATH),) * 2 for key in paths}
    # p3: conv1 nearest sum nearest sum conv3; p4: + stride sum conv3; p5: from p4's sum, before its
    # conv3, + stride sum conv3; p6 and p7: + subsample each
    assert [got[f"depth_p{level}"] for level in (3, 4, 5, 6, 7)] == [6, 4, 2, 3, 5]
    assert (got["merges"], got["fan_in_mean"], got["fan_in_max"]) == (2, 2, 2)
    # read once: c3, c4, c5, the lateral of 3 and of 4, p5 and p6; twice: the lateral of 5 and the
    # sum at 4
    assert got["fan_out_max"] == 2
    assert got["fan_out_mean"] == pytest.approx(12 / 10)
    assert (got["up"], got["up_levels"], got["down"], got["down_levels"]) == (2, 2, 2, 2)


def test_panet_by_hand() -> None:
    got = described(read_neck(find_neck("panet")), reads=(3, 4, 5), levels=(3, 4, 5, 6, 7))
    counts = {"conv1": 3, "conv3": 5, "sum": 4, "nearest": 2, "stride": 2, "subsample": 2}
    for word in WORDS:
        assert got[f"count_{word}"] == counts.get(word, 0), word
    assert [got[f"merges_{level}"] for level in (3, 4, 5, 6, 7)] == [1, 2, 1, 0, 0]
    # c5 → p5 within its level, or down to 3 and up again: sums at 4, 3, 4 and 5
    assert (got["shortest_c5_p5"], got["longest_c5_p5"]) == (1, 4)
    assert (got["shortest_c4_p4"], got["longest_c4_p4"]) == (2, 3)
    assert (got["shortest_c3_p5"], got["longest_c3_p5"]) == (3, 3)
    assert (got["up"], got["down"], got["down_levels"]) == (2, 4, 4)
    # p3: conv1 nearest sum nearest sum conv3; p4: + stride sum conv3; p5: + stride sum conv3,
    # where each sum of the way up reads what is below it behind its last convolution or before
    assert [got[f"depth_p{level}"] for level in (3, 4, 5, 6, 7)] == [6, 9, 11, 12, 13]


def test_addends_are_operands_and_a_resampling_may_go_several_levels() -> None:
    neck = parse("p3..p5 = c3..c5 -> conv1\np4 = sum(p3, p5) + p4\np3 = sum(p3, p5 -> nearest)")
    got = described(neck, reads=(3, 4, 5), levels=(3, 4, 5))
    assert (got["fan_in_max"], got["fan_in_mean"]) == (3, 2.5)
    assert (got["up"], got["up_levels"], got["down"], got["down_levels"]) == (2, 3, 1, 1)
    assert got["depth_p4"] == 3


def test_a_neck_without_merges() -> None:
    got = described(parse("p3..p4 = c3..c4 -> conv1"), reads=(3, 4), levels=(3, 4))
    assert (got["shortest_c3_p3"], got["longest_c3_p3"], got["depth_p3"]) == (0, 0, 1)
    assert (got["merges"], got["fan_in_mean"], got["fan_in_max"]) == (0, 0, 0)


@pytest.mark.parametrize("space", ["quick", "nas_fpn", "weighted"])
def test_equal_ids_have_equal_features_and_all_necks_the_same_names(space: str) -> None:
    holes = read(find_space(space))
    chance = random.Random(0)
    known: dict[str, dict[str, float]] = {}
    names = set()
    for _ in range(60):
        genotype = list(sample(holes, chance))
        place = chance.randrange(len(genotype))  # near twins: often of one id
        for option in range(choices(holes)[place].count):
            neck = decode(holes, [*genotype[:place], option, *genotype[place + 1 :]])
            got = described(neck, reads=(3, 4, 5), levels=(3, 4, 5, 6, 7))
            assert known.setdefault(identity(neck), got) == got
            names.add(tuple(got))
    assert len(names) == 1
