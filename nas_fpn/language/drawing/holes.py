"""A space as a picture: its lines as boxes, and what is left open as dashes and braces.

A line whose level is open stands across all levels that it may take. What ``*`` may be comes out of
a bar, the pool: all that its block has named left of it. Lines in any order stand in a frame.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from nas_fpn.language.drawing.labels import label, stack
from nas_fpn.language.drawing.picture import Box, Direction, Frame, Kind, Link, Mark, Picture, Sheet
from nas_fpn.language.names import is_backbone, is_pyramid, level_of
from nas_fpn.language.program import Word
from nas_fpn.language.space import (
    AskNumber,
    AskWord,
    Shared,
    Slot,
    Space,
    SpaceLine,
    SpaceOperand,
    SpaceOrder,
    SpaceRepeat,
)

__all__ = ["number_text", "slot_text", "unfold"]


def unfold(space: Space) -> Picture:
    """Every line of a space once, in the order of the text."""
    drawer = _Drawer(space)
    for name in sorted({n for n in _features(space.items) if is_backbone(n)}):
        drawer.place(name, "input", name, range(int(name[1:]), int(name[1:]) + 1), inside=(name,))
        drawer.scope[name] = name
    drawer.sheet.turn()
    for number, item in enumerate(space.items, 1):
        if isinstance(item, SpaceRepeat):
            drawer.repeat(item, f"repeat{number}")
        else:
            drawer.item(item)
    drawer.sheet.turn()
    names = [name for name in drawer.scope if is_pyramid(name)]
    for name in sorted(names, key=lambda name: level_of(name) or 0):
        level = level_of(name) or 0
        key = f"output {level}"
        drawer.place(key, "output", name, range(level, level + 1), inside=(name,))
        drawer.sheet.links.append(Link(drawer.scope[name], key, "wire"))
    return drawer.sheet.picture()


def slot_text(slot: Slot) -> str:
    """A word; ``{sum | gp}`` where it is open; the name of a decision of the file."""
    if isinstance(slot, Word):
        return label(slot)
    if isinstance(slot, AskWord):
        return f"{{{' | '.join(label(word) for word in slot.options)}}}"
    return slot.name


def number_text(number: int | AskNumber) -> str:
    """A number; ``{1 | 3}`` where it is open."""
    if isinstance(number, int):
        return str(number)
    return f"{{{' | '.join(map(str, number.options))}}}"


class _Drawer:
    """The sheet, which box a name means, and the pool of the running block."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.sheet = Sheet()
        self.shared = dict(space.shared)
        self.scope: dict[str, str] = {}
        self.pool: dict[str, str] = {}  # by name, its box: what the block has named
        self.pooled: list[str] = []  # boxes that the last pool has taken in
        self.bar: str | None = None
        self.frame = ""

    def place(
        self,
        key: str,
        kind: Kind,
        name: str,
        levels: range,
        *,
        after: int = -1,
        inside: tuple[str, ...] = (),
    ) -> Box:
        column = self.sheet.column(levels, after)
        tall = levels.start if len(levels) > 1 else None
        level, stage = levels.stop - 1, self.sheet.stage
        text = f"{kind} {name}"
        box = Box(
            key, kind, name, level, column, inside=inside, text=text, lowest=tall, stage=stage
        )
        self.sheet.boxes[key] = box
        return box

    def item(self, item: SpaceLine | SpaceOrder) -> None:
        if isinstance(item, SpaceLine):
            self.lines((item,))
            return
        lines = item.lines[0]
        self.sheet.turn()
        before = set(self.sheet.boxes)
        self.lines(lines)
        columns = [
            box.column
            for key, box in self.sheet.boxes.items()
            if key not in before and box.kind == "line"
        ]
        self.sheet.turn()
        if len(lines) > 1 and columns:
            key = f"{self.frame}order"
            self.sheet.frames.append(
                Frame(key, "any order", min(columns), max(columns), repeats=False)
            )

    def lines(self, lines: Sequence[SpaceLine]) -> None:
        """Lines of which none is sure to stand before another: they see the same names."""
        if any(operand.feature is None for line in lines for operand in line.operands):
            self.gather(lines)
        found = [(line.target, self.line(line)) for line in lines]
        for name, key in found:
            self.scope[name] = key
            self.pool[name] = key

    def gather(self, lines: Sequence[SpaceLine]) -> None:
        """Place a bar that takes in what has been named since the last."""
        boxes = self.sheet.boxes
        levels = [level for key in self.pool.values() for level in boxes[key].levels]
        levels += [level for line in lines for level in self.levels(line) or ()]
        new = [key for key in dict.fromkeys(self.pool.values()) if key not in self.pooled]
        sources = [*([self.bar] if self.bar else []), *new]
        after = max((boxes[key].column for key in sources), default=-1)
        key = f"{self.frame}pool {len(boxes)}"
        span = range(min(levels), max(levels) + 1)
        bar = self.place(key, "pool", "*", span, after=after, inside=("∗",))
        names = f"* is one of {' '.join(self.pool)}"
        boxes[key] = replace(bar, text=names, mark="open", lowest=span.start)
        for source in sources:
            self.sheet.links.append(Link(source, key, "wire", mark="open"))
        self.pooled += new
        self.bar = key

    def levels(self, line: SpaceLine) -> range | None:
        """All levels that the line may have; None: that of its only operand."""
        fixed = level_of(line.target)
        level = fixed if fixed is not None else line.level
        if isinstance(level, AskNumber):
            return range(min(level.options), max(level.options) + 1)
        return None if level is None else range(level, level + 1)

    def line(self, line: SpaceLine) -> str:
        """Place a line, and give the key of its box; an alias has that of what it names."""
        boxes = self.sheet.boxes
        sources = [self.source(operand) for operand in line.operands]
        levels = self.levels(line) or boxes[sources[0]].levels
        (first, *_) = line.operands
        if (
            line.merge is None
            and first.feature is not None
            and not (line.blocks or line.addends or line.rest)
            and levels == boxes[sources[0]].levels
        ):
            return sources[0]
        addends = [self.scope[name] for name in line.addends]
        after = max(boxes[key].column for key in (*sources, *addends))
        seen = sum(key.split("#")[0] == f"{self.frame}{line.target}" for key in boxes)
        key = f"{self.frame}{line.target}" + (f"#{seen + 1}" if seen else "")
        box = self.place(key, "line", line.target, levels, after=after)
        blocks = tuple(slot_text(slot) for slot in line.blocks or ())
        said = stack(tuple(text.partition("[")[0] if "{" not in text else text for text in blocks))
        rest = ("+ rest",) if line.rest else ()
        has_hole = len(levels) > 1 or any(self.is_open(slot) for slot in line.blocks or ())
        merge, inside, below = "", said or ("id",), rest
        if line.merge is not None:
            merge, inside = self.merge(line.merge)
            below = (*said, *rest) if line.blocks is not None else rest
            has_hole = has_hole or self.is_open(line.merge)
        mark: Mark = "open" if has_hole else ""
        text = " ".join((line.target, "=", *inside, *below))
        boxes[key] = replace(box, merge=merge, inside=inside, below=below, text=text, mark=mark)
        for position, (operand, source) in enumerate(zip(line.operands, sources, strict=True)):
            self.sheet.links.append(self.link(line, operand, position, source, key))
        for name, source in zip(line.addends, addends, strict=True):
            self.sheet.links.append(Link(source, key, "addend", len(sources), words=(name,)))
        return key

    def link(
        self, line: SpaceLine, operand: SpaceOperand, position: int, source: str, target: str
    ) -> Link:
        here, there = self.sheet.boxes[source], self.sheet.boxes[target]
        direction: Direction = "same"
        if here.lowest is None and there.lowest is None and here.level != there.level:
            direction = "up" if here.level > there.level else "down"
        slots = operand.blocks if line.merge else (*operand.blocks, *(line.blocks or ()))
        movers = [slot for slot in slots if self.kind(slot) == direction]
        default = (operand.up or self.space.up, operand.down or self.space.down)
        mover = movers[0] if movers else default[0 if direction == "up" else 1]
        own = [slot for slot in operand.blocks if self.kind(slot) not in ("up", "down")]
        optional = ("?",) if operand.present else ()
        is_open = bool(operand.present or operand.feature is None)
        return Link(
            source,
            target,
            "operand",
            position,
            way=(direction, "" if direction == "same" else slot_text(mover)),
            own=(*map(slot_text, own), *optional),
            words=tuple(map(slot_text, operand.blocks)),
            mark="open" if is_open else "",
        )

    def merge(self, slot: Slot) -> tuple[str, tuple[str, ...]]:
        """The merge for the legend, and what stands in its box."""
        if isinstance(slot, Word):
            return label(slot), (slot.name,)
        if isinstance(slot, Shared):
            chosen = self.shared[slot.name]
            return f"{slot.name} = {slot_text(chosen)}", (slot.name,)
        options = [word.name for word in slot.options]
        if len(options) == 2:
            return slot_text(slot), (f"{{{' | '.join(options)}}}",)
        if len(options) > 4:
            return slot_text(slot), (f"{{{len(options)} merges}}",)
        between = (f"| {name}" for name in options[1:-1])
        return slot_text(slot), (f"{{{options[0]}", *between, f"| {options[-1]}}}")

    def kind(self, slot: Slot) -> str:
        chosen = self.shared[slot.name] if isinstance(slot, Shared) else slot
        word = chosen.options[0] if isinstance(chosen, AskWord) else chosen
        return self.space.words.rows[word.name].kind

    def is_open(self, slot: Slot) -> bool:
        chosen = self.shared[slot.name] if isinstance(slot, Shared) else slot
        return isinstance(chosen, AskWord)

    def source(self, operand: SpaceOperand) -> str:
        if operand.feature is None:
            assert self.bar is not None
            return self.bar
        return self.scope[operand.feature]

    def repeat(self, item: SpaceRepeat, key: str) -> None:
        sheet, outer, pool = self.sheet, self.scope, (self.pool, self.pooled, self.bar)
        sheet.turn()
        first = sheet.start
        self.scope, self.frame = dict(outer), f"{key}."
        self.pool, self.pooled, self.bar = {}, [], None
        for name in _read_before_named(item):
            levels = sheet.boxes[outer[name]].levels
            port = self.place(f"{key} in {name}", "entry", name, levels)
            sheet.links.append(Link(outer[name], port.key, "wire"))
            self.scope[name] = port.key
        sheet.turn()
        for inner in item.items:
            self.item(inner)
        sheet.turn()
        made = {name: box for name, box in self.pool.items() if is_pyramid(name)}
        for name, box in made.items():
            level = level_of(name) or 0
            port = self.place(f"{key}.{name} out", "exit", name, range(level, level + 1))
            sheet.links.append(Link(box, port.key, "wire"))
            made[name] = outer[name] = port.key
        last = sheet.end() - 1
        sheet.turn()
        sheet.frames.append(Frame(key, f"×{number_text(item.count)}", first, last))
        self.scope, self.frame, (self.pool, self.pooled, self.bar) = outer, "", pool
        self.pool.update(made)


def _lines(items: Iterable[SpaceLine | SpaceOrder | SpaceRepeat]) -> Iterable[SpaceLine]:
    for item in items:
        if isinstance(item, SpaceRepeat):
            yield from _lines(item.items)
        elif isinstance(item, SpaceOrder):
            yield from item.lines[0]
        else:
            yield item


def _features(items: Iterable[SpaceLine | SpaceOrder | SpaceRepeat]) -> Iterable[str]:
    for line in _lines(items):
        yield from (operand.feature for operand in line.operands if operand.feature)
        yield from line.addends


def _read_before_named(item: SpaceRepeat) -> list[str]:
    """What the body of a repeat takes from outside, or from the pass before."""
    named: set[str] = set()
    found: dict[str, None] = {}
    for inner in item.items:
        lines = (inner,) if isinstance(inner, SpaceLine) else inner.lines[0]
        found.update(dict.fromkeys(name for name in _features(lines) if name not in named))
        named.update(line.target for line in lines)
    return list(found)
