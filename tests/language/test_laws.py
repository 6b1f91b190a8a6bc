"""The laws of the language (docs/language.md), for every shipped file and for random spaces."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from nas_fpn.errors import SpaceError
from nas_fpn.language import (
    Architecture,
    Space,
    canonical,
    choices,
    decode,
    encode,
    find_neck,
    find_space,
    fit,
    identity,
    parse,
    parse_space,
    read,
    read_neck,
    sample,
    size,
    walk,
)
from tests.language.programs import IDS, SHIPPED, spaces

few = settings(max_examples=60, deadline=None, derandomize=True, database=None)
chances = st.randoms(use_true_random=False)

PLAIN = """
p3..p4 = c3..c4 -> conv1
p4 = {sum | gp}(p4, p3)
"""
STARS = """
let m = {sum | fast | gp}
p3..p5 = c3..c5 -> conv1
a@{3..4} = m(*, *)
p3 = {sum | max}(p3, a, p5?) + rest -> {id | relu}
"""
ORDER = """
up each {nearest | sni}
p3..p4 = c3..c4 -> conv1
repeat {1 | 2}:
    x3..x4 = p3..p4
    p3..p4 = sum(*, x3) + rest   in any order
"""
SMALL = {"plain": PLAIN, "stars": STARS, "order": ORDER}


def of_shipped(test: Callable[..., None]) -> Callable[..., None]:
    return pytest.mark.parametrize("path", SHIPPED, ids=IDS)(test)


def genotypes(space: Space) -> Iterator[tuple[int, ...]]:
    return product(*(range(choice.count) for choice in choices(space)))


def leaves(space: Space) -> Iterator[tuple[list[tuple[str, int]], Architecture]]:
    """Every way to answer a walk, found by walking: knows nothing of ``choices``."""
    prefix: list[int] = []
    while True:
        asked: list[tuple[str, int]] = []

        def answer(name: str, options: Sequence[object]) -> int:
            asked.append((name, len(options)))  # noqa: B023
            if len(asked) > len(prefix):  # noqa: B023
                prefix.append(0)
            return prefix[len(asked) - 1]  # noqa: B023

        architecture = walk(space, answer)
        yield asked, architecture
        while prefix and prefix[-1] == asked[len(prefix) - 1][1] - 1:
            prefix.pop()
        if not prefix:
            return
        prefix[-1] += 1


# -- law 1: parse(str(a)) == a


@of_shipped
def test_what_is_printed_is_read_back(path):
    space, chance = read(path), random.Random(1)
    for _ in range(20 if space.has_holes else 1):
        architecture = decode(space, sample(space, chance))
        assert parse(str(architecture)) == architecture
        assert str(parse(str(architecture))) == str(architecture)


@few
@given(spaces(), chances)
def test_what_is_printed_of_a_random_space_is_read_back(text, chance):
    space = parse_space(text)
    for _ in range(3):
        architecture = decode(space, sample(space, chance))
        assert parse(str(architecture)) == architecture


# -- law 2: options never depend on other answers; all decodes; encode turns decode round


@of_shipped
def test_every_genotype_decodes_and_encodes_back(path):
    space, chance = read(path), random.Random(2)
    for _ in range(10 if space.has_holes else 1):
        architecture = decode(space, sample(space, chance))
        assert decode(space, encode(space, architecture)) == architecture


@few
@given(spaces(), chances)
def test_every_genotype_of_a_random_space_decodes_and_encodes_back(text, chance):
    space = parse_space(text)
    for _ in range(3):
        architecture = decode(space, sample(space, chance))
        assert decode(space, encode(space, architecture)) == architecture


@few
@given(spaces(), chances)
def test_what_is_asked_never_depends_on_answers(text, chance):
    space = parse_space(text)
    asked: list[tuple[str, int]] = []

    def answer(name: str, options: Sequence[object]) -> int:
        asked.append((name, len(options)))
        return chance.randrange(len(options))

    walk(space, answer)
    assert asked == [(choice.name, choice.count) for choice in choices(space)]
    assert len({name for name, _ in asked}) == len(asked), "two choices have one name"


@of_shipped
def test_names_of_choices_are_unique(path):
    names = [choice.name for choice in choices(read(path))]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("text", SMALL.values(), ids=SMALL)
def test_of_several_genotypes_the_smallest_encodes(text):
    space = parse_space(text)
    smallest: dict[Architecture, tuple[int, ...]] = {}
    for genotype in genotypes(space):
        smallest.setdefault(decode(space, genotype), genotype)
    assert len(smallest) > 1
    for architecture, genotype in smallest.items():
        assert encode(space, architecture) == genotype


def test_a_genotype_of_another_space_is_refused():
    space = parse_space(PLAIN, file="mine.space")
    with pytest.raises(SpaceError) as raised:
        decode(space, (0, 0))
    assert str(raised.value) == (
        "mine.space: a genotype has 1 indices, one per choice, but got 2\nis it from another space?"
    )
    for index in (2, -1):
        with pytest.raises(SpaceError) as raised:
            decode(space, (index,))
        assert str(raised.value) == (
            f"mine.space: choice 'p4#2.merge' has options 0..1, but got {index}\n"
            "is the genotype from another space?"
        )


# -- law 3: size is exact


@pytest.mark.parametrize("text", SMALL.values(), ids=SMALL)
def test_size_is_the_count_by_enumeration(text):
    space = parse_space(text)
    walks = [architecture for _, architecture in leaves(space)]
    assert len(walks) == size(space)
    assert walks == [decode(space, genotype) for genotype in genotypes(space)]


@few
@given(spaces(most_lines=3))
def test_size_of_a_random_small_space_is_the_count_by_enumeration(text):
    space = parse_space(text)
    assume(size(space) <= 300)
    assert sum(1 for _ in leaves(space)) == size(space)


def test_sizes_that_the_files_state():
    assert size(read(find_space("nas_fpn"))) == 1545067560960000000
    for path in SHIPPED:
        space = read(path)
        stated = [int(word) for word in space.doc.split() if word.isdigit() and len(word) > 4]
        if path.suffix == ".space":
            assert size(space) in stated, path.name
        else:
            assert size(space) == 1


# -- law 4: which necks are members


def test_the_published_cell_is_a_member_of_the_nas_fpn_space():
    space, neck = read(find_space("nas_fpn")), read_neck(find_space("baselines/nas_fpn"))
    found = decode(space, encode(space, neck))
    assert canonical(found) == canonical(neck)
    assert identity(found) == identity(neck)


def test_panet_is_a_member_of_the_soft_space():
    neck = fit(read_neck(find_neck("panet")), width=256, levels=(3, 4, 5, 6))
    space = read(find_space("soft"))
    assert identity(decode(space, encode(space, neck))) == identity(neck)


BIFPN = """
width 64
then swish sep3 bn
down maxpool3

