"""The canonical form: what does not matter goes, what matters stays; the id follows from it."""

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_fpn.language import (
    Architecture,
    Line,
    Operand,
    Repeat,
    Word,
    canonical,
    decode,
    encode,
    find_neck,
    identity,
    parse,
    parse_space,
    read,
    read_neck,
    sample,
)
from nas_fpn.language.lower import moved
from nas_fpn.language.names import is_backbone, is_pyramid
from nas_fpn.language.words import WORDS
from tests.language.pairs import pairs
from tests.language.programs import IDS, SHIPPED, spaces

few = settings(max_examples=50, deadline=None, derandomize=True, database=None)
chances = st.randoms(use_true_random=False)
NUMBERS = count()
Levels = dict[str, int]
Change = Callable[[Line, Levels, Architecture, random.Random], list[Line]]


def changed(architecture: Architecture, change: Change, chance: random.Random) -> Architecture:
    """The architecture with ``change`` tried on every line; levels are those above the line."""
    levels: Levels = {}

    def lines(old: tuple[Line, ...], levels: Levels) -> list[Line]:
        found: list[Line] = []
        for line in old:
            found.extend(change(line, levels, architecture, chance))
            levels[line.target] = line.level
        return found

    items: list[Line | Repeat] = []
    for item in architecture.items:
        if isinstance(item, Repeat):
            inner = dict(levels)
            items.append(Repeat(item.count, tuple(lines(item.lines, inner))))
            levels.update({n: k for n, k in inner.items() if is_pyramid(n)})
        else:
            items.extend(lines((item,), levels))
    return replace(architecture, items=tuple(items))


def level_of(name: str, levels: Levels) -> int:
    return int(name[1:]) if is_backbone(name) else levels[name]


def renamed(line: Line, levels: Levels, _: Architecture, __: random.Random) -> list[Line]:
    def other(name: str) -> str:
        return name if is_pyramid(name) or is_backbone(name) else f"z_{name}_b"

    operands = tuple(Operand(other(o.feature), o.blocks) for o in line.operands)
    addends = tuple(other(name) for name in line.addends)
    return [replace(line, target=other(line.target), operands=operands, addends=addends)]


def shuffled(line: Line, _: Levels, __: Architecture, chance: random.Random) -> list[Line]:
    operands, addends = list(line.operands), list(line.addends)
    chance.shuffle(addends)
    if line.merge is not None and WORDS[line.merge.name].commutes:
        chance.shuffle(operands)
    return [replace(line, operands=tuple(operands), addends=tuple(addends))]


def aliased(line: Line, levels: Levels, _: Architecture, chance: random.Random) -> list[Line]:
    at = chance.randrange(len(line.operands))
    name = line.operands[at].feature
    if is_backbone(name):
        return [line]
    fresh = f"alias_{next(NUMBERS)}"
    alias = Line(fresh, levels[name], None, (Operand(name),))
    operands = list(line.operands)
    operands[at] = Operand(fresh, operands[at].blocks)
    return [alias, replace(line, operands=tuple(operands))]


def with_ids(line: Line, levels: Levels, a: Architecture, chance: random.Random) -> list[Line]:
    def some(blocks: tuple[Word, ...]) -> tuple[Word, ...]:
        at = chance.randrange(len(blocks) + 1)
        return (*blocks[:at], Word("id"), *blocks[at:])

    if line.merge is None:
        return [replace(line, blocks=some(line.blocks or ()))]
    operands = tuple(replace(o, blocks=some(o.blocks)) for o in line.operands)
    return [replace(line, operands=operands, blocks=some(line.blocks) if line.blocks else None)]


def with_dead_lines(line: Line, levels: Levels, _: Architecture, chance: random.Random):
    dead = Line(
        f"dead_{next(NUMBERS)}",
        line.level,
        Word("sum"),
        (Operand(line.target), Operand(line.target)),
    )
    return [line, dead]


def written_out(line: Line, levels: Levels, a: Architecture, _: random.Random) -> list[Line]:
    sources = [level_of(o.feature, levels) for o in line.operands]
    if line.merge is None:
        if line.addends:
            return [line]
        blocks = tuple(moved(line.blocks or (), sources[0], line.level, a))
        return [replace(line, blocks=blocks or None)]
    operands = tuple(
        Operand(o.feature, tuple(moved(o.blocks, source, line.level, a)))
        for o, source in zip(line.operands, sources, strict=True)
    )
    blocks = a.then if line.blocks is None else line.blocks
    return [replace(line, operands=operands, blocks=blocks or (Word("id"),))]


IDLE = {
    "renamed": renamed,
    "shuffled": shuffled,
    "aliased": aliased,
    "ids": with_ids,
    "dead lines": with_dead_lines,
    "written out": written_out,
}


def check_same(architecture: Architecture, mutant: Architecture) -> None:
    assert parse(str(mutant)) == mutant, "the mutant is not a program"
    assert str(canonical(mutant)) == str(canonical(architecture))
    assert identity(mutant) == identity(architecture)


@pytest.mark.parametrize("change", IDLE.values(), ids=IDLE)
@pytest.mark.parametrize("path", SHIPPED, ids=IDS)
def test_what_is_idle_does_not_change_the_id(path, change: Change):
    space, chance = read(path), random.Random(6)
    architecture = decode(space, sample(space, chance))
    check_same(architecture, changed(architecture, change, chance))


