"""What a person may leave free: comments, blank lines, spaces, indentation, encodings."""

import pytest

from nas_fpn.language import parse

PLAIN = parse("width 64\n\np3..p4 = c3..c4 -> conv1 bn\nrepeat 2:\n    p3 = sum(p3, p4) + p3\n")


@pytest.mark.parametrize(
    "text",
    [
        "width 64\np3..p4=c3..c4->conv1 bn\nrepeat 2:\n p3=sum(p3,p4)+p3",
        "width  64\np3 .. p4 = c3 .. c4 ->  conv1  bn\nrepeat  2 :\n\tp3 = sum( p3 , p4 )  +  p3\n",
        "\n\nwidth 64\n\n# note\np3..p4 = c3..c4 -> conv1 bn  # note\n\nrepeat 2:  # twice\n\n"
        "# at the margin\n        # deep\n    p3 = sum(p3, p4) + p3\n\n\n",
        "width 64   \np3..p4 = c3..c4 -> conv1 bn \t\nrepeat 2:\n  p3 = sum(p3, p4) + p3  \n   \n",
        "width 64\rp3..p4 = c3..c4 -> conv1 bn\rrepeat 2:\r  p3 = sum(p3, p4) + p3\r",
        "width 64\np3..p4 = c3..c4 -> conv1 bn[eps=1e-5]\nrepeat 2:\n  p3 = sum(p3, p4) + p3",
        "width 064\np3..p4 = c3..c4 -> conv1 bn[momentum=0.10]\nrepeat 2:\n  p3 = sum(p3, p4) + p3",
    ],
)
def test_layout_is_free(text: str):
    assert parse(text) == PLAIN


def test_a_comment_may_hold_anything():
    neck = parse("# é ∗ {(\n#\ttab\np3 = c3 -> conv1  # }{ )(\n")
    assert neck.doc == "é ∗ {(\n\ttab"
    assert parse(str(neck)) == neck


def test_lines_after_a_repeat_stand_at_the_margin():
    neck = parse(
        "p3 = c3 -> conv1\nrepeat 2:\n  p3 = p3 -> conv3\nrepeat 3:\n  p3 = p3 -> conv3\np4 = p3"
    )
    assert [type(item).__name__ for item in neck.items] == ["Line", "Repeat", "Repeat", "Line"]


def test_arguments_are_printed_only_where_not_the_default():
    words = (
        "conv3[bias] conv1[96] bn[eps=0.001, momentum=0.01] gn[groups=16] leaky[slope=0.2] "
        "dw3[nobias] conv1[256, nobias]"
    )
    line = f"p3 = c3 -> {words}"
    assert str(parse(line)).splitlines()[-1] == line
    said = "p3 = c3 -> conv1 bn[momentum=0.01, eps=1e-3] gn[groups=32] leaky[slope=0.01]"
    assert str(parse(said)).splitlines()[-1] == (
        "p3 = c3 -> conv1 bn[eps=0.001, momentum=0.01] gn leaky"
    )
