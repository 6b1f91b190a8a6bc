"""An architecture as data: words, operands, lines, repeats. A program without holes."""

from dataclasses import dataclass, field, replace

from nas_fpn.language.own_words import SHIPPED, Words
from nas_fpn.language.word import Value, Word

__all__ = ["Architecture", "Line", "Operand", "Repeat", "Value", "Word", "line_text"]


_UP, _DOWN = Word("nearest"), Word("maxpool")  # the resamplers where no setting names any


@dataclass(frozen=True, slots=True)
class Operand:
    """A feature by name and, inside a merge, its own blocks (a resampler may be among them)."""

    feature: str
    blocks: tuple[Word, ...] = ()

    def __str__(self) -> str:
        if not self.blocks:
            return self.feature
        return f"{self.feature} -> {' '.join(map(str, self.blocks))}"


@dataclass(frozen=True, slots=True)
class Line:
    """``target@level = merge(operands) + addends -> blocks``.

    ``merge`` is None where the source is a single feature; its blocks, a resampler among them
    if any, are then ``blocks``. ``blocks`` is None where the line has no arrow: a merge line
    then ends with the ``then`` blocks of its architecture.
    """

    target: str
    level: int
    merge: Word | None
    operands: tuple[Operand, ...]
    addends: tuple[str, ...] = ()
    blocks: tuple[Word, ...] | None = None


@dataclass(frozen=True, slots=True)
class Repeat:
    """Lines that run ``count`` times, each time with new weights."""

    count: int
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A program without holes, checked.

    ``str(a)`` is its text, and ``parse(str(a)) == a`` where that is no longer than a text may be.
    ``doc`` holds the comment lines at the very top, without ``#`` and joined by newlines.
    ``words`` are what its words mean; equal programs are equal whatever words they do not use.
    Make one with :func:`nas_fpn.language.parse` or :func:`nas_fpn.language.decode`: they check.
    """

    items: tuple[Line | Repeat, ...]
    width: int = 256
    then: tuple[Word, ...] = ()
    up: Word = _UP
    down: Word = _DOWN
    doc: str = ""
    words: Words = field(default=SHIPPED, compare=False, repr=False)

    def __str__(self) -> str:
        lines = [f"# {row}".rstrip() for row in self.doc.split("\n")] if self.doc else []
        lines.append(f"width {self.width}")
        if self.then:
            lines.append(f"then {' '.join(map(str, self.then))}")
        if self.up != _UP:
            lines.append(f"up {self.up}")
        if self.down != _DOWN:
            lines.append(f"down {self.down}")
        lines.append("")
        levels: dict[str, int] = {}
        for item in self.items:
            if isinstance(item, Repeat):
                lines.append(f"repeat {item.count}:")
                inner = dict(levels)
                lines.extend("    " + line_text(line, inner) for line in item.lines)
                levels.update(inner)  # only p's live on, and their level is their name's
            else:
                lines.append(line_text(item, levels))
        return "\n".join(lines) + "\n"

    def with_width(self, width: int) -> "Architecture":
        """The same program at another ``width`` (channels that a word names stay)."""
        return replace(self, width=width)


def line_text(line: Line, levels: dict[str, int]) -> str:
    """A line as text; ``levels`` are those of the names above it, and gains the target's."""
    only = line.operands[0].feature
    source = only if line.merge is None else _merge(line)
    target = line.target
    if not _is_pyramid(target) and (line.merge is not None or _level(only, levels) != line.level):
        target = f"{target}@{line.level}"
    levels[line.target] = line.level
    addends = "".join(f" + {name}" for name in line.addends)
    arrow = "" if line.blocks is None else f" -> {' '.join(map(str, line.blocks)) or 'id'}"
    return f"{target} = {source}{addends}{arrow}"


def _merge(line: Line) -> str:
    return f"{line.merge}({', '.join(map(str, line.operands))})"


def _level(feature: str, levels: dict[str, int]) -> int | None:
    if feature[0] in "cp" and feature[1:].isdigit():
        return int(feature[1:])
    return levels.get(feature)


def _is_pyramid(name: str) -> bool:
    return name[0] == "p" and name[1:].isdigit()
