"""Lark reads one line; what it refuses is said in a person's words."""

from functools import lru_cache
from importlib.resources import files
from typing import NoReturn

from lark import Lark, Tree, UnexpectedCharacters, UnexpectedEOF, UnexpectedToken
from lark.lexer import Token

from nas_fpn.language.layout import Row, Source, Span

__all__ = ["Leaf", "read_row"]

Leaf = Token | Tree[Token]

_NAMES = {
    "NAME": "a name",
    "NUMBER": "a whole number",
    "FLOAT": "a number",
    "$END": "the end of the line",
    "<END-OF-FILE>": "the end of the line",
    "_ARROW": "'->'",
    "_DOTS": "'..'",
    "STAR": "'*'",
    "REST": "'rest'",
    "ORDER": "'in any order'",
    "OPTIONAL": "'?'",
    "EACH": "'each'",
    "LPAR": "'('",
    "RPAR": "')'",
    "LSQB": "'['",
    "RSQB": "']'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "EQUAL": "'='",
    "PLUS": "'+'",
    "COMMA": "','",
    "VBAR": "'|'",
    "COLON": "':'",
    "AT": "'@'",
}
_MENDS = {  # what people write that the grammar has no place for
    "(": "a merge is the whole source of a line; give it a line and a name of its own: t@4 = …",
    "+": "addends stand before the arrow: p3 = sum(a, b) + c -> blocks",
    "->": "blocks follow one arrow, behind the addends: p3 = sum(a, b) + c -> conv3 bn",
}
_STARTS = ("WIDTH", "THEN", "UP", "DOWN", "LET", "REPEAT", "NAME")


@lru_cache(maxsize=1)
def _parser() -> Lark:
    text = files("nas_fpn.language").joinpath("neck.lark").read_text(encoding="utf-8")
    return Lark(
        text, start="line", parser="lalr", propagate_positions=True, maybe_placeholders=False
    )


def read_row(source: Source, row: Row) -> Tree[Token]:
    """The syntax tree of one row; columns in it count from 1 in the file."""
    try:
        return _parser().parse(row.code)
    except UnexpectedCharacters as error:
        mark = row.code[error.column - 1]
        mend = "names are lower-case letters, digits and _, and begin with a letter"
        return source.fail(
            Span(row.number, error.column, error.column + 1), f"unexpected {mark!r}", mend
        )
    except UnexpectedEOF as error:
        return _refuse(source, row, None, set(error.expected))
    except UnexpectedToken as error:
        token = None if error.token.type == "$END" else error.token
        return _refuse(source, row, token, set(error.accepts or error.expected))


def _refuse(source: Source, row: Row, token: Token | None, expected: set[str]) -> NoReturn:
    if token is None:
        end = len(row.code) + 1
        what, span = "the line ends too early", Span(row.number, end, end + 1)
    else:
        what = f"unexpected {str(token)!r}"
        start = token.column or 1
        span = Span(row.number, start, start + len(token))
    if str(token) in _MENDS:
        source.fail(span, what, _MENDS[str(token)])
    if expected.issuperset(_STARTS):
        hope = "a setting, `repeat N:` or `target = source`"
    else:
        named = sorted(_NAMES.get(name, f"'{name.lower()}'") for name in expected)
        hope = ", ".join(named)
    source.fail(span, what, f"here may stand {hope}" if hope else "nothing more may stand here")
