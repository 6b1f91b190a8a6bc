"""A drawing shows every live line once, every link, and how each changes level."""

import random
import xml.etree.ElementTree as ElementTree
from collections import Counter
from xml.etree.ElementTree import Element

import pytest

from nas_fpn.language import Architecture, find_space, parse, read, read_neck
from nas_fpn.language.draw import draw, draw_text
from nas_fpn.language.drawing.fold import fold
from nas_fpn.language.lower import lower
from nas_fpn.language.walk import decode, sample

BASELINES = ("none", "fpn", "panet", "bifpn", "nas_fpn", "sni_fpn")
SVG = "{http://www.w3.org/2000/svg}"

TWICE = """# Two <passes> & "one" of '<script>alert(1)</script>'
up sni
p3..p4 = c3..c4 -> conv1
q@3 = p4 -> conv1
repeat 3:
    unused@4 = max(p3, p4)
    t@4 = sum(p3 -> stride, p4)
    p3 = gp(t, q) + p3
    p4 = mean(t, p3) -> id
"""


def neck(name: str) -> Architecture:
    return read_neck(find_space(f"baselines/{name}"))


def sampled(count: int) -> list[Architecture]:
    space = read(find_space("nas_fpn"))
    rng = random.Random(3)
    return [decode(space, sample(space, rng)) for _ in range(count)]


def groups(architecture: Architecture, kind: str) -> list[Element]:
    root = ElementTree.fromstring(draw(architecture))
    return [g for g in root.iter(f"{SVG}g") if kind in g.get("class", "").split()]


def folded_lines(architecture: Architecture) -> set[str]:
    """The keys of the graph with the numbers of the passes taken out."""
    keys = (node.key.split(".") for node in lower(architecture).nodes)
    return {f"{key[0]}.{key[-1]}" if len(key) > 1 else key[0] for key in keys}


@pytest.mark.parametrize("name", BASELINES)
def test_every_live_line_is_one_node(name: str) -> None:
    drawn = [group.get("data-line") for group in groups(neck(name), "line")]
    assert Counter(drawn) == Counter(folded_lines(neck(name)))


def test_what_reaches_no_output_is_pale() -> None:
    marks = {
        group.get("data-line"): "dead" in group.get("class", "").split()
        for group in groups(parse(TWICE), "line")
    }
    lines = ("p3", "p4", "q", "repeat1.t", "repeat1.p3", "repeat1.p4")
    assert marks == {**dict.fromkeys(lines, False), "repeat1.unused": True}
    pale = [g for g in groups(parse(TWICE), "link") if "dead" in g.get("class", "").split()]
    assert [g.findtext(f"{SVG}title") for g in pale] == ["p3 → maxpool unused", "p4 → unused"]


def test_an_input_that_only_dead_lines_read_is_pale() -> None:
    picture = fold(parse("p3 = c3 -> conv1\nt = c5 -> conv1\nrepeat 2:\n    u = t -> relu\n"))
    pale = {box.key for box in picture.boxes if box.mark == "dead"}
    assert pale == {"c5", "t", "repeat1 in outside t", "repeat1.u"}
    assert {link.mark for link in picture.links if link.target in pale} == {"dead"}
    assert [frame.mark for frame in picture.frames] == ["dead"]


def test_every_operand_and_addend_is_one_link() -> None:
    for architecture in (*map(neck, BASELINES), parse(TWICE), *sampled(5)):
        folded = {}
        for node in lower(architecture).nodes:
            frame, _, rest = node.key.partition(".")
            folded[frame, rest.partition(".")[2]] = len(node.edges), len(node.addends)
        drawn = [
            g
            for g in groups(architecture, "link")
            if not {"legend", "dead"}.intersection(g.get("class", "").split())
        ]
        roles = Counter(word for g in drawn for word in g.get("class", "").split())
        assert roles["operand"] == sum(edges for edges, _ in folded.values())
        assert roles["addend"] == sum(addends for _, addends in folded.values())


def test_links_that_change_level_name_their_resampler() -> None:
    drawn = [g for g in groups(parse(TWICE), "operand") if g.get("data-resampler")]
    marks = Counter((g.get("class", "").split()[1], g.get("data-resampler")) for g in drawn)
    assert marks == {("up", "sni"): 2, ("down", "stride"): 1, ("down", "maxpool"): 2}


def test_resamplers_of_one_direction_differ_in_their_dashes() -> None:
    drawn = [g for g in groups(parse(TWICE), "down") if g.get("data-resampler")]
    dashes = {g.get("data-resampler"): g[1].get("stroke-dasharray") for g in drawn}
    assert len(set(dashes.values())) == len(dashes) == 2


def test_inputs_and_outputs_stand_at_the_ends() -> None:
    for name in BASELINES:
        picture = fold(neck(name))
        columns = {
            kind: {b.column for b in picture.boxes if b.kind == kind}
            for kind in ("input", "output")
        }
        assert columns == {"input": {0}, "output": {picture.columns - 1}}


