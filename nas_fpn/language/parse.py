"""From text to a program with holes: settings, lines, ranges, repeats."""

from dataclasses import dataclass, field, replace

from lark import Token, Tree

from nas_fpn.language.grammar import read_row
from nas_fpn.language.layout import Row, Source, Span, layout
from nas_fpn.language.names import expand, is_backbone, is_pyramid, level_of, reserved
from nas_fpn.language.own_words import SHIPPED, Words
from nas_fpn.language.program import Word
from nas_fpn.language.slots import (
    A_KIND,
    MOST_DIGITS,
    Scope,
    kind_of,
    number_slot,
    span_of,
    word_slot,
)
from nas_fpn.language.syntax import (
    Body,
    Feature,
    HeadSetting,
    NumberSlot,
    Order,
    Program,
    Statement,
    Term,
    WordSlot,
)
from nas_fpn.language.words import Kind

__all__ = [
    "MOST_LINES",
    "MOST_NAMES",
    "MOST_OPERANDS",
    "MOST_REPEATS",
    "MOST_WIDTH",
    "read_program",
]

MOST_LINES = 400
MOST_NAMES = 16
MOST_OPERANDS = 64
MOST_REPEATS = 64
MOST_WIDTH = 4096

Item = Statement | Order | Body
Names = tuple[tuple[str | None, ...], Span]  # a name, the names of a range, or (None,) for `*`


_PLAIN = HeadSetting(None, each=False)


@dataclass
class _Head:
    """The settings as they are read."""

    scope: Scope
    width: NumberSlot | None = None
    then: tuple[WordSlot, ...] = ()
    up: HeadSetting = _PLAIN
    down: HeadSetting = _PLAIN
    order: list[str] = field(default_factory=list)


def read_program(text: str, *, file: str = "<text>", words: Words = SHIPPED) -> Program:
    """Read what can be read line by line; what names mean is checked afterwards.

    Raises SpaceError: where, what, the line with a caret, how to mend.
    """
    source, doc, rows = layout(text, file)
    head = _Head(Scope(words))
    items: list[Item] = []
    lines = 0
    for row in rows:
        tree = _tree(read_row(source, row).children[0])
        span = source.whole(row.number)
        if tree.data == "repeat":
            items.append(_repeat(source, row, tree, span))
        elif tree.data == "assignment":
            found = _assignment(source, row, tree, head.scope)
            lines += sum(len(i.statements) if isinstance(i, Order) else 1 for i in found)
            if lines > MOST_LINES:
                source.fail(
                    span, f"more than {MOST_LINES} lines, ranges written out", "use `repeat N:`"
                )
            if row.inside:
                body = items[-1]
                assert isinstance(body, Body)
                items[-1] = replace(body, items=body.items + found)
            else:
                items.extend(found)
        else:
            if items:
                source.fail(
                    span, f"late setting {str(tree.data)!r}", "settings stand before the first line"
                )
            _setting(source, row, tree, head)
    for item in items:
        if isinstance(item, Body) and not item.items:
            source.fail(
                item.span, "a repeat without lines", "indent the lines that it repeats below it"
            )
    if not items:
        source.fail(
            source.whole(rows[-1].number),
            "the program has settings but no line",
            "write at least `p3 = c3 -> conv1`",
        )
    lets = tuple(head.scope.lets.items())
    return Program(
        source,
        doc,
        head.width,
        head.then,
        head.up,
        head.down,
        lets,
        tuple(head.order),
        tuple(items),
        words,
    )


def _repeat(source: Source, row: Row, tree: Tree[Token], span: Span) -> Body:
    if row.inside:
        source.fail(
            span,
            "a repeat inside a repeat",
            "a repeat holds lines only; multiply the two numbers, or write one out",
        )
    count = number_slot(
        source, row.number, _tree(tree.children[0]), what="repeat", least=1, most=MOST_REPEATS
    )
    return Body(count, (), span)


