"""Names and numbers of choices: what a person recognises in a table."""

import random

import pytest

from nas_fpn.errors import SpaceError
from nas_fpn.language import choices, decode, encode, explain, find_space, parse, parse_space, read

HEAD = "p3..p5 = c3..c5 -> conv1\n"


def names(text: str) -> list[str]:
    return [choice.name for choice in choices(parse_space(text))]


def counts(text: str) -> dict[str, int]:
    return {choice.name: choice.count for choice in choices(parse_space(text))}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (HEAD + "a@{3..7} = sum(p3, p4)", ["a.level"]),
        (HEAD + "a..b@{3..7} = sum(p3, p4)", ["a.level", "b.level"]),
        (HEAD + "t = * -> {relu | id}", ["t.operand1", "t.block1"]),
        ("p5 = c5 -> conv1\np6 = p5 -> {stride | maxpool}", ["p6.down"]),
        ("p3 = c3 -> {conv1 | conv3} bn {relu | id}", ["p3.block1", "p3.block3"]),
        (HEAD + "p4 = {sum | gp}(p4, p5)", ["p4#2.merge"]),
        (HEAD + "p4 = sum(p4, *)", ["p4#2.operand2"]),
        (HEAD + "t@4 = sum(p4, p5) -> {relu | id} conv3 {bn | id}", ["t.block1", "t.block3"]),
        (HEAD + "t@3 = sum(p3, p5 -> {nearest | sni})", ["t.operand2.up"]),
        (HEAD + "t@4 = sum(p4, p3 -> {maxpool | stride})", ["t.operand2.down"]),
        (HEAD + "t@4 = sum(p4, p5 -> {relu | bn} sni)", ["t.operand2.block1"]),
        (HEAD + "t@4 = sum(p4, p5, p3?)", ["t.operand3.present"]),
        ("then relu {conv3 | sep3} bn\n" + HEAD, ["then.block2"]),
        ("width {64 | 128}\n" + HEAD, ["width"]),
        ("up {nearest | sni}\n" + HEAD, ["up"]),
        ("let m = {sum | gp}\n" + HEAD + "t@3 = m(p3, p4)\nu@3 = m(t, p4)", ["m"]),
        ("down each {stride | maxpool}\n" + HEAD + "t@4 = sum(p4, p3, p5)", ["t.operand2.down"]),
        (
            HEAD + "repeat {1 | 3}:\n  p3 = sum(p3, p4)\nrepeat {1..2}:\n  p4 = {sum | gp}(p3, p4)",
            ["repeat", "repeat2", "p4.merge"],
        ),
        (
            HEAD + "repeat 2:\n  p4 = {sum | gp}(p3, p4)\n  p4 = {sum | gp}(p3, p4)",
            ["p4.merge", "p4#2.merge"],
        ),
        (
            HEAD + "repeat 2:\n  t@4 = {sum | gp}(p3, p4)\nrepeat 2:\n  t@4 = {sum | gp}(p3, p4)",
            ["t.merge", "repeat2.t.merge"],
        ),
        (
            HEAD + "p3..p5 = {sum | gp}(*, p4)   in any order",
            [
                "p3..p5.order1",
                "p3..p5.1.merge",
                "p3..p5.1.operand1",
                "p3..p5.order2",
                "p3..p5.2.merge",
                "p3..p5.2.operand1",
                "p3..p5.3.merge",
                "p3..p5.3.operand1",
            ],
        ),
    ],
    ids=lambda value: value.splitlines()[-1] if isinstance(value, str) else "",
)
def test_choices_are_named_after_what_they_decide(text: str, wanted: list[str]):
    assert names(text) == wanted


def test_the_first_assignment_of_a_level_goes_by_its_bare_name():
    assert names("p3 = c3 -> conv1\np4 = {sum | gp}(p3, p3)") == ["p4.merge"]


def test_every_written_hole_is_asked_where_it_is_idle_too():
    text = HEAD + "t@4 = sum(p4, p5, p3? -> {stride | maxpool} {relu | bn})"
    assert names(text) == [
        "t.operand3.present",
        "t.operand3.down",
        "t.operand3.block2",
    ]
    space = parse_space(text)
    absent = {str(decode(space, (0, i, j))) for i in range(2) for j in range(2)}
    assert len(absent) == 1


def test_each_asks_only_where_some_answer_could_make_it_act():
    text = (
        "up each {nearest | sni}\n"
        + HEAD
        + "t@4 = sum(p3, p4, p5, p5 -> bilinear)\n"
        + "u@{3..5} = sum(p4, p5, *, p3)\n"
        + "v = t -> relu\n"
    )
    assert names(text) == [
        "t.operand3.up",
        "u.level",
        "u.operand1.up",
        "u.operand2.up",
        "u.operand3",
        "u.operand3.up",
    ]


