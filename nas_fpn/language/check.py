"""What a program means in all its answers at once: names, levels, channels, operands.

Each feature has the set of levels and the set of channels that some answer could give it. A
space that passes decodes under every genotype; so some spaces are refused whose answers would
happen to fit each other (language.md: checks look at all options, not at one walk).
"""

from dataclasses import dataclass, field
from typing import NoReturn

from nas_fpn.language.channels import Channels, unknown
from nas_fpn.language.layout import Source, Span, near
from nas_fpn.language.names import BACKBONE_LEVELS, is_backbone, is_pyramid, level_of
from nas_fpn.language.parse import MOST_OPERANDS
from nas_fpn.language.syntax import (
    Body,
    Feature,
    Order,
    Program,
    Statement,
    WordSlot,
)
from nas_fpn.language.vocabulary import Moves, Value, Vocabulary, moves
from nas_fpn.language.words import gives, joins

__all__ = ["Facts", "check"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the check has learnt: the moves of every operand, by (id of the statement, position)."""

    moves: dict[tuple[int, int], Moves]


@dataclass
class _Block:
    """The names of a block in order of first assignment, and those that it reads from outside."""

    outer: "dict[str, Value]"
    own: dict[str, Value] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()  # new names of an order group: perhaps not yet there


def check(program: Program) -> Facts:
    """Check a program in all its answers. Raises SpaceError for the first fault."""
    return _Check(program).run()


class _Check:
    """The state of one check: the program and what is known so far."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.source: Source = program.source
        self.words = Vocabulary(program)
        self.rows = program.words.rows
        self.moves: dict[tuple[int, int], Moves] = {}
        self.assigned: dict[str, int] = {}  # every name of the file: the line that first names it
        for item in program.items:
            for statement in _statements(item):
                self.assigned.setdefault(_name(statement.target), statement.span.line)

    def run(self) -> Facts:
        block = _Block({})
        for item in self.program.items:
            if isinstance(item, Body):
                self.body(item, block)
            else:
                self.item(item, block)
        self.outputs(block)
        return Facts(self.moves)

    def body(self, body: Body, outer: _Block) -> None:
        passes = max(body.count.options)  # few, unless `concat[plain]` gives more in each
        around = dict(outer.own)
        for _ in range(passes):
            inner = _Block(dict(around))
            for item in body.items:
                self.item(item, inner)
            after = dict(around)
            for name, value in inner.own.items():
                if is_pyramid(name):
                    after[name] = value | around[name] if name in around else value
            if after == around:
                break
            around = after
        for name, value in inner.own.items():
            if is_pyramid(name):
                outer.own[name] = value

    def item(self, item: Statement | Order, block: _Block) -> None:
        if isinstance(item, Statement):
            self.assign(item, block)
            return
        names = [_name(s.target) for s in item.statements]
        here = [name for name in names if name in block.own]
        if here and len(here) < len(names):
            new = next(name for name in names if name not in block.own)
            self.fail(
                item.statements[0].span,
                f"lines in any order name {new!r} anew and {here[0]!r} again",
                "either all names of the range are new to the block, or none is",
            )
        for position in range(len(names) + 1):
            before = dict(block.own)
            for statement in item.statements:
                name = _name(statement.target)
                pool = {k: v for k, v in block.own.items() if here or k != name}
                if not here and position == 0:  # whichever runs first sees the smallest pool
                    pool = {k: v for k, v in pool.items() if k not in names}
                hidden = frozenset[str]() if here else frozenset(names) - {name}
                scope = _Block(block.outer, pool, hidden)
                self.assign(statement, scope)
                value = scope.own[name]
                block.own[name] = value | block.own[name] if name in block.own else value
            if block.own == before:
                break

    # -- one line -----------------------------------------------------------------------------

    def assign(self, line: Statement, block: _Block) -> None:
        name = _name(line.target)
        if not is_pyramid(name):
            self.new_name(name, line, block)
        stars = sum(term.feature.name is None for term in line.terms)
        pool = block.own
        if stars > len(pool):
            star = next(term for term in line.terms if term.feature.name is None)
            self.fail(
                star.feature.span,
                f"{stars} '*' but {len(pool)} names in the pool",
                "'*' takes what this block has assigned above; alias outer features first: "
                "x3..x5 = p3..p5",
            )
        if len(pool) > 256 and stars:
            self.fail(line.span, "a '*' with more than 256 options", "name the operand")
        drawn = _joined(pool) if stars else None
        sources = [
            drawn if drawn and term.feature.name is None else self.value(term.feature, block)
            for term in line.terms
        ]
        levels = self.levels(line, sources)
        if line.merge is None:
            value = self.single(line, sources[0], levels, block)
        else:
            value = self.merged(line, line.merge, sources, levels, block)
        raw = sorted(str(c) for c in value.channels if c.is_raw)
        if raw:
            mend = f"{raw[0]} -> conv1" if line.merge is None else "concat[plain](…) -> conv1"
            self.fail(
                line.terms[0].feature.span,
                f"raw channels: {name!r} would have those of {raw[0]!r}",
                f"give it the neck's: {name} = {mend}",
            )
        block.own[name] = Value(levels, value.channels)

    def new_name(self, name: str, line: Statement, block: _Block) -> None:
        span = line.target.span
        if name in self.words.lets:
            self.fail(span, f"reserved name: {name!r} is a `let`", "choose another name")
        if name in block.own:
            self.fail(
                span,
                f"{name!r} is assigned twice",
                "an intermediate is assigned once in its block; take a new name",
            )
        if name in block.outer:
            self.fail(
                span,
                f"{name!r} belongs to the block outside",
                "it can be read here, not assigned; take a new name",
            )

    def levels(self, line: Statement, sources: list[Value]) -> frozenset[int]:
        own = level_of(_name(line.target))
        if own is not None:
            return frozenset([own])
        if line.level is not None:
            return frozenset(line.level.options)
        if line.merge is not None:
            name = _name(line.target)
            self.fail(
                line.target.span, f"the level of {name!r} is missing", f"write it: {name}@4 = …"
            )
        return sources[0].levels

    def single(
        self, line: Statement, source: Value, levels: frozenset[int], block: _Block
    ) -> Value:
        free = level_of(_name(line.target)) is None and line.level is None
        blocks = line.blocks or ()
        term = line.terms[0]
        if not line.addends and not line.rest:
            shift = Moves(False, False) if free else moves(source.levels, levels)
            self.moves[id(line), 0] = shift
            fixed = free or (len(source.levels) == 1 and len(levels) == 1)
            channels = self.words.along(blocks, source.channels, shift, fixed=fixed)
            after = self.words.default(blocks, channels, shift, source.levels, levels)
            return Value(levels, after)
        self.moves[id(line), 0] = Moves(False, False)
        if not free and (source.levels != levels or len(levels) > 1):
            self.fail(
                term.feature.span,
                "a single source with addends must be at the line's level",
                "use a merge: sum(a, b)",
            )
        self.raw(term.feature, source, "merged")
        channels = self.addends(line, source.channels, levels, block)
        for slot in blocks:
            if self.words.row(slot).kind != "block":
                self.fail(slot.span, "a resampler behind addends", "use a merge: sum(a -> …, b)")
        return Value(levels, self.words.along(blocks, channels, Moves(False, False), fixed=False))

    def merged(
        self,
        line: Statement,
        merge: WordSlot,
        sources: list[Value],
        levels: frozenset[int],
        block: _Block,
    ) -> Value:
        least = sum(not term.optional for term in line.terms)
        words = self.words.options(merge)
        for word in words:
            self.words.divided(merge, word)
            low, high = self.rows[word.name].operands
            if least < low or len(line.terms) > high:
                given = f"{least}" if least == len(line.terms) else f"{least} to {len(line.terms)}"
                takes = f"{low}" if low == high else f"at least {low}"
                self.fail(
                    merge.span,
                    f"wrong number of operands: {word.name!r} takes {takes}, here are {given}",
                    "write every operand; one with `?` may be absent",
                )
        mixes = all(self.rows[word.name].mixes for word in words)
        found: dict[Channels, Span] = {}
        sums = frozenset[Channels]()
        for k, (term, source) in enumerate(zip(line.terms, sources, strict=True)):
            shift = moves(source.levels, levels)
            self.moves[id(line), k] = shift
            fixed = len(source.levels) == 1 and len(levels) == 1
            channels = self.words.along(term.blocks, source.channels, shift, fixed=fixed)
            channels = self.words.default(term.blocks, channels, shift, source.levels, levels)
            if not mixes:
                self.raw(term.feature, Value(levels, channels), "merged")
            for channel in channels:
                found.setdefault(channel, term.feature.span)
            if any(map(joins, words)):
                sums = self.words.sums(line.span, sums, channels, optional=term.optional)
        if not mixes and len(found) > 1:
            (one, _), (two, span), *_ = found.items()
            same = next(w.name for w in words if not self.rows[w.name].mixes)
            self.fail(
                span,
                f"unequal channels: {one} and {two}",
                f"the operands of {same!r} have equal channels; add `-> conv1` to one of them",
            )
        keeps = any(not gives(w, self.rows[w.name]) and not joins(w) for w in words)
        kept = frozenset(found) if keeps else sums
        channels = self.words.behind(merge, kept | sums)
        channels = self.addends(line, channels, levels, block)
        blocks = self.program.then if line.blocks is None else line.blocks
        return Value(levels, self.words.along(blocks, channels, Moves(False, False), fixed=False))

    def addends(
        self, line: Statement, channels: frozenset[Channels], levels: frozenset[int], block: _Block
    ) -> frozenset[Channels]:
        more: list[tuple[Span, str, Value]] = []
        for addend in line.addends:
            value = self.value(addend, block)
            if len(levels) > 1 or value.levels != levels:
                self.fail(
                    addend.span,
                    f"{_name(addend)!r} is not surely at the line's level",
                    "an addend is not resampled; make it an operand of the merge",
                )
            more.append((addend.span, _name(addend), value))
        if line.rest:
            rest = [(n, value) for n, value in block.own.items() if value.levels & levels]
            more.extend((line.span, name, value) for name, value in rest)
            if len(line.terms) + len(more) > MOST_OPERANDS:
                self.fail(
                    line.span,
                    f"'+ rest' could make more than {MOST_OPERANDS} operands in a line",
                    f"this block has {len(rest)} names at its level; name what it adds",
                )
        for span, name, value in more:
            self.raw(Feature(name, span), value, "added")
            if len(channels | value.channels) > 1:
                one, two = sorted(map(str, channels | value.channels))[:2]
                self.fail(
                    span, f"unequal channels: {one} and {two}", "addends have the merge's channels"
                )
        return channels

    # -- names --------------------------------------------------------------------------------

    def value(self, feature: Feature, block: _Block) -> Value:
        name = _name(feature)
        if is_backbone(name):
            level = int(name[1:])
            if level not in BACKBONE_LEVELS or name[1] == "0":
                self.fail(
                    feature.span, f"level out of range: {name!r}", "the backbone gives c2 to c7"
                )
            return Value(frozenset([level]), frozenset([unknown(name, 1)]))
        if name in block.hidden and name in block.outer:  # a level: the old value or the new
            return block.outer[name] | block.own.get(name, block.outer[name])
        if name in block.own and name not in block.hidden:
            return block.own[name]
        if name in block.outer and name not in block.hidden:
            return block.outer[name]
        return self.unknown(feature, name, block)

    def unknown(self, feature: Feature, name: str, block: _Block) -> NoReturn:
        if name in block.hidden:
            self.fail(
                feature.span,
                f"{name!r} is used before it is named, in some order",
                "lines in any order cannot read one another's new names; use '*'",
            )
        line = self.assigned.get(name)
        if line is not None and line >= feature.span.line:
            self.fail(
                feature.span,
                f"{name!r} is used before it is named",
                "only its own line names it; read a feature named above"
                if line == feature.span.line
                else f"line {line} names it; move that line up",
            )
        if line is not None:
            self.fail(
                feature.span,
                f"unknown feature {name!r}",
                f"the {name!r} of line {line} ended with its repeat; only p's live on",
            )
        named = list(block.own)
        known = [*named, *(n for n in block.outer if n not in named)]
        said = f"this block has named {', '.join(named)}" if named else "nothing is named yet"
        if name == "rest":
            said = "'rest' stands behind a plus, after the source: p3 = sum(a, b) + rest"
        elif name in self.rows:
            said = f"{name!r} is a word of the language; {said}"
        else:
            said += near(name, known)
        self.fail(feature.span, f"unknown feature {name!r}", said)

    def raw(self, feature: Feature, value: Value, done: str) -> None:
        for channel in value.channels:
            if channel.is_raw:
                self.fail(
                    feature.span,
                    f"raw channels: {str(channel)!r} cannot be {done} as it is",
                    f"give it the neck's: {channel} -> conv1",
                )

    def outputs(self, block: _Block) -> None:
        levels = sorted(level_of(name) or 0 for name in block.own if is_pyramid(name))
        last = self.source.whole(max(_lines(self.program)))
        if not levels:
            self.fail(last, "no pyramid level is assigned", "assign p3, p4, …: they are the output")
        for level in range(levels[0], levels[-1]):
            if level not in levels:
                self.fail(
                    last,
                    f"no line assigns 'p{level}', between 'p{levels[0]}' and 'p{levels[-1]}'",
                    "a pyramid has no gap; assign it too",
                )

    def fail(self, span: Span, what: str, mend: str = "") -> NoReturn:
        self.source.fail(span, what, mend)


def _joined(pool: dict[str, Value]) -> Value:
    """What a ``*`` may draw: any value of the pool."""
    levels = frozenset[int]().union(*(value.levels for value in pool.values()))
    channels = frozenset[Channels]().union(*(value.channels for value in pool.values()))
    return Value(levels, channels)


def _name(feature: Feature) -> str:
    assert feature.name is not None
    return feature.name


def _statements(item: Statement | Order | Body) -> list[Statement]:
    if isinstance(item, Statement):
        return [item]
    if isinstance(item, Order):
        return list(item.statements)
    return [statement for inner in item.items for statement in _statements(inner)]


def _lines(program: Program) -> list[int]:
    return [s.span.line for item in program.items for s in _statements(item)]
