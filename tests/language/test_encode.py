"""From an architecture back to its genotype: what must match, what is idle, which of several."""

import pytest

from nas_fpn.errors import SpaceError
from nas_fpn.language import (
    Space,
    canonical,
    choices,
    decode,
    encode,
    find_space,
    identity,
    parse,
    parse_space,
    read,
)

HEAD = "p3..p5 = c3..c5 -> conv1\n"


def answers(space: Space, text: str) -> dict[str, int]:
    genotype = encode(space, parse(text))
    return dict(zip([choice.name for choice in choices(space)], genotype, strict=True))


# three hand-made necks whose paths the quick space holds, at its width, with their own blocks
MEMBERS = {
    "FPN": """
width 64
l3..l5 = c3..c5 -> conv1
m4@4 = sum(l4, l5)
m3@3 = sum(l3, m4)
p3 = m3 -> conv3
p4 = m4 -> conv3
p5 = l5 -> conv3
""",
    "PANet": """
width 64
l3..l5 = c3..c5 -> conv1
m4@4 = sum(l4, l5)
m3@3 = sum(l3, m4)
p3 = m3 -> conv3
i4 = m4 -> conv3
i5 = l5 -> conv3
n4@4 = sum(i4, p3 -> stride)
n5@5 = sum(i5, n4 -> stride)
p4..p5 = n4..n5 -> conv3
""",
    "BiFPN": """
width 64
then swish sep3 bn
down maxpool3
l3..l5 = c3..c5 -> conv1 bn
m4@4 = fast(l4, l5)
p3 = fast(l3, m4)
p4 = fast(m4, p3, l4)
p5 = fast(l5, p4)
""",
}


@pytest.mark.parametrize("text", MEMBERS.values(), ids=MEMBERS)
def test_the_quick_space_holds_the_paths_of_hand_made_necks(text: str):
    space, neck = read(find_space("quick")), parse(text)
    found = decode(space, encode(space, neck))
    assert identity(found) == identity(neck)
    assert canonical(found) == canonical(neck)


def test_names_of_intermediates_do_not_matter():
    space = parse_space(HEAD + "t@{3..4} = {sum | gp}(p3, p4)\np3 = sum(p3, t)")
    assert answers(space, HEAD + "mine@4 = gp(p3, p4)\np3 = sum(p3, mine)") == {
        "t.level": 1,
        "t.merge": 1,
    }


def test_the_order_of_commuting_operands_does_not_matter():
    space = parse_space(HEAD + "p3 = {sum | mean | gp}(*, p4)")
    for text in ("mean(p4, p5)", "mean(p5, p4)"):
        assert answers(space, HEAD + f"p3 = {text}") == {"p3#2.merge": 1, "p3#2.operand1": 2}


def test_the_order_of_operands_that_do_not_commute_matters():
    space = parse_space(HEAD + "p3 = {sum | gp}(p3, p4)")
    assert answers(space, HEAD + "p3 = gp(p3, p4)") == {"p3#2.merge": 1}
    with pytest.raises(SpaceError, match=r"fits nowhere: p3 = gp\(p4, p3\)"):
        encode(space, parse(HEAD + "p3 = gp(p4, p3)"))


def test_aliases_and_ids_do_not_matter():
    space = parse_space(HEAD + "x = p3\np3 = sum(x, p4) -> {id | relu} conv3")
    assert answers(space, HEAD + "p3 = sum(p3, p4) -> id conv3 id") == {"p3#2.block1": 0}
    assert answers(space, HEAD + "y = p4\np3 = sum(p3, y) -> relu conv3") == {"p3#2.block1": 1}


def test_settings_and_what_they_decide_are_the_same():
    space = parse_space(
        f"then {{relu | id}} conv3\nup {{nearest | sni}}\n{HEAD}p3 = sum(p3, p4)\np4 = sum(p4, p5)"
    )
    text = HEAD + "p3 = sum(p3, p4 -> sni) -> conv3\np4 = sum(p4, p5 -> sni) -> conv3"
    assert answers(space, text) == {"then.block1": 1, "up": 1}
    with pytest.raises(SpaceError, match="fits nowhere"):  # one decision for both lines
        encode(space, parse(text.replace("sni) -> conv3\n", "nearest) -> conv3\n")))


def test_a_let_is_one_decision_for_all_its_lines():
    space = parse_space(f"let m = {{sum | fast}}\n{HEAD}p3 = m(p3, p4)\np4 = m(p4, p5)")
    assert answers(space, HEAD + "p3 = fast(p3, p4)\np4 = fast(p4, p5)") == {"m": 1}
    with pytest.raises(SpaceError, match=r"fits nowhere: p4 = sum\(p4, p5\)"):
        encode(space, parse(HEAD + "p3 = fast(p3, p4)\np4 = sum(p4, p5)"))


def test_idle_decisions_are_the_smallest():
    space = parse_space(
        HEAD + "p3 = sum(p3, p4, p5? -> {relu | bn} {nearest | sni})\nt@{3..5} = {sum | gp}(p3, p4)"
    )
    assert answers(space, HEAD + "p3 = sum(p3, p4)\nu@3 = sum(p3, p4)") == {
        "p3#2.operand3.present": 0,
        "p3#2.operand3.block1": 0,
        "p3#2.operand3.up": 0,
        "t.level": 0,
        "t.merge": 0,
    }


def test_a_line_that_reaches_no_output_may_be_missing():
    space = parse_space(HEAD + "t@{4..5} = {gp | sum}(p3, p4)\np3 = sum(p3, p4)")
    assert answers(space, HEAD + "p3 = sum(p3, p4)") == {"t.level": 0, "t.merge": 0}