def test_each_is_asked_for_single_sources_at_another_level():
    assert names("up each {nearest | sni}\np4 = c4 -> conv1\np3 = p4\np5 = p4") == ["p3.up"]


def test_stars_of_a_line_draw_without_replacement():
    text = HEAD + "t@3 = sum(*, p3, *)"
    assert counts(text) == {"t.operand1": 3, "t.operand3": 2}
    space = parse_space(text)
    drawn = {
        tuple(o.feature for o in decode(space, (i, j)).items[-1].operands)
        for i in range(3)
        for j in range(2)
    }
    assert drawn == {("p3", "p3", "p4"), ("p3", "p3", "p5"), ("p4", "p3", "p5")}


def test_stars_of_a_merge_that_does_not_commute_keep_their_order():
    space = parse_space("p3..p4 = c3..c4 -> conv1\nt@3 = gp(*, *)")
    found = [[o.feature for o in decode(space, (i, 0)).items[-1].operands] for i in range(2)]
    assert found == [["p3", "p4"], ["p4", "p3"]]


def test_the_pool_is_what_the_block_has_assigned():
    text = HEAD + "repeat 2:\n  x = p3\n  y = p4\n  p3 = sum(*, *)\n  p4 = sum(*, p3)"
    assert counts(text) == {"p3.operand1": 2, "p3.operand2": 1, "p4.operand1": 3}


def test_the_range_of_an_order_sees_what_ran_before():
    space = parse_space("p3..p4 = c3..c4 -> conv1\nx..y@3 = sum(*, p3) + rest   in any order")
    assert [choice.count for choice in choices(space)] == [2, 2, 3]
    lines = str(decode(space, (1, 0, 2))).splitlines()
    assert lines[-2:] == ["y@3 = sum(p3, p3)", "x@3 = sum(y, p3)"]


def test_rest_adds_what_nothing_has_used():
    text = """
p3..p5 = c3..c5 -> conv1
a@3 = sum(p3, p4)
b@3 = sum(p3, p5)
c = a
p3 = sum(b, p3) + rest
"""
    assert str(parse(text)).splitlines()[-1] == "p3 = sum(b, p3) + c"
    assert str(parse(text.replace("c = a", "c = b"))).splitlines()[-1] == "p3 = sum(b, p3) + a + c"


def test_a_new_value_starts_unused_and_may_add_nothing():
    text = "p3 = c3 -> conv1\np3 = p3 -> relu\nt@3 = sum(p3, p3) + rest\nu@3 = sum(p3, p3) + rest"
    assert str(parse(text)).splitlines()[-2:] == ["t@3 = sum(p3, p3)", "u@3 = sum(p3, p3) + t"]


def test_a_resampler_with_nothing_to_do_is_passed_over():
    space = parse_space(HEAD + "t@{3..5} = sum(p4 -> sni stride relu, p4)")
    lines = [str(decode(space, (k,))).splitlines()[-1] for k in range(3)]
    assert lines == [
        "t@3 = sum(p4 -> sni relu, p4)",
        "t@4 = sum(p4 -> relu, p4)",
        "t@5 = sum(p4 -> stride relu, p4)",
    ]


def test_explain_gives_every_choice_with_its_option():
    space = parse_space(
        "width {64 | 128}\n" + HEAD + "a@{3..4} = {sum | gp[pool=mean]}(*, p3)\n"
        "repeat {1 | 2}:\n    p3..p4 = sum(p3, p4)   in any order"
    )
    with pytest.raises(SpaceError):
        explain(space, (0,))
    assert explain(space, (1, 0, 1, 2, 0, 1)) == (
        ("width", "128"),
        ("a.level", "3"),
        ("a.merge", "gp[pool=mean]"),
        ("a.operand1", "p5"),
        ("repeat", "1"),
        ("p3..p4.order1", "p4"),
    )


def test_levels_in_any_order_read_what_each_other_has_at_that_moment():
    text = HEAD + "repeat 1:\n    p3..p4 = gp(p3..p4, p4..p3)   in any order"
    space = parse_space(text)
    found = [str(decode(space, (k,))).splitlines()[-2:] for k in range(2)]
    assert found[0] == ["    p3 = gp(p3, p4)", "    p4 = gp(p4, p3)"]
    assert found[1] == found[0][::-1]
    for k in range(2):
        assert encode(space, decode(space, (k,))) == (k,)


def test_a_neck_is_a_space_of_one_member():
    space = read(find_space("baselines/panet"))
    assert choices(space) == ()
    assert encode(space, decode(space, ())) == ()


def test_a_member_by_value_is_found_under_other_names_and_orders():
    space = read(find_space("quick"))
    architecture = decode(space, tuple(random.Random(5).randrange(c.count) for c in choices(space)))
    text = str(architecture).replace("t4", "way").replace("n5", "out5")
    assert encode(space, parse(text)) == encode(space, architecture)
