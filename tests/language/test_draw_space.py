"""A space is drawn with its holes: what is open is dashed, options stand in braces."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from nas_fpn.language import find_space, parse_space, read
from nas_fpn.language.draw import draw_space
from nas_fpn.language.drawing.holes import unfold
from nas_fpn.language.drawing.picture import Picture

SPACES = sorted(path.stem for path in (Path(__file__).parents[2] / "search_spaces").glob("*.space"))
SVG = "{http://www.w3.org/2000/svg}"


def picture(text: str) -> Picture:
    return unfold(parse_space("p3..p5 = c3..c5 -> conv1\n" + text))


@pytest.mark.parametrize("name", SPACES)
def test_time_runs_right_and_no_place_is_taken_twice(name: str) -> None:
    drawn = unfold(read(find_space(name)))
    column = {box.key: box.column for box in drawn.boxes}
    assert all(column[link.source] < column[link.target] for link in drawn.links)
    places = [(level, box.column) for box in drawn.boxes for level in box.levels]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("name", SPACES)
def test_what_is_drawn_is_xml_and_the_same_every_time(name: str) -> None:
    space = read(find_space(name))
    text = draw_space(space)
    root = ElementTree.fromstring(text)
    assert text == draw_space(read(find_space(name)))
    assert root.findtext(f"{SVG}title") == space.doc.partition("\n")[0].strip()
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for box in root.iter(f"{SVG}rect"):
        if box.get("class", "").startswith("box") and "legend" not in box.get("class", ""):
            assert float(box.get("x", 0)) + float(box.get("width", 0)) <= width
            assert float(box.get("y", 0)) + float(box.get("height", 0)) <= height


def test_options_of_a_merge_stand_in_braces() -> None:
    (box,) = [b for b in picture("p3 = {sum | gp}(p3, p4)\n").boxes if b.merge]
    assert (box.inside, box.mark) == (("{sum | gp}",), "open")


def test_an_operand_that_may_be_absent_is_dashed() -> None:
    links = picture("p3 = sum(p3, p4, p5?)\n").links
    assert [(link.source, link.own) for link in links if link.mark == "open"] == [("p5", ("?",))]


def test_a_star_comes_from_a_bar_that_has_what_was_named() -> None:
    drawn = picture("p3 = sum(*, *)\n")
    (bar,) = [box for box in drawn.boxes if box.kind == "pool"]
    assert [link.source for link in drawn.links if link.target == bar.key] == ["p3", "p4", "p5"]
    assert [link.target for link in drawn.links if link.source == bar.key] == ["p3#2", "p3#2"]


def test_an_open_level_is_as_tall_as_its_levels() -> None:
    (box,) = [b for b in picture("a@{3..5} = sum(p3, p4)\n").boxes if b.name == "a"]
    assert box.levels == range(3, 6)


def test_a_number_of_passes_and_an_order_left_open_say_so() -> None:
    drawn = picture(
        "repeat {1 | 3}:\n    p3..p5 = sum(*, *)   in any order\n".replace(
            "    p3", "    x3..x5 = p3..p5\n    p3"
        )
    )
    assert [frame.text for frame in drawn.frames] == ["any order", "×{1 | 3}"]


def test_decisions_of_the_file_stand_in_the_legend() -> None:
    text = draw_space(
        parse_space(
            "width {64 | 96}\nlet m = {sum | max}\nthen {relu | id}\n"
            "p3..p4 = c3..c4 -> conv1\np3 = m(p3, p4)\n"
        )
    )
    for said in ("m = {sum | max}", "merges end with {relu | id}", "width {64 | 96}"):
        assert said in text


def test_a_docstring_is_text() -> None:
    text = draw_space(parse_space("# <script>&\np3 = c3 -> {conv1 | conv3}\n"))
    root = ElementTree.fromstring(text)
    assert root.findtext(f"{SVG}title") == "<script>&"
    assert not list(root.iter(f"{SVG}script"))