def test_no_two_boxes_share_a_place_and_time_runs_right() -> None:
    for architecture in (*map(neck, BASELINES), parse(TWICE), *sampled(10)):
        picture = fold(architecture)
        places = [(box.level, box.column) for box in picture.boxes]
        assert len(set(places)) == len(places)
        column = {box.key: box.column for box in picture.boxes}
        assert all(column[link.source] < column[link.target] for link in picture.links)


def test_a_repeat_is_drawn_once_in_a_frame() -> None:
    (frame,) = groups(neck("nas_fpn"), "repeat")
    assert [text.text for text in frame.iter(f"{SVG}text")] == ["×7"]
    picture = fold(parse(TWICE))
    assert [f.text for f in picture.frames] == ["×3"]
    entries = {box.name for box in picture.boxes if box.kind == "entry"}
    assert entries == {"p3", "p4", "q"}
    assert {box.name for box in picture.boxes if box.kind == "exit"} == {"p3", "p4"}


def test_a_line_that_lives_in_the_last_pass_only_is_drawn() -> None:
    picture = fold(parse("repeat 2:\n    p3 = c3 -> conv1\n    p4 = p3 -> stride\n"))
    assert [b.name for b in picture.boxes if b.kind == "line"] == ["p3", "p4"]


def test_the_docstring_is_text_and_cannot_be_markup() -> None:
    text = draw(parse(TWICE))
    root = ElementTree.fromstring(text)
    assert "script" not in {element.tag.removeprefix(SVG) for element in root.iter()}
    assert root.findtext(f"{SVG}title") == TWICE.split("\n")[0].removeprefix("# ")


def test_what_xml_cannot_hold_is_replaced() -> None:
    architecture = parse("p3 = c3 -> conv1\n")
    odd = type(architecture)(architecture.items, doc="a\x00b\x1b]\ud800\ufffe")
    title = ElementTree.fromstring(draw(odd)).findtext(f"{SVG}title")
    assert title == "a\ufffdb\ufffd]\ufffd\ufffd"


def test_a_screen_reader_gets_the_program() -> None:
    described = ElementTree.fromstring(draw(neck("fpn"))).findtext(f"{SVG}desc")
    assert described is not None
    assert "p4 = sum(p4, p5)" in described


def test_drawing_is_deterministic() -> None:
    assert draw(neck("bifpn")) == draw(neck("bifpn"))


def test_pictures_can_stand_in_one_page() -> None:
    assert " id=" not in draw(neck("nas_fpn"))


def test_the_terminal_shows_levels_as_rows() -> None:
    assert draw_text(parse(TWICE)) == (
        "                                  ┌─ ×3 ───────────────────────────────────────"
        "────────────┐\n"
        "4  c4  p4 = conv1                 ├ p4       (unused = max)  t = sum            "
        "p4 = mean  ┤  p4\n"
        "       c4                                    ↓p3 p4          ↓p3 p4             "
        "t ↓p3\n"
        "3  c3  p3 = conv1  q = conv1 sni  ├ p3  ├ q                           p3 = gp   "
        "           ┤  p3\n"
        "       c3          ↑p4                                                ↑t q +p3\n"
        "                                  └────────────────────────────────────────────"
        "────────────┘\n"
    )


def test_boxes_do_not_overlap_and_everything_is_inside_the_picture() -> None:
    drawn = sorted((find_space("fpn").parent).glob("*.neck"))
    quick = [read_neck(path) for path in drawn if path.stem not in ("gfpn", "opanas")]
    for architecture in (*quick, parse(TWICE), *sampled(3)):
        root = ElementTree.fromstring(draw(architecture))
        wide, tall = float(root.get("width", 0)), float(root.get("height", 0))
        boxes = []
        for group in root.iter(f"{SVG}g"):
            if "node" in group.get("class", "").split():
                x, y, w, h = (
                    float(group[1].get(name, 0)) for name in ("x", "y", "width", "height")
                )
                assert x >= 0
                assert y >= 0
                assert x + w <= wide
                assert y + h <= tall
                boxes.append((x, y, x + w, y + h))
        for k, (left, top, right, bottom) in enumerate(boxes):
            for a, b, c, d in boxes[:k]:
                assert right < a or c < left or bottom < b or d < top
        for text in root.iter(f"{SVG}text"):
            if text.get("x") and "middle" in text.get("class", "").split():
                assert 0 < float(text.get("x", 0)) < wide
                assert 0 < float(text.get("y", 0)) < tall


def test_the_same_blocks_of_all_operands_stand_in_the_legend_once() -> None:
    text = "p3..p5 = c3..c5 -> conv1\np5 = sum(p5, p3 -> {}, p4 -> {}, p4 -> {})\n"
    for blocks, told in (("relu relu relu", True), ("relu relu silu", False)):
        drawn = groups(parse(text.format(*blocks.split())), "legend")
        said = [group.findtext(f"{SVG}text") for group in drawn]
        assert ("sum of ↓ relu" in said) is told
