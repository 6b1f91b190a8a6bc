"""Two necks in one picture: what both have is common, the rest is marked."""

import random
import xml.etree.ElementTree as ElementTree
from collections import Counter
from itertools import pairwise

import pytest

from nas_fpn.language import Architecture, canonical, decode, find_space, parse, read, read_neck
from nas_fpn.language.compare import diff_text
from nas_fpn.language.draw import draw_diff, together
from nas_fpn.language.drawing.fold import fold
from nas_fpn.language.drawing.picture import Picture
from nas_fpn.language.walk import sample

BASELINES = ("fpn", "panet", "bifpn", "bifpn_sum", "nas_fpn", "nas_fpn_mmdet", "none")


def neck(name: str) -> Architecture:
    return read_neck(find_space(f"baselines/{name}"))


def both(first: str, second: str) -> Picture:
    return together(parse(first), parse(second))


def marks(picture: Picture) -> Counter[str]:
    return Counter(box.mark for box in picture.boxes) + Counter(link.mark for link in picture.links)


def pairs() -> list[tuple[Architecture, Architecture]]:
    space = read(find_space("nas_fpn"))
    rng = random.Random(5)
    drawn = [decode(space, sample(space, rng)) for _ in range(6)]
    shipped = [(neck(a), neck(b)) for a in BASELINES for b in BASELINES if a < b]
    return [*shipped, *pairwise(drawn)]


@pytest.mark.parametrize("name", BASELINES)
def test_a_neck_and_itself_have_everything_in_common(name: str) -> None:
    picture = together(neck(name), neck(name))
    assert set(marks(picture)) == {"common"}
    assert len(picture.boxes) == len(fold(neck(name)).boxes)


def test_names_are_no_difference() -> None:
    a = neck("nas_fpn")
    assert set(marks(together(canonical(a), a))) == {"common"}


def test_every_box_and_link_of_either_is_there() -> None:
    for a, b in pairs():
        one, other, picture = fold(a), fold(b), together(a, b)
        for mine, mark in ((one, "first"), (other, "second")):
            for kind, found in (("boxes", picture.boxes), ("links", picture.links)):
                living = [x for x in getattr(mine, kind) if x.mark != "dead"]
                here = [x for x in found if x.mark in (mark, "common", "changed")]
                assert len(here) == len(living), kind


def test_time_runs_right_and_no_place_is_taken_twice() -> None:
    for a, b in pairs():
        picture = together(a, b)
        column = {box.key: box.column for box in picture.boxes}
        assert all(column[link.source] < column[link.target] for link in picture.links)
        places = [(box.level, box.column) for box in picture.boxes]
        assert len(set(places)) == len(places)


def test_another_merge_is_a_change_of_the_line() -> None:
    text = "p3..p4 = c3..c4 -> conv1\np3 = {}(p3, p4)\n"
    picture = both(text.format("sum"), text.format("fast"))
    (changed,) = [box for box in picture.boxes if box.mark == "changed"]
    assert changed.inside == ("sum → fast",)
    assert {link.mark for link in picture.links} == {"common"}


def test_another_operand_is_another_link() -> None:
    text = "p3..p5 = c3..c5 -> conv1\np3 = sum(p3, {})\n"
    picture = both(text.format("p4"), text.format("p5"))
    assert {box.mark for box in picture.boxes} == {"common"}
    apart = {link.source: link.mark for link in picture.links if link.mark != "common"}
    assert apart == {"p4": "first", "p5": "second"}


@pytest.mark.parametrize("other", ["p4 -> sni", "p4 -> conv1"])
def test_another_way_of_the_same_operand_is_another_link(other: str) -> None:
    text = "p3..p4 = c3..c4 -> conv1\np3 = sum(p3, {})\n"
    picture = both(text.format("p4"), text.format(other))
    assert {box.mark for box in picture.boxes} == {"common"}
    apart = [(link.source, link.mark) for link in picture.links if link.mark != "common"]
    assert apart == [("p4", "first"), ("p4", "second")]


def test_a_repeat_that_runs_another_number_of_times_says_both() -> None:
    text = "p3..p4 = c3..c4 -> conv1\nrepeat {}:\n    p3 = sum(p3, p4)\n"
    picture = both(text.format(3), text.format(5))
    assert [frame.text for frame in picture.frames] == ["×3 → ×5"]
    assert set(marks(picture)) == {"common"}


def test_a_setting_that_differs_stands_in_the_legend_only() -> None:
    text = "width 64\n{}\np3..p4 = c3..c4 -> conv1\np3 = sum(p3, p4)\n"
    a, b = parse(text.format("up sni")), parse(text.format("then relu").replace("64", "96"))
    assert set(marks(together(a, b))) == {"common"}
    drawn = draw_diff(a, b)
    for said in ("width 64 → 96", "up sni → nearest", "merges end with id → relu"):
        assert said in drawn


def test_the_names_are_text() -> None:
    text = draw_diff(neck("fpn"), neck("panet"), names=("<script>", "\x00&"))
    root = ElementTree.fromstring(text)
    assert root[0].text == "<script> → \ufffd&"
    assert not [e for e in root.iter() if e.tag.endswith("script")]
    assert text == draw_diff(neck("fpn"), neck("panet"), names=("<script>", "\x00&"))


def test_docstrings_are_no_part_of_the_text_diff() -> None:
    assert diff_text(parse("# one\np3 = c3 -> conv1\n"), parse("p3 = c3 -> conv1\n")) == ""
