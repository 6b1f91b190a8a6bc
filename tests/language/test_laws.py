"""Laws 1 to 6 of the language, for every shipped file and for random spaces."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import product

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