def test_the_order_in_which_lines_ran_is_found():
    space = parse_space(HEAD + "p3..p5 = sum(*, p4)   in any order")
    text = HEAD + "p5 = sum(p3, p4)\np3 = sum(p5, p4)\np4 = sum(p4, p3)"
    assert answers(space, text) == {
        "p3..p5.order1": 2,
        "p3..p5.1.operand1": 0,
        "p3..p5.order2": 0,
        "p3..p5.2.operand1": 2,
        "p3..p5.3.operand1": 0,
    }


def test_rest_must_be_what_the_neck_adds():
    space = parse_space(HEAD + "t@3 = sum(p3, p4)\np3 = {sum | gp}(p3, p5) + rest")
    assert answers(space, HEAD + "t@3 = sum(p3, p4)\np3 = gp(p3, p5) + t") == {"p3#2.merge": 1}
    with pytest.raises(SpaceError, match="fits nowhere"):
        encode(space, parse(HEAD + "t@3 = sum(p3, p4)\np3 = gp(p3, p5) + t + t"))


def test_the_number_of_passes_is_found_and_one_pass_is_its_lines():
    space = parse_space(HEAD + "repeat {1 | 3}:\n    p3 = {sum | max}(p3, p4)")
    assert answers(space, HEAD + "repeat 3:\n    p3 = max(p3, p4)") == {"repeat": 1, "p3.merge": 1}
    assert answers(space, HEAD + "p3 = max(p3, p4)") == {"repeat": 0, "p3.merge": 1}
    with pytest.raises(SpaceError, match="fits nowhere: repeat 2:"):
        encode(space, parse(HEAD + "repeat 2:\n    p3 = max(p3, p4)"))


def test_a_width_that_the_space_lacks_is_named():
    space = parse_space("width {64 | 128}\n" + HEAD, file="mine.space")
    assert encode(space, parse("width 128\n" + HEAD)) == (1,)
    with pytest.raises(SpaceError) as raised:
        encode(space, parse("width 96\n" + HEAD))
    assert str(raised.value) == (
        "mine.space: the neck has width 96, the space offers 64, 128\n"
        "change its width: architecture.with_width(…)"
    )


def test_a_neck_that_ends_early_is_told_so():
    space = parse_space(HEAD + "p3 = {sum | gp}(p3, p4)", file="mine.space")
    with pytest.raises(SpaceError) as raised:
        encode(space, parse(HEAD))
    assert str(raised.value) == (
        "mine.space: the neck ends where the space has more lines\nadd the lines it lacks"
    )


def test_the_first_line_that_fits_nowhere_is_named():
    space = parse_space(HEAD + "p3 = {sum | gp}(p3, p4)\np4 = sum(p4, p5)", file="mine.space")
    with pytest.raises(SpaceError) as raised:
        encode(space, parse(HEAD + "p3 = sum(p3, p4)\np4 = mean(p4, p5)\np5 = sum(p5, p4)"))
    assert str(raised.value) == (
        "mine.space: this line of the neck fits nowhere: p4 = mean(p4, p5)\n"
        "a member of the space has its lines in the space's order; `nas-fpn show` prints them"
    )


def test_many_operands_alike_do_not_multiply_the_ways_to_match():
    twelve = ", ".join(["p3"] * 12)
    space = parse_space(HEAD + f"p3 = {{sum | mean}}({twelve}) -> relu")
    assert encode(space, parse(HEAD + f"p3 = mean({twelve}) -> relu")) == (1,)
    with pytest.raises(SpaceError, match="fits nowhere"):
        encode(space, parse(HEAD + f"p3 = mean({twelve}) -> bn"))


def test_a_search_that_is_given_up_says_so():
    idle = "x1..x9@3 = {sum | mean}(p3, p4)\ny1..y9@3 = {sum | mean}(p3, p4)\n"
    space = parse_space(HEAD + idle + "p3 = sum(p3, p4) -> relu", file="mine.space")
    some = "z1..z9@3 = sum(p3, p4)\n"  # which nine of the eighteen?
    with pytest.raises(SpaceError) as raised:
        encode(space, parse(HEAD + some + "p3 = sum(p3, p4) -> bn"))
    assert str(raised.value) == (
        "mine.space: no genotype is found in 20000 steps; the furthest line reached: "
        "p3 = sum(p3, p4) -> bn\n"
        "write the neck as the space does: its names, its operands in its order"
    )


def test_many_operands_that_may_be_absent_are_found():
    names = ", ".join(f"x{k}?" for k in range(12))
    space = parse_space(HEAD + f"x0..x11 = p3 -> relu\np3 = sum(p3, p4, {names})")
    for genotype in ((1,) * 12, (0,) * 11 + (1,), (1, 0) * 6):
        assert encode(space, decode(space, genotype)) == genotype


def test_many_stars_end_in_an_error_where_nothing_fits():
    names = "x1..x9 = p3 -> relu\n"
    space = parse_space(HEAD + names + f"p3 = sum({', '.join('*' * 9)}) -> relu")
    nine = ", ".join(f"x{k}" for k in range(1, 10))
    fitting = encode(space, parse(HEAD + names + f"p3 = sum({nine}) -> relu"))
    assert fitting == (3, 3, 3, 3, 3, 3, 3, 3, 3)
    with pytest.raises(SpaceError, match="fits nowhere"):
        encode(space, parse(HEAD + names + f"p3 = sum({nine}) -> bn"))
