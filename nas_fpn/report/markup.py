"""HTML and SVG from values: whatever is no :class:`Markup` is escaped on its way in."""

import re
from collections.abc import Iterable, Mapping
from html import escape

__all__ = ["Markup", "join", "tag"]

EMPTY = frozenset({"br", "circle", "img", "input", "link", "meta", "path", "polyline", "rect"})
# What neither HTML nor XML can hold, and what turns the direction of the text around it.
_UNFIT = re.compile(
    "[^\\t\\n\\r\\x20-\\x7e\\xa0-\\u2029\\u202f-\\u2065\\u206a-\\ud7ff\\ue000-\\ufffd"
    "\\U00010000-\\U0010ffff]"
)

Attributes = Mapping[str, str | float | bool | None]


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, attributes: Attributes | None = None, *children: str | Iterable[str]) -> Markup:
    """One element; an attribute that is None or False is left out, True stands alone.

    >>> tag("td", {"class": "n", "hidden": False}, "a < b", tag("br"))
    '<td class="n">a &lt; b<br/></td>'
    """
    shown = "".join(_attribute(key, value) for key, value in (attributes or {}).items())
    if name in EMPTY:
        return Markup(f"<{name}{shown}/>")
    return Markup(f"<{name}{shown}>{join(*children)}</{name}>")


def join(*children: str | Iterable[str]) -> Markup:
    """Children one after another, escaped unless they are markup."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str):
            parts.append(_safe(child))
        else:
            parts.append(join(*child))
    return Markup("".join(parts))


def _attribute(name: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    text = f"{round(value, 1) + 0.0:g}" if isinstance(value, float) else str(value)
    return f' {name}="{_safe(text)}"'


def _safe(text: str) -> str:
    return escape(_UNFIT.sub("\N{REPLACEMENT CHARACTER}", text))
