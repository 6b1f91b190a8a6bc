"""One walk, many answerers: run a program with holes; who answers decides what the run means.

A recorder lists the choices (and so the exact size of the space), a genotype decodes, random
numbers sample, a known architecture encodes (``encode.py``), a policy rolls out.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import prod

from nas_fpn.errors import SpaceError
from nas_fpn.language.names import is_pyramid, level_of
from nas_fpn.language.program import Architecture, Line, Operand, Repeat, Word
from nas_fpn.language.space import (
    AskNumber,
    AskWord,
    Choice,
    Slot,
    Space,
    SpaceLine,
    SpaceOperand,
    SpaceOrder,
)
from nas_fpn.language.words import Row

__all__ = ["Answer", "Genotype", "choices", "decode", "explain", "sample", "size", "walk"]

Genotype = tuple[int, ...]
Answer = Callable[[str, Sequence[object]], int]
"""Given a choice's name and its options (words, numbers, names), the index of one."""

_PRESENT = ("absent", "present")


def walk(space: Space, answer: Answer) -> Architecture:
    """Run the program, asking ``answer`` at every hole, always in the same order."""
    width = 256
    shared: dict[str, Word] = {}
    words = dict(space.shared)
    if isinstance(space.width, int):
        width = space.width
    for name in space.head:
        if name == "width":
            width = _number(space.width, answer)
        else:
            word = words[name]
            if isinstance(word, AskWord):
                word = word.options[answer(word.name, word.options)]
            shared[name] = word
    then = tuple(_word(slot, shared, answer) for slot in space.then)
    up = _word(space.up, shared, answer)
    down = _word(space.down, shared, answer)
    levels: dict[str, int] = {}
    items: list[Line | Repeat] = []
    rows = space.words.rows
    block = _Block(levels, {}, rows)
    for item in space.items:
        if isinstance(item, SpaceLine):
            items.append(_line(item, block, shared, answer))
        elif isinstance(item, SpaceOrder):
            items.extend(_order(item, block, shared, answer))
        else:
            count = _number(item.count, answer)
            inner = _Block(dict(block.levels), {}, rows)
            lines: list[Line] = []
            for one in item.items:
                if isinstance(one, SpaceLine):
                    lines.append(_line(one, inner, shared, answer))
                else:
                    lines.extend(_order(one, inner, shared, answer))
            items.append(Repeat(count, tuple(lines)))
            for name in inner.unused:
                if is_pyramid(name):
                    block.levels[name] = inner.levels[name]
                    block.unused[name] = True
    return Architecture(tuple(items), width, then, up, down, space.doc, space.words)


def decode(space: Space, genotype: Sequence[int]) -> Architecture:
    """The architecture of a genotype: one index per choice, in the order of ``choices``.

    Raises SpaceError where the length or an index is out of range.
    """
    wanted = choices(space)
    if len(genotype) != len(wanted):
        raise SpaceError(
            f"{space.file}: a genotype has {len(wanted)} indices, one per choice, but got "
            f"{len(genotype)}\nis it from another space?"
        )
    for index, choice in zip(genotype, wanted, strict=True):
        if not 0 <= index < choice.count:
            raise SpaceError(
                f"{space.file}: choice {choice.name!r} has options 0..{choice.count - 1}, "
                f"but got {index}\nis the genotype from another space?"
            )
    following = iter(genotype)
    return walk(space, lambda name, options: next(following))


@lru_cache(maxsize=64)
def choices(space: Space) -> tuple[Choice, ...]:
    """The choices of a space, in the order in which every walk asks them."""
    found: list[Choice] = []

    def record(name: str, options: Sequence[object]) -> int:
        found.append(Choice(name, len(options)))
        return 0

    walk(space, record)
    return tuple(found)


def size(space: Space) -> int:
    """The exact number of genotypes."""
    return prod(choice.count for choice in choices(space))


def sample(space: Space, rng: random.Random) -> Genotype:
    """A genotype, uniform over all."""
    return tuple([int(rng.random() * choice.count) for choice in choices(space)])


def explain(space: Space, genotype: Sequence[int]) -> tuple[tuple[str, str], ...]:
    """Every choice with the option taken, as text: ``("a.level", "4")``."""
    decode(space, genotype)
    said: list[tuple[str, str]] = []
    following = iter(genotype)

    def speak(name: str, options: Sequence[object]) -> int:
        index = next(following)
        said.append((name, str(options[index])))
        return index

    walk(space, speak)
    return tuple(said)


class _Block:
    """The names of the running block: levels of all, and for its own whether still unused."""

    __slots__ = ("levels", "rows", "unused")

    def __init__(
        self, levels: dict[str, int], unused: dict[str, bool], rows: Mapping[str, Row]
    ) -> None:
        self.levels = levels
        self.rows = rows
        self.unused = unused  # the block's own names in order of first assignment

    def level(self, feature: str) -> int:
        level = self.levels.get(feature)
        return int(feature[1:]) if level is None else level


def _order(order: SpaceOrder, block: _Block, shared: dict[str, Word], answer: Answer) -> list[Line]:
    left = list(range(len(order.lines)))
    found = []
    for position, lines in enumerate(order.lines):
        pick = 0
        if position < len(order.picks):
            pick = answer(order.picks[position], [lines[k].target for k in left])
        found.append(_line(lines[left.pop(pick)], block, shared, answer))
    return found


