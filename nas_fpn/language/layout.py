"""From bytes to lines: encoding, comments, indentation, brackets; and how an error is shown."""

from codecs import BOM_UTF8
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NoReturn

from nas_fpn.errors import SpaceError

__all__ = ["MOST_BYTES", "Row", "Source", "Span", "layout", "near", "text_of"]

MOST_BYTES = 64 * 1024
_WIDEST = 4000  # columns of a line that an error shows
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_KIND = {"(": "parenthesis", "[": "bracket", "{": "brace"}


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a file: line and columns, both from 1; ``end`` is the column behind."""

    line: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a program and the name to show for it."""

    file: str
    lines: tuple[str, ...]

    def fail(self, span: Span, what: str, mend: str = "") -> NoReturn:
        """Raise the SpaceError for this place."""
        raise self.error(span, what, mend)

    def error(self, span: Span, what: str, mend: str = "") -> SpaceError:
        """The error for this place: where, what, the line with a caret, how to mend."""
        where = f"{self.file}:{span.line}:{span.start}: {what}"
        text = self.lines[span.line - 1] if span.line <= len(self.lines) else ""
        first = max(0, span.start - 1 - _WIDEST // 2) if len(text) > _WIDEST else 0
        text = text[first : first + _WIDEST]
        pad = "".join("\t" if mark == "\t" else " " for mark in text[: span.start - 1 - first])
        caret = "^" * min(max(1, span.end - span.start), _WIDEST)
        rows = [where, f"    {text}", f"    {pad}{caret}"] if text.strip() else [where]
        return SpaceError("\n".join([*rows, mend] if mend else rows))

    def whole(self, line: int) -> Span:
        """The span of what is written on a line."""
        text = self.lines[line - 1] if line <= len(self.lines) else ""
        code = text.split("#", 1)[0].rstrip()
        start = len(code) - len(code.lstrip()) + 1
        return Span(line, start, max(len(code) + 1, start + 1))


@dataclass(frozen=True, slots=True)
class Row:
    """A line with code on it: its number, its code without the comment, whether it is indented."""

    number: int
    code: str
    inside: bool


def text_of(content: bytes, file: str) -> str:
    """Decode a file of at most 64 KiB; a byte order mark is accepted and gone."""
    content = content.removeprefix(BOM_UTF8)
    if len(content) > MOST_BYTES:
        _too_long(file)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        raise SpaceError(
            f"{file}:{line}:{column}: not UTF-8 (byte 0x{content[error.start]:02x})\n"
            "save the file as UTF-8; programs need only ASCII outside their comments"
        ) from None


def layout(text: str, file: str) -> tuple[Source, str, tuple[Row, ...]]:
    """Split a text into its source, its docstring and its rows of code; check what layout can.

    Raises SpaceError for a text over 64 KiB, a bad indentation and an unbalanced bracket.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > MOST_BYTES or len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        _too_long(file)
    source = Source(file, tuple(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")))
    doc = _docstring(source.lines)
    rows: list[Row] = []
    indent = ""
    for number, line in enumerate(source.lines, 1):
        code = line.split("#", 1)[0].rstrip(" \t")
        if not code.strip(" \t"):
            continue
        white = code[: len(code) - len(code.lstrip(" \t"))]
        indent = _indentation(source, rows, number, white, indent)
        _brackets(source, number, code)
        rows.append(Row(number, code, bool(white)))
    if not rows:
        raise SpaceError(f"{file}:1:1: the program is empty\nwrite at least `p3 = c3 -> conv1`")
    return source, doc, tuple(rows)


def _too_long(file: str) -> NoReturn:
    raise SpaceError(
        f"{file}:1:1: the text is longer than {MOST_BYTES} bytes\n"
        "a neck has some dozens of lines; is this the right file?"
    )


def near(given: str, known: list[str] | tuple[str, ...]) -> str:
    """``; did you mean 'x7'?`` where some known name is near, else nothing."""
    found = get_close_matches(given, known, n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""


def _docstring(lines: tuple[str, ...]) -> str:
    rows = []
    for line in lines:
        if not line.startswith("#"):
            break
        rows.append(line[1:].removeprefix(" ").rstrip())
    return "\n".join(rows)


def _indentation(source: Source, rows: list[Row], number: int, white: str, indent: str) -> str:
    """Check one line's indentation against the body that it may belong to; return the body's."""
    if not white:
        return ""
    span = Span(number, 1, len(white) + 1)
    if " " in white and "\t" in white:
        source.fail(span, "tabs mixed with spaces", "indent with spaces only")
    if not rows:
        source.fail(span, "the first line is indented", "start the program at the first column")
    if indent:
        if white != indent:
            if white[0] != indent[0]:
                source.fail(span, "tabs mixed with spaces", "indent the whole body alike")
            if len(white) > len(indent) and rows[-1].code.endswith(":"):
                source.fail(
                    source.whole(rows[-1].number),
                    "a repeat inside a repeat",
                    "a repeat holds lines only; multiply the two numbers, or write one out",
                )
            source.fail(
                span,
                f"bad indentation: {len(white)} where the body has {len(indent)}",
                "all lines of a repeat start at one column; what follows it starts at the first",
            )
        return indent
    if not rows[-1].code.endswith(":"):
        mend = "only the lines of a `repeat N:` are indented"
        if rows[-1].code.startswith("repeat"):
            mend = f"the `repeat` of line {rows[-1].number} lacks its ':'"
        source.fail(span, "unexpected indentation", mend)
    return white


def _brackets(source: Source, number: int, code: str) -> None:
    stack: list[tuple[str, int]] = []
    for column, mark in enumerate(code, 1):
        if mark in _PAIRS:
            if mark == "{" and any(open_ == "{" for open_, _ in stack):
                source.fail(
                    Span(number, column, column + 1),
                    "a hole inside a hole",
                    "list the options of one hole: {a | b | c}",
                )
            stack.append((mark, column))
        elif mark in _PAIRS.values():
            if not stack or _PAIRS[stack[-1][0]] != mark:
                source.fail(
                    Span(number, column, column + 1),
                    f"{mark!r} closes nothing",
                    f"the bracket open here is {stack[-1][0]!r}" if stack else "remove it",
                )
            stack.pop()
    if stack:
        mark, column = stack[-1]
        source.fail(
            Span(number, column, column + 1),
            f"unclosed {_KIND[mark]}",
            f"close it with {_PAIRS[mark]!r} on the same line",
        )
