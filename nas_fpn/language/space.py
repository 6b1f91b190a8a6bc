"""A search space: a checked program whose choices have names and counts.

Every hole becomes a choice: a name that a person recognises in a table, and a finite number of
options that never depends on other answers.
"""

from dataclasses import dataclass, replace

from nas_fpn.language.check import Facts, check
from nas_fpn.language.names import level_of
from nas_fpn.language.own_words import SHIPPED, Words
from nas_fpn.language.parse import read_program
from nas_fpn.language.program import Line, Operand, Word
from nas_fpn.language.syntax import (
    Body,
    HeadSetting,
    LetName,
    NumberSlot,
    Order,
    Program,
    Statement,
    Term,
    WordHole,
    WordSlot,
    first_hole,
)
from nas_fpn.language.vocabulary import Moves

__all__ = [
    "AskNumber",
    "AskWord",
    "Choice",
    "Shared",
    "Slot",
    "Space",
    "SpaceLine",
    "SpaceOperand",
    "SpaceOrder",
    "SpaceRepeat",
    "compile_space",
]


@dataclass(frozen=True, slots=True)
class Choice:
    """One question of a space: its name and how many options it has."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class AskWord:
    """A hole where a word stands."""

    name: str
    options: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class AskNumber:
    """A hole where a whole number stands."""

    name: str
    options: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Shared:
    """A word asked once for the file: a ``let``, or a block of ``then``."""

    name: str


Slot = Word | AskWord | Shared


@dataclass(frozen=True, slots=True)
class SpaceOperand:
    """An operand; ``feature`` None is ``*``. Names are those of its choices, None: not asked."""

    feature: str | None
    pick: str | None
    present: str | None
    blocks: tuple[Slot, ...]
    up: AskWord | Word | None  # for `up each`; a Word is written out without asking
    down: AskWord | Word | None


@dataclass(frozen=True, slots=True)
class SpaceLine:
    """A line of a space. ``blocks`` None: no arrow.

    ``fixed`` is what the line becomes in every walk, where nothing in it is open.
    """

    target: str
    level: int | AskNumber | None
    merge: Slot | None
    operands: tuple[SpaceOperand, ...]
    addends: tuple[str, ...]
    rest: bool
    blocks: tuple[Slot, ...] | None
    fixed: Line | None = None


@dataclass(frozen=True, slots=True)
class SpaceOrder:
    """Lines in any order: ``picks[i]`` asks which of the lines left runs at position i.

    ``lines[i][k]`` is line k as it is asked at position i; only the names of choices differ.
    """

    picks: tuple[str, ...]
    lines: tuple[tuple[SpaceLine, ...], ...]


@dataclass(frozen=True, slots=True)
class SpaceRepeat:
    """Lines that repeat."""

    count: int | AskNumber
    items: tuple[SpaceLine | SpaceOrder, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """A program with holes, checked: every genotype in range decodes.

    ``shared`` are the words asked once, before all lines, in the order of the text. A space is
    equal to itself only, so that what is known of it can be looked up without reading it whole.
    """

    doc: str
    file: str
    width: int | AskNumber
    shared: tuple[tuple[str, Word | AskWord], ...]
    head: tuple[str, ...]  # the order in which the head asks: "width", or a name of `shared`
    then: tuple[Slot, ...]
    up: Slot
    down: Slot
    items: tuple[SpaceLine | SpaceOrder | SpaceRepeat, ...]
    has_holes: bool
    words: Words


def compile_space(
    text: str, *, file: str = "<text>", holes: bool = True, words: Words = SHIPPED
) -> Space:
    """Read, check and name a text. Raises SpaceError: where, what, how to mend.

    Without ``holes`` the first hole of the text is such an error.
    """
    program = read_program(text, file=file, words=words)
    hole = None if holes else first_hole(program)
    if hole is not None:
        program.source.fail(
            hole,
            "a hole in an architecture",
            "a .neck file has none: decide it, or read the program as a .space file",
        )
    return _Compiler(program, check(program)).run()


class _Compiler:
    """The names given so far: each choice has one of its own."""

    def __init__(self, program: Program, facts: Facts) -> None:
        self.program = program
        self.moves = facts.moves
        self.taken: dict[str, int] = {}
        self.shared: dict[str, Word | AskWord] = {}
        self.asks = 0
        self.seen: dict[str, int] = {}  # assignments of a target in the present block
        self.block = ""
        self.repeats = 0

    def run(self) -> Space:
        program = self.program
        head: list[str] = []
        width: int | AskNumber = 256
        then: tuple[Slot, ...] = ()
        settings: dict[str, Slot] = {"up": Word("nearest"), "down": Word("maxpool")}
        lets = dict(program.lets)
        for setting in program.order:
            if setting == "width" and program.width is not None:
                width = self.number(program.width, "width")
                head.append("width")
            elif setting == "then":
                then = tuple(
                    self.once(slot, f"then.block{k}", head)
                    for k, slot in enumerate(program.then, 1)
                )
            elif setting.startswith("let "):
                name = setting.removeprefix("let ")
                self.once(lets[name], name, head)
            else:
                chosen = program.up if setting == "up" else program.down
                if chosen.slot is not None and not chosen.each:
                    settings[setting] = self.once(chosen.slot, setting, head)
        items: list[SpaceLine | SpaceOrder | SpaceRepeat] = []
        for item in program.items:
            if isinstance(item, Body):
                items.append(self.repeat(item))
            else:
                items.append(self.item(item))
        return Space(
            program.doc,
            program.source.file,
            width,
            tuple(self.shared.items()),
            tuple(head),
            then,
            settings["up"],
            settings["down"],
            tuple(items),
            self.asks > 0,
            program.words,
        )

    def once(self, slot: WordSlot, name: str, head: list[str]) -> Slot:
        word = slot.word
        if isinstance(word, LetName):
            return Shared(word.name)
        if isinstance(word, WordHole):
            self.shared[name] = AskWord(self.name(name), word.options)
        elif name in dict(self.program.lets):
            self.shared[name] = word
        else:
            return word
        head.append(name)
        return Shared(name)

    def repeat(self, body: Body) -> SpaceRepeat:
        self.repeats += 1
        label = "repeat" if self.repeats == 1 else f"repeat{self.repeats}"
        outside, self.seen, self.block = self.seen, {}, f"{label}."
        count = self.number(body.count, label)
        items = tuple(self.item(item) for item in body.items)
        self.seen, self.block = outside, ""
        return SpaceRepeat(count, items)

    def item(self, item: Statement | Order) -> SpaceLine | SpaceOrder:
        if isinstance(item, Statement):
            line = self.line(item, self.label(item.target.name or ""), (item,))
            return replace(line, fixed=_fixed(line))
        label = self.label(item.label)
        lines = item.statements
        for name in [line.target.name or "" for line in lines if len(lines) > 1]:
            self.seen[name] = self.seen.get(name, 0) + 1
        picks, positions = [], []
        for position in range(1, len(lines) + 1):
            if position < len(lines):
                picks.append(self.name(f"{label}.order{position}"))
            here = f"{label}.{position}"
            asked = self.line(lines[0], here, lines)
            positions.append(
                tuple(asked if line is lines[0] else self.copy(asked, line) for line in lines)
            )
        return SpaceOrder(tuple(picks), tuple(positions))

    def copy(self, asked: SpaceLine, line: Statement) -> SpaceLine:
        """Another line of the same range under the same choices."""
        operands = tuple(
            SpaceOperand(t.feature.name, o.pick, o.present, o.blocks, o.up, o.down)
            for o, t in zip(asked.operands, line.terms, strict=True)
        )
        addends = tuple(a.name or "" for a in line.addends)
        return SpaceLine(
            line.target.name or "",
            asked.level,
            asked.merge,
            operands,
            addends,
            asked.rest,
            asked.blocks,
        )

    def line(self, line: Statement, label: str, group: tuple[Statement, ...]) -> SpaceLine:
        level: int | AskNumber | None = None
        if line.level is not None:
            level = self.number(line.level, f"{label}.level")
        merge = None if line.merge is None else self.slot(line.merge, f"{label}.merge")
        operands = []
        for k, term in enumerate(line.terms):
            here = f"{label}.operand{k + 1}" if line.merge is not None else label
            up = any(self.moves[id(s), k].up for s in group)
            down = any(self.moves[id(s), k].down for s in group)
            operands.append(self.operand(line, term, here, Moves(up, down)))
        blocks = None
        if line.blocks is not None:
            blocks = self.blocks(line.blocks, label)
        return SpaceLine(
            line.target.name or "",
            level,
            merge,
            tuple(operands),
            tuple(a.name or "" for a in line.addends),
            line.rest,
            blocks,
        )

    def operand(self, line: Statement, term: Term, label: str, moves: Moves) -> SpaceOperand:
        single = line.merge is None
        pick = None
        if term.feature.name is None:
            pick = self.name(f"{label}.operand1" if single else label)
        present = self.name(f"{label}.present") if term.optional else None
        own = line.blocks or () if single else term.blocks
        kinds = {self.kind(slot) for slot in own}
        blocks = () if single else self.blocks(term.blocks, label)
        up = self.each(self.program.up, moves.up and "up" not in kinds, f"{label}.up")
        down = self.each(self.program.down, moves.down and "down" not in kinds, f"{label}.down")
        return SpaceOperand(term.feature.name, pick, present, blocks, up, down)

    def each(self, setting: HeadSetting, needed: bool, name: str) -> AskWord | Word | None:
        if not setting.each or not needed or setting.slot is None:
            return None
        word = setting.slot.word
        if isinstance(word, LetName):
            shared = self.shared[word.name]
            word = WordHole(shared.options) if isinstance(shared, AskWord) else shared
        return AskWord(self.name(name), word.options) if isinstance(word, WordHole) else word

    def blocks(self, slots: tuple[WordSlot, ...], label: str) -> tuple[Slot, ...]:
        found = []
        for position, slot in enumerate(slots, 1):
            kind = self.kind(slot)
            name = f"{label}.block{position}" if kind == "block" else f"{label}.{kind}"
            found.append(self.slot(slot, name))
        return tuple(found)

    def slot(self, slot: WordSlot, name: str) -> Slot:
        word = slot.word
        if isinstance(word, LetName):
            return Shared(word.name)
        return AskWord(self.name(name), word.options) if isinstance(word, WordHole) else word

    def kind(self, slot: WordSlot) -> str:
        word = slot.word
        if isinstance(word, LetName):
            return self.kind(dict(self.program.lets)[word.name])
        word = word.options[0] if isinstance(word, WordHole) else word
        return self.program.words.rows[word.name].kind

    def number(self, slot: NumberSlot, name: str) -> int | AskNumber:
        return AskNumber(self.name(name), slot.options) if slot.hole else slot.options[0]

    def label(self, target: str) -> str:
        """``p4``, and ``p4#2`` for its second assignment in this block."""
        self.seen[target] = self.seen.get(target, 0) + 1
        count = self.seen[target]
        return target if count == 1 else f"{target}#{count}"

    def name(self, name: str) -> str:
        """The name of a choice; another block's name of the same kind gets its block before it."""
        self.asks += 1
        full = name if name not in self.taken else f"{self.block}{name}"
        while full in self.taken:
            self.taken[full] += 1
            full = f"{full}~{self.taken[full]}"
        self.taken[full] = 1
        return full


def _fixed(line: SpaceLine) -> Line | None:
    """The line as every walk makes it; None where an answer or another line decides something.

    Where the names say all levels, the check has made sure that each resampler acts.
    """
    level = level_of(line.target) or line.level
    merge, blocks, operands = line.merge, None, []
    for operand in line.operands:
        source = level_of(operand.feature or "*")
        words = _plain(operand.blocks)
        if source is None or operand.present or operand.up or operand.down or words is None:
            return None
        operands.append(Operand(operand.feature or "", words))
        level = level or source
    if line.blocks is not None:
        blocks = _plain(line.blocks)
        if blocks is None:
            return None
    if line.rest or not isinstance(level, int) or isinstance(merge, AskWord | Shared):
        return None
    return Line(line.target, level, merge, tuple(operands), line.addends, blocks)


def _plain(slots: tuple[Slot, ...]) -> tuple[Word, ...] | None:
    words = tuple([slot for slot in slots if isinstance(slot, Word)])
    return words if len(words) == len(slots) else None