def _line(line: SpaceLine, block: _Block, shared: dict[str, Word], answer: Answer) -> Line:
    target, unused, fixed = line.target, block.unused, line.fixed
    if fixed is not None:
        for name in (*[operand.feature for operand in fixed.operands], *fixed.addends):
            if name in unused:
                unused[name] = False
        block.levels[target] = fixed.level
        unused[target] = True
        return fixed
    level = level_of(target)
    if level is None and line.level is not None:
        level = _number(line.level, answer)
    merge, blocks = None, None
    if line.merge is None:
        operand, level, blocks = _single(line, level, block, shared, answer)
        operands = [operand]
    else:
        merge = _word(line.merge, shared, answer)
        assert level is not None
        operands = _operands(line, merge, level, block, shared, answer)
        if line.blocks is not None:
            blocks = tuple([_word(slot, shared, answer) for slot in line.blocks])
    for operand in operands:
        if operand.feature in unused:
            unused[operand.feature] = False
    addends = line.addends
    for name in addends:
        if name in unused:
            unused[name] = False
    if line.rest:
        levels = block.levels
        more = [n for n, free in unused.items() if free and levels[n] == level]
        for name in more:
            unused[name] = False
        addends = (*addends, *more)
    block.levels[target] = level
    unused[target] = True
    return Line(target, level, merge, tuple(operands), addends, blocks)


def _single(
    line: SpaceLine, level: int | None, block: _Block, shared: dict[str, Word], answer: Answer
) -> tuple[Operand, int, tuple[Word, ...] | None]:
    """The only source of a line, the line's level and its blocks, a resampler among them."""
    (wanted,) = line.operands
    feature = wanted.feature
    if feature is None:
        assert wanted.pick is not None
        pool = list(block.unused)
        feature = pool[answer(wanted.pick, pool)]
    up, down = _each(wanted, answer)
    source = block.level(feature)
    if level is None:
        level = source
    words: list[Word] = []
    if line.blocks is not None:
        found = [_word(slot, shared, answer) for slot in line.blocks]
        words = _acting(found, source, level, block.rows)
    mover = None if source == level else up if source > level else down
    if mover is not None:
        words.append(mover)
    return _plain(feature), level, tuple(words) or None


def _operands(
    line: SpaceLine,
    merge: Word,
    level: int,
    block: _Block,
    shared: dict[str, Word],
    answer: Answer,
) -> list[Operand]:
    """The operands of a merge that are present, each with its own blocks and resampler."""
    pool = list(block.unused)
    found: list[Operand] = []
    stars: list[int] = []
    for wanted in line.operands:
        present = wanted.present is None or answer(wanted.present, _PRESENT) == 1
        feature = wanted.feature
        if feature is None:
            assert wanted.pick is not None
            feature = pool.pop(answer(wanted.pick, pool))
            stars.append(len(found))
        if not (wanted.blocks or wanted.up or wanted.down):
            if present:
                found.append(_plain(feature))
            continue
        words = [_word(slot, shared, answer) for slot in wanted.blocks]
        up, down = _each(wanted, answer)
        if not present:
            continue
        source = block.level(feature)
        words = _acting(words, source, level, block.rows)
        mover = None if source == level else up if source > level else down
        if mover is not None:
            words.append(mover)
        found.append(Operand(feature, tuple(words)) if words else _plain(feature))
    if len(stars) > 1 and block.rows[merge.name].commutes:
        _sort(found, stars, block)
    return found


@lru_cache(maxsize=4096)
def _plain(feature: str) -> Operand:
    return Operand(feature)


def _sort(operands: list[Operand], stars: list[int], block: _Block) -> None:
    """Put what the stars of a commuting merge have drawn in the order of the pool.

    The order drawn has no meaning there; so one architecture has one text, and the smallest of
    its genotypes decodes to it.
    """
    place = {name: k for k, name in enumerate(block.unused)}
    drawn = [operands[position] for position in stars]
    drawn.sort(key=lambda operand: place[operand.feature])  # drawn without replacement
    for position, operand in zip(stars, drawn, strict=True):
        operands[position] = operand


def _each(wanted: SpaceOperand, answer: Answer) -> tuple[Word | None, Word | None]:
    up, down = wanted.up, wanted.down
    if isinstance(up, AskWord):
        up = up.options[answer(up.name, up.options)]
    if isinstance(down, AskWord):
        down = down.options[answer(down.name, down.options)]
    return up, down


def _acting(blocks: list[Word], source: int, level: int, rows: Mapping[str, Row]) -> list[Word]:
    """The blocks without resamplers that have nothing to do, or would go the other way."""
    if not blocks:
        return []
    idle = ("up", "down") if source == level else ("down",) if source > level else ("up",)
    return [word for word in blocks if rows[word.name].kind not in idle]


def _word(slot: Slot, shared: dict[str, Word], answer: Answer) -> Word:
    if isinstance(slot, Word):
        return slot
    if isinstance(slot, AskWord):
        return slot.options[answer(slot.name, slot.options)]
    return shared[slot.name]


def _number(slot: int | AskNumber, answer: Answer) -> int:
    return slot if isinstance(slot, int) else slot.options[answer(slot.name, slot.options)]
