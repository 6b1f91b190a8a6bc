"""The canonical form of an architecture, and its identity.

Lines that reach no output and aliases go; operands that commute are sorted; idle words go;
settings are written out at the words that they decide; intermediates are t1, t2, …. A pyramid
name is kept for the values that must bear it: outputs, and what a repeat carries from pass to
pass. Where such a name is overwritten while its old value is still wanted, one alias saves it.
"""

from dataclasses import dataclass, field
from hashlib import sha256

from nas_fpn.language.lower import moved
from nas_fpn.language.names import BACKBONE_LEVELS
from nas_fpn.language.program import Architecture, Line, Operand, Repeat, Word
from nas_fpn.language.values import Cell, Flow, Loop, Source, flow
from nas_fpn.language.words import gives

__all__ = ["canonical", "identity"]


def canonical(architecture: Architecture) -> Architecture:
    """The canonical form: canonicalising it again changes nothing. It has no docstring."""
    plain = _inline(flow(architecture))
    live = _live(plain)
    writer = _Writer(architecture, plain, live)
    items = writer.write()
    rows = architecture.words.rows
    unused = not any(
        gives(word, rows[word.name]) and "channels" not in dict(word.arguments)
        for line in _lines(items)
        for word in _words(line)
    )
    width = 256 if unused else architecture.width
    return Architecture(tuple(items), width, words=architecture.words)


def identity(architecture: Architecture) -> str:
    """The id of a neck: 8 hex digits of the hash of its canonical text."""
    return sha256(str(canonical(architecture)).encode()).hexdigest()[:8]


def _inline(plain: Flow) -> Flow:
    """The same flow: ``repeat 1`` as plain lines; what a body leaves as it is, not carried."""
    known: dict[Source, Source] = {}
    items: list[Cell | Loop] = []
    loops = 0
    for item in plain.items:
        if isinstance(item, Cell):
            items.append(_renamed(item, known))
            continue
        label = f"loop{loops}"
        loops += 1
        if item.count > 1:
            kept = sum(isinstance(i, Loop) for i in items)
            same = {name for name, value in item.exit if value == ("in", name)}
            outer = {name: known.get(value, value) for name, value in item.entry}
            inside = dict(known)
            inside.update({("in", name): outer[name] for name in same})
            cells = tuple(_renamed(cell, inside) for cell in item.cells)
            entry = tuple((name, value) for name, value in outer.items() if name not in same)
            leave = tuple(
                (name, inside.get(value, value)) for name, value in item.exit if name not in same
            )
            items.append(Loop(item.count, cells, entry, leave))
            for name, _ in item.exit:
                known[label, name] = outer[name] if name in same else (f"loop{kept}", name)
            continue
        inside = dict(known)
        inside.update({("in", name): known.get(value, value) for name, value in item.entry})
        items.extend(_renamed(cell, inside) for cell in item.cells)
        known.update({(label, name): inside.get(value, value) for name, value in item.exit})
    outputs = tuple((name, known.get(value, value)) for name, value in plain.outputs)
    return Flow(tuple(items), outputs)


def _renamed(cell: Cell, known: dict[Source, Source]) -> Cell:
    if not known:
        return cell
    if known.keys().isdisjoint(cell.reads):
        return cell
    sources = tuple([(known.get(value, value), level) for value, level in cell.sources])
    addends = tuple([known.get(value, value) for value in cell.addends])
    return Cell(cell.number, cell.line, sources, addends, tuple([v for v, _ in sources]) + addends)


def _live(plain: Flow) -> set[Source]:
    """The values that reach an output."""
    wanted: set[Source] = {value for _, value in plain.outputs}
    loops = sum(isinstance(item, Loop) for item in plain.items)
    for item in reversed(plain.items):
        if isinstance(item, Cell):
            if item.number in wanted:
                wanted.update(item.reads)
            continue
        loops -= 1
        label, entry = f"loop{loops}", dict(item.entry)
        leave = dict(item.exit)
        names = {name for name in leave if (label, name) in wanted}
        inside: set[Source] = set()
        while True:
            inside = {leave[name] for name in names}
            for cell in reversed(item.cells):
                if cell.number in inside:
                    inside.update(cell.reads)
            more = {name for name in leave if ("in", name) in inside} - names
            if not more:
                break
            names |= more
        wanted.update((label, name) for name in names)
        wanted.update(value for value in inside if not _is_entry(value))
        wanted.update(entry[name] for name in names if ("in", name) in inside)
        wanted.update((label + "in", name) for name in names if ("in", name) in inside)
    return wanted


def _is_entry(value: Source) -> bool:
    return isinstance(value, tuple) and value[0] == "in"


