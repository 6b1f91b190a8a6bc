"""Every error of the language as golden text: where, what, the line with a caret, how to mend.

One file per error in ``tests/golden/language``: the program, a line of ``-----``, the message.
``NAME.space.txt`` is read as a space, ``NAME.neck.txt`` as a neck. To write the messages anew
after a change, and then read the diff:
``REGENERATE_GOLDEN=1 pytest tests/language/test_errors.py``.
"""

import os
from pathlib import Path

import pytest

from nas_fpn.errors import SpaceError
from nas_fpn.language import encode, find_neck, find_space, parse, parse_space, read, read_neck

GOLDEN = Path(__file__).parents[1] / "golden" / "language"
RULE = "-----\n"
FILES = sorted(GOLDEN.glob("*.txt"))


def message_of(name: str, program: str) -> str:
    read_text = parse if name.endswith(".neck") else parse_space
    with pytest.raises(SpaceError) as raised:
        read_text(program, file=name)
    return f"{raised.value}\n"


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_message_says_where_what_and_how_to_mend(path: Path):
    program, _, wanted = path.read_text(encoding="utf-8").partition(RULE)
    message = message_of(path.stem, program)
    if os.environ.get("REGENERATE_GOLDEN"):
        path.write_text(f"{program}{RULE}{message}", encoding="utf-8")
    else:
        assert message == wanted


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_caret_stands_below_what_the_columns_name(path: Path):
    program, _, message = path.read_text(encoding="utf-8").partition(RULE)
    where, *quoted = message.splitlines()
    file, line, column, _ = where.split(":", 3)
    assert file == path.stem
    if len(quoted) < 2:
        return  # the whole text is at fault: nothing to quote
    text = program.split("\n")[int(line) - 1]
    assert quoted[0] == f"    {text}"
    assert quoted[1].index("^") == int(column) - 1 + 4
    assert len(quoted) > 2, "no word on how to mend it"


def test_the_example_of_the_definition_comes_out_exactly():
    program = (
        "# a space\nwidth 256\nthen relu conv3 bn\n\np3..p5 = c3..c5 -> conv1 bn\n"
        "p6..p7 = p5..p6 -> maxpool\nrepeat 7:\n    x3..x7 = p3..p7\n"
        "    a@4 = gp(x6, x4)\n    b@4 = sum(a, x4)\n    p3 = sum(b, x3)\n    p4 = sum(p3, x8)\n"
    )
    with pytest.raises(SpaceError) as raised:
        parse(program, file="search_spaces/mine.space")
    assert str(raised.value) == (
        "search_spaces/mine.space:12:18: unknown feature 'x8'\n"
        "        p4 = sum(p3, x8)\n"
        "                     ^^\n"
        "this block has named x3, x4, x5, x6, x7, a, b, p3; did you mean 'x7'?"
    )


def test_windows_line_ends_and_a_byte_order_mark_are_accepted(tmp_path: Path):
    text = "# two levels\nwidth 64\n\np3..p4 = c3..c4 -> conv1\nrepeat 2:\n    p3 = sum(p3, p4)\n"
    plain = parse(text)
    for variant in (
        text.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + text.encode(),
        b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
        text.removesuffix("\n").encode(),
    ):
        file = tmp_path / "a.neck"
        file.write_bytes(variant)
        assert read_neck(file) == plain
        assert parse(variant.decode()) == plain


def test_columns_are_those_of_the_file_with_windows_line_ends(tmp_path: Path):
    file = tmp_path / "a.neck"
    file.write_bytes(b"\xef\xbb\xbfp3 = c3 -> conv1\r\np4 = sum(p3, x)\r\n")
    with pytest.raises(SpaceError, match=r"a\.neck:2:14: unknown feature 'x'"):
        read_neck(file)


def test_a_file_that_is_not_utf8_is_refused_by_its_first_bad_byte(tmp_path: Path):
    file = tmp_path / "latin.space"
    file.write_bytes(b"# plain\np3 = c3 -> conv1  # caf\xe9\n")
    with pytest.raises(SpaceError) as raised:
        read(file)
    assert str(raised.value) == (
        f"{file}:2:24: not UTF-8 (byte 0xe9)\n"
        "save the file as UTF-8; programs need only ASCII outside their comments"
    )


def test_a_text_longer_than_64_kib_is_refused_before_it_is_read(tmp_path: Path):
    text = "p3 = c3 -> conv1\n" + "# … \n" * 20_000
    file = tmp_path / "long.space"
    file.write_text(text, encoding="utf-8")
    for attempt in (lambda: read(file), lambda: parse_space(text, file=str(file))):
        with pytest.raises(SpaceError) as raised:
            attempt()
        assert str(raised.value) == (
            f"{file}:1:1: the text is longer than 65536 bytes\n"
            "a neck has some dozens of lines; is this the right file?"
        )
    just = "p3 = c3 -> conv1\n"
    assert parse(just + "#" * (65536 - len(just)))


def test_a_hole_in_a_neck_file_is_refused_and_the_space_is_not(tmp_path: Path):
    text = "width {64 | 128}\np3 = c3 -> conv1\n"
    (tmp_path / "a.space").write_text(text, encoding="utf-8")
    (tmp_path / "a.neck").write_text(text, encoding="utf-8")
    assert read(tmp_path / "a.space").has_holes
    for reader in (read, read_neck):
        with pytest.raises(SpaceError, match=r"a\.neck:1:7: a hole in an architecture"):
            reader(tmp_path / "a.neck")


def test_a_neck_that_fits_nowhere_is_refused_by_its_first_such_line():
    space = read(find_space("nas_fpn"))
    neck = read_neck(find_space("baselines/fpn"))
    with pytest.raises(SpaceError) as raised:
        encode(space, neck)
    assert "this line of the neck fits nowhere: p3 = c3 -> conv1\n" in str(raised.value)


def test_an_unknown_name_of_a_file_lists_what_is_shipped():
    with pytest.raises(SpaceError, match=r"no space or neck 'panett' is shipped(.|\n)*'panet'"):
        find_space("panett")
    with pytest.raises(SpaceError, match=r"mine\.space: no such file"):
        find_space("mine.space")


def test_a_space_where_a_neck_is_wanted_says_how_to_get_one():
    with pytest.raises(SpaceError) as raised:
        find_neck("quick")
    assert str(raised.value) == (
        "'quick' is a space, where a neck is wanted\n"
        "draw one of its necks: nas-fpn sample quick > mine.neck"
    )
    assert find_neck("nas_fpn").suffix == ".neck"