@few
@given(spaces(), chances)
def test_what_is_idle_does_not_change_the_id_of_a_random_neck(text, chance):
    space = parse_space(text)
    architecture = decode(space, sample(space, chance))
    mutant = architecture
    for name, change in IDLE.items():
        if name != "dead lines":
            mutant = changed(mutant, change, chance)
    assert identity(decode(space, encode(space, mutant))) == identity(architecture)
    mutant = changed(mutant, with_dead_lines, chance)
    check_same(architecture, mutant)


@few
@given(spaces(), chances)
def test_the_canonical_form_is_the_same_graph(text, chance):
    space = parse_space(text)
    for _ in range(3):
        pairs(decode(space, sample(space, chance)))


@pytest.mark.parametrize("path", SHIPPED, ids=IDS)
def test_the_canonical_form_of_a_shipped_neck_is_the_same_graph(path):
    space = read(path)
    assert len(pairs(decode(space, sample(space, random.Random(8))))) >= 3


def test_settings_that_nothing_uses_go():
    text = "p3..p4 = c3..c4 -> conv1\np3 = p3 -> conv3"
    settings = "width 256\nthen relu conv3\nup sni\ndown stride\n"
    assert identity(parse(settings + text)) == identity(parse(text))


def test_one_pass_of_a_repeat_is_its_lines():
    body = "x = p3\np3 = sum(x, p4)\np4 = sum(p4, x)"
    head = "p3..p4 = c3..c4 -> conv1\n"
    once = parse(head + "repeat 1:\n    " + body.replace("\n", "\n    "))
    assert identity(once) == identity(parse(head + body))
    twice = parse(head + "repeat 2:\n    " + body.replace("\n", "\n    "))
    assert identity(twice) != identity(once)


def test_the_canonical_text_of_the_published_cell():
    assert str(canonical(read_neck(find_neck("nas_fpn")))) == CELL


CELL = """\
width 256

p3 = c3 -> conv1 bn
p4 = c4 -> conv1 bn
p5 = c5 -> conv1 bn
p6 = p5 -> maxpool
p7 = p6 -> maxpool
repeat 7:
    t1@4 = gp(p6 -> nearest, p4) -> relu conv3 bn
    t2@4 = sum(p4, t1) -> relu conv3 bn
    p3 = sum(p3, t2 -> nearest) -> relu conv3 bn
    p4 = sum(t2, p3 -> maxpool) -> relu conv3 bn
    p5 = gp(p4 -> maxpool, p3 -> maxpool) + p5 -> relu conv3 bn
    p7 = gp(p5 -> maxpool, t2 -> maxpool) + p7 -> relu conv3 bn
    p6 = gp(p7 -> nearest, p5 -> maxpool) -> relu conv3 bn
"""
BASE = """
width 8
then relu conv3 bn
p3..p5 = c3..c5 -> conv1
t@4 = gp(p4, p5)
p4 = fast(t, p3 -> stride)
repeat 2:
    p3 = sum(p3, p4) + p3
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("gp(p4, p5)", "gp(p5, p4)"),
        ("fast(t, p3 -> stride)", "fast(p3 -> stride, t)"),
        ("gp(p4", "gp[pool=mean](p4"),
        ("stride", "maxpool"),
        ("width 8", "width 16"),
        ("relu conv3 bn", "relu bn conv3"),
        ("relu conv3 bn", "relu conv3 bn[eps=0.5]"),
        ("relu conv3", "relu conv3[bias]"),
        ("repeat 2", "repeat 3"),
        ("p3 = sum(p3, p4) + p3", "p3 = sum(p3, p4) + p3 + p3"),
        ("p3 = sum(p3, p4)", "p3 = sum(p3, p4 -> bilinear)"),
        ("c3..c5 -> conv1", "c3..c5 -> conv1[nobias]"),
        ("sum(p3, p4)", "mean(p3, p4)"),
        ("p3 = sum(p3, p4) + p3", "p4 = sum(p4, p3) + p4"),
    ],
)
def test_what_matters_changes_the_id(old: str, new: str):
    assert old in BASE
    assert identity(parse(BASE)) != identity(parse(BASE.replace(old, new)))


def test_values_that_change_places_keep_them():
    text = "p3..p4 = c3..c4 -> conv1\nrepeat 2:\n  x@4 = sum(p4, p3)\n  p3 = sum(p3, x)\n  p4 = x"
    swap = "a = p2 -> conv3\nb = p3\np2 = b -> nearest\np3 = sum(a, b)\n"
    for program in (text, "p2..p3 = c2..c3 -> conv1\n" + swap):
        pairs(parse(program))
        once = canonical(parse(program))
        assert canonical(once) == once


def test_two_outputs_of_one_value_at_one_level_cannot_be_but_aliases_of_old_values_can():
    neck = parse("p3 = c3 -> conv1\nold = p3\np3 = p3 -> conv3\np3 = sum(p3, old)")
    assert str(canonical(neck)).splitlines()[2:] == [
        "t1 = c3 -> conv1",
        "t2 = t1 -> conv3",
        "p3 = sum(t1, t2)",
    ]
    pairs(neck)


def test_a_loop_that_ends_with_a_value_from_before_it_reads_that_value():
    """Else p4 of before is overwritten, and two functions share a text."""
    head, first = "p3..p5 = c3..c5 -> conv1\n", "repeat 2:\n    p4 = sum(p4, p5)\n"
    second = "repeat 2:\n    p3 = sum(p3, p4)\n    p4 = a\n"
    early = parse(head + "a = p4\n" + first + second)
    late = parse(head + first + "a = p4\n" + second)
    for neck in (early, late):
        pairs(neck)
        assert canonical(canonical(neck)) == canonical(neck)
    assert identity(early) != identity(late)