def _setting(source: Source, row: Row, tree: Tree[Token], head: _Head) -> None:
    kind = str(tree.data)
    label = f"let {tree.children[0]}" if kind == "let" else kind
    if label in head.order:
        source.fail(
            source.whole(row.number), f"{label!r} is set twice", "remove one of the two lines"
        )
    head.order.append(label)
    number = row.number
    if kind == "let":
        name = str(tree.children[0])
        why = reserved(name, head.scope.words.rows)
        if why:
            source.fail(
                span_of(tree.children[0], number), f"reserved name: {why}", "choose another name"
            )
        plain = Scope(head.scope.words)
        head.scope.lets[name] = word_slot(source, number, _tree(tree.children[1]), scope=plain)
    elif kind == "width":
        head.width = number_slot(
            source, number, _tree(tree.children[0]), what="width", least=1, most=MOST_WIDTH
        )
    elif kind == "then":
        slots = tuple(
            word_slot(source, number, _tree(t), scope=head.scope, kinds=("block",))
            for t in tree.children
        )
        for slot in slots:
            _expect(source, slot, head.scope, "block")
        head.then = slots
    else:
        each = isinstance(tree.children[0], Token)
        mover: Kind = "up" if kind == "up" else "down"
        tree = _tree(tree.children[-1])
        slot = word_slot(source, number, tree, scope=head.scope, kinds=(mover,))
        _expect(source, slot, head.scope, mover)
        setting = HeadSetting(slot, each=each)
        if kind == "up":
            head.up = setting
        else:
            head.down = setting


def _assignment(
    source: Source, row: Row, tree: Tree[Token], scope: Scope
) -> tuple[Statement | Order, ...]:
    target_tree, source_tree, *others = (c for c in tree.children)
    whole = source.whole(row.number)
    target = _names(source, row, _tree(_tree(target_tree).children[0]))
    level = _level(source, row, _tree(target_tree))
    merge, terms = _source(source, row, _tree(_tree(source_tree).children[0]), scope)
    addends: list[Names] = []
    rest, ordered, blocks = False, None, None
    for part in others:
        if isinstance(part, Token):
            ordered = span_of(part, row.number)
        elif part.data == "arrow":
            blocks = _blocks(source, row, part, scope)
        elif isinstance(part.children[0], Token):
            if rest:
                source.fail(span_of(part, row.number), "'+ rest' stands twice", "write it once")
            rest = True
        else:
            addends.append(_names(source, row, part.children[0]))
    if len(terms) + len(addends) > MOST_OPERANDS:
        source.fail(whole, f"more than {MOST_OPERANDS} operands in a line", "use two lines")
    if merge is not None and blocks is not None:
        for slot in blocks:
            if kind_of(slot, scope) != "block":
                _expect(
                    source, slot, scope, "block", "behind a merge; put it inside, by its operand"
                )
    length = _step(source, [target, *(names for names, _, _ in terms), *addends])
    for name in target[0]:
        _target(source, str(name), target[1], level, scope)
    statements = tuple(
        Statement(
            _pick(target, k),
            level,
            merge,
            tuple(Term(_pick(names, k), optional, own) for names, optional, own in terms),
            tuple(_pick(names, k) for names in addends),
            rest,
            blocks,
            whole,
        )
        for k in range(length)
    )
    if ordered is None:
        return statements
    names = [str(name) for name in target[0]]
    label = names[0] if length == 1 else f"{names[0]}..{names[-1]}"
    return (Order(label, statements, ordered),)


def _source(
    source: Source, row: Row, tree: Tree[Token], scope: Scope
) -> tuple[WordSlot | None, list[tuple[Names, bool, tuple[WordSlot, ...]]]]:
    if tree.data == "feature":
        names, optional = _feature(source, row, tree)
        if optional:
            source.fail(
                span_of(tree, row.number),
                "a single source cannot be absent",
                "optional operands stand inside a merge, behind its first",
            )
        return None, [(names, False, ())]
    word, *operands = tree.children
    merge = word_slot(source, row.number, _tree(word), scope=scope, kinds=("merge",))
    _expect(source, merge, scope, "merge")
    terms = []
    for position, operand in enumerate(operands):
        feature, *arrow = _tree(operand).children
        names, optional = _feature(source, row, _tree(feature))
        if optional and position == 0:
            source.fail(
                span_of(feature, row.number),
                "the first operand cannot be absent",
                "remove its `?`, or put another operand first",
            )
        own = _blocks(source, row, _tree(arrow[0]), scope) if arrow else ()
        for slot in own:
            if kind_of(slot, scope) == "merge":
                _expect(source, slot, scope, "block")
        terms.append((names, optional, own))
    return merge, terms