p3..p5 = c3..c5 -> conv1 bn
p6 = c5 -> conv1 bn maxpool3
p7 = p6 -> maxpool3
repeat 3:
    t6@6 = fast(p6, p7)
    t5@5 = fast(p5, t6)
    t4@4 = fast(p4, t5)
    p3 = fast(p3, t4)
    p4 = fast(p4, t4, p3)
    p5 = fast(t5, p4, p5)
    p6 = fast(t6, p5, p6)
    p7 = fast(p7, p6)
"""


def test_cells_of_bifpn_are_members_of_the_weighted_space():
    space, neck = read(find_space("weighted")), parse(BIFPN)
    assert identity(decode(space, encode(space, neck))) == identity(neck)


# -- law 5: sampling is uniform and reproducible


@of_shipped
def test_sampling_repeats_from_its_seed(path):
    space = read(path)
    first = [sample(space, random.Random(7)) for _ in range(2)]
    assert first[0] == first[1]
    one, two = random.Random(7), random.Random(7)
    assert [sample(space, one) for _ in range(5)] == [sample(space, two) for _ in range(5)]


def test_every_genotype_is_drawn_about_as_often():
    space, chance, each = parse_space(ORDER), random.Random(3), 100
    total = size(space)
    counts = Counter(sample(space, chance) for _ in range(each * total))
    assert len(counts) == total, "some genotype was never drawn"
    spread = sum((count - each) ** 2 / each for count in counts.values()) / (total - 1)
    assert 0.6 < spread < 1.5  # 1 is expected; the seed is fixed
    assert max(counts.values()) < each + 6 * each**0.5


class Ruler(random.Random):
    """Gives the same number each time: where the borders between options lie."""

    def __init__(self, at: float) -> None:
        super().__init__(0)
        self.at = at

    def random(self) -> float:
        return self.at


def test_options_are_equal_parts_of_the_unit_interval():
    space = read(find_space("weighted"))
    for choice, *drawn in zip(
        choices(space), *(sample(space, Ruler((k + 0.5) / 60)) for k in range(60)), strict=True
    ):
        assert Counter(drawn) == dict.fromkeys(range(choice.count), 60 // choice.count)


# -- law 6: canonical (its outputs are in tests/necks/test_canonical_law.py)


@of_shipped
def test_canonicalising_twice_is_once(path):
    space, chance = read(path), random.Random(4)
    for _ in range(20 if space.has_holes else 1):
        check_canonical(decode(space, sample(space, chance)))


@few
@given(spaces(), chances)
@example("p3..p4 = c3..c4 -> conv1\nx = p3\np3 = p4\np4 = x", random.Random(0))
def test_canonicalising_a_random_neck_twice_is_once(text, chance):
    try:
        space = parse_space(text)
    except SpaceError:
        assume(False)
    check_canonical(decode(space, sample(space, chance)))


def check_canonical(architecture: Architecture) -> None:
    once = canonical(architecture)
    assert canonical(once) == once
    assert parse(str(once)) == once
    assert identity(once) == identity(architecture)
    assert once.doc == ""
    assert len(identity(architecture)) == 8


# -- law 7: any text parses or raises SpaceError

PIECES = (
    *("p3", "p4", "c3", "c4", "x", "t1", "*", "p3?", "rest", "sum", "gp", "conv1", "conv3"),
    *("nearest", "maxpool", "bn", "id", "width", "then", "up", "down", "each", "let", "repeat"),
    *("in any order", "=", "+", "->", "..", "@", "(", ")", "{", "}", "[", "]", "|", ",", ":"),
    *("3", "64", "0", "7", "1.5", "eps", "\n", "\n    ", "\n\t", "# note", " ", "{sum | gp}"),
    *("{3..7}", "p3..p5", "²", "é", "\r", "\x00", "\ufeff"),
)


def accepts(text: str) -> None:
    try:
        space = parse_space(text)
    except SpaceError as error:
        assert str(error).startswith("<text>:")
        return
    decode(space, tuple(choice.count - 1 for choice in choices(space)))


@few
@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text):
    accepts(text)


@few
@given(st.lists(st.sampled_from(PIECES), max_size=60).map(" ".join))
def test_any_row_of_words_is_read_or_refused(text):
    accepts(text)


@settings(few, max_examples=150)
@given(st.sampled_from(SHIPPED), st.data())
def test_a_shipped_file_that_was_damaged_is_read_or_refused(path, data):
    tokens = path.read_text(encoding="utf-8").replace(" ", " \0").split("\0")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(tokens) - 1))
        tokens[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.lists(st.sampled_from(PIECES).map(lambda piece: f"{piece} "), max_size=2)
        )
        tokens = tokens or [""]
    accepts("".join(tokens))


@settings(few, max_examples=60)
@given(spaces(), st.data())
def test_a_random_space_that_was_damaged_is_read_or_refused(text, data):
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 6)))
    accepts(text[:start] + data.draw(st.sampled_from(("", *PIECES))) + text[stop:])


GREAT = {
    "one name": "x" * 65_000,
    "one number": "width " + "9" * 65_000,
    "a level": "p3 = sum(c" + "9" * 60_000 + ", p4)",
    "open brackets": "p3 = " + "(" * 65_000,
    "open holes": "p3 = " + "{sum | " * 9_000,
    "empty lines": "\n" * 65_000,
    "commas": "p3 = sum(" + "," * 65_000,
    "a fraction": "p3 = p3 -> bn[eps=0." + "1" * 60_000 + "]",
    "an exponent": "p3 = c3 -> conv1 bn[eps=1e999999]",
    "blocks": "p3 = c3 -> conv1" + " relu" * 12_000,
    "ranges": "p3 = c3 -> conv1\n" + "x1..x999999 = p3 -> relu\n" * 2_000,
    "lines": "p3 = c3 -> conv1\n" + "p3 = p3 -> relu\n" * 3_000,
    "orders": "p2..p5 = c2..c5 -> conv1\n"
    + "".join(f"x{k}1..x{k}9@{{2..8}} = sum(*, *, p2)  in any order\n" for k in range(44)),
    "repeats": "p2..p5 = c2..c5 -> conv1\n" + "repeat 64:\n p2..p5 = sum(p2..p5, p5..p2)\n" * 99,
    "stars": "p2..p5 = c2..c5 -> conv1\n"
    + "".join(f"x{k}..x{k + 9} = p2 -> relu\n" for k in range(0, 60, 10))
    + "p2 = sum("
    + ", ".join("*" * 64)
    + ")\n",
}


@pytest.mark.parametrize("text", GREAT.values(), ids=GREAT)
def test_a_great_text_is_read_or_refused(text):
    assert len(text) <= 64 * 1024
    accepts(text)


def test_what_a_text_expands_to_is_bounded():
    """Twice the lines take no more than twice the steps: every row is read once."""
    lengths = [len(parse("p3 = c3 -> conv1\n" + "p3 = p3 -> relu\n" * n).items) for n in (100, 399)]
    assert lengths == [101, 400]
    assert all(small < great for small, great in pairwise(lengths))