@dataclass
class _Names:
    """Who bears which name in the running block."""

    of: dict[Source, str] = field(default_factory=dict)
    holds: dict[str, Source] = field(default_factory=dict)  # pyramid name: its value now


class _Writer:
    """Writes live cells as lines, giving names as it goes."""

    def __init__(self, architecture: Architecture, plain: Flow, live: set[Source]) -> None:
        self.architecture = architecture
        self.rows = architecture.words.rows
        self.plain = plain
        self.live = live
        self.then = _kept(architecture.then)
        self.count = 0

    def write(self) -> list[Line | Repeat]:
        """The items of the canonical program."""
        items = [i for i in self.plain.items if isinstance(i, Loop) or i.number in self.live]
        pins: list[tuple[int, dict[str, Source]]] = []  # (position, what names must hold there)
        label = 0
        live_loops: dict[int, tuple[str, list[str], list[str]]] = {}
        for position, item in enumerate(items):
            if isinstance(item, Loop):
                name = f"loop{label}"
                label += 1
                leave = [n for n, _ in item.exit if (name, n) in self.live]
                carry = [n for n, _ in item.entry if (name + "in", n) in self.live]
                live_loops[position] = (name, carry, leave)
                if leave:
                    entry = dict(item.entry)
                    pins.append((position, {n: entry[n] for n in carry}))
        pins.append((len(items), dict(self.plain.outputs)))
        uses = self.last_uses(items, live_loops, pins)
        names = _Names({("c", level): f"c{level}" for level in BACKBONE_LEVELS})
        written: list[Line | Repeat] = []
        for position, item in enumerate(items):
            if isinstance(item, Cell):
                target = self.target(item.number, position, pins, names)
                self.save(target, position, uses, names, written)
                written.append(self.line(item, target, names))
                self.bind(item.number, target, names)
                continue
            loop, carry, leave = live_loops[position]
            if not leave:
                continue
            entry = dict(item.entry)
            for name in carry:
                self.hold(name, entry[name], position, uses, names, written)
            for name in leave:
                self.save(name, position, uses, names, written)
            written.append(self.body(item, leave, carry, names))
            for name in leave:
                self.bind((loop, name), name, names)
        for name, value in self.plain.outputs:
            self.hold(name, value, len(items), uses, names, written)
        return written

    def body(self, loop: Loop, leave: list[str], carry: list[str], outside: _Names) -> Repeat:
        cells = [cell for cell in loop.cells if cell.number in self.live]
        names = _Names(dict(outside.of), dict(outside.holds))
        for name in leave:
            names.holds.pop(name, None)
        for name in carry:
            names.of["in", name] = name
            names.holds[name] = ("in", name)
        exits = {name: value for name, value in loop.exit if name in leave}
        pins = [(len(cells), exits)]
        uses: dict[Source, int] = {}
        for position, cell in enumerate(cells):
            uses.update(dict.fromkeys(cell.reads, position))
        uses.update(dict.fromkeys(exits.values(), len(cells)))
        written: list[Line | Repeat] = []
        for position, cell in enumerate(cells):
            target = self.target(cell.number, position, pins, names)
            self.save(target, position, uses, names, written)
            written.append(self.line(cell, target, names))
            self.bind(cell.number, target, names)
        self.settle(exits, uses, names, written, len(cells))
        return Repeat(loop.count, tuple(w for w in written if isinstance(w, Line)))

    def settle(
        self,
        exits: dict[str, Source],
        uses: dict[Source, int],
        names: _Names,
        written: list[Line | Repeat],
        position: int,
    ) -> None:
        """Let every name hold its exit value; values that only moved are saved before."""
        moving = [n for n, value in exits.items() if names.holds.get(n) != value]
        for name in moving:  # a value that another name takes over must outlive its own name
            self.save(name, position - 1, uses, names, written)
        for name in moving:
            self.hold(name, exits[name], position, uses, names, written)

    def last_uses(
        self,
        items: list[Cell | Loop],
        live_loops: dict[int, tuple[str, list[str], list[str]]],
        pins: list[tuple[int, dict[str, Source]]],
    ) -> dict[Source, int]:
        uses: dict[Source, int] = {}
        for position, item in enumerate(items):
            cells = [item] if isinstance(item, Cell) else item.cells
            inside = 0.5 if isinstance(item, Loop) else 0
            for cell in cells:
                if cell.number in self.live:
                    for value in cell.reads:
                        uses[value] = position + (1 if inside else 0)
        for position, (_, _, leave) in live_loops.items():
            item = items[position]
            assert isinstance(item, Loop)
            for name, value in item.exit:
                if name in leave:  # made before the loop, perhaps: then it is read in its body
                    uses[value] = max(uses.get(value, -1), position + 1)
        for position, wanted in pins:
            for value in wanted.values():
                uses[value] = max(uses.get(value, -1), position)
        return uses

    # -- names ----------------------------------------------------------------------------------

    def target(
        self, number: int, position: int, pins: list[tuple[int, dict[str, Source]]], names: _Names
    ) -> str:
        """The name that a new value takes: a pyramid name if the next pin asks for it."""
        asked: set[str] = set()
        for place, wanted in pins:
            if place <= position:
                continue
            if number in wanted.values():
                for name, value in wanted.items():
                    if value == number and name not in asked:
                        return name
            asked.update(wanted)
        return self.fresh()

    def fresh(self) -> str:
        self.count += 1
        return f"t{self.count}"

    def bind(self, value: Source, name: str, names: _Names) -> None:
        names.of[value] = name
        if name[0] == "p":
            names.holds[name] = value

    def save(
        self,
        name: str,
        position: int,
        uses: dict[Source, int],
        names: _Names,
        written: list[Line | Repeat],
    ) -> None:
        """Alias what ``name`` holds where that is wanted behind ``position``: it is overwritten."""
        old = names.holds.get(name)
        if old is None or names.of.get(old) != name or uses.get(old, -1) <= position:
            return
        fresh = self.fresh()
        written.append(Line(fresh, int(name[1:]), None, (Operand(name),)))
        names.of[old] = fresh

    def hold(
        self,
        name: str,
        value: Source,
        position: int,
        uses: dict[Source, int],
        names: _Names,
        written: list[Line | Repeat],
    ) -> None:
        """Let ``name`` hold ``value``, by an alias if it does not."""
        if names.holds.get(name) == value:
            return
        self.save(name, position, uses, names, written)
        written.append(Line(name, int(name[1:]), None, (Operand(names.of[value]),)))
        names.holds[name] = value

    # -- lines ----------------------------------------------------------------------------------

    def line(self, cell: Cell, target: str, names: _Names) -> Line:
        line, here = cell.line, cell.line.level
        addends: tuple[str, ...] = ()
        if cell.addends:
            addends = tuple([names.of[value] for value in sorted(cell.addends, key=_rank)])
        if line.merge is None and not addends:
            ((value, level),) = cell.sources
            blocks = self.moved(line.blocks or (), level, here)
            return Line(target, here, None, (Operand(names.of[value]),), (), blocks or None)
        if line.blocks is None:
            blocks = () if line.merge is None else self.then
        else:
            blocks = _kept(line.blocks)
        operands = [
            Operand(names.of[value], self.moved(operand.blocks, level, here))
            for operand, (value, level) in zip(line.operands, cell.sources, strict=True)
        ]
        if line.merge is not None and self.rows[line.merge.name].commutes:
            ranks = [_rank(value) for value, _ in cell.sources]
            operands = [one for _, one in sorted(zip(ranks, operands, strict=True), key=_order)]
        return Line(target, here, line.merge, tuple(operands), addends, blocks or None)

    def moved(self, blocks: tuple[Word, ...], source: int, level: int) -> tuple[Word, ...]:
        """An operand's blocks with its resampler written out, without what is idle."""
        if blocks:
            if source != level:
                blocks = tuple(moved(blocks, source, level, self.architecture))
            return _kept(blocks)
        if source == level:
            return ()
        return (self.architecture.up if source > level else self.architecture.down,)


def _kept(words: tuple[Word, ...]) -> tuple[Word, ...]:
    kept = tuple([word for word in words if word.name != "id"])
    return words if len(kept) == len(words) else kept


def _order(ranked: tuple[tuple[int, int, int], Operand]) -> tuple[tuple[int, int, int], str]:
    rank, operand = ranked
    return rank, " ".join(map(str, operand.blocks)) if operand.blocks else ""


def _rank(value: Source) -> tuple[int, int, int]:
    """The order of values that a canonical form sorts by: that of their making."""
    if isinstance(value, int):
        return (3, value, 0)
    kind, which = value
    if kind == "c":
        return (0, int(which), 0)
    if kind == "in":
        return (1, int(str(which)[1:]), 0)
    return (2, int(kind.removeprefix("loop")), int(str(which)[1:]))


def _lines(items: list[Line | Repeat]) -> list[Line]:
    return [line for item in items for line in ([item] if isinstance(item, Line) else item.lines)]


def _words(line: Line) -> list[Word]:
    own = [word for operand in line.operands for word in operand.blocks]
    return [*own, *(line.blocks or ()), *([line.merge] if line.merge else ())]
