"""The places where a choice may stand: words with arguments, holes, whole numbers."""

from dataclasses import dataclass, field

from lark import Token, Tree

from nas_fpn.language.grammar import Leaf
from nas_fpn.language.layout import Source, Span, near
from nas_fpn.language.names import is_backbone, is_pyramid
from nas_fpn.language.own_words import Words
from nas_fpn.language.program import Value, Word
from nas_fpn.language.row import KINDS, Argument, Kind, needless
from nas_fpn.language.syntax import LetName, NumberSlot, WordHole, WordSlot

__all__ = [
    "A_KIND",
    "MOST_DIGITS",
    "MOST_OPTIONS",
    "Scope",
    "kind_of",
    "number_slot",
    "span_of",
    "word_slot",
]

MOST_OPTIONS = 256
MOST_DIGITS = 6
A_KIND: dict[Kind, str] = {
    "merge": "a merge",
    "up": "an up resampler",
    "down": "a down resampler",
    "block": "a block",
}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a name may stand for where a word stands: a word, or a ``let`` above."""

    words: Words
    lets: dict[str, WordSlot] = field(default_factory=dict)


def span_of(leaf: Leaf, line: int) -> Span:
    """The place of a token or of all that a tree holds."""
    if isinstance(leaf, Token):
        start = leaf.column or 1
        return Span(line, start, start + len(leaf))
    if leaf.meta.empty:
        return Span(line, 1, 2)
    return Span(line, leaf.meta.column, leaf.meta.end_column)


def kind_of(slot: WordSlot, scope: Scope) -> Kind:
    """The kind of the words that may stand in a slot."""
    word = slot.word
    if isinstance(word, LetName):
        return kind_of(scope.lets[word.name], scope)
    word = word.options[0] if isinstance(word, WordHole) else word
    return scope.words.rows[word.name].kind


def number_slot(
    source: Source, line: int, tree: Tree[Token], *, what: str, least: int, most: int
) -> NumberSlot:
    """Read ``count: NUMBER | hole``; every option must lie in ``least .. most``."""
    leaf = tree.children[0]
    span = span_of(tree, line)
    if isinstance(leaf, Token):
        return NumberSlot((_bounded(source, line, leaf, what, least, most),), False, span)
    options: list[int] = []
    if leaf.data == "run":
        first, last = (_bounded(source, line, t, what, least, most) for t in leaf.children)  # type: ignore[arg-type]
        if last < first:
            source.fail(span, f"the run {first}..{last} is empty", "write the smaller number first")
        if last - first >= MOST_OPTIONS:
            source.fail(span, f"a hole of more than {MOST_OPTIONS} options", "leave some out")
        options = list(range(first, last + 1))
    else:
        for option in _options(source, leaf, line, span):
            token = option.children[0]
            if not isinstance(token, Token) or token.type != "NUMBER":
                source.fail(
                    span_of(option, line),
                    f"{what} takes whole numbers",
                    f"write one like {{{least} | {min(most, least + 1)}}}",
                )
            number = _bounded(source, line, token, what, least, most)
            if number in options:
                _twice(source, option, line, str(number))
            options.append(number)
    return NumberSlot(tuple(options), True, span)


def word_slot(
    source: Source,
    line: int,
    tree: Tree[Token],
    *,
    scope: Scope,
    kinds: tuple[Kind, ...] = KINDS,
) -> WordSlot:
    """Read ``word: NAME arguments? | hole``: a word, a let's name, or a hole of one kind.

    ``kinds`` are those that an error about an unknown word lists.
    """
    head = tree.children[0]
    span = span_of(tree, line)
    if isinstance(head, Token):
        if str(head) in scope.lets and len(tree.children) == 1:
            return WordSlot(LetName(str(head)), span)
        return WordSlot(_word(source, line, tree, scope, kinds), span)
    if head.data == "run":
        source.fail(span, "a run of numbers where a word stands", "list words: {sum | gp}")
    words: list[Word] = []
    rows, plain = scope.words.rows, Scope(scope.words)
    for option in _options(source, head, line, span):
        token = option.children[0]
        if isinstance(token, Token) and token.type == "NUMBER":
            source.fail(span_of(option, line), f"{token} is no word", "list words: {sum | gp}")
        word = _word(source, line, option, plain, kinds)
        if words and rows[word.name].kind != rows[words[0].name].kind:
            source.fail(
                span_of(option, line),
                f"mixed kinds in a hole: {words[0].name!r} is "
                f"{A_KIND[rows[words[0].name].kind]}, {word.name!r} is "
                f"{A_KIND[rows[word.name].kind]}",
                "a hole offers words of one kind",
            )
        if word in words:
            _twice(source, option, line, str(word))
        words.append(word)
    return WordSlot(WordHole(tuple(words)), span)


def _options(source: Source, hole: Tree[Token], line: int, span: Span) -> list[Tree[Token]]:
    options = [child for child in hole.children if isinstance(child, Tree)]
    if not options:
        source.fail(span, "an empty hole", "list its options: {sum | gp}")
    if len(options) > MOST_OPTIONS:
        source.fail(span, f"a hole of more than {MOST_OPTIONS} options", "leave some out")
    return options


def _twice(source: Source, leaf: Leaf, line: int, what: str) -> None:
    source.fail(span_of(leaf, line), f"the option {what} stands twice", "write each option once")


def _bounded(source: Source, line: int, token: Token, what: str, least: int, most: int) -> int:
    span = span_of(token, line)
    if len(token) > MOST_DIGITS:
        source.fail(
            span, f"a number of more than {MOST_DIGITS} digits", f"{what} is at most {most}"
        )
    number = int(token)
    if not least <= number <= most:
        source.fail(
            span,
            f"{what} {number} is out of range",
            f"{what} is a whole number from {least} to {most}",
        )
    return number


def _word(
    source: Source, line: int, tree: Tree[Token], scope: Scope, kinds: tuple[Kind, ...]
) -> Word:
    token = tree.children[0]
    assert isinstance(token, Token)
    name = str(token)
    known = scope.words.rows
    if name in scope.lets:
        source.fail(
            span_of(tree, line),
            f"{name!r} is a `let`, it takes no arguments",
            f"write them where {name!r} stands: let {name} = {{conv3[bias] | sep3[bias]}}",
        )
    if name not in known:
        stands = _let_line(source, name)
        if stands and stands > line:
            source.fail(
                span_of(token, line),
                f"{name!r} is used before it stands",
                f"the `let {name}` of line {stands} must stand above line {line}",
            )
        if stands and stands < line:
            source.fail(
                span_of(token, line), f"{name!r} is a `let`", "holes and lets offer words only"
            )
        if is_backbone(name) or is_pyramid(name):
            source.fail(
                span_of(token, line),
                f"{name!r} is a feature; a word stands here",
                "features stand in front of the arrow, or in the parentheses of a merge",
            )
        source.fail(
            span_of(token, line),
            f"unknown word {name!r}",
            _there_are(name, scope, kinds),
        )
    if len(tree.children) == 1:
        return Word(name)
    rows = {a.name: a for a in known[name].arguments}
    given: dict[str, Value] = {}
    arguments = tree.children[1]
    assert isinstance(arguments, Tree)
    for argument in arguments.children:
        assert isinstance(argument, Tree)
        key, value = _argument(source, line, argument, name, rows)
        if key in given:
            source.fail(span_of(argument, line), f"{key!r} is given twice", "write it once")
        given[key] = value
    idle = needless(name, given)
    if idle is not None:
        source.fail(span_of(arguments, line), f"{idle[0]} has no {idle[1]} to choose", idle[2])
    return Word(
        name, tuple((k, given[k]) for k in rows if k in given and given[k] != rows[k].default)
    )


def _there_are(name: str, scope: Scope, kinds: tuple[Kind, ...]) -> str:
    rows = scope.words.rows
    known = [*[word for word in rows if rows[word].kind in kinds], *scope.lets]
    what = "blocks and resamplers" if len(kinds) == 3 else "words"
    if len(kinds) == 1:
        what = A_KIND[kinds[0]].partition(" ")[2] + "s"
    return f"the {what} are {', '.join(known)}{near(name, known) or near(name, list(rows))}"


def _let_line(source: Source, name: str) -> int | None:
    """The line of a ``let`` of this name."""
    for number, text in enumerate(source.lines, 1):
        if text.startswith("let") and text[3:].partition("=")[0].strip() == name:
            return number
    return None


def _argument(
    source: Source, line: int, tree: Tree[Token], word: str, rows: dict[str, Argument]
) -> tuple[str, Value]:
    span = span_of(tree, line)
    first = str(tree.children[0])
    if tree.data == "flag":
        if "bias" in rows and first in ("bias", "nobias"):
            return "bias", first == "bias"
        if first in rows and rows[first].default is False:
            return first, True
        _unknown(source, span, first, word, rows)
    if tree.data == "channels":
        if "channels" not in rows:
            _unknown(source, span, first, word, rows)
        row = rows["channels"]
        token = tree.children[0]
        assert isinstance(token, Token)
        return "channels", _bounded(source, line, token, "channels", int(row.least), int(row.most))
    flag = first in rows and rows[first].default is False
    if first not in rows or first in ("bias", "channels") or flag:
        bare = first in ("bias", "nobias", "channels") or flag
        _unknown(source, span, f"{first}=…" if bare else first, word, rows)
    row, token = rows[first], tree.children[1]
    assert isinstance(token, Token)
    if token.type == "NAME":
        if str(token) not in row.options:
            source.fail(span_of(token, line), f"{first} cannot be {token}", _may(row))
        return first, str(token)
    if row.options and isinstance(row.default, str) and row.most == 999_999.0:
        source.fail(span_of(token, line), f"{first} cannot be {token}", _may(row))
    if len(token) > 24 or (token.type == "NUMBER" and len(token) > MOST_DIGITS):
        source.fail(span_of(token, line), f"a number of more than {MOST_DIGITS} digits", _may(row))
    number = float(token)
    whole = isinstance(row.default, int) and not isinstance(row.default, bool)
    fits = row.least <= number <= row.most and not (whole and number != int(number))
    if not fits or (row.odd and number % 2 == 0):
        source.fail(span_of(token, line), f"{first} cannot be {token}", _may(row))
    return first, int(number) if whole else number


def _may(row: Argument) -> str:
    ways = [*row.options]
    if not ways or row.most != 999_999.0:
        kind = "a whole number" if isinstance(row.default, int) else "a number"
        kind = "an odd number" if row.odd else kind
        ways.append(f"{kind} from {row.least:g} to {row.most:g}")
    return f"{row.name} may be " + " or ".join(ways)


def _unknown(source: Source, span: Span, given: str, word: str, rows: dict[str, Argument]) -> None:
    ways: list[str] = []
    for row in rows.values():
        if row.options == ("bias", "nobias"):
            ways.extend(row.options)
        elif row.default is False:
            ways.append(row.name)
        else:
            ways.append("a number of channels" if row.name == "channels" else f"{row.name}=…")
    mend = f"{word} takes {', '.join(ways)}" if ways else f"{word} takes no arguments"
    if f"{given}=…" in ways:
        mend = f"write {given}=…; {_may(rows[given])}"
        source.fail(span, f"argument {given!r} of {word!r} without a value", mend)
    known = [way.removesuffix("=…") for way in ways if " " not in way]
    hint = "" if given.removesuffix("=…") in known else near(given, known)
    source.fail(span, f"unknown argument {given!r} of {word!r}", mend + hint)
