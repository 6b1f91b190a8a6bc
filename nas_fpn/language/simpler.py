"""The nearest simpler necks of a neck: each differs from it in one line of its program.

What a neck owes to a word, an edge or a cell is seen by training it without that one. Every
neighbour is the program with one line or setting changed, checked like any other program; those
that are the neck itself, or a neighbour already named, are left out.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from nas_fpn.errors import SpaceError
from nas_fpn.language.canonical import identity
from nas_fpn.language.cost import cost
from nas_fpn.language.files import parse
from nas_fpn.language.lower import moved
from nas_fpn.language.program import Architecture, Line, Operand, Repeat
from nas_fpn.language.word import Word
from nas_fpn.language.words import Row, gives

__all__ = ["Kind", "Simpler", "plain", "simpler"]

Kind = Literal["cell", "edge", "merge", "resampler", "block"]
Rows = Mapping[str, Row]

SUM, NEAREST, MAXPOOL, CONV1 = Word("sum"), Word("nearest"), Word("maxpool"), Word("conv1")
CONVS = ("conv1", "conv3")  # plain as they are
ACTIVATIONS = frozenset({"relu", "relu6", "silu", "swish", "gelu", "leaky", "mish"})


@dataclass(frozen=True, slots=True)
class Simpler:
    """A neighbour: what was changed, as ``label`` says it, and the neck that is left.

    The label begins with the name whose line was changed, "a: gp → sum"; "p4 (2)" is the second
    line that gives p4.
    ``params`` are the parameters that it saves; below 0 where it costs more, which the label says.
    """

    label: str
    kind: Kind
    neck: Architecture
    params: int


@dataclass(frozen=True, slots=True)
class _Edit:
    """A change of one line: its label, and the lines that it may become, the best first."""

    label: str
    kind: Kind
    ways: tuple[Line, ...]


def simpler(neck: Architecture, in_channels: Mapping[int, int]) -> tuple[Simpler, ...]:
    """Every nearest simpler neighbour of a neck, in the order of its program; no two are one neck.

    - cell: a line gives what one of its operands is, the one of its own level first; a ``repeat``
      runs once less often;
    - edge: an operand or an addend is dropped;
    - merge: another than ``sum`` becomes it;
    - resampler: another than ``nearest`` and ``maxpool`` becomes it, behind a ``conv1`` where it
      gave the channels;
    - block: it is removed, or else becomes ``conv3``, or ``conv1`` if it was that.

    A change that leaves no program is left out. ``in_channels`` are those of the backbone by level,
    for what is saved. Own words change like the shipped ones of their kind.
    """
    seen = {identity(neck)}
    own = _params(neck, in_channels)
    found = []
    for label, kind, ways in _changes(neck):
        other = next(filter(None, (_checked(way) for way in ways)), None)
        if other is None or (name := identity(other)) in seen:
            continue
        seen.add(name)
        saved = own - _params(other, in_channels)
        said = label if saved >= 0 else f"{label} (costs {-saved:,} parameters more)"
        found.append(Simpler(said, kind, other, saved))
    return tuple(found)


def plain(neck: Architecture) -> Architecture:
    """The same edges with plain words: sum, nearest, maxpool, conv1 and conv3, bn, relu.

    Norms become ``bn``, activations ``relu``; what gives channels becomes ``conv3``, unless it is a
    ``conv1``; other blocks go. A word that leaves no program when it is made plain stays.
    """
    rows = neck.words.rows
    while True:  # a change may free another: channels that were unequal are equal now
        before = neck
        for at in range(len(list(_sites(neck)))):
            line, put = list(_sites(neck))[at]
            for way in _plain_lines(line, rows):
                other = _checked(put(way))
                if other is not None:
                    neck = other
                    break
        for name in ("then", "up", "down"):
            for setting in _plain_settings(neck, name):
                if (other := _checked(setting)) is not None:
                    neck = other
                    break
        if neck == before:
            return neck


def _changes(neck: Architecture) -> Iterator[tuple[str, Kind, Iterator[Architecture]]]:
    rows = neck.words.rows
    for label, kind, ways in _setting_edits(neck):
        yield label, kind, iter(ways)
    for at, item in enumerate(neck.items):
        if isinstance(item, Repeat) and item.count > 1:
            fewer = replace(item, count=item.count - 1)
            items = (*neck.items[:at], fewer, *neck.items[at + 1 :])
            label = f"repeat: {item.count} → {fewer.count} times"
            yield label, "cell", iter([replace(neck, items=items)])
    levels: dict[str, int] = {}
    sites = list(_sites(neck))
    often = Counter(line.target for line, _ in sites)
    met = Counter[str]()
    for line, put in sites:
        met[line.target] += 1
        name = line.target if often[line.target] == 1 else f"{line.target} ({met[line.target]})"
        for edit in _line_edits(line, neck, rows, levels):
            yield f"{name}: {edit.label}", edit.kind, (put(way) for way in edit.ways)
        levels[line.target] = line.level


def _sites(neck: Architecture) -> Iterator[tuple[Line, Callable[[Line], Architecture]]]:
    """Every line, and how to put another in its place."""
    for at, item in enumerate(neck.items):
        if isinstance(item, Line):
            yield (
                item,
                lambda new, at=at: replace(  # type: ignore[misc]
                    neck, items=(*neck.items[:at], new, *neck.items[at + 1 :])
                ),
            )
            continue
        for inner, line in enumerate(item.lines):

            def put(
                new: Line, at: int = at, inner: int = inner, item: Repeat = item
            ) -> Architecture:
                lines = (*item.lines[:inner], new, *item.lines[inner + 1 :])
                items = (*neck.items[:at], replace(item, lines=lines), *neck.items[at + 1 :])
                return replace(neck, items=items)

            yield line, put


def _line_edits(
    line: Line, neck: Architecture, rows: Rows, levels: Mapping[str, int]
) -> Iterator[_Edit]:
    if line.merge is not None:
        yield from _without(line, neck, levels)
        if line.merge.name != "sum":
            yield _Edit(f"{line.merge} → sum", "merge", (replace(line, merge=SUM),))
    for at, addend in enumerate(line.addends):
        kept = line.addends[:at] + line.addends[at + 1 :]
        yield _Edit(f"without + {addend}", "edge", (replace(line, addends=kept),))
    for place, operand in enumerate(line.operands):
        for label, kind, ways in _word_edits(operand.blocks, rows):
            changed = tuple(_with_blocks(line, place, way) for way in ways)
            yield _Edit(f"{label} on {operand.feature}", kind, changed)
    for label, kind, ways in _word_edits(line.blocks or (), rows):
        changed = tuple(replace(line, blocks=_arrow(line, way, neck)) for way in ways)
        yield _Edit(label, kind, changed)
    yield from _bypass(line, levels)


def _without(line: Line, neck: Architecture, levels: Mapping[str, int]) -> Iterator[_Edit]:
    """Each operand dropped; of two the other stays as a plain source, resampled as it was."""
    for at, operand in enumerate(line.operands):
        kept = line.operands[:at] + line.operands[at + 1 :]
        ways = []
        if kept:
            ways.append(replace(line, operands=kept))
        if len(kept) == 1:
            ending = neck.then if line.blocks is None else line.blocks
            own: Sequence[Word] = kept[0].blocks
            if ending:  # it acts where the merge was
                own = moved(own, _level(kept[0].feature, levels, line), line.level, neck)
            blocks = (*own, *ending) or None
            only = (Operand(kept[0].feature),)
            ways = [replace(line, merge=None, operands=only, blocks=blocks)]
            if line.addends and kept[0].blocks:  # its blocks would act on the addends too
                ways = []
        yield _Edit(f"without {operand.feature}", "edge", tuple(ways))


def _bypass(line: Line, levels: Mapping[str, int]) -> Iterator[_Edit]:
    """The cell removed: its name is one of its operands, the nearest in level first."""
    sources = [*(operand.feature for operand in line.operands), *line.addends]
    ordered = sorted(
        dict.fromkeys(sources), key=lambda one: abs(_level(one, levels, line) - line.level)
    )
    for source in ordered[:1]:
        alias = Line(line.target, line.level, None, (Operand(source),))
        if alias != line:
            yield _Edit(f"removed, {source} in its place", "cell", (alias,))


def _level(name: str, levels: Mapping[str, int], line: Line) -> int:
    if name[0] in "cp" and name[1:].isdigit():
        return int(name[1:])
    return levels.get(name, line.level)


def _word_edits(
    words: Sequence[Word], rows: Rows
) -> Iterator[tuple[str, Kind, tuple[tuple[Word, ...], ...]]]:
    """Each word of a chain simplified: label, kind, the chains that it may leave."""
    for at, word in enumerate(words):
        before, behind, row = tuple(words[:at]), tuple(words[at + 1 :]), rows[word.name]
        if row.kind in ("up", "down"):
            easy = NEAREST if row.kind == "up" else MAXPOOL
            if word != easy:
                ways = ((*before, easy, *behind), (*before, CONV1, easy, *behind))
                yield f"{word} → {easy}", "resampler", ways
        elif word.name != "id":
            yield f"without {word}", "block", ((*before, *behind),)
            conv = _conv(word, rows)
            if conv is not None and conv != word:
                yield f"{word} → {conv}", "block", ((*before, conv, *behind),)


def _conv(word: Word, rows: Rows) -> Word | None:
    """The plain convolution in place of a block that gives channels: the same number of them."""
    if word.name == "conv1" or not gives(word, rows[word.name]):
        return None
    kept = tuple(pair for pair in word.arguments if pair[0] == "channels")
    return Word("conv1" if word.name == "conv3" else "conv3", kept)


def _setting_edits(
    neck: Architecture,
) -> Iterator[tuple[str, Kind, tuple[Architecture, ...]]]:
    rows = neck.words.rows
    for label, kind, chains in _word_edits(neck.then, rows):
        yield f"then: {label}", kind, tuple(replace(neck, then=chain) for chain in chains)
    if neck.up != NEAREST:
        yield f"up: {neck.up} → nearest", "resampler", (replace(neck, up=NEAREST),)
    if neck.down != MAXPOOL:
        yield f"down: {neck.down} → maxpool", "resampler", (replace(neck, down=MAXPOOL),)


def _plain_lines(line: Line, rows: Rows) -> Iterator[Line]:
    """The line with all its words plain, then with one or the other left."""
    merge = SUM if line.merge is not None else None
    operands = tuple(replace(one, blocks=_plain(one.blocks, rows)) for one in line.operands)
    blocks = None if line.blocks is None else _plain(line.blocks, rows)
    yield replace(line, merge=merge, operands=operands, blocks=blocks)
    yield replace(line, operands=operands, blocks=blocks)
    yield replace(line, merge=merge, blocks=blocks)
    yield replace(line, merge=merge)
    yield replace(line, blocks=blocks)


def _plain_settings(neck: Architecture, name: str) -> Iterator[Architecture]:
    if name == "then":
        yield replace(neck, then=_plain(neck.then, neck.words.rows))
    elif name == "up":
        yield replace(neck, up=NEAREST)
    else:
        yield replace(neck, down=MAXPOOL)


def _plain(words: Sequence[Word], rows: Rows) -> tuple[Word, ...]:
    return tuple(new for word in words for new in _plain_word(word, rows))


def _plain_word(word: Word, rows: Rows) -> tuple[Word, ...]:
    row = rows[word.name]
    if row.kind in ("up", "down"):
        easy = NEAREST if row.kind == "up" else MAXPOOL
        return (CONV1, easy) if gives(word, row) else (easy,)
    if row.norm:
        return (Word("bn"),)
    if word.name in ACTIVATIONS:
        return (Word("relu"),)
    if gives(word, row):
        kept = tuple(pair for pair in word.arguments if pair[0] == "channels")
        return (Word(word.name if word.name in CONVS else "conv3", kept),)
    return ()


def _with_blocks(line: Line, place: int, blocks: tuple[Word, ...]) -> Line:
    operands = list(line.operands)
    operands[place] = replace(operands[place], blocks=blocks)
    return replace(line, operands=tuple(operands))


def _arrow(line: Line, blocks: tuple[Word, ...], neck: Architecture) -> tuple[Word, ...] | None:
    """What stands behind the arrow; nothing, for a merge line, must not mean ``then``."""
    if blocks or (line.merge is not None and neck.then):
        return blocks
    return None


def _checked(neck: Architecture) -> Architecture | None:
    """The program as it reads, or None where it is none."""
    try:
        return parse(str(neck), words=neck.words)
    except SpaceError:
        return None


def _params(neck: Architecture, in_channels: Mapping[int, int]) -> int:
    return cost(neck, in_channels, image_size=256).params  # params do not depend on the size
