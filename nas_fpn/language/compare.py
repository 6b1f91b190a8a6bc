"""Two necks side by side: which lines of their programs differ."""

from dataclasses import replace
from difflib import unified_diff

from nas_fpn.language.program import Architecture

__all__ = ["diff_text"]


def diff_text(
    first: Architecture, second: Architecture, *, names: tuple[str, str] = ("first", "second")
) -> str:
    r"""A unified diff of two programs without their docstrings; empty where they say the same.

    >>> from nas_fpn.language import parse
    >>> one = parse("p3..p4 = c3..c4 -> conv1")
    >>> other = parse("p3 = c3 -> conv1\np4 = c4 -> conv3")
    >>> print(diff_text(one, other, names=("one", "other")), end="")
    --- one
    +++ other
    @@ -1,4 +1,4 @@
     width 256
    <BLANKLINE>
     p3 = c3 -> conv1
    -p4 = c4 -> conv1
    +p4 = c4 -> conv3
    """
    before, after = (str(replace(one, doc="")).splitlines() for one in (first, second))
    rows = unified_diff(before, after, names[0], names[1], lineterm="")
    return "".join(f"{row.rstrip()}\n" for row in rows)
