"""Simpler neighbours: programs like any other, all different, each one line from the neck."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_fpn.language import (
    Architecture,
    cost,
    decode,
    find_neck,
    fit,
    identity,
    load_words,
    lower,
    parse,
    parse_space,
    read_neck,
    sample,
)
from nas_fpn.language.compare import diff_text
from nas_fpn.language.simpler import plain, simpler
from tests.language.programs import spaces

few = settings(max_examples=25, deadline=None, derandomize=True, database=None)
CHANNELS = dict.fromkeys(range(1, 9), 8)
SMALL = """
width 8
then relu sep3 bn

p3..p5 = c3..c5 -> conv1
a@4 = gp(p5, p3)
p4 = fast(p4, a, p3 -> stride)
p3 = sum(p3, p5 -> sni)
repeat 3:
    p5 = p5 -> conv3
"""


def changed_rows(one: Architecture, other: Architecture) -> tuple[int, int]:
    """Lines that only the first, and only the second, program has."""
    rows = [row[:1] for row in diff_text(one, other).splitlines()[2:]]
    return rows.count("-"), rows.count("+")


def params(neck: Architecture) -> int:
    return cost(neck, CHANNELS, image_size=256).params


def check_laws(neck: Architecture) -> None:
    found = simpler(neck, CHANNELS)
    identities = [identity(neck), *(identity(one.neck) for one in found)]
    assert len(set(identities)) == len(identities), "no two are one neck"
    for one in found:
        assert parse(str(one.neck), words=neck.words) == one.neck
        gone, new = changed_rows(neck, one.neck)
        assert gone <= 1 and new <= 1, one.label
        assert one.params == params(neck) - params(one.neck)
        assert (one.params < 0) == ("parameters more" in one.label)
        assert lower(one.neck).outputs[0][0] == lower(neck).outputs[0][0]
    assert simpler(neck, CHANNELS) == found


@few
@given(text=spaces(most_lines=4), rng=st.randoms(use_true_random=False))
def test_neighbours_of_any_neck_are_programs_one_line_away(text: str, rng: random.Random) -> None:
    space = parse_space(text)
    check_laws(decode(space, sample(space, rng)))


@pytest.mark.parametrize("name", ["none", "fpn", "nas_fpn_lite", "slimneck_v2"])
def test_neighbours_of_shipped_necks(name: str) -> None:
    check_laws(fit(read_neck(find_neck(name)), width=32, levels=(3, 4, 5)))


def test_every_kind_of_change_has_its_words() -> None:
    labels = {one.label: one.kind for one in simpler(parse(SMALL), CHANNELS)}
    wanted = {
        "a: gp → sum": "merge",
        "p4 (2): without a": "edge",
        "p4 (2): stride → maxpool on p3": "resampler",
        "p3 (2): sni → nearest on p5": "resampler",
        "then: without sep3": "block",
        "p5 (2): conv3 → conv1": "block",
        "repeat: 3 → 2 times": "cell",
        "p4 (2): removed, p4 in its place": "cell",
    }
    assert wanted.items() <= labels.items()
    assert "then: sep3 → conv3 (costs 1,320 parameters more)" in labels


def test_an_operand_that_is_left_is_resampled_before_the_blocks_of_the_line() -> None:
    neck = parse("then conv3\np3..p4 = c3..c4 -> conv1\np3 = sum(p3, p4)")
    left = {one.label: one.neck for one in simpler(neck, CHANNELS)}["p3 (2): without p3"]
    assert str(left).splitlines()[-1] == "p3 = p4 -> nearest conv3"


def test_plain_words_leave_the_edges() -> None:
    neck = parse(SMALL)
    bare = plain(neck)
    assert plain(bare) == bare
    rows = [row for row in str(bare).splitlines() if row]
    assert rows[:2] == ["width 8", "then relu conv3 bn"]
    assert rows[5:] == [
        "a@4 = sum(p5, p3)",
        "p4 = sum(p4, a, p3 -> conv1 maxpool)",
        "p3 = sum(p3, p5 -> nearest)",
        "repeat 3:",
        "    p5 = p5 -> conv3",
    ]


def test_own_words_become_the_plain_ones_of_their_kind(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from nas_fpn.language import Row\n\n\n"
        "def halve(feature):\n    return feature / 2\n\n\n"
        "def first(*features):\n    return features[0]\n\n\n"
        'words = {"halve": Row("block", operation=halve), "first": Row("merge", operation=first)}\n'
    )
    words = load_words([file])
    neck = parse("width 8\np3..p4 = c3..c4 -> conv1\np3 = first(p3, p4) -> halve", words=words)
    labels = [one.label for one in simpler(neck, CHANNELS)]
    assert "p3 (2): first → sum" in labels and "p3 (2): without halve" in labels
    assert "halve" not in str(plain(neck)) and "sum(p3, p4)" in str(plain(neck))
