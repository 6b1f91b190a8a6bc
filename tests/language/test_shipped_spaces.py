"""What the shipped spaces say of themselves is so."""

import re
from pathlib import Path

import pytest

from nas_fpn.language import (
    decode,
    encode,
    find_neck,
    identity,
    parse,
    parse_space,
    read,
    read_neck,
    shipped_folder,
    size,
)
from nas_fpn.language.words import WORDS

FOLDER = shipped_folder("search_spaces")
SPACES = {path.stem: path for path in sorted(FOLDER.glob("*.space"))}
# the necks that a docstring calls members, as they are or at the levels of the space
MEMBERS = [
    (space, neck)
    for space, path in SPACES.items()
    for neck in re.findall(r"\(baselines/(\w+)\) is a member", path.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("path", SPACES.values(), ids=SPACES)
def test_a_space_states_its_exact_size(path: Path) -> None:
    doc = "".join(row for row in path.read_text(encoding="utf-8").splitlines() if row[:1] == "#")
    (stated,) = re.findall(r"(\d+) genotypes", doc)
    assert size(read(path)) == int(stated)


def test_members_are_named() -> None:
    assert {("mobile", "mnasfpn"), ("nas_fpn", "nas_fpn")} <= set(MEMBERS)


@pytest.mark.parametrize(("name", "neck"), MEMBERS)
def test_a_member_is_encoded(name: str, neck: str) -> None:
    space, member = read(SPACES[name]), read_neck(find_neck(neck))
    assert identity(decode(space, encode(space, member))) == identity(member)


def test_everything_has_every_word_of_the_language() -> None:
    text = SPACES["everything"].read_text(encoding="utf-8")
    program = "\n".join(row for row in text.splitlines() if not row.startswith("#"))
    missing = {word for word in WORDS if not re.search(rf"\b{word}\b", program)}
    assert missing == {"swish"}, "a new word belongs into everything.space too; its size changes"


def test_slim_is_the_example_of_the_definition() -> None:
    text = """
width {96 | 128 | 160}
up each {nearest | sni | bilinear}
let conv = {conv3 | sep3 | gsconve1}

p3..p5 = c3..c5 -> conv1 bn silu
p4 = {sum | fast | concat}(p4, p5) -> conv bn silu
p3 = {sum | fast | concat}(p3, p4, p5?) -> conv bn silu
p4 = {sum | fast | concat}(p4, p3 -> {stride | esd1 | maxpool}) -> conv bn silu
p5 = {sum | fast | concat}(p5, p4 -> {stride | esd1 | maxpool}, p3?) -> conv bn silu
"""
    rows = SPACES["slim"].read_text(encoding="utf-8").splitlines()
    shipped = "\n".join(row for row in rows if not row.startswith("#"))
    assert shipped.split() == text.split()
    assert size(parse_space(text)) == 708588


def test_panet_at_the_levels_of_soft_is_a_member() -> None:
    text = find_neck("panet").read_text(encoding="utf-8").replace("p6..p7 = p5..p6", "p6 = p5")
    space, member = read(SPACES["soft"]), parse(text)
    assert identity(decode(space, encode(space, member))) == identity(member)


@pytest.mark.parametrize("cells", [1, 2, 3, 4])
def test_plain_cells_of_bifpn_are_members_of_weighted(cells: int) -> None:
    space = read(SPACES["weighted"])
    member = parse(f"""
width 64
then swish sep3 bn
down maxpool3
p3..p5 = c3..c5 -> conv1 bn
p6 = c5 -> conv1 bn maxpool3
p7 = p6 -> maxpool3
repeat {cells}:
    x3..x7 = p3..p7
    t6@6 = fast(x6, x7)
    t5@5 = fast(x5, t6)
    t4@4 = fast(x4, t5)
    p3 = fast(x3, t4)
    p4 = fast(x4, t4, p3)
    p5 = fast(t5, p4, x5)
    p6 = fast(t6, p5, x6)
    p7 = fast(x7, p6)
""")
    assert identity(decode(space, encode(space, member))) == identity(member)
