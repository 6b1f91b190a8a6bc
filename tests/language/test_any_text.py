"""Law 7 of the language: any text is read or refused, in steps that grow as the text does."""

import sys
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_fpn.errors import SpaceError
from nas_fpn.language import choices, decode, parse_space
from tests.language.programs import SHIPPED, spaces

few = settings(max_examples=60, deadline=None, derandomize=True, database=None)

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


HEAD = "p2..p5 = c2..c5 -> conv1\n"
LONGER: dict[str, Callable[[int], str]] = {
    "lines": lambda n: "p3 = sum(p3, p4) -> relu\n" * n,
    "names": lambda n: "".join(f"x{k}@3 = sum(p3, p4)\n" for k in range(n)),
    "rests": lambda n: "".join(f"x{k}@3 = sum(p3, p4) + rest\n" for k in range(n)),
    "comments": lambda n: "# note\n" * (20 * n),
    "blocks": lambda n: "p3 = p3 ->" + " relu" * (20 * n),
    "operands": lambda n: f"p3 = sum({', '.join(['p3'] * (n // 3))})\n" * 9,
    "holes": lambda n: "p3 = p3 ->" + " {relu | bn | id}" * n,
    "options": lambda n: f"p3 = p3 -> {{{' | '.join(f'conv1[{k + 1}]' for k in range(n))}}} conv1",
    "stars": lambda n: "".join(f"x{k}@{{2..8}} = {{sum | gp}}(*, *)\n" for k in range(n)),
    "orders": lambda n: "repeat 2:\n    p2..p5 = sum(p2..p5, p4) in any order\n" * (n // 4),
    "repeats": lambda n: "repeat 64:\n    p2..p5 = sum(p2..p5, p5..p2)\n" * (n // 4),
    "brackets": lambda n: "p3 = " + "(" * (20 * n),
}


def steps(text: str) -> int:
    """How many calls and returns it takes to read a text, or to refuse it."""
    count = 0

    def see(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += 1

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        parse_space(text)
    except SpaceError:
        pass
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("longer", LONGER.values(), ids=LONGER)
def test_twice_the_text_takes_about_twice_the_steps(longer):
    steps(HEAD)  # the parser is built once
    once, twice = (steps(HEAD + longer(n)) for n in (90, 180))
    assert 1.5 * once < twice < 2.2 * once