def _blocks(source: Source, row: Row, tree: Tree[Token], scope: Scope) -> tuple[WordSlot, ...]:
    slots = tuple(
        word_slot(source, row.number, _tree(t), scope=scope, kinds=("up", "down", "block"))
        for t in tree.children
    )
    for slot in slots:
        if kind_of(slot, scope) == "merge":
            _expect(source, slot, scope, "block")
    return slots


def _feature(source: Source, row: Row, tree: Tree[Token]) -> tuple[Names, bool]:
    first, *mark = tree.children
    if isinstance(first, Token):
        if mark:
            source.fail(
                span_of(tree, row.number),
                "'*?' is not in the language",
                "name the operand that may be absent: p5?",
            )
        return ((None,), span_of(first, row.number)), False
    return _names(source, row, first), bool(mark)


def _names(source: Source, row: Row, tree: Tree[Token]) -> Names:
    span = span_of(tree, row.number)
    first, *last = (str(token) for token in tree.children)
    for name in (first, *last):
        if len(name) - len(name.rstrip("0123456789")) > MOST_DIGITS:
            source.fail(
                span, f"a number of more than {MOST_DIGITS} digits", "number names from 1 on"
            )
    if not last:
        return (first,), span
    names = expand(first, last[0], MOST_NAMES)
    if isinstance(names, str):
        source.fail(span, names, "ranges look like p3..p5, p5..p3 or a..c")
    return names, span


def _level(source: Source, row: Row, tree: Tree[Token]) -> NumberSlot | None:
    if len(tree.children) == 1:
        return None
    count = _tree(_tree(tree.children[1]).children[0])
    return number_slot(source, row.number, count, what="level", least=2, most=8)


def _step(source: Source, ranges: list[Names]) -> int:
    """The common length of a line's ranges; single names run along."""
    target = ranges[0][0]
    length = len(target)
    for names, place in ranges[1:]:
        if len(names) > 1 and len(names) != length:
            if length == 1:
                source.fail(
                    place, f"a range of {len(names)} for one target", "write a range as target too"
                )
            source.fail(
                place,
                f"ranges of unequal length: {len(names)} here, {length} in the target",
                "all ranges of a line run in step",
            )
    return length


def _target(source: Source, name: str, span: Span, level: NumberSlot | None, scope: Scope) -> None:
    if is_backbone(name):
        source.fail(span, f"{name!r} is read only", "assign a pyramid level p or an intermediate")
    if is_pyramid(name):
        if not 2 <= (level_of(name) or 0) <= 8 or name[1] == "0":
            source.fail(span, f"reserved name: {name!r} is no pyramid level", "p2 to p8 are")
        if level is not None:
            source.fail(level.span, f"the level of {name!r} is in its name", "remove the `@`")
        return
    why = reserved(name, scope.words.rows)
    if why:
        source.fail(span, f"reserved name: {why}", "choose another name")


def _expect(source: Source, slot: WordSlot, scope: Scope, kind: Kind, where: str = "here") -> None:
    found = kind_of(slot, scope)
    if found != kind:
        word = slot.word.name if isinstance(slot.word, Word) else "this hole"
        text = repr(word) if isinstance(slot.word, Word) else word
        source.fail(
            slot.span,
            f"{text} is {A_KIND[found]}; {A_KIND[kind]} stands {where}",
            "merges stand before parentheses, blocks and resamplers behind an arrow",
        )


def _pick(names: Names, k: int) -> Feature:
    return Feature(names[0][k if len(names[0]) > 1 else 0], names[1])


def _tree(leaf: Token | Tree[Token]) -> Tree[Token]:
    assert isinstance(leaf, Tree)
    return leaf
